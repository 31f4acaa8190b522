"""Where two prompts of one family stop being equal, what kind of thing differs there, and what is equal behind it.

The prompts are walked through side by side. At the first character that differs the reader asks: is it a date, a UUID,
a number, an id, an e-mail address; are the same tools in another order; or is it other text? If behind that the texts
go on alike, the thing could be moved to the end of the prompt, and the walk goes on behind it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Final

from proxy.prefixes.prompt import Part


class Kind(StrEnum):
    """What differs."""

    TIME = "date or time"
    UUID = "UUID"
    EMAIL = "e-mail address"
    ID = "id"
    NUMBER = "number"
    TOOL_ORDER = "order of tools"
    TOOLS = "other tools"
    TEXT = "other text"
    PART = "another kind of part"


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where two prompts differ."""

    place: str
    role: str
    offset: int
    """Characters of the earlier prompt's part before the thing that differs."""
    kind: Kind
    shape: str
    """How it looks, without a letter or digit of it; empty where it would tell nothing."""
    movable: bool
    """Whether it could stand at the end of the prompt, by what this reader knows."""
    shared_before: int
    """Bytes that are equal before it, if what differs before it were moved."""
    samples: tuple[str, str] = ("", "")
    """What is there in the earlier and in the later prompt: words of users, to be shown on demand only."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`shared` is bytes of the later prompt that are equal once every movable difference is moved."""

    differences: tuple[Difference, ...]
    shared: int


MOST_DIFFERENCES: Final = 8
"""In one pair of prompts: who moves eight things has to look again anyway."""

_BEFORE: Final = 64
"""Characters before a difference in which the thing that differs may begin."""
_REACH: Final = 256
"""Longest thing that is looked past."""
_ANCHOR: Final = 16
"""Equal characters that show that two texts go on alike."""
_SAMPLE: Final = 40

