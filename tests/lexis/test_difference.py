"""How two texts differ, as verifiers see it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lexis.base import Residual
from proxy.lexis.difference import compare
from proxy.lexis.reading import read


def difference(one: str, other: str):
    return compare(read(one), read(other))


RESIDUALS = [
    ("How do I activate my card?", "How can I activate the cards?", Residual.NONE),
    ("please open a window", "Could you open the window", Residual.NONE),
    ("How do I activate my card?", "How do I activate my new card?", Residual.ONE),
    ("How do I activate my card?", "How do I freeze my card?", Residual.BOTH),
    ("Send 5 of them", "Send 6 of them", Residual.BOTH),
    ("Does it work", "Does it not work", Residual.BOTH),
    ("what is my name", "what is your name", Residual.BOTH),
    ("can I call you something else", "can you call me something else", Residual.BOTH),
    ("leave it to US", "leave it to us", Residual.ONE),
    ("who teaches teachers", "who teaches", Residual.ONE),
    ("the friend of a friend", "the friend", Residual.ONE),
    ("open on monday", "open on tuesday", Residual.BOTH),
    ("parse foo_bar", "parse foo_baz", Residual.BOTH),
]


@pytest.mark.parametrize(("one", "other", "residual"), RESIDUALS)
def test_the_residual_says_where_words_are_left(one, other, residual):
    assert difference(one, other).residual is residual


def test_jaccard_is_of_content_words():
    assert difference("freeze my card", "freeze the cards please").jaccard == 1.0
    assert difference("freeze my card", "freeze my account").jaccard == pytest.approx(1 / 3)
    assert difference("is it", "are they").jaccard == 1.0


def test_question_words_are_compared():
    assert difference("how does it work", "why does it work").question_word
    assert not difference("which card is it", "what card is it").question_word


def test_order_is_the_share_of_pairs_turned_round():
    assert difference("red cars and blue boats", "red cars, blue boats").order == 0.0
    assert difference("cats chase dogs", "dogs chase cats").order == 1.0
    assert difference("one cat", "one cat").order == 0.0


def test_length_is_the_shorter_over_the_longer():
    assert difference("open window", "open the window now").length == 0.5
    assert difference("", "").length == 1.0


def test_flags_are_raised_by_their_kinds_of_words():
    assert difference("room 5", "room 6").numbers
    assert not difference("room five", "room 5").numbers
    assert difference("fly to Oslo", "fly to Rome").names
    assert difference("fly on monday", "fly on friday").calendar
    assert difference("I can pay", "I cannot pay").polarity
    assert difference("turn it on", "turn it off").polarity


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_symmetric(one, other):
    assert difference(one, other) == difference(other, one)


TELLING = "my your from to card Oslo not 5 five fast slow why how on off in may me call"
WORDS = st.lists(st.sampled_from(TELLING.split()), max_size=9)


@given(WORDS, WORDS)
def test_it_is_symmetric_for_words_too(one, other):
    assert difference(" ".join(one), " ".join(other)) == difference(" ".join(other), " ".join(one))


@given(st.text(max_size=200))
def test_nothing_differs_from_itself(text):
    same = difference(text, text)
    assert same.residual is Residual.NONE
    assert (same.jaccard, same.length) == (1.0, 1.0)
    assert not any((same.question_word, same.numbers, same.names, same.calendar, same.polarity))


def test_long_texts_are_compared():
    difference("all the words of it " * 5000, "of it the words " * 5000)


@pytest.mark.parametrize(
    ("one", "other"), [("And you?", "And me?"), ("What did I do?", "What did you do?"), ("Who is he?", "Who was he?")]
)
def test_where_no_word_carries_content_the_other_words_do(one: str, other: str):
    assert compare(read(one), read(other)).residual is not Residual.NONE
    assert compare(read(one), read(one)).residual is Residual.NONE
