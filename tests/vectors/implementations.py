"""Every vector index there is, for the contract. A new one is one line in `IMPLEMENTATIONS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from proxy.vectors.base import VectorIndex
from proxy.vectors.embedded import EmbeddedIndex
from tests.vectors import DIMENSIONS
from tests.vectors.redis_points import RedisPoints


class Make(Protocol):
    """Makes an index, not opened yet. All that one test makes are on the same data."""

    def __call__(self, identity: str, clock: Callable[[], float]) -> VectorIndex: ...


async def at_once(index: VectorIndex) -> None:
    """Nothing has to be waited for."""


@dataclass(frozen=True)
class Implementation:
    """prepare: what its data needs (a path, a server), by pytest's fixtures.
    settled: until an index that was opened has found what there is, and what was added is found."""

    prepare: Callable[[pytest.FixtureRequest], Make]
    settled: Callable[[VectorIndex], Awaitable[None]] = at_once
    durable: bool = True
    """What one of them added is found by the next."""


def embedded(request: pytest.FixtureRequest) -> Make:
    path = request.getfixturevalue("tmp_path") / "data" / "cache.vectors.db"
    return lambda identity, clock: EmbeddedIndex(path, identity=identity, dimensions=DIMENSIONS, clock=clock)


def embedded_graph(request: pytest.FixtureRequest) -> Make:
    path = request.getfixturevalue("tmp_path") / "data" / "cache.vectors.db"
    return lambda identity, clock: EmbeddedIndex(
        path, identity=identity, dimensions=DIMENSIONS, exact_search=0, clock=clock
    )


def embedded_memory(_request: pytest.FixtureRequest) -> Make:
    return lambda identity, clock: EmbeddedIndex(None, identity=identity, dimensions=DIMENSIONS, clock=clock)


async def embedded_settled(index: VectorIndex) -> None:
    assert isinstance(index, EmbeddedIndex)
    await index.settled()


def redis(request: pytest.FixtureRequest) -> Make:
    url = request.getfixturevalue("redis_url")
    return lambda identity, clock: RedisPoints(url, identity=identity, clock=clock)


async def redis_settled(index: VectorIndex) -> None:
    assert isinstance(index, RedisPoints)
    await index.settled()


IMPLEMENTATIONS: dict[str, Implementation] = {
    "embedded": Implementation(embedded, embedded_settled),
    "embedded, graph": Implementation(embedded_graph, embedded_settled),
    "embedded, memory only": Implementation(embedded_memory, embedded_settled, durable=False),
    "redis": Implementation(redis, redis_settled),
}
