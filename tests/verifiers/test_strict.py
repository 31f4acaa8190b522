"""Policy `strict`: what is asked must be there word for word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.verifiers.strict import Strict
from tests.verifiers import MORE_WORDS, OTHER_WORDS, SAME_WORDS, pair


@pytest.mark.parametrize(
    ("comparison", "serve", "reason"),
    [
        (pair(0.85, SAME_WORDS), True, "canonical"),
        (pair(0.84, SAME_WORDS), False, "threshold"),
        (pair(0.99, replace(SAME_WORDS, question_word=True)), False, "question_word"),
        (pair(0.99, replace(SAME_WORDS, order=0.2)), False, "order"),
        (pair(0.99, replace(SAME_WORDS, order=0.1)), True, "canonical"),
        (pair(0.97, OTHER_WORDS), True, "threshold"),
        (pair(0.96, OTHER_WORDS), False, "threshold"),
        (pair(0.99, MORE_WORDS), False, "residual"),
        (pair(0.99, replace(OTHER_WORDS, question_word=True)), False, "question_word"),
    ],
)
def test_it_serves_equal_words_and_the_very_near(comparison, serve, reason):
    judgement = Strict().judge(comparison)
    assert (judgement.serve, judgement.bound, judgement.reason) == (serve, float(serve), reason)
