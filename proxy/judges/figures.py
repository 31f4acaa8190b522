"""What two answers state: numbers with their units, names, yes or no. A conflict decides; agreement does not.

"You have 30 days" and "You have 14 days" lie very near each other for an embedder. Here each figure is held against
those of the same unit in the other answer, since a longer answer has more of them: only what both speak of can be in
conflict.
"""

from __future__ import annotations

import calendar
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.judges.base import Answers, Opinion
from proxy.judges.plain import plain, sentences, stems, words
from proxy.lexis.calendar_words import CALENDAR
from proxy.lexis.function_words import NEGATIONS, STOP_WORDS
from proxy.lexis.number_words import CARDINALS
from proxy.lexis.stemming import stem
from proxy.lexis.units import UNITS

_NUMBER_WORDS: Final = "|".join(sorted((word for word, value in CARDINALS.items() if value > 1), key=len, reverse=True))
_FIGURE: Final = re.compile(
    r"""(?P<sign>[$€£¥₹]\s?)?
    (?P<number>\d{1,15}(?:[.,:]\d{1,6}){0,5})
    (?:\s?(?P<percent>%)|\s?°\s?(?P<degree>[CF])\b|\s?(?P<half>[ap]\.?m\b\.?))?
    |\b(?P<word>"""
    + _NUMBER_WORDS
    + r")\b",
    re.IGNORECASE | re.VERBOSE,
)
_CLOCK: Final = re.compile(r"(\d{1,2})(?:[:.](\d\d))?")
_AFTER: Final = re.compile(r"[\s-]{0,3}([^\W\d_]{1,30})(?:[\s-]{1,3}([^\W\d_]{1,30}))?")
_BEFORE: Final = re.compile(r"([^\W\d_]{1,30})[\s.]{1,2}$")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NAME: Final = re.compile(r"\b[^\W\d_a-z]\w*(?:['’-]\w+)*")  # noqa: RUF001
_RELATION: Final = re.compile(r"\b([^\W\d_a-z]\w+) ([a-z]{2,20}(?: [a-z]{2,20})?) (?=([^\W\d_a-z]\w+))")
_SYMMETRIC: Final = frozenset(["and", "or", "is", "are", "as well", "with", "versus", "vs", "meets"])
_CLAUSE: Final = re.compile(r"[,;:()–—]\s|\s[-–—]\s|\s(?=(?:if|so that|because|unless|when)\s)")  # noqa: RUF001
_MOST_CLAIMS: Final = 40
_LINK: Final = re.compile(r"\bhttps?://[^\s)\]>\"']{1,300}|\b[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{2,30}")
_FLAG: Final = re.compile(r"(?<![\w-])--[a-z][\w-]{1,40}")

Figures = Mapping[str, frozenset[float]]
"""Numbers by unit: `time:day`, `money:usd`, `clock` (minutes), `year`, `month:may`, "" where no unit is known."""


class Finding(NamedTuple):
    """Two answers held against each other. Counts of kinds of figures, or of names."""

    conflicts: int
    """Units of which both state figures, and none is the same."""
    agreements: int
    """Units of which they share a figure."""
    one_sided: float
    """Share of the figures of the one with fewer that the other does not state, 0 to 1."""
    foreign_names: int
    """Names that the other does not mention: the smaller of the two sides' numbers."""
    shared_names: int
    opposed: bool
    """One says yes and the other no, or they say and deny the same."""
    links: bool
    """Addresses or command-line options differ on both sides."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What one answer states."""

    figures: Figures
    names: frozenset[str]
    """In lower case."""
    mentioned: frozenset[str]
    """All words, in lower case."""
    polarity: bool | None
    """It begins with yes, or with no."""
    claims: tuple[tuple[frozenset[str], bool], ...]
    """Content stems of each clause, and whether it denies."""
    relations: frozenset[tuple[str, str, str]]
    """Two names and what stands between them."""
    links: frozenset[str]


