"""Policy `static`: a threshold."""

from __future__ import annotations

from proxy.verifiers.static import Static
from tests.verifiers import MORE_WORDS, pair


def test_the_threshold_itself_is_served():
    verifier = Static(0.85)
    assert verifier.judge(pair(0.85, MORE_WORDS)) == (True, 1.0, "threshold")
    assert verifier.judge(pair(0.8499, MORE_WORDS)) == (False, 0.0, "threshold")
