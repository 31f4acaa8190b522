"""What stands between two spaces is known for what it is."""

from __future__ import annotations

import pytest

from proxy.lexis.tokens import LONGEST, taken_apart

NUMBERS = [
    ("1,000", ["1000"]),
    ("1000", ["1000"]),
    ("$5k", ["5000"]),
    ("£3.50", ["3.5"]),
    ("5.0", ["5"]),
    ("5kg", ["5"]),
    ("-40°C", ["-40"]),
    ("3rd", ["3"]),
    ("(15)", ["15"]),
    ("15:30", ["15:30"]),
    ("3:30pm", ["15:30"]),
    ("12am", ["0:00"]),
    ("2024-05-01", ["2024-5-1"]),
    ("50%", ["50"]),
    ("½", ["0.5"]),
    ("5-10", ["5", "10"]),
    ("1990s", ["1990"]),
    ("1,234,567.5", ["1234567.5"]),
]

IDENTIFIERS = [
    "https://example.org/a?b=1",
    "www.example.org",
    "someone@example.org",
    "@handle",
    "/etc/hosts",
    "src/main/app.py",
    "C:\\Temp",
    "app.py",
    "example.com",
    "3.11.2",
    "v2",
    "a320",
    "user_id",
    "c++",
    "c#",
]


@pytest.mark.parametrize(("chunk", "numbers"), NUMBERS)
def test_numbers_are_found_in_every_dress(chunk, numbers):
    assert [token.number for token in taken_apart(chunk).tokens if token.number] == numbers


@pytest.mark.parametrize("chunk", IDENTIFIERS)
def test_identifiers_stay_whole(chunk):
    assert [token.identifier for token in taken_apart(chunk + "?").tokens] == [chunk.lower()]


@pytest.mark.parametrize(
    "chunk", ["and/or", "half-life", "don't", "I'm", "O'Brien", "(hello)", "rock'n'roll", "Who?!", "stop.Then"]
)
def test_words_are_no_identifiers(chunk):
    assert not any(token.identifier or token.number for token in taken_apart(chunk).tokens)


def test_a_contraction_is_two_words():
    assert [token.word for token in taken_apart("don't").tokens] == ["do", "not"]
    assert [token.word for token in taken_apart("can't").tokens] == ["can", "not"]
    assert [token.word for token in taken_apart("won't").tokens] == ["will", "not"]
    assert [token.word for token in taken_apart("what's").tokens] == ["what"]


def test_a_unit_stuck_to_a_number_is_known():
    assert [token.unit for token in taken_apart("5km").tokens if token.unit] == [("length", "km")]
    assert [token.unit for token in taken_apart("€5").tokens if token.unit] == [("money", "eur")]


def test_a_sentence_ends_at_its_mark():
    assert taken_apart("there.").ends
    assert not taken_apart("there,").ends


def test_what_is_very_long_is_not_looked_into():
    assert [token.identifier for token in taken_apart("a-" * LONGEST).tokens] == ["a-" * LONGEST]
