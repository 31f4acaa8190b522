"""What is sealed cannot be changed in any part."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from proxy.errors import CacheFailure, Unreadable
from proxy.types import Digest
from proxy.vectors.redis_seal import TAG_BYTES, PointSeal
from tests.vectors import name_of, point

VECTOR = bytes(range(32))
POINT = point(1, words="Wie geht's? 😀\n\x00", tags=("a", "b, c"), generation=1 << 40, kept_until=1_800_000_000.25)


@pytest.fixture
def seal() -> PointSeal:
    return PointSeal(b"secret", "model-a/16/1")


def bare(each: Any) -> tuple[Any, ...]:
    return tuple(getattr(each, field.name) for field in dataclasses.fields(each) if field.name != "vector")


def test_a_point_comes_back_as_it_was_without_its_vector(seal: PointSeal) -> None:
    words = seal.words(POINT)
    for opened in (
        seal.opened(POINT.name, words, VECTOR, seal.vector(POINT.name, words, VECTOR)),
        seal.opened_words(POINT.name, words),
    ):
        assert bare(opened) == bare(POINT)
        assert len(opened.vector) == 0


def test_sealing_again_gives_the_same(seal: PointSeal) -> None:
    words = seal.words(POINT)
    assert seal.words(dataclasses.replace(seal.opened_words(POINT.name, words), vector=POINT.vector)) == words


def test_every_byte_counts(seal: PointSeal) -> None:
    words = seal.words(POINT)
    tag = seal.vector(POINT.name, words, VECTOR)
    whole = words + VECTOR + tag
    for at in range(len(whole)):
        bad = bytearray(whole)
        bad[at] ^= 1
        parts = bad[: len(words)], bad[len(words) : -TAG_BYTES], bad[-TAG_BYTES:]
        with pytest.raises(Unreadable):
            seal.opened(POINT.name, *map(bytes, parts))
    for at in range(len(words)):
        bad = bytearray(words)
        bad[at] ^= 1
        with pytest.raises(Unreadable):
            seal.opened_words(POINT.name, bytes(bad))


@pytest.mark.parametrize("length", [0, 1, TAG_BYTES, TAG_BYTES + 1])
def test_what_is_cut_is_refused(seal: PointSeal, length: int) -> None:
    words = seal.words(POINT)
    with pytest.raises(Unreadable):
        seal.opened_words(POINT.name, words[:length])
    with pytest.raises(Unreadable):
        seal.opened(POINT.name, words[:length], VECTOR, seal.vector(POINT.name, words, VECTOR))


def test_nothing_goes_over_to_another_name_embedder_or_secret(seal: PointSeal) -> None:
    words = seal.words(POINT)
    tag = seal.vector(POINT.name, words, VECTOR)
    others = [
        (seal, name_of(2)),
        (PointSeal(b"secret", "model-b/16/1"), POINT.name),
        (PointSeal(b"another", "model-a/16/1"), POINT.name),
    ]
    for other, name in others:
        with pytest.raises(Unreadable):
            other.opened(Digest(name), words, VECTOR, tag)


def test_words_outlive_their_embedder(seal: PointSeal) -> None:
    assert PointSeal(b"secret", "model-b/8/1").opened_words(POINT.name, seal.words(POINT)).words == POINT.words


def test_a_tag_of_words_is_none_of_a_vector(seal: PointSeal) -> None:
    words = seal.words(POINT)
    with pytest.raises(Unreadable):
        seal.opened(POINT.name, words, words[TAG_BYTES:], words[:TAG_BYTES])


def test_words_that_are_no_text_cannot_be_sealed(seal: PointSeal) -> None:
    with pytest.raises(CacheFailure):
        seal.words(point(1, words="\ud800"))
