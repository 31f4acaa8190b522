"""Requests that look alike: the same model and the same skeleton of tools and system text.

The skeleton is the beginning of the system text (or, without one, of the first message) with dates, numbers and ids
taken out. Two texts that still differ, in a name perhaps, are one family if enough of their words and pairs of words
are the same: of each text only the smallest hashes of those are kept (a bottom-k sketch, Broder 1997), whose overlap
estimates the overlap of the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import Final
from zlib import crc32

from proxy.prefixes.entry import Entry
from proxy.prefixes.prompt import Part

MOST_FAMILIES: Final = 500
"""That are followed at a time. A family of one request makes room for a new one."""

SAMPLE_CHARS: Final = 131_072
"""Of the first prompt of a family, with which the others are compared."""

_SYSTEM_CHARS: Final = 2_000
_MESSAGE_CHARS: Final = 200
"""Users' own words say less about the application than a system text does."""
_SKETCH: Final = 24
_ALIKE: Final = 0.4
"""Share of a sketch that has to be equal: one word in a sentence of four may differ."""
_MOST_SKELETONS: Final = 20_000
"""Exact skeletons that are known by heart, which saves making a sketch."""

_Bucket = tuple[str, tuple[str, ...], str]


@dataclass(slots=True)
class Member:
    """A family's sample: the beginning of its first prompt."""

    number: int
    line: int
    prompt: tuple[Part, ...]
    sketch: frozenset[int]
    bucket: _Bucket
    requests: int = 0


@dataclass(slots=True)
class _Shelf:
    """The families of one bucket."""

    exact: dict[bytes, Member] = field(default_factory=dict)
    by_hash: dict[int, list[Member]] = field(default_factory=dict)


class Families:
    """Tells each request's family; a new one where it looks like none."""

    def __init__(self, *, most: int = MOST_FAMILIES) -> None:
        self.most = most
        self._shelves: dict[_Bucket, _Shelf] = {}
        self._singles: dict[int, Member] = {}
        self._followed = 0
        self._opened = 0
        self._skeletons = 0

    def of(self, entry: Entry) -> Member | None:
        """None where there is no room for another family. The family's first request becomes its sample."""
        bucket = (entry.model, tuple(sorted({part.name or "" for part in _tools(entry.prompt)})), _first_role(entry))
        shelf = self._shelves.get(bucket) or _Shelf()
        skeleton = _skeleton(_beginning(entry.prompt))
        name = blake2b(b" ".join(skeleton), digest_size=8).digest()
        member = shelf.exact.get(name)
        if member is None:
            sketch = _sketch(skeleton)
            member = _nearest(shelf, sketch) or self._open(entry, bucket, shelf, sketch)
            if member is not None and self._skeletons < _MOST_SKELETONS:
                self._skeletons += 1
                shelf.exact[name] = member
        if member is not None:
            member.requests += 1
            if member.requests == 2:
                self._singles.pop(member.number, None)
        return member

    def follows(self, member: Member) -> bool:
        """Whether it has not made room for another."""
        return member.requests > 1 or member.number in self._singles

    def _open(self, entry: Entry, bucket: _Bucket, shelf: _Shelf, sketch: frozenset[int]) -> Member | None:
        if self._followed >= self.most and not self._make_room():
            return None
        self._shelves[bucket] = shelf
        self._opened += 1
        self._followed += 1
        member = Member(self._opened, entry.line, sampled(entry.prompt), sketch, bucket)
        self._singles[member.number] = member
        for each in sketch:
            shelf.by_hash.setdefault(each, []).append(member)
        return member

    def _make_room(self) -> bool:
        """Forget the oldest family of one request."""
        oldest = next(iter(self._singles.values()), None)
        if oldest is None:
            return False
        del self._singles[oldest.number]
        self._followed -= 1
        shelf = self._shelves[oldest.bucket]
        for each in oldest.sketch:
            shelf.by_hash[each].remove(oldest)
            if not shelf.by_hash[each]:
                del shelf.by_hash[each]
        known = [name for name, member in shelf.exact.items() if member is oldest]
        for name in known:
            del shelf.exact[name]
        self._skeletons -= len(known)
        if not shelf.by_hash and not shelf.exact:
            del self._shelves[oldest.bucket]
        return True


def sampled(prompt: tuple[Part, ...], most: int = SAMPLE_CHARS) -> tuple[Part, ...]:
    """The first `most` characters of a prompt."""
    kept: list[Part] = []
    for part in prompt:
        if len(part.text) > most:
            kept.append(Part(part.place, part.role, part.text[:most], part.name, cut=True))
            break
        kept.append(part)
        most -= len(part.text)
    return tuple(kept)


def _tools(prompt: tuple[Part, ...]) -> list[Part]:
    return [part for part in prompt if part.role == "tools"]


def _first_role(entry: Entry) -> str:
    return next((part.role for part in entry.prompt if part.role not in ("tools", "schema")), "")


def _beginning(prompt: tuple[Part, ...]) -> str:
    system = next((part.text for part in prompt if part.role in ("system", "developer")), None)
    if system is not None:
        return system[:_SYSTEM_CHARS]
    return next((part.text[:_MESSAGE_CHARS] for part in prompt if part.role not in ("tools", "schema")), "")


def _skeleton(text: str) -> list[bytes]:
    """Its words; of those with a digit or an @ in them only that they are there."""
    return [
        b"#" if not word.isalpha() and _VARIABLE.search(word) else word.encode("utf-8", "replace")
        for word in text.split()
    ]


_VARIABLE: Final = re.compile(r"[\d@]")


def _sketch(words: list[bytes]) -> frozenset[int]:
    hashes = {crc32(word) for word in words}
    hashes.update(crc32(one + b" " + other) for one, other in pairwise(words))
    return frozenset(sorted(hashes)[:_SKETCH])


def _nearest(shelf: _Shelf, sketch: frozenset[int]) -> Member | None:
    votes: Counter[int] = Counter()
    members: dict[int, Member] = {}
    for each in sketch:
        for member in shelf.by_hash.get(each, ()):
            votes[member.number] += 1
            members[member.number] = member
    if not votes:
        return None
    number, equal = votes.most_common(1)[0]
    smaller = min(len(sketch), len(members[number].sketch))
    return members[number] if equal >= _ALIKE * smaller else None
