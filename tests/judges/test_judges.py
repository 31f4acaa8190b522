"""What holds for every judge."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import CacheFailure
from proxy.judges.equality import EqualityJudge
from proxy.judges.figures import FiguresJudge
from proxy.judges.llm import LlmJudge
from proxy.judges.panel import Panel
from proxy.judges.similarity import SimilarityJudge
from tests.judges import answers, embed, pairs, swapped


async def says_same(messages):
    """A model that goes by the letter: equal if the two answers shown are."""
    shown = [part.splitlines()[2] for part in messages[1]["content"].split("\n\n") if part.startswith("ANSWER")]
    return '{"same": true}' if shown[0] == shown[1] else '{"same": false}'


def panel():
    return Panel([EqualityJudge(), FiguresJudge(), SimilarityJudge(embed)])


JUDGES = {
    "equality": EqualityJudge,
    "figures": FiguresJudge,
    "similarity": lambda: SimilarityJudge(embed),
    "llm": lambda: LlmJudge(says_same, calls_per_hour=1000),
    "panel": panel,
}

PIECES = [
    *("yes", "No,", "not", "never", "30", "14", "days", "$20", "20%", "9:00", "6", "pm", "Canberra", "Sydney", "beat"),
    *("**bold**", "`code`", "--force", "\n- ", "\n1. ", "https://a.b", "1,000", "May", "3", "2014", "is", "isn't"),
    *("fİve", "٣", "²", "0,0PM", "12:99", "covered", "I'm sorry,", "can't", "open", "closed", "on", "off", "if", "."),
]
texts = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aZ9 .,:;'\"`*_#|-$%°€\n()[]", max_size=300),
    st.lists(
        st.sampled_from(PIECES),
        max_size=30,
    ).map(" ".join),
)


@pytest.fixture(params=JUDGES)
def judge(request):
    return JUDGES[request.param]()


@pytest.mark.parametrize("kind", JUDGES)
@settings(max_examples=60, deadline=None)
@given(fresh=texts, stored=texts)
def test_any_two_texts_can_be_judged_whichever_is_the_fresh_one(kind, fresh, stored):
    judge, given = JUDGES[kind](), answers(fresh, stored)
    opinion = asyncio.run(judge.compare(given))
    assert opinion == asyncio.run(judge.compare(swapped(given)))
    assert opinion is None or 0 <= opinion.right <= 1


@pytest.mark.parametrize("kind", JUDGES)
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_equal_answers_are_never_judged_wrong(kind, text):
    opinion = asyncio.run(JUDGES[kind]().compare(answers(text, text)))
    assert opinion is None or opinion.right > 0.9


async def test_equal_answers_of_the_set_are_never_judged_wrong(judge):
    for pair in pairs():
        opinion = await judge.compare(answers(pair.answers.fresh, pair.answers.fresh))
        assert opinion is None or opinion.right > 0.9


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "unit",
    ["a", "9", "1,", "No. ", "Aa ", "Aa is Ab ", "- 1. ", "`", "*", "```\n", "[", "a.b@c.", "(", "\n", "if ", "|"],
)
async def test_answers_of_a_hundred_thousand_bytes_are_judged_in_bounded_time(judge, unit):
    long = unit * (100_000 // len(unit))
    await judge.compare(answers(long, "x" + long))


async def test_an_opinion_is_by_a_judge_of_a_known_name(judge):
    for pair in pairs():
        opinion = await judge.compare(pair.answers)
        assert opinion is None or opinion.by in JUDGES


async def broken(*_):
    raise CacheFailure("the model failed", code="failed")


@pytest.mark.parametrize("judge", [SimilarityJudge(broken), LlmJudge(broken, calls_per_hour=1)])
async def test_a_judge_that_cannot_be_asked_says_so_as_the_house_does(judge):
    with pytest.raises(CacheFailure):
        await judge.compare(answers("one", "two"))
