"""Forms of a word meet; different words do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lexis.stemming import stem

FORMS = [
    "card cards",
    "activate activated activating activation",
    "cancel cancelled canceling cancels cancellation",
    "city cities",
    "pay paying paid payment payments",
    "stop stopped stopping stops",
    "box boxes",
    "search searches searching",
    "quick quickly",
    "colour color",
    "withdraw withdrew withdrawal withdrawing",
]
DIFFERENT = [
    ("state", "statement"),
    ("new", "news"),
    ("universe", "university"),
    ("general", "generate"),
    ("bus", "busy"),
    ("thing", "the"),
    ("wing", "win"),
    ("bed", "be"),
    ("physics", "physical"),
    ("organ", "organize"),
]


@pytest.mark.parametrize("forms", FORMS)
def test_forms_of_a_word_meet(forms):
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_words_do_not_meet(one, other):
    assert stem(one) != stem(other)


@given(st.text())
def test_any_word_has_a_stem(word):
    assert isinstance(stem(word), str)
