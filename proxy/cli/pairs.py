"""Files of labelled pairs, as the usual data sets have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxy.calibration import Pair

NAMES: Final = (
    ("a", "b", "equivalent"),
    ("question1", "question2", "is_duplicate"),
    ("text1", "text2", "label"),
    ("sentence1", "sentence2", "label"),
)
"""Two questions, and whether one answer does for both."""

EXPECTED: Final = 'expected {"a": "...", "b": "...", "equivalent": true}, or the columns a,b,equivalent of a CSV'

_TRUE: Final = frozenset(["true", "1", "yes", "1.0"])
_FALSE: Final = frozenset(["false", "0", "no", "0.0"])


class BadPairs(Exception):
    """The file cannot be used; says the line, and none of its words."""


def read_pairs(path: Path) -> list[Pair]:
    """JSON lines, or CSV where the name ends in `.csv`. Raises BadPairs."""
    from proxy.calibration import Pair

    try:
        return [Pair(*_fields(row, f"{path}, line {line}")) for line, row in _rows(path)]
    except OSError as error:
        raise BadPairs(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPairs(f"{path} is not UTF-8") from error


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return _csv(path) if path.suffix.lower() == ".csv" else _json_lines(path)


def _csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise BadPairs(f"{path}, line {reader.line_num}: not CSV; {EXPECTED}") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import json

    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadPairs(f"{path}, line {number}: not JSON; {EXPECTED}") from error
            if not isinstance(row, dict):
                raise BadPairs(f"{path}, line {number}: not a JSON object; {EXPECTED}")
            yield number, row


def _fields(row: Mapping[str, Any], where: str) -> tuple[str, str, bool]:
    for a, b, label in NAMES:
        if a in row and b in row and label in row:
            return _text(row[a], a, where), _text(row[b], b, where), _truth(row[label], label, where)
    raise BadPairs(f"{where}: {EXPECTED}")


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadPairs(f"{where}: {name} has to be a text that is not empty")
    return value


def _truth(value: object, name: str, where: str) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise BadPairs(f"{where}: {name} has to be true or false (1 or 0)")
