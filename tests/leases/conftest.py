"""Replicas with patience: what is waited for in these tests comes by itself, or the test makes it come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.leases import SOON_S, Replica


@pytest.fixture
async def a(redis_url: str) -> AsyncIterator[Replica]:
    async with Replica(redis_url) as replica:
        yield replica


@pytest.fixture
async def b(redis_url: str) -> AsyncIterator[Replica]:
    async with Replica(redis_url) as replica:
        yield replica


@pytest.fixture
async def c(redis_url: str) -> AsyncIterator[Replica]:
    async with Replica(redis_url) as replica:
        yield replica


@pytest.fixture
async def mortal(redis_url: str) -> AsyncIterator[Replica]:
    """One whose leases end soon when it does not renew them."""
    async with Replica(redis_url, ttl_s=SOON_S) as replica:
        yield replica


@pytest.fixture
async def heir(redis_url: str) -> AsyncIterator[Replica]:
    """One that soon takes a silent holder for gone."""
    async with Replica(redis_url, ttl_s=SOON_S) as replica:
        yield replica