_CLOCK: Final = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\b)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_WEEKDAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? "
_DATE: Final = (
    rf"(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{4}}/\d{{1,2}}/\d{{1,2}}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|"
    rf"(?:{_WEEKDAY})?(?:\d{{1,2}}(?:st|nd|rd|th)?\.? {_MONTH}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?)(?:,? \d{{4}})?)"
)
_PATTERNS: Final = (
    (Kind.UUID, re.compile(r"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b")),
    (Kind.TIME, re.compile(rf"{_DATE}(?:(?:T|,? (?:at )?){_CLOCK})?|(?:{_WEEKDAY})?{_CLOCK}")),
    # Seconds and milliseconds since 1970, from 2017 to 2033.
    (Kind.TIME, re.compile(r"(?<![\w.])1[5-9]\d{8}(?:\d{3})?(?:\.\d{1,6})?(?!\w)")),
    (Kind.EMAIL, re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (Kind.ID, re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{6,128}(?![\w-])")),
    (Kind.NUMBER, re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)")),
)
_HINT: Final = re.compile(r"[\d@]")
"""Every pattern needs one of these; looking for it first saves looking for them in plain words."""


@dataclass(frozen=True, slots=True)
class _Thing:
    """What differs in two texts: it begins `back` characters before the difference, and ends at `ends`."""

    kind: Kind
    back: int
    ends: tuple[int, int]


def compare(earlier: tuple[Part, ...], later: tuple[Part, ...]) -> Comparison:
    """`earlier` may be cut: then nothing behind its end is told."""
    walk = _Walk()
    later = _tools_in_order(earlier, later, walk)
    for one, other in zip(earlier, later, strict=False):
        if one.role != other.role or (one.name or "") != (other.name or ""):
            kind = Kind.TOOLS if "tools" in (one.role, other.role) else Kind.PART
            walk.note(Difference(other.place, other.role, 0, kind, "", False, walk.shared))
            break
        walk.shared += len(other.header)
        if not walk.through(one, other):
            break
    return Comparison(tuple(walk.differences), walk.shared)


def _tools_in_order(earlier: tuple[Part, ...], later: tuple[Part, ...], walk: _Walk) -> tuple[Part, ...]:
    """`later` with its tools in the order of `earlier`, and a note if they were in another."""
    wanted = [part for part in earlier if part.role == "tools"]
    tools = [part for part in later if part.role == "tools"]
    if [part.name for part in wanted] == [part.name for part in tools] or not _same_tools(wanted, tools):
        return later
    still = list(takewhile(lambda pair: pair[0].text == pair[1].text, zip(wanted, tools, strict=True)))
    shared = sum(len(part.header) + _size(part.text) for _, part in still)
    walk.note(Difference(tools[len(still)].place, "tools", 0, Kind.TOOL_ORDER, "", True, shared))
    waiting = {name: [part for part in tools if part.name == name] for name in {part.name for part in tools}}
    return (*(waiting[part.name].pop(0) for part in wanted), *later[len(tools) :])


def _same_tools(some: list[Part], others: list[Part]) -> bool:
    return Counter(part.name for part in some) == Counter(part.name for part in others)


class _Walk:
    """Two prompts, side by side."""

    def __init__(self) -> None:
        self.shared = 0
        self.differences: list[Difference] = []

    def note(self, difference: Difference) -> None:
        self.differences.append(difference)

    def through(self, one: Part, other: Part) -> bool:
        """Through a part of each; whether the walk goes on behind it. (A part that is cut is the sample's last.)"""
        if one.text == other.text:
            self.shared += _size(other.text)
            return True
        i = j = 0
        while True:
            equal = _equal(one.text, i, other.text, j)
            self.shared += _size(other.text[j : j + equal])
            i, j = i + equal, j + equal
            if i == len(one.text) and (one.cut or j == len(other.text)):
                return True
            thing = _thing(one.text, i, other.text, j, look_behind=other.by_operator)
            movable = thing is not None and _movable(thing, one, other)
            self.note(self._difference(thing, movable, one, i, other, j))
            if thing is None or not movable or len(self.differences) >= MOST_DIFFERENCES:
                return False
            # Its head, which was equal, moves with it.
            self.shared -= _size(other.text[j - thing.back : j])
            i, j = thing.ends

    def _difference(self, thing: _Thing | None, movable: bool, one: Part, i: int, other: Part, j: int) -> Difference:
        back, ends = (thing.back, thing.ends) if thing else (0, (i + _SAMPLE, j + _SAMPLE))
        before, after = one.text[i - back : ends[0]], other.text[j - back : ends[1]]
        kind = thing.kind if thing else Kind.TEXT
        return Difference(
            other.place,
            other.role,
            i - back,
            kind,
            # Of what users say nothing is told, not even how it looks.
            shape(kind, after) if movable else "",
            movable,
            self.shared,
            (before[:_SAMPLE], after[:_SAMPLE]),
        )


def _movable(thing: _Thing, one: Part, other: Part) -> bool:
    """What users say stays where it is, except for a stamp or a number in a template that goes on behind it."""
    if other.by_operator:
        return True
    i, j = thing.ends
    rest = one.text[i : i + _ANCHOR]
    return thing.kind is not Kind.TEXT and len(rest) == _ANCHOR and rest == other.text[j : j + _ANCHOR]


def _thing(one: str, i: int, other: str, j: int, *, look_behind: bool) -> _Thing | None:
    """What differs at these places, where `one` and `other` have been equal before; None: they go apart.

    Without `look_behind` other text always goes apart: nobody could move what users say.
    """
    for kind, pattern in _PATTERNS if _hinted(one, i) and _hinted(other, j) else ():
        first, second = _match(pattern, one, i), _match(pattern, other, j)
        if first and second and i - first[0] == j - second[0] and one[slice(*first)] != other[slice(*second)]:
            return _Thing(kind, j - second[0], (first[1], second[1]))
    ends = _alike_again(one, i, other, j) if look_behind else None
    if ends is None:
        return None
    back = next((back for back in range(min(j, _BEFORE)) if other[j - back - 1].isspace()), 0)
    return _Thing(Kind.TEXT, back, ends)


def _hinted(text: str, at: int) -> bool:
    return _HINT.search(text, max(0, at - _BEFORE), at + _BEFORE) is not None


def _match(pattern: re.Pattern[str], text: str, at: int) -> tuple[int, int] | None:
    """Where the thing that `text[at]` is in, or just behind, begins and ends."""
    for found in pattern.finditer(text, max(0, at - _BEFORE), at + _REACH):
        if found.start() <= at <= found.end():
            return found.span()
        if found.start() > at:
            return None
    return None


def _alike_again(one: str, i: int, other: str, j: int) -> tuple[int, int] | None:
    """Where two texts that differ go on alike, within reach; their ends count as alike."""
    for end in range(j, min(j + _REACH, len(other) - _ANCHOR + 1)):
        found = one.find(other[end : end + _ANCHOR], i, i + _REACH + _ANCHOR)
        if found >= 0:
            return found, end
    if len(one) - i <= _REACH and len(other) - j <= _REACH:
        return len(one), len(other)
    return None


def _equal(one: str, i: int, other: str, j: int) -> int:
    """How many characters from these places on are equal, found by halving: comparing slices runs in C."""
    low, high = 0, min(len(one) - i, len(other) - j)
    while low < high:
        middle = (low + high + 1) // 2
        if one[i + low : i + middle] == other[j + low : j + middle]:
            low = middle
        else:
            high = middle - 1
    return low


_FIXED: Final = {Kind.UUID: "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", Kind.EMAIL: "a@a.a"}


def shape(kind: Kind, text: str) -> str:
    """`2026-03-01 09:30` is `####-##-## ##:##`. Empty for what is not a stamp, a number or an id."""
    if kind in _FIXED:
        return _FIXED[kind]
    if kind not in (Kind.TIME, Kind.NUMBER, Kind.ID):
        return ""
    plain = re.sub(r"\d", "#", text[:_SAMPLE])
    return re.sub(r"[^\W\d_]+" if kind is Kind.TIME else r"[^\W\d_]", "a", plain)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
