"""A mark, a line or a capital that means something: operators, flags of commands, single capital letters, units of
size, lines, letters nobody sees, and the very form of a text that is given to work on.

Embedders for words are blind to all of these.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from proxy.guards.base import Guard
from proxy.lexis.folding import unified
from proxy.lexis.reading import Reading

_OPERATORS: Final = re.compile(r"[+*=<>^|~\\\u00b1\u00d7\u00f7\u2260\u2264\u2265\u2192]+|&&|!=|(?<=\d)\s[-/%]\s(?=\d)")
_DOLLAR: Final = re.compile(r"\$[A-Za-z_]\w*")
_FLAG: Final = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*")
_SIZE: Final = re.compile(r"(?<=\d)\s?([kKMGTPm]i?[bBgW])\b")
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200f\u2060\u202a-\u202e\u2066-\u2069\ufeff]")
_SINGLE: Final = re.compile(r"(?<![\w'])[A-HJ-Z](?![\w'-])")
_GIVEN: Final = re.compile(
    r":\s*\S|\b(?:this|these|following)\s+(?:sentence|paragraph|text|phrase|word|line|code|command|string)s?\b",
    re.IGNORECASE,
)
"""A text to work on follows: a grammar to mend, a case to change."""


class _Marks(NamedTuple):
    operators: tuple[str, ...]
    variables: tuple[str, ...]
    flags: tuple[str, ...]
    sizes: tuple[str, ...]
    unseen: tuple[str, ...]
    lines: int


def _marks(text: str) -> _Marks:
    plain = unified(text).strip()
    return _Marks(
        operators=tuple(_OPERATORS.findall(plain)),
        variables=tuple(_DOLLAR.findall(plain)),
        flags=tuple(_FLAG.findall(plain)),
        sizes=tuple(_SIZE.findall(plain)),
        unseen=tuple(_UNSEEN.findall(text)),
        lines=sum(1 for line in plain.splitlines() if line.strip()),
    )


def _letters(text: str) -> tuple[str, ...] | None:
    """Capital letters that stand alone, but for the first of the text; None where its capitals say nothing."""
    if text.isupper() or text.istitle():
        return None
    return tuple(found.group() for found in _SINGLE.finditer(text) if found.start())


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _refuses(asked: Reading, stored: Reading) -> bool:
    one, other = asked.text.strip(), stored.text.strip()
    if one == other:
        return False
    if _GIVEN.search(one) and _GIVEN.search(other) and _bare(one) == _bare(other):
        return True
    if _marks(one) != _marks(other):
        return True
    here, there = _letters(one), _letters(other)
    return here is not None and there is not None and here != there


MARKS: Final = Guard("marks", _refuses)
