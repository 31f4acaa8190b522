"""What asks for right now is barred unless a rule allows it; what only tells of a time is not."""

from __future__ import annotations

import pytest

from proxy.eligibility.freshness import freshness
from proxy.settings import Rule
from tests.eligibility import barred

FRESH = [
    "What happened today?",
    "today's headlines",
    "the latest phone",
    "Who leads the league right now?",
    "what time is it",
    "What's the time?",
    "What's the weather like?",
    "who won yesterday",
    "what opens this weekend",
    "current news",
    "is the shop open now",
    "what is happening now in Oslo",
    "how many have died so far",
    "will it rain tomorrow",
    "breaking news",
]
LASTING = [
    "How do I open a current account?",
    "What is current in physics?",
    "I paid this morning, why is it pending?",
    "My card was stolen last week",
    "I have just now moved, can I change my address?",
    "Can I pay now and travel later?",
    "how does weather change",
    "What is the time complexity of quicksort?",
    "Explain recent memory loss",
    "How do I know my balance",
]


@pytest.mark.parametrize("text", FRESH)
def test_what_asks_for_right_now_is_barred(text):
    assert barred(freshness, text) == "fresh"
    assert barred(freshness, text.upper()) == "fresh"


@pytest.mark.parametrize("text", LASTING)
def test_what_lasts_is_not(text):
    assert barred(freshness, text) == ""


@pytest.mark.parametrize("text", FRESH)
def test_a_rule_may_allow_it(text):
    assert barred(freshness, text, rule=Rule(match_fresh=True)) == ""