class FiguresJudge:
    """Finds what cannot both be right. Pure and quick."""

    name: Final = "figures"

    async def compare(self, answers: Answers) -> Opinion | None:
        """Has an opinion on conflicts only: that figures agree says little without the words round them."""
        right = chance(find(answers.fresh, answers.stored))
        return None if right is None else Opinion(right, self.name)


def chance(found: Finding) -> float | None:
    """That both answers do for one question; None where nothing stands against it.

    From the share of pairs each conflict was found in, of the 109 that say the same and the 257 that do not in
    `tests/judges/answers.jsonl`, with one more on each side, so that none seen is not never.
    """
    if found.conflicts or found.one_sided >= 0.5:
        return 0.03
    if found.foreign_names > found.shared_names:
        return 0.08
    if found.opposed:
        return 0.15
    return 0.2 if found.links else None


def find(one: str, other: str) -> Finding:
    """Symmetric in the two texts."""
    if one == other:
        return Finding(0, 0, 0.0, 0, 0, opposed=False, links=False)
    a, b = read(one), read(other)
    shared = [unit for unit in a.figures if unit in b.figures]
    agreeing = [unit for unit in shared if _common(a.figures[unit], b.figures[unit])]
    return Finding(
        conflicts=len(shared) - len(agreeing),
        agreements=len(agreeing),
        one_sided=_one_sided(a.figures, b.figures),
        foreign_names=min(len(a.names - b.mentioned), len(b.names - a.mentioned)),
        shared_names=len((a.names & b.mentioned) | (b.names & a.mentioned)),
        opposed=_opposed(a, b),
        links=bool(a.links - b.links and b.links - a.links),
    )


def read(text: str) -> Stated:
    """Take an answer apart."""
    text = plain(text)
    said = sentences(text)
    return Stated(
        figures=_figures(text),
        names=frozenset(_names(said)),
        mentioned=frozenset(words(text)),
        polarity=_polarity(said),
        claims=tuple(_claims(said[:_MOST_CLAIMS])),
        relations=frozenset(_relations(text)),
        links=frozenset(_LINK.findall(text)) | frozenset(_FLAG.findall(text)),
    )


def _figures(text: str) -> Figures:
    found: dict[str, set[float]] = defaultdict(set)
    for match in _FIGURE.finditer(text):
        unit, value = _measured(match, text)
        found[unit].add(value)
    return {unit: frozenset(values) for unit, values in found.items()}


def _measured(match: re.Match[str], text: str) -> tuple[str, float]:
    number, half = match["number"], match["half"]
    after = _AFTER.match(text, match.end())
    if number is None:
        # Case-insensitive, a pattern takes a dotless or dotted Turkish letter for an i.
        return _unit(after), float(CARDINALS.get(match["word"].lower(), 0))
    clock = _CLOCK.fullmatch(number) if half or ":" in number else None
    if clock:
        return "clock", _minutes(clock, half)
    value = _value(number)
    if match["sign"]:
        return "money:" + UNITS[match["sign"].strip()][1] if match["sign"].strip() in UNITS else "money", value
    if match["percent"]:
        return "share", value
    if match["degree"]:
        return "temperature:" + match["degree"].lower(), value
    month = _month(after, text[max(0, match.start() - 32) : match.start()])
    if month and value <= 31:
        return "month:" + month, value
    if number.isdigit() and 1000 <= value <= 2100 and not _unit(after):
        return "year", value
    return _unit(after), value


def _value(number: str) -> float:
    if _GROUPED.fullmatch(number):
        return float(number.replace(",", ""))
    whole, *rest = re.split("[.,:]", number)
    # Of a version (1.2.3) the first two parts are enough to tell two of them apart.
    return float(f"{whole}.{rest[0]}" if rest else whole)


def _minutes(clock: re.Match[str], half: str | None) -> float:
    hour, minutes = int(clock[1]), int(clock[2] or 0)
    if half:
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    return float(60 * hour + minutes)


