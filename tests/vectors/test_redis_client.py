"""redis-py's interface over our link."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redis_link.link import Link, LinkDown
from proxy.vectors.redis_client import LinkedRedis
from tests.redis_link import link_to


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    made = link_to(redis_url)
    await made.run([("PING",)], probe=True)
    yield made
    await made.close()


async def test_a_reply_is_read_as_redis_py_reads_it(link: Link) -> None:
    client = LinkedRedis(link)
    assert await client.execute_command("SET", "a", "b") is True
    assert await client.get("a") == b"b"
    assert (await client.info("server"))["redis_mode"] == "standalone"


async def test_a_refusal_is_raised(link: Link) -> None:
    client = LinkedRedis(link)
    await client.set("a", "b")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.execute_command("LPUSH", "a", "b")


async def test_a_broken_link_is_a_connection_error_with_its_cause() -> None:
    link = link_to("redis://127.0.0.1:1/0")  # nobody has probed it: it is left alone
    with pytest.raises(RedisConnectionError) as failure:
        await LinkedRedis(link).ping()
    assert isinstance(failure.value.__cause__, LinkDown)
    await link.close()


async def test_it_opens_no_connection_of_its_own(link: Link) -> None:
    client = LinkedRedis(link)
    await client.ping()
    assert client.connection_pool._available_connections == []
    await client.aclose()
