"""Equal but for how it is written."""

from __future__ import annotations

import pytest

from proxy.judges.equality import EqualityJudge
from tests.judges import answers


@pytest.mark.parametrize(
    ("fresh", "stored"),
    [
        ("Canberra.", "Canberra"),
        ("The capital is **Canberra**.", "the capital is canberra"),
        ("- one\n- two", "1. one\n2. two"),
        ("# Title\n\ntext  here", "Title\ntext here!"),
        ("Cafe\u0301", "Café"),
        ("Use `git status`", "use git status"),
    ],
)
async def test_answers_that_differ_only_in_how_they_are_written_are_equal(fresh, stored):
    opinion = await EqualityJudge().compare(answers(fresh, stored))
    assert opinion.right > 0.99
    assert opinion.by == "equality"


@pytest.mark.parametrize(
    ("fresh", "stored"), [("Canberra", "Sydney"), ("30 days", "30 day"), ("not so", "so"), ("!", "?"), ("2^3", "23")]
)
async def test_of_answers_that_differ_in_a_word_it_says_nothing(fresh, stored):
    assert await EqualityJudge().compare(answers(fresh, stored)) is None


async def test_answers_that_differ_past_what_is_looked_at_are_not_equal():
    same = "word " * 4000
    assert await EqualityJudge().compare(answers(same + "yes", same + "no")) is None
    assert await EqualityJudge().compare(answers(same, same)) is not None
