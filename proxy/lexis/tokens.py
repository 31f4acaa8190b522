"""A run of characters between spaces, taken apart: words, numbers with their units, identifiers.

No expression here can take long: each is anchored, possessive where it repeats, and never tried on more than `LONGEST`
characters.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.lexis.calendar_words import CALENDAR
from proxy.lexis.function_words import NEGATIONS, QUESTION_WORDS, STOP_WORDS
from proxy.lexis.number_words import CARDINALS, ORDINALS, SCALES, SUFFIXES
from proxy.lexis.stemming import stem
from proxy.lexis.units import ONLY_BEHIND_A_NUMBER, UNITS

LONGEST: Final = 64
"""Characters of a run that is looked into; a longer one is an identifier as it stands."""


class Token(NamedTuple):
    """A word, a number or an identifier; what it is not is empty."""

    word: str
    """In lower case, without `'s` and its like."""
    stem: str
    content: bool = False
    negates: bool = False
    question: str = ""
    calendar: str = ""
    capital: bool = False
    capitals: bool = False
    """More than one letter, all of them capitals."""
    number: str = ""
    """Canonical: `1000`, `0.5`, `15:30`."""
    spelled: bool = False
    """A number in words, which may go on in the next token."""
    scale: int = 0
    unit: tuple[str, str] | None = None
    """Dimension and unit, if it is one wherever it stands."""
    identifier: str = ""


class Run(NamedTuple):
    """What stands between two spaces."""

    tokens: tuple[Token, ...]
    ends: bool
    """A sentence, a clause or a line ends behind it: the next capital means nothing."""


_AROUND: Final = "\"'()[]{}<>,;:!?.*_~|\u2026\u201c\u201d\u2018\u2019\u00bf\u00a1\u3002\uff1f\uff01\u060c\u061f`"
_ENDS: Final = (".", "?", "!", ":", ";", "\u2026", "\u3002", "\uff1f", "\uff01")

_ENDINGS: Final = """
    com org net edu gov io co uk de fr eu ai dev app info
    py js ts jsx tsx c h cpp hpp cs rs go rb java kt php sh bat sql html css xml json yaml yml toml ini cfg conf log
    md txt csv pdf doc docx xls xlsx ppt pptx png jpg jpeg gif svg mp3 mp4 wav zip tar gz exe dll ipynb
