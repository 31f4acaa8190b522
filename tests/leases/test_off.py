"""A process that shares its store with nobody asks itself, and has nobody to follow."""

from __future__ import annotations

from proxy.leases.base import NOBODY
from proxy.leases.off import NoLeases
from tests.leases import NAME


async def test_nobody_can_be_asked_however_often() -> None:
    leases = NoLeases()
    assert [await leases.take(NAME) for _ in range(2)] == [NOBODY, NOBODY]
    assert (NOBODY.lease, NOBODY.running) == (None, None)
