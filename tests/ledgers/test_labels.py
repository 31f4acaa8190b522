"""A label as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxy.evidence import Comparison, Label
from proxy.ledgers.labels import VERSION, decode, encode
from proxy.lexis.base import Difference, Residual
from tests.ledgers import label

_number = some.floats(allow_nan=False, allow_infinity=False)
_flag = some.booleans()
_labels = some.builds(
    Label,
    comparison=some.builds(
        Comparison,
        similarity=_number,
        difference=some.builds(
            Difference,
            residual=some.sampled_from(Residual),
            jaccard=_number,
            question_word=_flag,
            order=_number,
            length=_number,
            numbers=_flag,
            names=_flag,
            calendar=_flag,
            polarity=_flag,
        ),
    ),
    right=_number,
    source=some.sampled_from(["miss", "audit", "feedback", "same", "other", "a source to come"]),
    at=_number,
)


@given(_labels)
def test_a_label_comes_back_as_the_very_same(made):
    assert decode(encode(made)) == made


def test_the_bytes_of_this_version_stay_what_they_are():
    # Replicas of two releases share a ledger, and files outlive a release.
    numbers = struct.pack("<6d", 0.91, 1 / 3, 0.1, 0.75, 0.9, 1_800_000_000.0)
    assert encode(label()) == bytes([1, 1, 0b01010]) + numbers + b"miss"


def test_it_is_short():
    assert len(encode(label(source="feedback"))) < 64


@given(some.binary(max_size=80))
def test_bytes_that_are_no_label_are_none_and_never_fatal(junk):
    assert decode(junk) is None or encode(decode(junk))


@pytest.mark.parametrize("place", range(3))
def test_a_head_that_says_what_it_cannot_is_none(place):
    packed = bytearray(encode(label()))
    packed[place] = 0xFF
    assert decode(bytes(packed)) is None


def test_another_version_is_none():
    assert decode(bytes([VERSION + 1]) + encode(label())[1:]) is None


@pytest.mark.parametrize("source", [b"", b"\xff\xfe", b"x" * 33])
def test_a_source_that_is_no_short_word_is_none(source):
    assert decode(encode(label())[: -len("miss")] + source) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_nothing_can_be_learned_from_are_none(number):
    assert decode(encode(label(right=number))) is None


def test_a_cut_one_is_none():
    packed = encode(label())
    assert [decode(packed[:length]) for length in range(52)] == [None] * 52