"""
"""In lower case only: `sentence.Next` lacks a space."""

_LINK: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*+://.++"  # URL
    r"|www\..++"
    r"|[\w.+-]++@[\w-]++(?:\.[\w-]++)+"  # e-mail
    r"|[@#]\w++"  # handle, tag
    r"|(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w./\\-]++"  # path from a root
    r"|[\w.-]++(?:[/\\][\w.-]++){2,}"  # path
    r"|v?\d++(?:\.\d++){2,}\S*+"  # version, IP address
    r"|v\d++(?:\.\d++)*"
    r"|[\w-]++(?:\.[\w-]++)*\.(?-i:" + "|".join(_ENDINGS.split()) + r")"  # host, file
    r"|[^\W_]++(?:_\w*+)"  # snake_case
    r"|_\w++)$",
    re.IGNORECASE,
)
_AMOUNT: Final = re.compile(
    r"(?P<sign>[$€£¥₹₩₽])?(?P<minus>[-\u2212])?(?P<sign2>[$€£¥₹₩₽])?"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d++)?|\d++(?:[.,]\d++)?|\.\d++)"
    r"(?:(?P<ordinal>st|nd|rd|th)|(?P<suffix>[a-z%$€£¥₹°²³]{1,8}+)\.?)?$",
    re.IGNORECASE,
)
_TIME: Final = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?(?P<half>[ap]\.?m)?\.?$", re.IGNORECASE)
_CLOCK: Final = re.compile(r"(?P<hour>\d{1,2})(?P<half>[ap]\.?m)\.?$", re.IGNORECASE)
_DATE: Final = re.compile(r"(?:\d{1,4}([/-])\d{1,2}\1\d{1,4}|\d{1,2}\.\d{1,2}\.\d{4})$")
_APOSTROPHE: Final = re.compile(r"([^\W\d_]++)'([^\W\d_]*+)$")
_SYMBOLIC: Final = re.compile(r"[^\W\d_]{1,3}+(?:\+\+|#)$")
_PIECES: Final = re.compile(r"[^\s/\\|,;:()\[\]{}\"<>=&*+\u2013\u2014\u2026-]++")
_MORE_PIECES: Final = re.compile(r"\w++(?:['.]\w++)*")
_DIGIT: Final = re.compile(r"\d")
_FRACTIONS: Final = {"½": "0.5", "¼": "0.25", "¾": "0.75", "⅓": "0.333", "⅔": "0.667"}


def taken_apart(chunk: str) -> Run:
    """`chunk` has no white space in it."""
    return _cached(chunk) if len(chunk) <= LONGEST else Run((_identifier(chunk),), chunk.endswith(_ENDS))


@lru_cache(maxsize=16384)
def _cached(chunk: str) -> Run:
    bare = chunk.strip(_AROUND)
    return Run(_tokens(chunk, bare), chunk.endswith(_ENDS) or not bare)


def _tokens(chunk: str, bare: str) -> tuple[Token, ...]:
    if bare.isalpha():
        return (_word(bare),)
    if not bare:
        return (_FACTOR,) if chunk in ("*", "**") else ()
    return _special(chunk, bare)


_FACTOR: Final = Token("*", "*", content=True)


def _special(chunk: str, bare: str) -> tuple[Token, ...]:
    if bare in _FRACTIONS:
        return (Token(bare, bare, number=_FRACTIONS[bare]),)
    if apostrophe := _APOSTROPHE.match(bare):
        return _with_apostrophe(*apostrophe.groups())
    if number := _number(chunk.strip(_AROUND.replace(".", "")).rstrip(".")) or _number(bare):
        return number
    if _LINK.match(bare) or _SYMBOLIC.match(bare):
        return (_identifier(bare),)
    return tuple(token for piece in _PIECES.findall(bare) for token in _piece(piece.strip(_AROUND)))


def _piece(piece: str) -> tuple[Token, ...]:
    """Of a run with hyphens, slashes and the like."""
    if piece.isalpha():
        return (_word(piece),)
    if not piece:
        return ()
    if apostrophe := _APOSTROPHE.match(piece):
        return _with_apostrophe(*apostrophe.groups())
    if number := _number(piece):
        return number
    if _LINK.match(piece) or _DIGIT.search(piece):
        return (_identifier(piece),)
    return tuple(_word(part) for part in _MORE_PIECES.findall(piece)) or (Token(piece, piece, content=True),)


def _word(text: str) -> Token:
    word = text.lower()
    capital = word != text and text[0].isupper()
    capitals = capital and len(text) > 1 and text.isupper()
    unit = None if word in ONLY_BEHIND_A_NUMBER else UNITS.get(word)
    negates = word in NEGATIONS
    value = CARDINALS.get(word, ORDINALS.get(word))
    if value is not None:
        return Token(word, word, number=str(value), spelled=True, capital=capital, capitals=capitals)
    return Token(
        word,
        stem(word),
        # `US`, `IT`, `OR` are names.
        content=(word not in STOP_WORDS or capitals) and not negates and word not in SCALES,
        negates=negates,
        question=QUESTION_WORDS.get(word, ""),
        calendar=CALENDAR.get(word, ""),
        capital=capital,
        capitals=capitals,
        scale=SCALES.get(word, 0),
        unit=unit,
    )


def _with_apostrophe(base: str, ending: str) -> tuple[Token, ...]:
    if ending.lower() == "t" and base.lower().endswith("n"):
        verb = base[:-1] if base.lower() not in ("can", "won") else "can" if base.lower() == "can" else "will"
        return (_word(verb), _NOT)
    return (_word(base),) if ending.lower() in ("s", "m", "re", "ve", "ll", "d", "") else (_word(base + ending),)


_NOT: Final = Token("not", "not", negates=True)


def _number(text: str) -> tuple[Token, ...]:
    """The tokens of an amount, a time or a date; none if it is something else."""
    if not _DIGIT.search(text):
        return ()
    if time := _TIME.match(text) or _CLOCK.match(text):
        return (_time(text, time.groupdict()),)
    if _DATE.match(text):
        return (Token(text, text, number="-".join(part.lstrip("0") for part in re.split(r"[/.-]", text))),)
    amount = _AMOUNT.match(text)
    return _amount(text, amount) if amount else ()


def _time(text: str, parts: dict[str, str | None]) -> Token:
    hour, minute = int(parts["hour"] or 0), parts.get("minute") or "00"
    half = (parts["half"] or "").lower().replace(".", "")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return Token(text, text, number=f"{hour}:{minute}")


def _amount(text: str, amount: re.Match[str]) -> tuple[Token, ...]:
    suffix = (amount["suffix"] or "").lower()
    sign = amount["sign"] or amount["sign2"]
    value = _decimal(amount["digits"])
    if value is None:
        return ()
    unit = UNITS.get(sign) if sign else None
    if suffix:
        money = sign is not None or suffix in ("k", "bn", "mn", "mln")
        if suffix in SUFFIXES and money:
            value *= SUFFIXES[suffix]
        elif (behind := UNITS.get(suffix.strip("°²³") or "c")) is not None:
            unit = behind
        elif suffix not in _BARE:
            return (_identifier(text),)
    number = canonical(-value if amount["minus"] else value)
    if unit is None:
        return (Token(text.lower(), number, number=number),)
    return (Token(text.lower(), number, number=number), Token(unit[1], unit[1], unit=unit))


_BARE: Final = frozenset(["x", "s", "y", "yo"])
"""Behind digits they are no unit and no code: `10x`, `1990s`, `26yo`."""


def _decimal(digits: str) -> Decimal | None:
    whole = re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits)
    try:
        return Decimal(digits.replace(",", "" if whole else "."))
    except InvalidOperation:
        return None


def canonical(value: Decimal | int) -> str:
    """One text for one number: `5`, `0.5`."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _identifier(text: str) -> Token:
    lower = text.lower()
    return Token(lower, lower, identifier=lower)
