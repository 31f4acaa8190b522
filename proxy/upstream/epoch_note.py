"""What is known of an upstream's endpoints, as replicas tell it each other in one small note.

Two replicas that look at the same endpoints come to the same state, in whatever order they hear of each other: of each
fact the one of the later turn holds (a turn is one more than that of what it replaces, so no clock takes part), of two
of the same turn the greater, and a time the weights were gone at is the latest of both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

VERSION: Final = 1
"""Of the note's form: one of another is as good as none."""

MOST_MODELS: Final = 1000
"""Models of one endpoint whose fingerprints are remembered, the latest ones."""

MOST_USUAL: Final = 4096
"""Identities whose usual fingerprint is remembered, the latest ones. Each new version, root or length of a model is
one: years of a busy installation."""


@dataclass(frozen=True, slots=True)
class Known:
    """Of one endpoint, by its address."""

    turn: int = 0
    version: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    """Served name to a digest of its card."""
    gone: bool = False
    """Its weights are given up now."""
    discarded_at: float = 0.0
    """When that last began, Unix seconds; 0 for never."""


@dataclass(frozen=True, slots=True)
class Print:
    """The last fingerprint that came from an origin for a model."""

    turn: int
    identity: str
    """Digest of what the endpoint said it was then: of another identity it says nothing."""
    text: str


@dataclass(slots=True)
class Note:
    """The state."""

    endpoints: dict[str, Known] = field(default_factory=dict)
    prints: dict[str, dict[str, Print]] = field(default_factory=dict)
    """By origin and model."""
    usual: dict[str, str] = field(default_factory=dict)
    """Digest of an identity to the first fingerprint that was seen with it."""

    def merge(self, other: Note) -> None:
        """Take over what the other, which is the one in the store, knows better; what is usual, it decides."""
        for address, theirs in other.endpoints.items():
            ours = self.endpoints.get(address)
            self.endpoints[address] = theirs if ours is None else _later_known(ours, theirs)
        for origin, prints in other.prints.items():
            here = self.prints.setdefault(origin, {})
            for model, print_ in prints.items():
                mine = here.get(model)
                here[model] = print_ if mine is None else max(mine, print_, key=_rank_of_print)
        self.usual |= other.usual

    def insist(self, seen: Note) -> None:
        """What was seen here just now holds, whatever others wrote meanwhile without knowing of it."""
        for address, known in seen.endpoints.items():
            now = self.endpoints.get(address, known)
            latest = max(known.discarded_at, now.discarded_at)
            if replace(known, turn=now.turn, discarded_at=latest) != now:
                self.endpoints[address] = replace(known, turn=now.turn + 1, discarded_at=latest)
        for origin, prints in seen.prints.items():
            here = self.prints.setdefault(origin, {})
            for model, print_ in prints.items():
                last = here.get(model, print_)
                if replace(print_, turn=last.turn) != last:
                    here[model] = replace(print_, turn=last.turn + 1)

    def keep_only(self, addresses: Collection[str], origins: Collection[str]) -> None:
        """Forget endpoints that are not configured."""
        self.endpoints = {each: known for each, known in self.endpoints.items() if each in addresses}
        self.prints = {each: prints for each, prints in self.prints.items() if each in origins}

    def trim(self) -> None:
        """Forget the oldest of what there is too much of."""
        for prints in self.prints.values():
            _drop_oldest(prints, MOST_MODELS)
        _drop_oldest(self.usual, MOST_USUAL)

    def written(self) -> bytes:
        """As JSON."""
        endpoints = {
            address: [known.turn, known.version, dict(known.models), known.gone, known.discarded_at]
            for address, known in self.endpoints.items()
        }
        prints = {
            origin: {model: [print_.turn, print_.identity, print_.text] for model, print_ in prints.items()}
            for origin, prints in self.prints.items()
        }
        return orjson.dumps({"version": VERSION, "endpoints": endpoints, "prints": prints, "usual": self.usual})

    @classmethod
    def read(cls, text: bytes) -> Note | None:
        """None for what `written` cannot have made."""
        try:
            members: dict[str, Any] = orjson.loads(text)
            if members["version"] != VERSION:
                return None
            return cls(
                {_text(address): _known(*values) for address, values in members["endpoints"].items()},
                {
                    _text(origin): {_text(model): _print(*values) for model, values in prints.items()}
                    for origin, prints in members["prints"].items()
                },
                {_text(identity): _text(print_) for identity, print_ in members["usual"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def _later_known(one: Known, other: Known) -> Known:
    later = max(one, other, key=_rank_of_known)
    return replace(later, discarded_at=max(one.discarded_at, other.discarded_at))


def _rank_of_known(known: Known) -> tuple[int, str, str, bool]:
    return known.turn, known.version, str(sorted(known.models.items())), known.gone


def _rank_of_print(print_: Print) -> tuple[int, str, str]:
    return print_.turn, print_.identity, print_.text


def _drop_oldest(members: dict[str, Any], most: int) -> None:
    for name in list(members)[: max(0, len(members) - most)]:
        del members[name]


def _known(turn: object, version: object, models: object, gone: object, discarded_at: object) -> Known:
    if type(models) is not dict or type(gone) is not bool or type(discarded_at) is not float:
        raise TypeError
    cards = {_text(name): _text(card) for name, card in models.items()}
    return Known(_turn(turn), _text(version), cards, gone, discarded_at)


def _print(turn: object, identity: object, text: object) -> Print:
    return Print(_turn(turn), _text(identity), _text(text))


def _turn(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value
