"""What holds for all guards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.guards.lex import LEX, LEX2
from proxy.lexis.folding import folded
from proxy.lexis.reading import read

TELLING = """
    my your from to than Oslo Bergen US not don't 5 five $5 kg second hot cold why may Monday at 3pm "x" a_b and
"""
WORDS = st.lists(st.sampled_from(TELLING.split()), max_size=10).map(" ".join)


def refusing(one, other):
    return {guard.name for guard in LEX2 if guard.refuses(one, other)}


def test_each_has_a_name_of_its_own():
    assert len({guard.name for guard in LEX2}) == len(LEX2)
    assert set(LEX) < set(LEX2)


@given(st.text(max_size=80) | WORDS, st.text(max_size=80) | WORDS)
def test_they_are_symmetric(one, other):
    here, there = read(one), read(other)
    assert refusing(here, there) == refusing(there, here)


@given(st.text(max_size=200) | WORDS)
def test_no_text_is_refused_against_itself(text):
    assert refusing(read(text), read(text)) == set()


@pytest.mark.parametrize("text", ["How far is it?", "how  far is it", "HOW FAR IS IT", "What is 5 kg in lbs?"])
def test_no_text_is_refused_against_its_folded_self(text):
    assert refusing(read(text), read(folded(text))) == set()


@pytest.mark.parametrize("run", ["5 ", "Aa from ", "a to b than ", "not my ", '"x" ', "Monday ", "x_1 ", "hot cold "])
def test_long_texts_are_bounded(run):
    one, other = read(run * (100_000 // len(run))), read("from to " + run * 9_999 + " b a")
    refusing(one, other)
