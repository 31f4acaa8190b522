"""What an operator is told of a Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.redis_link.survey import Survey, survey
from proxy.settings.redis_address import RedisAddress
from tests.redis_link import link_to
from tests.redis_servers import ClusterSet, RedisServer

GOOD = Survey(
    version="7.4.1",
    policy="allkeys-lfu",
    used_bytes=1 << 20,
    limit_bytes=1 << 30,
    latency_ms=0.2,
    modules=("search",),
    has_engine=True,
    database=0,
)


async def surveyed(url: str) -> Survey:
    link = link_to(url)
    try:
        await link.run([("EXISTS", "up")], probe=True)
        return await survey(link, RedisAddress.parse(url), "askonce:check")
    finally:
        await link.close()


async def test_a_real_server_is_described(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(maxmemory="64mb", policy="allkeys-lfu", search=False)
    found = await surveyed(server.url)
    assert (found.policy, found.limit_bytes, found.has_engine) == ("allkeys-lfu", 64 << 20, False)
    assert found.version[0].isdigit()
    assert found.used_bytes > 0
    assert found.latency_ms > 0
    assert list(found.failures()) == []
    assert [said for said in found.warnings() if "exact matches only" in said]


async def test_the_query_engine_is_seen(own_redis: Callable[..., RedisServer], redis_stack: Any) -> None:
    if not (redis_stack / "lib" / "redisearch.so").exists():
        pytest.skip("the Redis that is installed here has no query engine")
    found = await surveyed(own_redis().url)
    assert found.has_engine
    assert "search" in found.summary


async def test_a_cluster_is_described_too(cluster: ClusterSet) -> None:
    found = await surveyed(cluster.url)
    assert found.version[0].isdigit()
    assert found.policy == "noeviction"


def test_a_good_one_has_nothing_said_against_it() -> None:
    assert list(GOOD.failures()) == list(GOOD.warnings()) == []
    assert "Redis 7.4.1" in GOOD.summary
    assert "allkeys-lfu" in GOOD.summary


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": "noeviction"}, "nothing more is stored"),
        ({"policy": "volatile-ttl"}, "maxmemory-policy is volatile-ttl"),
        ({"limit_bytes": 0}, "maxmemory is not set"),
        ({"has_engine": False}, "exact matches only"),
        ({"database": 3}, "database 3"),
    ],
)
def test_what_should_be_changed_is_a_warning(change: dict[str, Any], said: str) -> None:
    [warning] = replace(GOOD, **change).warnings()
    assert said in warning


@pytest.mark.parametrize(("version", "fails"), [("6.2.14", True), ("7.0.0", False), ("8.0.3", False), ("10.1", False)])
def test_one_that_is_too_old_fails(version: str, fails: bool) -> None:
    assert bool(list(replace(GOOD, version=version).failures())) is fails
