"""A question's words, read once: tokens, content stems, numbers, names, and what else tells two questions apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from proxy.lexis.calendar_words import BEFORE_A_DATE, DOUBTFUL, SHIFTS, SPANS
from proxy.lexis.folding import unified
from proxy.lexis.function_words import DOUBTS, MEASURES, OBJECTS, PARTICLE_VERBS, PARTICLES, POSSESSIVES, ROLES
from proxy.lexis.number_words import BOUNDS
from proxy.lexis.tables import words
from proxy.lexis.tokens import Token, canonical, taken_apart
from proxy.lexis.units import UNITS

READ_CHARS: Final = 8192
"""What is read of a text at most. Matching by meaning ends far below it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of a text."""

    text: str
    words: tuple[str, ...]
    """All tokens in lower case, in order."""
    content: tuple[str, ...]
    """Stems of content words, in order; numbers and identifiers are not among them."""
    stems: frozenset[str]
    """Of `content`."""
    vocabulary: frozenset[str]
    """Stems of all words; `~on` beside `on` where that belongs to a verb."""
    numbers: frozenset[str]
    """`1000`, `0.5`, `15:30`, `>5` for `more than five`."""
    units: frozenset[tuple[str, str]]
    """(dimension, unit)."""
    identifiers: frozenset[str]
    """URLs, addresses, paths, versions, codes."""
    quotes: frozenset[str]
    """What stands between quotation marks, in lower case."""
    negations: int
    """How many, those of mere doubt (`I do not know`) not counted."""
    question: str
    """The first question word, `how many` and its like included; "" where there is none."""
    names: frozenset[str]
    """Stems of capitalised words that do not begin a sentence."""
    initials: frozenset[str]
    """Of runs of capitalised words: `us` for `United States`."""
    calendar: frozenset[str]
    roles: Mapping[str, str]
    """Content stem or number to the direction it has in a movement or in time: `from`, `to`, `before`, `after`."""
    owners: Mapping[str, str]
    """Content stem to the grammatical person that it belongs to or is done to."""
    sequence: tuple[tuple[str, bool], ...]
    """Stems of all words in order, each with whether it is one of `items`."""
    items: tuple[str, ...]
    """Content stems, numbers and identifiers in order."""


_QUOTED: Final = re.compile(r"\"([^\"\n]{1,200}+)\"|`([^`\n]{1,200}+)`|(?<![^\s(])'([^'\n]{1,100}+)'(?![^\s).,;:?!])")


def read(text: str) -> Reading:
    """Bounded: of a longer text the first `READ_CHARS` are read."""
    plain = unified(text[:READ_CHARS])
    if plain.isupper():
        plain = plain.lower()
    tokens: list[Token] = []
    begins: list[bool] = []
    begin = True
    for chunk in (plain.replace("\n", " . ") if "\n" in plain else plain).split():
        run = taken_apart(chunk)
        for token in run.tokens:
            tokens.append(token)
            begins.append(begin)
            begin = False
        begin = begin or run.ends
    return _reading(text, plain, tokens, begins)


def _reading(text: str, plain: str, tokens: list[Token], begins: list[bool]) -> Reading:
    numbers, units = _numbers(tokens)
    names, initials = _names(tokens, begins)
    content = tuple([token.stem for token in tokens if token.content])
    roles, owners = _governed(tokens)
    sequence = tuple([(token.stem, token.content or bool(token.number or token.identifier)) for token in tokens])
    return Reading(
        text=text,
        words=tuple([token.word for token in tokens]),
        content=content,
        stems=frozenset(content),
        vocabulary=frozenset([token.stem for token in tokens] + _particles(tokens)),
        numbers=numbers,
        units=units,
        identifiers=frozenset([token.identifier for token in tokens if token.identifier]),
        quotes=_quotes(plain),
        negations=_negations(tokens),
        question=_question(tokens),
        names=names,
        initials=initials,
        calendar=_calendar(tokens, begins),
        roles=roles,
        owners=owners,
        sequence=sequence,
        items=tuple([stem for stem, is_item in sequence if is_item]),
    )


def _quotes(plain: str) -> frozenset[str]:
    if '"' not in plain and "'" not in plain and "`" not in plain:
        return _NONE
    return frozenset([" ".join("".join(found).lower().split()).strip(" .,?!") for found in _QUOTED.findall(plain)])


_NONE: Final[frozenset[str]] = frozenset()


def _particles(tokens: Sequence[Token]) -> list[str]:
    """`~on` for `turn on`, and for one that closes the text (`turn the light on`)."""
    last = len(tokens) - 1
    return [
        f"~{token.word}"
        for index, token in enumerate(tokens)
        if token.word in PARTICLES
        and (index == last or token.word == "off" or (index and tokens[index - 1].word in PARTICLE_VERBS))
    ]


def _negations(tokens: Sequence[Token]) -> int:
    places = [index for index, token in enumerate(tokens) if token.negates]
    return sum([all(token.word not in DOUBTS for token in tokens[place + 1 : place + 4]) for place in places])


def _question(tokens: Sequence[Token]) -> str:
    for index, token in enumerate(tokens):
        if token.question:
            behind = tokens[index + 1].word if index + 1 < len(tokens) else ""
            if token.question == "how":
                return f"how {behind}" if behind in MEASURES else "why" if behind == "come" else "how"
            return "when" if token.question == "what" and behind in ("time", "date", "day") else token.question
    return ""


def _numbers(tokens: Sequence[Token]) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    units = {token.unit for token in tokens if token.unit}
    if not any(token.number or token.scale for token in tokens):
        return _NONE, frozenset(units)
    found: set[str] = set()
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if not token.number and not token.scale:
            index += 1
            continue
        start = index
        value, index = _spelled(tokens, index) if token.spelled or token.scale else _digits(tokens, index)
        behind = tokens[index].word if index < len(tokens) else ""
        unit = UNITS.get(behind)
        if unit is not None:
            units.add(unit)
        if behind in ("am", "pm") and value.isdigit() and int(value) <= 12:
            value = f"{int(value) % 12 + (12 if behind == 'pm' else 0)}:00"
        # "One" alone is mostly a pronoun.
        pronoun = token.word == "one" and index == start + 1 and ":" not in value
        if not pronoun or unit is not None or behind in _COUNTED:
            found.add(_bound(tokens[max(0, start - 2) : start]) + value)
    return frozenset(found), frozenset(units)


def _bound(before: Sequence[Token]) -> str:
    """`>` for a number behind `after` or `more than`, `<` for one behind `before` or `at most`; else nothing."""
    words = [token.word for token in before if token.word not in ("$", "the")]
    if words and words[-1] in BOUNDS:
        return BOUNDS[words[-1]]
    return BOUNDS.get(" ".join(words), "")


_COUNTED: Final = words("way person people time night star stars point points ticket bedroom room")
"""Behind `one` these make it a number."""


def _digits(tokens: Sequence[Token], index: int) -> tuple[str, int]:
    number = tokens[index].number
    index += 1
    if index < len(tokens) and tokens[index].scale and ":" not in number and number.count("-") < 1:
        number = canonical(Decimal(number) * tokens[index].scale)
        index += 1
    return number, index


def _spelled(tokens: Sequence[Token], index: int) -> tuple[str, int]:
    """`two hundred and five thousand` and its like; gives the index behind it."""
    total, group = 0, -1
    while index < len(tokens):
        token = tokens[index]
        if token.scale:
            group = max(group, 1) * token.scale
            if token.scale >= 1000:
                total, group = total + group, 0
        elif token.spelled and token.word != "second":
            value = int(token.number)
            # "five six" are two numbers.
            if group >= 0 and not _goes_on(group, value):
                break
            group = max(group, 0) + value
        elif token.spelled and group < 0:
            group = 2
        elif not (token.word == "and" and group >= 100 and index + 1 < len(tokens) and tokens[index + 1].spelled):
            break
        index += 1
    return str(total + max(group, 0)), index


def _goes_on(group: int, value: int) -> bool:
    return (group % 100 == 0 and value < 100) or (group % 100 >= 20 and group % 10 == 0 and 0 < value < 10)


def _names(tokens: Sequence[Token], begins: Sequence[bool]) -> tuple[frozenset[str], frozenset[str]]:
    capitals = [index for index, token in enumerate(tokens) if token.capital]
    if not capitals or _is_title_case(tokens, begins):
        return _NONE, _NONE
    names: set[str] = set()
    initials: set[str] = set()
    run = ""
    behind = -2
    for index in capitals:
        token = tokens[index]
        run = run + token.word[0] if index == behind + 1 else token.word[0]
        behind = index
        if len(run) > 1:
            initials.add(run)
        if token.content and not token.calendar and (not begins[index] or token.capitals):
            names.add(token.stem)
        elif token.capitals and token.word in _NAMES_IN_CAPITALS:
            names.add(token.word)
    return frozenset(names), frozenset(initials)


_TITLE_CASE: Final = 0.7
"""Share of capitals among the longer words."""

_NAMES_IN_CAPITALS: Final = words("us it who am ok")


def _is_title_case(tokens: Sequence[Token], begins: Sequence[bool]) -> bool:
    """Or all in capitals: nothing is said by a capital there."""
    words = [token for token in tokens if token.word.isalpha()]
    if len(words) > 1 and all(token.capital for token in words):
        return True
    longer = [token.capital for token, begin in zip(tokens, begins, strict=True) if not begin and len(token.word) > 3]
    return len(longer) > 2 and sum(longer) >= _TITLE_CASE * len(longer)


def _calendar(tokens: Sequence[Token], begins: Sequence[bool]) -> frozenset[str]:
    found = set()
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        if token.calendar:
            if token.word not in DOUBTFUL or _is_date(tokens, index, begins[index]):
                found.add(token.calendar)
        elif token.word in SPANS and before is not None and before.word in SHIFTS:
            found.add(f"{SHIFTS[before.word]} {token.word}")
    return frozenset(found) if found else _NONE


def _is_date(tokens: Sequence[Token], index: int, begins: bool) -> bool:
    token = tokens[index]
    before = tokens[index - 1] if index else None
    behind = tokens[index + 1] if index + 1 < len(tokens) else None
    if before is not None and (before.number or (before.word in BEFORE_A_DATE and token.word != "am")):
        return True
    if token.word == "am":
        return False
    return (behind is not None and bool(behind.number)) or (token.capital and not token.capitals and not begins)


def _governed(tokens: Sequence[Token]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What stands right behind a preposition of direction, what behind a possessive up to the next function word, and
    what right before an object (`call me`)."""
    roles: dict[str, str] = {}
    owners: dict[str, str] = {}
    role = owner = before = ""
    for token in tokens:
        if token.word in ROLES:
            role, owner = ROLES[token.word], ""
        elif token.content or token.number or token.identifier:
            if role:
                roles[token.stem] = role
            if owner:
                owners[token.stem] = owner
            role, before = "", token.stem
            continue
        else:
            if before and token.word in OBJECTS:
                owners[before] = OBJECTS[token.word]
            owner = POSSESSIVES.get(token.word, "")
            role = role if owner or token.word in ("the", "a", "an") else ""
        before = ""
    return roles, owners
