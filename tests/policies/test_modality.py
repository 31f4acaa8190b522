from __future__ import annotations

import pytest

from proxy.policies.modality import modality
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question


@pytest.mark.parametrize(
    "members",
    [
        {"modalities": ["text", "audio"]},
        {"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}},
        {"audio": {"voice": "alloy"}},
        {"audio": {}},
    ],
)
def test_an_answer_that_may_be_spoken_is_passed_by(members):
    assert modality(question(**members), Rule()) == Verdict(read=False, write=False, reason="audio")


@pytest.mark.parametrize("members", [{}, {"modalities": ["text"]}, {"modalities": None, "audio": None}])
def test_an_answer_in_words_is_allowed(members):
    assert modality(question(**members), Rule()) == ALLOWED
