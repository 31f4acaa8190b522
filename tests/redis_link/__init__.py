"""Tests of the way to Redis, on a real one, and what they share: ways to get there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.redis_link.client import Access, connect
from proxy.redis_link.link import Link
from proxy.settings.redis_address import RedisAddress, without_password

PATIENT_S = 60.0
"""A limit that only a broken program reaches."""

SHORT_S = 0.02
"""A limit for what never answers."""


def access_to(url: str, **other: Any) -> Access:
    """How to get to the Redis of an address."""
    address, password = without_password(url)
    given: dict[str, Any] = {"connect_timeout_s": PATIENT_S, "password": password or None}
    return Access(RedisAddress.parse(address), **given | other)


def link_to(
    url: str, *, limit_s: float = PATIENT_S, breaker_failures: int = 3, connections: int = 4, **other: Any
) -> Link:
    """A link that nobody has probed yet."""
    access = access_to(url, **other)
    return Link(
        connect(access),
        limit_s=limit_s,
        connections=connections,
        breaker_failures=breaker_failures,
        shown=str(access.address),
    )


async def until(condition: Callable[[], bool]) -> None:
    """What happens in another process, or at the other end of a connection, cannot be awaited, only asked after."""
    while not condition():
        await asyncio.sleep(0.01)
