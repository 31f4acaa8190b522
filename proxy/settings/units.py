"""Durations and sizes as people write them: `30s`, `24h`, `256MiB`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

SECOND = 1.0
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_TIMES = {"ms": 0.001, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZES = {"b": 1} | {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}
_SIZES |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}

# "ms" before "m": the first alternative that fits is taken.
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)")
_TIMES_ONLY = re.compile(rf"(?:{_TIME.pattern} ?)+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?i?b)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def seconds(value: object) -> float:
    """`30s`, `1h30m`, `250ms`, `7d`, or a number of seconds. Raises ValueError for anything else."""
    number = _number(value)
    if number is not None:
        return number
    text = str(value).strip()
    if not _TIMES_ONLY.fullmatch(text):
        raise ValueError("is not a duration: write 250ms, 30s, 5m, 24h or 7d, or a number of seconds")
    return sum(float(amount) * _TIMES[unit] for amount, unit in _TIME.findall(text))


def size(value: object) -> int:
    """`256MiB` (powers of 1024), `1GB` (powers of 1000), or a number of bytes. Raises ValueError for anything else."""
    number = _number(value)
    if number is not None:
        return int(number)
    found = _SIZE.fullmatch(str(value).strip())
    if not found:
        raise ValueError("is not a size: write 64KiB, 256MiB or 4GiB, or a number of bytes")
    amount, unit = found.groups()
    return int(float(amount) * _SIZES[unit.lower()])


def _number(value: object) -> float | None:
    """A plain number that is no truth value, below zero or without end; None for other texts."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, str):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("should be a number with a unit, zero or more")
    return float(value)


def duration_text(value: float) -> str:
    """The shortest whole form: 86400.0 is `1d`, 0.25 is `250ms`."""
    for unit in ("d", "h", "m", "s"):
        amount = value / _TIMES[unit]
        if amount.is_integer() and (amount or unit == "s"):
            return f"{amount:.0f}{unit}"
    return f"{value * 1000:g}ms"


def size_text(value: int) -> str:
    """The shortest whole form in powers of 1024: 4194304 is `4MiB`; else plain bytes."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{unit}"
    return str(value)


@dataclass(frozen=True, slots=True)
class Written:
    """Marks a field whose value people write with a unit; `text` is the way back."""

    text: Callable[[Any], str]


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "5m", "24h"]}),
    Written(duration_text),
]
"""Seconds."""

Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["64KiB", "256MiB"]}),
    Written(size_text),
]
"""Bytes."""
