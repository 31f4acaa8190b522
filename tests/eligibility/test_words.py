"""There have to be words."""

from __future__ import annotations

import pytest

from proxy.eligibility.words import words
from tests.eligibility import barred


@pytest.mark.parametrize("text", ["", "   ", "?!", "...", "\U0001f600", "\u200b", "+-*/"])
def test_without_a_letter_or_a_digit_there_are_no_words(text):
    assert barred(words, text) == "no_words"


@pytest.mark.parametrize("text", ["a", "7?", "\u00e9", "\u4f60"])
def test_one_letter_or_digit_will_do(text):
    assert barred(words, text) == ""


def test_why_they_could_not_be_taken_out_is_passed_on():
    assert barred(words, "", why="parts") == "parts"
    assert barred(words, "fine words", why="parts") == "parts"
