"""A stream of questions through guards and a verifier, as the proxy does it: the first that comes is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from quality_sets import Stream
from quality_vectors import DIMENSIONS, Vectors

from proxy.eligibility.freshness import freshness
from proxy.eligibility.language import language
from proxy.eligibility.length import length
from proxy.eligibility.words import words
from proxy.evidence import Comparison, Label
from proxy.guards.lex import LEX, LEX2
from proxy.lexis.difference import compare
from proxy.lexis.reading import read
from proxy.settings import Rule
from proxy.types import Asking, Digest, Scope
from proxy.vectors.base import Point
from proxy.vectors.embedded import EmbeddedIndex
from proxy.verifiers.base import Verifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxy.lexis.base import Difference

FLOOR = 0.70
CANDIDATES = 3
AUDIT_RATE = 0.03
PIECES = 200
NEIGHBOURS = 128
"""Nearest texts of the whole set that are known beforehand; past them all that is kept is compared."""
JUDGE_MEASURED = 0.3
"""Labels that measure the judge, of each kind, for each label of a pair: `same` and `other`."""

Guards = str
"""`lex`, `lex2`."""


class Pair(NamedTuple):
    """What is read of two texts."""

    lex: bool
    """Refused by a guard of LEX."""
    lex2: bool
    difference: Difference


class Prepared:
    """A stream's texts, with all that does not depend on the policy."""

    def __init__(self, stream: Stream, vectors: Vectors) -> None:
        self.stream, self.vectors = stream, vectors.vectors
        self._readings = [read(text) for text in stream.texts]
        rule, bars = Rule(), (words, length(PIECES), language(("en",)), freshness)
        self.eligible = [
            bool(whole) and not any(bar(Asking(text, b"", {}), reading, rule) for bar in bars)
            for text, reading, whole in zip(stream.texts, self._readings, vectors.whole, strict=True)
        ]
        self.near, self.similarity = _neighbours(self.vectors)
        self._pairs: dict[tuple[int, int], Pair] = {}

    def pair(self, asked: int, stored: int) -> Pair:
        """Guards and difference, looked at once."""
        key = (asked, stored)
        if key not in self._pairs:
            one, other = self._readings[asked], self._readings[stored]
            lex = any(guard.refuses(one, other) for guard in LEX)
            lex2 = lex or any(guard.refuses(one, other) for guard in LEX2)
            self._pairs[key] = Pair(lex, lex2, compare(one, other))
        return self._pairs[key]

    def right(self, asked: int, stored: int) -> bool:
        return self.stream.label[asked] == self.stream.label[stored]


def _neighbours(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    size, most = len(vectors), min(NEIGHBOURS, len(vectors) - 1)
    near, similarity = np.zeros((size, most), np.int32), np.zeros((size, most), np.float32)
    for begin in range(0, size, 512):
        cosines = vectors[begin : begin + 512] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, begin + rows] = -2
        first = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(cosines, first, 1), axis=1, kind="stable")
        near[begin : begin + 512] = np.take_along_axis(first, order, 1)
        similarity[begin : begin + 512] = np.take_along_axis(cosines, near[begin : begin + 512], 1)
    return near, similarity


class Listed:
    """The nearest kept ones by lists made beforehand: the same as exact search, many times as fast."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._kept = np.zeros(len(prepared.vectors), np.bool_)

    def nearest(self, asked: int) -> list[tuple[int, float]]:
        near, similarity = self._prepared.near[asked], self._prepared.similarity[asked]
        places = np.flatnonzero(self._kept[near])[:CANDIDATES]
        if len(places) == CANDIDATES or not len(near) or similarity[-1] < FLOOR:
            found = [(int(near[place]), float(similarity[place])) for place in places]
        else:
            kept = np.flatnonzero(self._kept)
            cosines = self._prepared.vectors[kept] @ self._prepared.vectors[asked]
            found = [(int(kept[place]), float(cosines[place])) for place in np.argsort(-cosines)[:CANDIDATES]]
        return [each for each in found if each[1] >= FLOOR]

    def keep(self, asked: int) -> None:
        self._kept[asked] = True

    def close(self) -> None:
        """Nothing is open."""


class Indexed:
    """The nearest kept ones by the proxy's own index, in memory."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._loop = asyncio.new_event_loop()
        self._index = EmbeddedIndex(None, identity="quality", dimensions=DIMENSIONS, exact_search=1_000_000)
        self._loop.run_until_complete(self._index.open())
        self._shape, self._scope = Digest(bytes(16)), Scope(bytes(16))

    def nearest(self, asked: int) -> list[tuple[int, float]]:
        vector = self._prepared.vectors[asked]
        found = self._loop.run_until_complete(self._index.nearest(self._shape, vector, most=CANDIDATES, floor=FLOOR))
        return [(int.from_bytes(each.name, "big"), each.similarity) for each in found]

    def keep(self, asked: int) -> None:
        name = Digest(asked.to_bytes(16, "big"))
        text, vector = self._prepared.stream.texts[asked], self._prepared.vectors[asked]
        point = Point(name, self._shape, self._scope, "model", text, vector, kept_until=4e9)
        if not self._loop.run_until_complete(self._index.add(point)):
            raise RuntimeError("the index refused a point")

    def close(self) -> None:
        self._loop.run_until_complete(self._index.close())
        self._loop.close()