def _month(after: re.Match[str] | None, before: str) -> str:
    near = _BEFORE.search(before)
    for word in (after[1] if after else "", near[1] if near else ""):
        name = CALENDAR.get(word.lower(), "")
        if name in _MONTHS and len(word) >= 3:
            return name
    return ""


_MONTHS: Final = frozenset(month.lower() for month in calendar.month_name if month)


def _unit(after: re.Match[str] | None) -> str:
    if after is None:
        return ""
    for word in (after[1], after[2]):
        if word and word.lower() in UNITS:
            return ":".join(UNITS[word.lower()])
        if word and word.lower() in STOP_WORDS:
            break
    following = after[1].lower()
    return "" if following in STOP_WORDS or len(following) < 3 else "of:" + stem(following)


def _common(some: Iterable[float], others: Iterable[float]) -> bool:
    """Whether a figure is in both, but for rounding."""
    rest = sorted(others)
    return any(_near(value, other) for value in some for other in rest)


def _near(one: float, other: float) -> bool:
    if 1000 <= one <= 2100 and one == int(one) and other == int(other):
        return one == other
    return abs(one - other) <= 0.005 * max(abs(one), abs(other))


def _one_sided(some: Figures, others: Figures) -> float:
    a = {value for values in some.values() for value in values}
    b = {value for values in others.values() for value in values}
    if not a or not b:
        return 0.0
    fewer, more = sorted((sorted(a), sorted(b)), key=lambda values: (len(values), values))
    return sum(not _common([value], more) for value in fewer) / len(fewer)


def _names(said: list[str]) -> Iterable[str]:
    for sentence in said:
        found = list(_NAME.finditer(sentence))
        for match in found:
            word = match[0].casefold().replace("’", "'").removesuffix("'s")  # noqa: RUF001
            # A capital at the beginning of a sentence says nothing; after a bold word's colon neither.
            begins = match.start() == 0 or sentence[: match.start()].rstrip(" \"'(“¿¡")[-1:] in (":", "")
            if not begins and len(word) > 1 and word not in STOP_WORDS and word not in CALENDAR:
                yield word


def _polarity(said: list[str]) -> bool | None:
    first = words(said[0])[:2] if said else []
    if not first or first[0] not in ("yes", "no", "yeah", "yep", "nope", "correct", "incorrect", "true", "false"):
        return None
    return first[0] in ("yes", "yeah", "yep", "correct", "true")


def _relations(text: str) -> Iterable[tuple[str, str, str]]:
    for match in _RELATION.finditer(text):
        if match[2] not in _SYMMETRIC:
            yield match[1].casefold(), match[2], match[3].casefold()


def _claims(said: list[str]) -> Iterable[tuple[frozenset[str], bool]]:
    for clause in (clause for sentence in said for clause in _CLAUSE.split(sentence)[:4]):
        uttered = [word.replace("'", "") for word in words(clause)]
        if uttered and uttered[0] not in _CONDITIONS:
            yield frozenset(stems(clause)) - _DENYING, sum(word in NEGATIONS for word in uttered) % 2 == 1


_CONDITIONS: Final = frozenset(
    ["if", "when", "unless", "should", "so", "in", "because", "since", "that", "who", "which"]
)
"""A clause that begins so claims nothing by itself."""
_DENYING: Final = frozenset(stem(word) for word in NEGATIONS) | {"ye", "yes", "no"}


def _opposed(a: Stated, b: Stated) -> bool:
    if a.polarity is not None and b.polarity is not None:
        return a.polarity != b.polarity
    if any((last, between, first) in b.relations for first, between, last in a.relations - b.relations):
        return True
    return any(
        denied != also and len(content & others) >= 3 and _jaccard(content, others) >= 0.5
        for content, denied in a.claims
        for others, also in b.claims
    )


def _jaccard(some: frozenset[str], others: frozenset[str]) -> float:
    return len(some & others) / len(some | others)
