"""The link: every failure has a reason, and a Redis in trouble is left alone until a probe gets through."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.exceptions import ResponseError

from proxy.breaker import State
from proxy.redis_link.link import Link, LinkDown
from proxy.redis_link.script import Command
from tests.redis_link import SHORT_S, link_to
from tests.redis_servers import RedisServer, free_port
from tests.slow_wire import SlowWire

Linked = Callable[..., Link]

PING = [("ECHO", "x")]


@pytest.fixture
async def linked() -> AsyncIterator[Linked]:
    """`linked(url)`: a link that is closed when the test is over."""
    async with AsyncExitStack() as stack:

        def link_one(url: str, **other: Any) -> Link:
            link = link_to(url, **other)
            stack.push_async_callback(link.close)
            return link

        yield link_one


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[SlowWire]:
    """The network in front of Redis."""
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with SlowWire("127.0.0.1", port) as wire:
        yield wire


@pytest.fixture
async def far_link(wire: SlowWire, linked: Linked) -> Link:
    """One behind the wire that is up, has a short limit and opens at the third failure."""
    link = linked(f"redis://127.0.0.1:{wire.port}/0", limit_s=SHORT_S)
    await link.run(PING, probe=True, limit_s=60.0)
    return link


async def unreachable(wire: SlowWire) -> None:
    """Until it is not `refusing` any more."""
    wire.refusing = True
    await wire.cut()


async def down(link: Link, *, probe: bool = False, **other: Any) -> LinkDown:
    """The failure that a batch ends with."""
    with pytest.raises(LinkDown) as raised:
        await link.run(other.pop("commands", PING), probe=probe, **other)
    return raised.value


async def opened_by_failures(link: Link, wire: SlowWire) -> None:
    await unreachable(wire)
    for _ in range(3):
        await down(link)
    wire.refusing = False
    assert link.breaker.state is State.OPEN


# --- reasons


async def test_a_redis_that_is_not_there_is_unreachable(linked):
    link = linked(f"redis://127.0.0.1:{free_port()}/0")
    failure = await down(link, probe=True)
    assert failure.reason == "unreachable"
    assert link.shown in str(failure)
    assert link.failures == {"timeout": 0, "unreachable": 1, "refused": 0, "not_ready": 0}


async def test_a_reply_that_does_not_come_in_time_is_a_timeout(far_link, wire):
    wire.frozen = True
    failure = await down(far_link)
    assert failure.reason == "timeout"
    assert "no answer in 20 ms" in str(failure)
    assert far_link.failures["timeout"] == 1


async def test_a_batch_may_be_given_more_time(far_link, wire):
    wire.delay_s = 2 * SHORT_S
    assert await far_link.run(PING, limit_s=60.0) == [b"x"]
    assert (await down(far_link)).reason == "timeout"


async def test_a_connection_that_cannot_be_made_in_time_is_a_timeout(wire, linked):
    wire.frozen = True
    link = linked(f"redis://127.0.0.1:{wire.port}/0", connect_timeout_s=SHORT_S)
    assert (await down(link, probe=True)).reason == "timeout"


@pytest.mark.parametrize("password", ["wrong", None], ids=["a wrong password", "no password"])
async def test_a_credential_that_is_not_taken_is_a_refusal_that_says_where_to_look(own_redis, linked, password):
    server = own_redis(search=False, password="the right one")
    link = linked(f"redis://127.0.0.1:{server.port}/0", password=password)
    failure = await down(link, probe=True)
    assert failure.reason == "refused"
    assert "store.redis.username and password" in str(failure)


async def test_a_database_that_is_not_there_is_a_refusal(own_redis, linked):
    server = own_redis(search=False, arguments=("--databases", 1))
    failure = await down(linked(server.url.replace("/0", "/9")), probe=True)
    assert failure.reason == "refused"
    assert "out of range" in str(failure)


async def test_a_replica_is_not_ready(own_redis, linked):
    server = own_redis(search=False)
    link = linked(server.url)
    await link.run([("SET", "key", "value")], probe=True)
    server.raw("REPLICAOF", "127.0.0.1", free_port())
    failure = await down(link, commands=[("SET", "key", "value")])
    assert failure.reason == "not_ready"
    assert "read only replica" in str(failure)


async def test_one_that_loads_is_not_ready(own_redis, linked):
    server = own_redis(search=False, arguments=("--enable-debug-command", "yes", "--rdbcompression", "no"))
    for key in range(50):
        server.raw("SET", key, random.Random(key).randbytes(4000))
    server.config("loading-process-events-interval-bytes", 1024)
    server.config("key-load-delay", 10_000)  # microseconds for each
    link = linked(server.url, breaker_failures=1000)
    await link.run(PING, probe=True)
    reloading = asyncio.create_task(asyncio.to_thread(server.raw, "DEBUG", "RELOAD"))
    assert (await refused_while(reloading, link)).reason == "not_ready"
    server.config("key-load-delay", 0)
    await reloading
    assert await link.run(PING) == [b"x"]


async def refused_while(busy: asyncio.Task[Any], link: Link) -> LinkDown:
    while not busy.done():
        try:
            await link.run([*PING, ("GET", 1)])
        except LinkDown as failure:
            return failure
    pytest.fail("it was never refused")


async def test_a_cluster_without_all_of_its_slots_is_not_ready(own_redis, linked):
    server = own_redis(search=False, arguments=("--cluster-enabled", "yes", "--cluster-port", free_port()))
    failure = await down(linked(server.url), commands=[("GET", "key")], probe=True)
    assert failure.reason == "not_ready"


async def test_a_server_that_dies_is_unreachable(own_redis, linked):
    server = own_redis(search=False)
    link = linked(server.url)
    await link.run(PING, probe=True)
    server.kill()
    assert (await down(link)).reason == "unreachable"


async def test_what_redis_refuses_of_one_command_is_a_reply_and_no_failure(linked, redis_url):
    link = linked(redis_url, breaker_failures=1)
    await link.run(PING, probe=True)
    refused, after = await link.run([("SET", "key"), ("ECHO", "x")])
    assert isinstance(refused, ResponseError)
    assert after == b"x"
    assert link.breaker.closed
    assert sum(link.failures.values()) == 0


async def test_who_is_cancelled_is_no_failure_of_redis(far_link, wire):
    wire.frozen = True
    for _ in range(3):
        waits = asyncio.create_task(far_link.run(PING, limit_s=60.0))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    assert far_link.breaker.closed
    assert sum(far_link.failures.values()) == 0


SECRET = "a password that nobody may see"


@pytest.mark.parametrize(
    "url",
    [
        "redis://{secret}127.0.0.1:{port}/0",
        "redis+sentinel://{secret}127.0.0.1:{port}/main",
        "redis+cluster://{secret}127.0.0.1:{port}",
    ],
    ids=["single", "sentinel", "cluster"],
)
@pytest.mark.parametrize("listening", [True, False], ids=["refusing", "dead"])
async def test_no_message_shows_a_password(own_redis, linked, url, listening):
    port = own_redis(search=False, password="another").port if listening else free_port()
    address = url.format(secret=f"user:{SECRET.replace(' ', '%20')}@", port=port)
    link = linked(address, sentinel_username="user", sentinel_password=SECRET)
    failure = await down(link, probe=True)
    assert failure.reason in ("refused", "unreachable")
    for said in (*traceback.format_exception(failure), repr(failure), link.breaker.why):
        assert SECRET not in said
    assert "ConnectionPool" not in link.breaker.why
    assert len(link.breaker.why) <= 300


# --- the breaker


async def test_until_the_first_probe_went_well_nothing_is_asked(redis_url, linked):
    link = linked(redis_url)
    assert "not connected yet" in str(await down(link))
    assert await link.run(PING, probe=True) == [b"x"]
    assert await link.run(PING) == [b"x"]


async def test_after_so_many_failures_it_fails_at_once_without_touching_the_network(far_link, wire):
    await opened_by_failures(far_link, wire)
    assert far_link.breaker.openings == 1
    with pytest.raises(LinkDown, match="left alone for now: "):
        far_link.run(PING).send(None)  # to its first wait, of which there is none
    assert far_link.failures["unreachable"] == 3  # what is not asked is no failure


async def test_failures_that_are_not_in_a_row_leave_it_closed(far_link, wire):
    for _ in range(3):
        await unreachable(wire)
        await down(far_link)
        await down(far_link)
        wire.refusing = False
        assert await far_link.run(PING, limit_s=60.0) == [b"x"]
    assert far_link.breaker.closed


async def test_a_probe_closes_it(far_link, wire):
    await opened_by_failures(far_link, wire)
    assert await far_link.run(PING, probe=True, limit_s=60.0) == [b"x"]
    assert far_link.breaker.closed
    assert await far_link.run(PING, limit_s=60.0) == [b"x"]


async def test_while_a_probe_is_under_way_nothing_else_is_asked(far_link, wire):
    await opened_by_failures(far_link, wire)
    wire.frozen = True
    probe = asyncio.create_task(far_link.run(PING, probe=True, limit_s=60.0))
    await asyncio.sleep(0)
    assert far_link.breaker.state is State.HALF_OPEN
    with pytest.raises(LinkDown):
        far_link.run(PING).send(None)
    wire.frozen = False
    assert await probe == [b"x"]


async def test_a_probe_that_fails_keeps_it_open(far_link, wire):
    await opened_by_failures(far_link, wire)
    await unreachable(wire)
    await down(far_link, probe=True)
    assert far_link.breaker.state is State.OPEN
    assert far_link.breaker.openings == 1


async def test_a_probe_that_was_cancelled_does_not_keep_the_next_from_closing_it(far_link, wire):
    await opened_by_failures(far_link, wire)
    wire.frozen = True
    probe = asyncio.create_task(far_link.run(PING, probe=True, limit_s=60.0))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait([probe])
    wire.frozen = False
    await far_link.run(PING, probe=True, limit_s=60.0)
    assert far_link.breaker.closed


async def test_a_refused_probe_keeps_it_open_until_it_is_not_refused_any_more(own_redis, linked):
    server: RedisServer = own_redis(search=False, users={"app": "on >its-password ~* +@all -set"})
    link = linked(server.url_as("app", "its-password"))
    failure = await down(link, commands=[*PING, ("SET", "key", "value")], probe=True)
    assert failure.reason == "refused"
    assert "set" in str(failure)
    assert link.breaker.state is State.OPEN
    server.raw("ACL", "SETUSER", "app", "+set")
    assert await link.run([("SET", "key", "value")], probe=True) == [b"OK"]
    assert link.breaker.closed


# --- scanning


async def test_a_scan_gives_keys(redis_url, linked):
    link = linked(redis_url)
    await link.run([("SET", "a:1", "x"), ("SET", "b:1", "x")], probe=True)
    assert [keys async for keys in link.scan("a:*")] == [[b"a:1"]]


async def test_a_scan_is_left_alone_and_fails_as_a_batch_does(far_link, wire):
    await unreachable(wire)
    for _ in range(3):
        with pytest.raises(LinkDown) as raised:
            await anext(far_link.scan("*"))
        assert raised.value.reason == "unreachable"
    with pytest.raises(LinkDown, match="left alone"):
        await anext(far_link.scan("*"))


async def test_a_scan_that_is_not_permitted_is_refused(own_redis, linked):
    server = own_redis(search=False, users={"app": "on >its-password ~* +@all -scan"})
    link = linked(server.url_as("app", "its-password"))
    await link.run(PING, probe=True)
    with pytest.raises(LinkDown) as raised:
        await anext(link.scan("*"))
    assert raised.value.reason == "refused"


async def test_a_connection_that_is_refused_is_said_in_plain_words(linked: Linked) -> None:
    port = free_port()
    failure = await down(linked(f"redis://127.0.0.1:{port}/0"), probe=True)
    assert failure.message == f"redis://127.0.0.1:{port}/0: cannot connect: Connection refused"


async def test_only_so_many_connections_are_used_at_once_by_whoever_asks(redis_url: str, linked: Linked) -> None:
    link = linked(redis_url, connections=3)
    await link.run(PING, probe=True)
    count: Command = ("CLIENT", "LIST", "TYPE", "normal")
    replies = await asyncio.gather(*(link.run([("ECHO", str(number)), count]) for number in range(200)))
    assert [reply[0] for reply in replies] == [str(number).encode() for number in range(200)]
    assert max(reply[1].count(b"\n") for reply in replies) <= 3 + 1  # and the one that looks on, where there is one


async def test_who_waits_for_a_connection_is_told_when_redis_is_given_up(wire: SlowWire, linked: Linked) -> None:
    link = linked(f"redis://127.0.0.1:{wire.port}/0", limit_s=SHORT_S, connect_timeout_s=SHORT_S, connections=1)
    await link.run(PING, probe=True, limit_s=60.0)
    wire.frozen = True
    ended = await asyncio.gather(*(link.run(PING) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(each, LinkDown) for each in ended)
    assert link.failures["timeout"] == 3


async def test_who_listens_takes_nobodys_connection(redis_url: str, linked: Linked) -> None:
    link = linked(redis_url, connections=1)
    await link.run(PING, probe=True)
    listening = asyncio.create_task(link.run([("BLPOP", "to-be-heard", 0)], limit_s=60.0))
    assert await link.run([("RPUSH", "to-be-heard", "news")]) == [1]
    assert await listening == [[b"to-be-heard", b"news"]]
