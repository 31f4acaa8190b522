"""What is read of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lexis.reading import READ_CHARS, read

NUMBERS = [
    ("twenty five people", {"25"}),
    ("twenty-five people", {"25"}),
    ("two hundred and five thousand", {"205000"}),
    ("1.5 million users", {"1500000"}),
    ("fifteen hundred", {"1500"}),
    ("a hundred times", {"100"}),
    ("rooms five six and seven", {"5", "6", "7"}),
    ("which one is the best one", set()),
    ("one mile", {"1"}),
    ("a one way ticket", {"1"}),
    ("thirty one days", {"31"}),
    ("nineteen ninety", {"19", "90"}),
    ("the third one", {"3"}),
    ("wake me at 3 pm", {"15:00"}),
    ("wake me at 3pm", {"15:00"}),
    ("at seven am", {"7:00"}),
    ("more than five cars", {">5"}),
    ("leave after 3 pm", {">15:00"}),
    ("at most ten", {"<10"}),
    ("under $20", {"<20"}),
    ("no digits here", set()),
]

QUESTIONS = [
    ("What is that?", "what"),
    ("which card do I have", "what"),
    ("How many cards may I have?", "how many"),
    ("How do I pay?", "how"),
    ("how come it failed", "why"),
    ("what time does it open", "when"),
    ("Can you tell me why it failed?", "why"),
    ("Is it open?", ""),
]

CALENDAR = [
    ("open on Mondays", {"monday"}),
    ("flights in may", {"may"}),
    ("flights on may 5th", {"may"}),
    ("may I fly", set()),
    ("a long march", set()),
    ("I am here", set()),
    ("at 3 am", {"am"}),
    ("next week", {"next week"}),
    ("the coming week", {"next week"}),
    ("tomorrow night", {"tomorrow", "night"}),
]


@pytest.mark.parametrize(("text", "numbers"), NUMBERS)
def test_numbers_in_words_and_digits_are_read(text, numbers):
    assert read(text).numbers == numbers


@pytest.mark.parametrize(("text", "question"), QUESTIONS)
def test_the_question_word_is_read(text, question):
    assert read(text).question == question


@pytest.mark.parametrize(("text", "calendar"), CALENDAR)
def test_calendar_words_are_read(text, calendar):
    assert read(text).calendar == calendar


def test_only_content_words_are_content():
    assert read("Could you please tell me how to activate the new cards?").content == ("activat", "new", "card")


def test_negations_are_counted():
    assert read("It doesn't work without a key, never did").negations == 3
    assert read("It works").negations == 0


def test_names_are_capitals_within_a_sentence():
    assert read("How far is Oslo from Bergen?").names == {"oslo", "bergen"}
    assert read("Oslo is where? Bergen is near.").names == set()
    assert read("HOW FAR IS OSLO").names == set()
    assert read("How Far Is Oslo From Bergen").names == set()
    assert "us" in read("Is it legal in the United States?").initials
    assert read("Is it legal in the US?").names == {"us"}
    assert read("Is it legal for us?").names == set()


def test_quotations_are_read_whatever_their_marks():
    assert read('who wrote "Moby Dick"?').quotes == {"moby dick"}
    assert read("who wrote \u201cMoby Dick\u201d?").quotes == {"moby dick"}
    assert read("who wrote 'Moby Dick'?").quotes == {"moby dick"}
    assert read("the dog's bone isn't the cat's").quotes == set()


def test_directions_and_owners_are_read():
    reading = read("trains from Oslo to my home")
    assert reading.roles == {"oslo": "from", "hom": "to"}
    assert reading.owners == {"hom": "1"}
    assert read("what shall I call you").owners == {"call": "2"}
    assert read("I want to fly Oslo to Rome").roles == {"fly": "to", "rom": "to"}


def test_of_a_very_long_text_the_head_is_read():
    reading = read("word " * 20_000 + "tail")
    assert len(reading.words) <= READ_CHARS
    assert reading.text.endswith("tail")


@pytest.mark.parametrize(
    "run",
    [
        "a.",
        "a@",
        "1,",
        "1.",
        "-",
        "'",
        '"',
        "`",
        "/a",
        "\\",
        "_a",
        "a'",
        "\ud800",
        "\u0301",
        "one ",
        "and ",
        "\n",
        "Aa ",
    ],
)
def test_nothing_takes_long_to_read(run):
    read(run * (100_000 // len(run)))
    read(run * 31)


@given(st.text())
def test_any_text_can_be_read(text):
    assert read(text).text == text


@given(st.text(alphabet="a1.,:-/'\"`@$%_ \n½²\ud800Éßam", max_size=40))
def test_any_odd_text_can_be_read(text):
    reading = read(text)
    assert reading == read(text)
    assert reading.stems == frozenset(reading.content)
