"""Events that say again what the one before them said, but for a text: the tokens of an answer.

Nearly all events of a stream are such. To read each as JSON costs many times what passing it on costs, so one is read
and made a `Pattern`: its bytes up to the text and its bytes behind it. Whatever has these bytes round another string
is the same value with another text, to any JSON parser, because

- the gap is the whole inside of a string: it stood behind `"name":"`, up to a quote that no escape belongs to;
- it is the text and no other string of the event: with something else in the gap the event was parsed again, and that
  was the text then (`Pattern.of`);
- what fills it elsewhere is the whole inside of a string too: no bare quote, no half an escape, and orjson reads it.

What is not proved so is no match, and goes to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from itertools import takewhile
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

import orjson

Place: TypeAlias = tuple[str | int, ...]
"""Where in a parsed event a string is: member names and indices, from the top. The last is a name."""

# The inside of a string. No surrogates: of two halves in two events each is wrong, and both together would be right.
_INSIDE: Final = re.compile(rb'(?:[^"\\]++|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})*+')

Gaps: TypeAlias = Sequence[Sequence[bytes]]
"""For each gap the insides of the strings in it, event by event."""

_AT_ONCE: Final = 256
"""Events tried in one go. Where the last of them does not fit the others are looked at once more."""


class Run(NamedTuple):
    """Events that fit a pattern, one behind the other."""

    gaps: Gaps
    text: str
    """All texts, joined."""

    @property
    def events(self) -> int:
        """How many."""
        return len(self.gaps[0])


class Pattern:
    """An event with a gap for its text, and maybe another for padding that nobody reads.

    `pieces` are its bytes round the gaps, two or three, without the line ends.
    """

    __slots__ = ("_inside", "_text_gap", "pieces")

    def __init__(self, pieces: tuple[bytes, ...], text_gap: int) -> None:
        self.pieces = pieces
        self._text_gap = text_gap
        self._inside = itemgetter(slice(len(pieces[0]), -len(pieces[-1])))

    @classmethod
    def of(cls, line: bytes, event: dict[str, Any], places: Sequence[Place]) -> Pattern | None:
        """`line` is `data: ` with the JSON that was parsed to `event`. `places`: of the text, and of padding if there
        is any; there are strings. None: it cannot be told for sure where they stand."""
        gaps = [_gap(line, str(place[-1]), _at(event, place)) for place in places]
        in_order = sorted(gap for gap in gaps if gap is not None)
        if len(in_order) < len(places):
            return None
        starts, ends = [0, *(end for _, end in in_order)], [*(start for start, _ in in_order), len(line)]
        pieces = tuple(line[start:end] for start, end in zip(starts, ends, strict=True))
        if not _proved(pieces, event, [places[gaps.index(gap)] for gap in in_order]):
            return None
        return cls(pieces, text_gap=in_order.index(cast("tuple[int, int]", gaps[0])))

    def run(self, lines: list[bytes], at: int) -> Run | None:
        """As many as fit of the events that begin with line `at`, up to a bound. None: not even the first. `lines` are
        those of whole events, with the empty ones behind them."""
        if not lines[at].startswith(self.pieces[0]):
            return None
        events, ends = lines[at : at + 2 * _AT_ONCE : 2], lines[at + 1 : at + 2 * _AT_ONCE : 2]
        run = None if any(ends) else self._run(events)
        if run is not None:
            return run
        fit = takewhile(lambda one: not one[1] and self._run([one[0]]) is not None, zip(events, ends, strict=False))
        return self._run([event for event, _ in fit])

    def _run(self, events: list[bytes]) -> Run | None:
        """These events, if there are some and all fit."""
        if not events:
            return None
        gaps: Gaps = [[*map(self._inside, events)]]
        if len(self.pieces) > 2:
            first, _, last = zip(*[inside.partition(self.pieces[1]) for inside in gaps[0]], strict=True)
            gaps = [first, last]
        if fill(self.pieces, gaps) != b"\n\n".join(events) + b"\n\n":
            return None
        texts = [_strings(insides) for insides in gaps]
        text = texts[self._text_gap]
        return Run(gaps, "".join(text)) if text is not None and None not in texts else None


def fill(pieces: Sequence[bytes], gaps: Gaps) -> bytes:
    """Events of these pieces with something in the gaps between them."""
    head, *between, tail = pieces
    insides = [between[0].join(pair) for pair in zip(*gaps, strict=True)] if between else gaps[0]
    return b"".join((head, (tail + b"\n\n" + head).join(insides), tail, b"\n\n"))


def _at(event: Any, place: Place) -> Any:
    return reduce(lambda value, step: value[step], place, event)


def _gap(line: bytes, name: str, text: str) -> tuple[int, int] | None:
    """Where the inside of a string stands that is a member of that name."""
    string = orjson.dumps(text)
    for colon in (b'":', b'": '):
        member = b'"' + name.encode() + colon
        at = line.find(member + string)
        if at >= 0:
            start = at + len(member) + 1
            return start, start + len(string) - 2
    return None


def _proved(pieces: Sequence[bytes], event: dict[str, Any], places: Sequence[Place]) -> bool:
    """Other strings in the gaps are those in the places: so it is these that stand there, and no others."""
    others = [_at(event, place) + str(number) for number, place in enumerate(places)]
    text = pieces[0] + b"".join(
        orjson.dumps(other)[1:-1] + piece for other, piece in zip(others, pieces[1:], strict=True)
    )
    try:
        read = orjson.loads(text.removeprefix(b"data: "))
    except orjson.JSONDecodeError:
        return False
    return all(_at(read, place) == other for place, other in zip(places, others, strict=True))


def _strings(insides: Sequence[bytes]) -> list[str] | None:
    """Texts of JSON strings without their quotes; None unless each of them is one."""
    array = b'["' + b'","'.join(insides) + b'"]'
    # Quotes and escapes could make fewer or more strings of these, or others; without them each stays within its own.
    alone = b"\\" not in array and array.count(b'"') == 2 * len(insides)
    if not alone and not all(map(_INSIDE.fullmatch, insides)):
        return None
    try:
        strings: list[str] = orjson.loads(array)
    except orjson.JSONDecodeError:
        return None
    return strings
