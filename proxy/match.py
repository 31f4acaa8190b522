"""How a question came to be answered by the answer to another, and how that is stored.

A question that was matched is remembered as an *alias*: an entry under its own exact name that holds no answer but the
name of one. The same question finds it by the exact look-up next time; and since the answer itself is in one place
only, what removes, replaces or outlives that one holds for all its aliases too.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import orjson

from proxy.errors import Unreadable
from proxy.evidence import Comparison
from proxy.lexis.base import Difference, Residual
from proxy.types import Digest, Entry, Form, Scope

Kind = Literal["meaning", "normalized"]


class Match(NamedTuple):
    """A question and the stored one whose answer it gets."""

    of: Digest
    """The entry that holds the answer."""
    kind: Kind
    similarity: float
    """Cosine; 1 where the words are the same but for how they are typed."""
    scope: Scope
    """Of the caller, who alone may say whether it was right."""
    partition: Digest
    pair: Digest
    """What feedback refuses (`fingerprint.Namer.pair`)."""
    comparison: Comparison | None = None
    """What was judged by; None for `normalized`."""
    words: str = ""
    """Of the stored question; only in the alias that finds questions by their normalised words, for guards."""


def alias(name: Digest, source: Entry, match: Match) -> Entry:
    """The entry that says so. It lives as long as the answer; deleted with it because it holds none."""
    return Entry(
        name=name,
        endpoint=source.endpoint,
        model=source.model,
        form=Form.ALIAS,
        body=encode(match),
        finished_at=source.finished_at,
        fresh_s=source.fresh_s,
        kept_s=source.kept_s,
        generation=source.generation,
        upstream=source.upstream,
        tags=source.tags,
    )


def matched(entry: Entry) -> Match:
    """What an alias says. Raises `errors.Unreadable` for one of another version."""
    try:
        return decode(orjson.loads(entry.body))
    except (KeyError, TypeError, ValueError) as failure:
        raise Unreadable("an alias of another version", code="version") from failure


_DIGESTS: Final = ("of", "scope", "partition", "pair")


def encode(match: Match) -> bytes:
    """As JSON: an alias' body, and what workers tell one another."""
    members: dict[str, Any] = {name: getattr(match, name).hex() for name in _DIGESTS}
    members |= {"kind": match.kind, "similarity": round(match.similarity, 6)}
    if match.comparison is not None:
        members["difference"] = match.comparison.difference  # orjson writes dataclasses as objects
    if match.words:
        members["words"] = match.words
    return orjson.dumps(members)


def decode(members: dict[str, Any]) -> Match:
    """What `encode` wrote. Raises `KeyError`, `TypeError` or `ValueError` for that of another version."""
    of, scope, partition, pair = (bytes.fromhex(members[name]) for name in _DIGESTS)
    similarity = float(members["similarity"])
    difference = members.get("difference")
    comparison = None
    if difference is not None:
        residual = Residual(difference.pop("residual"))
        comparison = Comparison(similarity, Difference(residual=residual, **difference))
    kind: Kind = "normalized" if members["kind"] == "normalized" else "meaning"
    words = members.get("words", "")
    return Match(Digest(of), kind, similarity, Scope(scope), Digest(partition), Digest(pair), comparison, words)
