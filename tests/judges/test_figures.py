"""What two answers state for certain."""

from __future__ import annotations

import pytest

from proxy.judges.figures import FiguresJudge, find
from tests.judges import answers, pairs

CONFLICTS = {
    "a figure": ("You can return it within **30 days**.", "You can return it within 14 days."),
    "one figure of several": ("Call 0800 123. It takes 5 days.", "Call 0800 123. It takes 10 days."),
    "an amount": ("It costs $20 a month.", "It costs $35 a month."),
    "a share": ("15% of it", "Some 25 percent, i.e. 25%, of it"),
    "a year": ("It fell in 1989.", "It was built in 1961."),
    "a day of a month": ("On November 9.", "On 10 November."),
    "a time": ("We open at 9 am.", "We open at 10:00."),
    "a temperature": ("Water boils at 100 °C.", "It boils at 78.4 °C."),
    "a number in words": ("It takes five days.", "It takes three days."),
    "another city": ("The capital is Canberra.", "The capital is Wellington."),
    "yes and no": ("Yes, they can.", "No, they cannot."),
    "a denial": ("Burst pipes are covered by your policy.", "Burst pipes are not covered by your policy."),
    "who beats whom": ("Germany beat Argentina in the final.", "Argentina beat Germany in the final."),
    "an option": ("Run `git reset --soft`.", "Run `git reset --hard`."),
    "an address": ("See https://example.com/a", "See https://example.com/b"),
}
AGREEMENTS = {
    "the same in other order": (
        "It costs $20 a month, or $200 a year.",
        "A year is $200; $20 if you pay by the month.",
    ),
    "separators": ("It is 29,032 feet high.", "It is 29032 feet high."),
    "rounding": ("8,849 metres", "8848.86 m"),
    "words for digits": ("within five working days", "in 5 working days"),
    "clocks": ("from 9 am to 6 pm", "9:00-18:00"),
    "dates": ("on November 9, 1989", "on 9 November 1989"),
    "more on one side": ("It costs $20.", "It costs $20, with 100 GB, for 5 users, since 2019."),
    "a list's own numbers": ("1. Rinse it.\n2. Boil it.", "3. Rinse it.\n4. Boil it."),
    "no worries": ("No problem! Click Save.", "Yes. Click Save."),
    "a name on one side": ("Canberra.", "Canberra, between Sydney and Melbourne."),
    "a condition": (
        "Report it if the card does not turn up soon.",
        "Freeze it. Should the card turn up soon, undo it.",
    ),
    "both deny": ("No, it is not safe.", "It is unsafe, never do it."),
}


@pytest.mark.parametrize("what", CONFLICTS)
async def test_a_conflict_is_found(what):
    opinion = await FiguresJudge().compare(answers(*CONFLICTS[what]))
    assert opinion is not None
    assert opinion.right <= 0.2


@pytest.mark.parametrize("what", AGREEMENTS)
async def test_no_conflict_is_found_where_there_is_none(what):
    assert await FiguresJudge().compare(answers(*AGREEMENTS[what])) is None


async def test_answers_without_anything_certain_are_left_to_others():
    assert await FiguresJudge().compare(answers("It depends on taste.", "Whatever you like best.")) is None


def test_units_of_which_both_state_the_same_figure_agree():
    found = find("It costs $20 and takes 3 days.", "3 days, $20, 5 users")
    assert (found.conflicts, found.agreements) == (0, 2)


async def test_on_the_set_it_finds_half_of_the_different_ones_and_hardly_ever_errs():
    found = [(pair.same, await FiguresJudge().compare(pair.answers)) for pair in pairs()]
    wrongly = sum(1 for same, opinion in found if same and opinion)
    rightly = sum(1 for same, opinion in found if not same and opinion)
    assert wrongly <= 4
    assert rightly >= 120
