"""The same words fold to the same text, and other words do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lexis.folding import folded

SAME = [
    ("How do I reset my PIN?", "how do i reset my pin"),
    ("How do I reset my PIN?", "  How  do I\treset my\npin ?!"),
    ("HOW DO I RESET MY PIN", "How do I reset my PIN."),
    ("\uff28\uff4f\uff57 is it\u3000now\uff1f", "how is it now"),
    ("What\u2019s a \u201cstandby\u201d ticket?", 'what\'s a "standby" ticket'),
    ("caf\u0065\u0301 hours", "café hours"),
    ("e\ufb03cient sorting", "efficient sorting"),
    ("Wie geht es Dir…", "wie geht es dir"),
    ("如何重置密码\uff1f", "如何重置密码。"),
    ("May I bring a dog?", "may i bring a dog"),
    ("Tell me. Is it open?", "tell me. is it open"),
    ("zero\u200bwidth", "zerowidth"),
]

OTHER = [
    ("What is x²?", "What is x2?"),
    ("Add ½ cup", "Add 12 cup"),
    ("Can you help us?", "Can you help US?"),
    ("How do I polish it?", "How do I do Polish it?"),
    ("Learn polish", "Learn Polish"),
    ("A 5 mW laser", "A 5 MW laser"),
    ("Is 10 MB/s fast", "Is 10MB/s fast"),
    ("Decode SGVsbG8=", "decode sgvsbg8="),
    ('Say "Hello"', 'Say "hello"'),
    ("What is 5!", "What is 5"),
    ("What is n!", "What is n"),
    ("You are open on Sundays.", "You are open on Sundays?"),
    ("Translate into French: You are here?", "Translate into French: You are here."),
    ("What is the meaning of ?", "What is the meaning of !"),
    ("In Maßen trinken", "In Massen trinken"),
    ("if x:\n    y()\nz()", "if x:\n    y()\n    z()"),
    ("What does `A` print", "What does `a` print"),
    ("a != b", "a = b"),
    ("Can I fly?", "Can I fry?"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_words_fold_to_one_text(one, other):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_may_mean_something_else_stays_apart(one, other):
    assert folded(one) != folded(other)


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert folded(folded(text)) == folded(text)


@given(st.text(alphabet="aB \n!?.…'\"`:Usß²½\ufb01\uff21\u200b\ud800İΣ", max_size=30))
def test_folding_twice_is_folding_once_for_odd_characters(text):
    assert folded(folded(text)) == folded(text)


def test_a_very_long_text_is_folded():
    assert folded("B? " * 50_000) == ("b? " * 50_000).rstrip("? ")
    for odd in ('"' * 99_999, "\t" * 99_999, "é" * 99_999, ".!?" * 33_333, "`" * 99_999):
        folded(odd)
