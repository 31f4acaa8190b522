"""Scripts: sent by their digest, and in full where Redis does not know them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.redis_link.link import Link
from proxy.redis_link.script import Script, key_of
from tests.redis_link import link_to

SET = Script("redis.call('SET', KEYS[1], ARGV[1]); return ARGV[1]")
GET = Script("return redis.call('GET', KEYS[1])")


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[Link]:
    """One that knows both scripts, to a Redis that knows none."""
    link = link_to(redis_url)
    link.learn(SET, GET)
    await link.run([("SCRIPT", "FLUSH")], probe=True)
    yield link
    await link.close()


def test_a_call_names_the_script_by_its_digest_and_can_be_had_in_full():
    by_digest = SET.call(["key"], "value", 1)
    assert by_digest == ("EVALSHA", SET.sha, 1, "key", "value", 1)
    assert SET.in_full(by_digest) == ("EVAL", SET.text, 1, "key", "value", 1)


def test_the_key_of_a_command_is_its_first_one():
    assert key_of(("HGET", "key", "field")) == "key"
    assert key_of(SET.call(["key", "another"], "value")) == "key"
    assert key_of(SET.in_full(SET.call(["key"], "value"))) == "key"
    assert key_of(("INFO",)) is None
    assert key_of(SET.call([])) is None


async def test_a_script_that_redis_does_not_know_is_sent_in_full_within_the_same_call(link):
    commands = [("ECHO", "a"), SET.call(["key"], "value"), ("ECHO", "b"), GET.call(["key"])]
    assert await link.run(commands) == [b"a", b"value", b"b", b"value"]
    assert link.breaker.closed
    assert sum(link.failures.values()) == 0


async def test_a_script_that_redis_has_forgotten_is_sent_in_full_again(link):
    for _ in range(2):
        assert await link.run([SET.call(["key"], "value")]) == [b"value"]
        await link.run([("SCRIPT", "FLUSH")])


async def test_a_script_that_redis_knows_is_sent_by_its_digest(link, redis_server):
    await link.run([SET.call(["key"], "value")])
    redis_server.raw("CONFIG", "RESETSTAT")
    await link.run([SET.call(["key"], "value")])
    assert {"cmdstat_evalsha", "cmdstat_eval"} & set(redis_server.raw("INFO", "commandstats")) == {"cmdstat_evalsha"}


async def test_what_comes_after_an_unknown_script_on_the_same_key_does_not_overtake_it(link):
    assert await link.run([SET.call(["key"], "value"), ("UNLINK", "key"), ("GET", "key")]) == [b"value", 1, None]


async def test_what_has_to_do_with_another_key_is_done_once(link):
    await link.run([("SET", "another", "0")])
    assert await link.run([("INCR", "another"), SET.call(["key"], "value"), ("INCR", "another")]) == [1, b"value", 2]
    assert await link.run([("GET", "another")]) == [b"2"]


async def test_a_script_that_fails_is_a_refusal_in_its_place(link):
    await link.run([("RPUSH", "list", "x")])
    refused, after = await link.run([GET.call(["list"]), ("ECHO", "after")])
    assert "WRONGTYPE" in str(refused)
    assert after == b"after"
