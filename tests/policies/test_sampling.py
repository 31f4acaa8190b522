from __future__ import annotations

import pytest

from proxy.policies.sampling import sampling
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question

DIVERSE = [
    {"temperature": 0.7},
    {"temperature": 2},
    {"temperature": 0.000001},
    {"temperature": 1, "seed": None},
    {"temperature": 1, "n": 3},
    # vLLM takes these for numbers.
    {"temperature": "0.7"},
    {"temperature": True},
]
ONE_ANSWER = [
    {},
    {"temperature": None},
    {"temperature": 0},
    {"temperature": 0.0},
    {"temperature": -0.0},
    {"temperature": 1, "seed": 7},
    {"temperature": 1, "seed": 0},
    {"top_p": 1, "n": 3},
]


@pytest.mark.parametrize("members", DIVERSE, ids=str)
@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (Rule(), Verdict(read=False, write=False, reason="temperature")),
        (Rule(sampling="cache"), ALLOWED),
        (Rule(sampling="pool", pool_size=3), Verdict(pool=3)),
    ],
    ids=["bypass", "cache", "pool"],
)
def test_a_question_that_asks_for_diversity_is_the_operators_to_decide(members, rule, verdict):
    assert sampling(question(**members), rule) == verdict


@pytest.mark.parametrize("members", ONE_ANSWER, ids=str)
@pytest.mark.parametrize("choice", ["bypass", "cache", "pool"])
def test_a_question_that_asks_for_one_answer_is_allowed(members, choice):
    assert sampling(question(**members), Rule(sampling=choice)) == ALLOWED
