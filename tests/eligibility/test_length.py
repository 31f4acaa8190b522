"""Long texts are seen at a glance."""

from __future__ import annotations

import pytest

from proxy.eligibility.length import length
from tests.eligibility import barred


def test_a_text_within_the_limit_passes():
    assert barred(length(200), "word " * 200) == ""
    assert barred(length(1), "internationalisation"[:16]) == ""


@pytest.mark.parametrize("text", ["word " * 201, "x" * 3201, "\n\n".join(["a"] * 300), "\U0001f600 " * 50_000])
def test_one_that_is_surely_over_is_barred(text):
    assert barred(length(200), text) == "too_long"
