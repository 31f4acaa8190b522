"""Policy `faq`: a cosine of 0.90."""

from __future__ import annotations

from proxy.verifiers.faq import Faq
from tests.verifiers import pair


def test_faq_serves_from_a_cosine_of_ninety():
    assert Faq().judge(pair(0.90)).serve
    assert not Faq().judge(pair(0.8999)).serve
