"""Aliases: what is stored of a match comes back as it was."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.errors import Unreadable
from proxy.evidence import Comparison
from proxy.lexis.difference import compare
from proxy.lexis.reading import read
from proxy.match import Match, alias, matched
from proxy.types import Digest, Entry, Form, Scope

SOURCE = Entry(
    name=Digest(b"s" * 16), endpoint="/v1/chat/completions", model="gpt-test", form=Form.WHOLE, body=b"{}",
    finished_at=1000.0, fresh_s=60.0, kept_s=90.0, generation=3, tags=("a",),
)  # fmt: skip
COMPARISON = Comparison(0.953125, compare(read("How do I reset it?"), read("How can I not reset my password?")))
BY_MEANING = Match(SOURCE.name, "meaning", 0.953125, Scope(b"c" * 16), Digest(b"p" * 16), Digest(b"q" * 16), COMPARISON)
BY_WORDS = BY_MEANING._replace(kind="normalized", similarity=1.0, comparison=None, words="H\u00f6w? \U0001f600")


@pytest.mark.parametrize("match", [BY_MEANING, BY_WORDS], ids=["meaning", "normalized"])
def test_a_match_is_stored_and_read_without_loss(match: Match):
    entry = alias(Digest(b"n" * 16), SOURCE, match)
    assert entry.form is Form.ALIAS
    assert matched(entry) == match


def test_an_alias_lives_as_long_as_the_answer_it_names():
    entry = alias(Digest(b"n" * 16), SOURCE, BY_MEANING)
    for field in ("finished_at", "fresh_s", "kept_s", "generation", "tags"):
        assert getattr(entry, field) == getattr(SOURCE, field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"of":"zz"}',
        alias(SOURCE.name, SOURCE, BY_MEANING).body.replace(b"order", b"odor"),
    ],
)
def test_what_another_version_wrote_is_unreadable_and_not_an_error(body: bytes):
    with pytest.raises(Unreadable):
        matched(dataclasses.replace(SOURCE, form=Form.ALIAS, body=body))
