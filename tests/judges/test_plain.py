"""Words without markup."""

from __future__ import annotations

import pytest

from proxy.judges.plain import LONGEST, plain, says_nothing, sentences, stems


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "...",
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot assist with that request.",
        "I cannot provide medical advice.",
        "As an AI language model, I don't have personal opinions.",
        "I don't have access to real-time information.",
        "Could you please provide more details?",
        "Please paste the text you would like me to summarise.",
        "Hello! How can I assist you today?",
        "It looks like your message is empty.",
        '{"error": {"message": "overloaded"}}',
        "Internal server error",
    ],
)
def test_refusals_errors_and_questions_back_say_nothing(text):
    assert says_nothing(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "42",
        "I'm sorry to hear that. Please freeze your card in the app.",
        "You can't return gift cards.",
        "Sorry, gift cards cannot be returned.",
        "Errors are values in Go.",
        "I don't have live data, but here is what is known. " + "The population was about 8 million. " * 12,
    ],
)
def test_answers_say_something(text):
    assert not says_nothing(text)


def test_markup_goes_and_words_stay():
    text = "# Head\n\n- **one** `two`\n2. [three](http://x.y)\n\n| a | b |\n|---|---|\n\n```py\nfour_five = 6\n```"
    assert plain(text).split() == ["Head", "one", "two", "three", "a", "b", "four_five", "=", "6"]


def test_politeness_is_no_sentence():
    text = "Sure! Rinse the rice. Boil it.\nLet me know if you need anything else!"
    assert sentences(text) == ["Rinse the rice.", "Boil it."]


def test_content_is_stemmed():
    assert stems("The cards are frozen") == stems("a card froze")


def test_what_is_very_long_is_cut():
    assert len(plain("x" * 100_000)) == LONGEST
