"""Every ledger there is, for the contract. A new one is one line in `IMPLEMENTATIONS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from proxy.ledgers.base import Ledger
from proxy.ledgers.memory import MemoryLedger
from proxy.ledgers.sqlite import SqliteLedger
from tests.ledgers.redis_ledger import OwnLedger

MOST = 20
"""Labels kept for each partition."""

Make = Callable[[], Ledger]
"""Makes a ledger, not opened yet. All that one test makes are on the same data."""


@dataclass(frozen=True)
class Implementation:
    """prepare: what its data needs (a path, a server), by pytest's fixtures. Ledgers of it keep `MOST` labels."""

    prepare: Callable[[pytest.FixtureRequest], Make]
    durable: bool = True
    """What one of them was told is known to the next."""
    shared: bool = False
    """Two can be open at once and hear of each other."""


def memory(_request: pytest.FixtureRequest) -> Make:
    return lambda: MemoryLedger(most=MOST)


def sqlite(request: pytest.FixtureRequest) -> Make:
    path = request.getfixturevalue("tmp_path") / "data" / "cache.labels.db"
    return lambda: SqliteLedger(path, most=MOST)


def redis(request: pytest.FixtureRequest) -> Make:
    url = request.getfixturevalue("redis_url")
    return lambda: OwnLedger(url, most=MOST)


IMPLEMENTATIONS: dict[str, Implementation] = {
    "memory": Implementation(memory, durable=False),
    "sqlite": Implementation(sqlite),
    "redis": Implementation(redis, shared=True),
}
