"""Judges in order."""

from __future__ import annotations

import pytest

from proxy.errors import CacheFailure
from proxy.judges.base import Opinion
from proxy.judges.panel import Panel
from tests.judges import answers


class Says:
    def __init__(self, name, right=None, failure=None):
        self.name, self.right, self.failure, self.asked = name, right, failure, 0

    async def compare(self, given):
        self.asked += 1
        if self.failure:
            raise self.failure
        return None if self.right is None else Opinion(self.right, self.name)


async def test_the_first_with_an_opinion_decides_and_the_rest_are_not_asked():
    silent, sure, late = Says("equality"), Says("figures", 0.1), Says("llm", 0.9)
    panel = Panel([silent, sure, late])
    assert await panel.compare(answers("a", "b")) == Opinion(0.1, "figures")
    assert (silent.asked, sure.asked, late.asked) == (1, 1, 0)
    assert panel.decided == {"figures": 1}


async def test_without_any_opinion_there_is_none():
    panel = Panel([Says("equality"), Says("figures")])
    assert await panel.compare(answers("a", "b")) is None
    assert panel.decided == {"nobody": 1}


async def test_the_next_is_asked_when_one_fails():
    panel = Panel([Says("similarity", failure=CacheFailure("busy")), Says("llm", 0.9)])
    assert (await panel.compare(answers("a", "b"))).by == "llm"
    assert (panel.failed, panel.decided) == ({"similarity": 1}, {"llm": 1})


@pytest.mark.parametrize("other", ["I'm sorry, but I can't help with that.", "I cannot assist with this.", ""])
async def test_two_refusals_say_nothing_even_when_they_are_equal(other):
    eager = Says("equality", 1.0)
    panel = Panel([eager])
    assert await panel.compare(answers("I'm sorry, but I can't help with that.", other)) is None
    assert (eager.asked, panel.decided) == (0, {"no_answer": 1})


async def test_a_refusal_and_an_answer_do_not_say_the_same():
    panel = Panel([Says("equality", 1.0)])
    for pair in (("I can't help with that.", "Paris"), ("Paris", "I can't help with that.")):
        assert (await panel.compare(answers(*pair))).right <= 0.1
    assert panel.decided == {"refused": 2}
