"""Marks, lines and capitals that mean something are told apart; those of prose are not."""

from __future__ import annotations

import pytest

from proxy.guards.marks import MARKS
from proxy.lexis.reading import read

APART = [
    ("What is 5 - 3?", "What is 5 + 3?"),
    ("What is 6 / 3?", "What is 6 * 3?"),
    ("Is 3 > 2 > 1", "Is 3 > 2 < 1"),
    ("What does == do in JavaScript", "What does === do in JavaScript"),
    ("What does a && b mean?", "What does a || b mean?"),
    ("What does ls -A do?", "What does ls -a do?"),
    ("How many bytes are 8 Mb?", "How many bytes are 8 MB?"),
    ("What is the ASCII code of A?", "What is the ASCII code of a?"),
    ("What is $PATH?", "What is PATH?"),
    ("How many lines has this?\nfoo\nbar", "How many lines has this?\nfoo bar"),
    ("Fix the grammar of this sentence: i am", "Fix the grammar of this sentence: I am"),
    ("Does this sentence end with a period? I left.", "Does this sentence end with a period? I left"),
    ("How long is a\u200bb?", "How long is ab?"),
]
ALIKE = [
    ("How do I reset my PIN?", "  how do i reset my pin"),
    ("What are your terms & conditions?", "What are your terms and conditions"),
    ("Is e-mail free - yes or no?", "is email free, yes or no"),
    ("HOW DO I GET A LOAN", "How do I get a loan?"),
    ("How To Get A Loan", "how to get a loan"),
    ("Give one / 6 points to this book", "Give one of 6 points to this book"),
    ("Can I pay in 24/7?", "can i pay in 24/7"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_is_told_apart_by_a_mark_a_line_or_a_capital_is_refused(one: str, other: str):
    assert MARKS.refuses(read(one), read(other))
    assert MARKS.refuses(read(other), read(one))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_marks_of_prose_are_let_through(one: str, other: str):
    assert not MARKS.refuses(read(one), read(other))
