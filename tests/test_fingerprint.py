"""Names: equal exactly when everything they are made of is equal."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fingerprint import SIZE, Namer, framed
from proxy.types import Digest, Scope

SECRET = b"s" * 32
SCOPE = Scope(b"alice" * 3 + b"!")
PARTS: dict[str, Any] = {
    "scope": SCOPE,
    "upstream": "openai",
    "epoch": "1",
    "endpoint": "/chat/completions",
    "vary": ((b"openai-beta", b"a"),),
    "key": b"body",
}
OTHERWISE: dict[str, Any] = {
    "scope": Scope(b"bob--" * 3 + b"!"),
    "upstream": "azure",
    "epoch": "2",
    "endpoint": "/chat/completions?api-version=1",
    "vary": ((b"openai-beta", b"b"),),
    "key": b"another body",
}


def exact(namer: Namer | None = None, **parts: Any) -> Digest:
    return (namer or Namer(SECRET)).exact(**(PARTS | parts))


@given(st.lists(st.binary(max_size=12), max_size=6), st.lists(st.binary(max_size=12), max_size=6))
def test_two_sequences_frame_alike_only_if_they_are_alike(one, other):
    assert (framed(one) == framed(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([b"ab", b"c"], [b"a", b"bc"]),
        ([b"a", b""], [b"a"]),
        ([], [b""]),
        ([b"\0" * 8], [b"", b""]),
        ([b"a", b"b"], [b"b", b"a"]),
    ],
)
def test_moving_a_border_or_dropping_an_empty_part_shows(one, other):
    assert framed(one) != framed(other)


def test_the_same_question_always_has_the_same_name():
    assert exact() == exact(Namer(SECRET))
    assert len(exact()) == SIZE == 16


@pytest.mark.parametrize("part", PARTS)
def test_every_part_takes_part(part):
    assert exact(**{part: OTHERWISE[part]}) != exact()


def test_no_part_runs_into_its_neighbour():
    assert exact(upstream="openai1", epoch="") != exact(upstream="openai", epoch="1")
    assert exact(vary=((b"a", b"bc"),)) != exact(vary=((b"ab", b"c"),))
    assert exact(vary=((b"a", b"b"), (b"c", b"d"))) != exact(vary=((b"a", b"b"),))
    assert exact(vary=(), key=framed((b"a", b"b"))) != exact(vary=((b"a", b"b"),), key=b"")


def test_another_installations_secret_gives_other_names():
    assert exact(Namer(b"t" * 32)) != exact()


def test_the_answers_of_a_pool_have_names_of_their_own():
    namer = Namer(SECRET)
    names = [exact(), *(namer.slot(exact(), turn) for turn in range(3)), namer.slot(namer.slot(exact(), 0), 0)]
    assert len(set(names)) == 5


def test_a_name_of_one_kind_never_equals_one_of_another():
    namer = Namer(SECRET)
    names = {namer.scope(b"slot", bytes(SIZE), bytes(4)), namer.slot(Digest(bytes(SIZE)), 0)}
    names |= {namer.scope(b"credential"), namer.scope(b"single"), namer.scope(b"credential", b"")}
    assert len(names) == 5


def test_the_scheme_is_pinned():
    """If this fails, what names are made of has changed: change VERSION, or stored answers may answer wrongly."""
    assert exact().hex() == "a975d19cf8c48b2c6c9b42052855e5db"


def test_a_shape_is_no_question_though_made_of_the_same():
    assert Namer(SECRET).shape(**PARTS) != exact()


@pytest.mark.parametrize("part", OTHERWISE)
def test_a_shape_differs_with_every_part_it_is_made_of(part):
    namer = Namer(SECRET)
    assert namer.shape(**(PARTS | {part: OTHERWISE[part]})) != namer.shape(**PARTS)


def test_names_of_words_pairs_and_partitions_never_meet():
    namer, name = Namer(SECRET), exact()
    made = [
        namer.normalized(name, "words"),
        namer.normalized(name, "other words"),
        namer.pair(name, name),
        namer.partition(SCOPE, "model", "rule"),
        namer.partition(SCOPE, "modelr", "ule"),
        namer.slot(name, 0),
    ]
    assert len(set(made)) == len(made)


def test_salts_and_prompt_cache_keys_are_texts_that_tell_scopes_apart():
    namer, other = Namer(SECRET), Scope(b"bob--" * 3 + b"!")
    made = [
        namer.salt(SCOPE, ""),
        namer.salt(SCOPE, "mine"),
        namer.salt(other, ""),
        namer.salt(other, "mine"),
        namer.salt(Scope(b""), ""),
        namer.salt(Scope(b""), "\ud800"),
        namer.prompt_cache(SCOPE, b"digest", 0),
        namer.prompt_cache(SCOPE, b"digest", 1),
        namer.prompt_cache(SCOPE, b"other", 0),
        namer.prompt_cache(other, b"digest", 0),
        namer.scope(b"credential", SCOPE).hex(),
        Namer(b"t" * 32).salt(SCOPE, ""),
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in made)
    assert namer.salt(SCOPE, "mine") == Namer(SECRET).salt(SCOPE, "mine")


def test_a_namer_that_is_keyed_anew_makes_other_salts():
    namer = Namer(SECRET)
    before = namer.salt(SCOPE, ""), namer.prompt_cache(SCOPE, b"digest", 0)
    namer.rekey(b"t" * 32)
    after = namer.salt(SCOPE, ""), namer.prompt_cache(SCOPE, b"digest", 0)
    assert not {*before} & {*after}