class Moment(NamedTuple):
    """How far a run has come."""

    requests: int
    hits: int
    wrong: int


@dataclass
class Outcome:
    """What a policy did with a stream."""

    requests: int = 0
    hits: int = 0
    wrong: int = 0
    audited: int = 0
    course: list[Moment] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests if self.requests else 0.0

    @property
    def wrong_of_hits(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def wrong_of_requests(self) -> float:
        return self.wrong / self.requests if self.requests else 0.0

    def and_also(self, other: Outcome) -> Outcome:
        """Both together; the course is the first one's."""
        return Outcome(
            self.requests + other.requests,
            self.hits + other.hits,
            self.wrong + other.wrong,
            self.audited + other.audited,
            self.course,
        )


def run(
    prepared: Prepared,
    order: Iterable[int],
    verifier: Verifier,
    guards: Guards,
    seed: int,
    mislabelled: float = 0.0,
    index: Callable[[Prepared], Listed | Indexed] = Listed,
) -> Outcome:
    """One request after the other. `mislabelled`: share of the judge's labels that say the contrary."""
    rng, outcome, kept = random.Random(f"{seed} {prepared.stream.title}"), Outcome(), index(prepared)
    for asked in order:
        outcome.requests += 1
        if outcome.requests % 50 == 0:
            outcome.course.append(Moment(outcome.requests, outcome.hits, outcome.wrong))
        if not prepared.eligible[asked]:
            continue
        candidate = first_passing(prepared, asked, kept.nearest(asked), guards)
        if candidate is not None:
            stored, comparison = candidate
            right, serve = prepared.right(asked, stored), verifier.judge(comparison).serve
            audited = serve and rng.random() < AUDIT_RATE
            if serve and not audited:
                outcome.hits += 1
                outcome.wrong += not right
                continue
            outcome.audited += audited
            source = "audit" if audited else "miss"
            verifier.learn(list(_labels(comparison, right, source, outcome.requests, rng, mislabelled)))
        kept.keep(asked)
    kept.close()
    return outcome


def first_passing(
    prepared: Prepared, asked: int, nearest: list[tuple[int, float]], guards: Guards
) -> tuple[int, Comparison] | None:
    """The first candidate that no guard refuses."""
    for stored, similarity in nearest:
        pair = prepared.pair(asked, stored)
        if not (pair.lex2 if guards == "lex2" else pair.lex):
            return stored, Comparison(similarity, pair.difference)
    return None


def _labels(
    comparison: Comparison, right: bool, source: str, at: float, rng: random.Random, mislabelled: float
) -> Iterator[Label]:
    """What the judge says of the pair; now and then also of two answers of which it is known."""
    yield Label(comparison, float(right != (rng.random() < mislabelled)), source, at)
    if mislabelled and rng.random() < JUDGE_MEASURED:
        yield Label(comparison, float(rng.random() >= mislabelled), "same", at)
        yield Label(comparison, float(rng.random() < mislabelled), "other", at)


class Ranked(NamedTuple):
    """A request of a stream where nothing is served: how it looks beside its candidate, and whether that is right."""

    comparison: Comparison
    right: bool


def unserved(prepared: Prepared, order: Iterable[int], guards: Guards = "lex") -> list[Ranked]:
    """Every question is kept; for each that has a candidate, how it looks."""
    kept, found = Listed(prepared), []
    for asked in order:
        if not prepared.eligible[asked]:
            continue
        candidate = first_passing(prepared, asked, kept.nearest(asked), guards)
        if candidate is not None:
            found.append(Ranked(candidate[1], prepared.right(asked, candidate[0])))
        kept.keep(asked)
    return found
