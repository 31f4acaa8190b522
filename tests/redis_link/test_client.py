"""Batches on a real Redis: whatever is cancelled, late or broken, a reply belongs to the command it answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from redis.exceptions import AuthenticationError, DataError, OutOfMemoryError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from proxy.redis_link.client import Client, ClusterClient, connect
from proxy.redis_link.script import Command, Script
from tests.redis_link import PATIENT_S, SHORT_S, access_to, until
from tests.redis_servers import ClusterSet, RedisServer
from tests.slow_wire import SlowWire

Own = Callable[..., RedisServer]
Open = Callable[..., Client]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """`opened(url)`: a client that is closed when the test is over."""
    async with opening() as open_one:
        yield open_one


@asynccontextmanager
async def opening() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        def open_one(url: str, **other: Any) -> Client:
            client = connect(access_to(url, **other))
            stack.push_async_callback(client.close)
            return client

        yield open_one


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[SlowWire]:
    """The network in front of Redis."""
    async with wire_to(redis_url) as wire:
        yield wire


def wire_to(url: str) -> SlowWire:
    return SlowWire("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))


@pytest.fixture
async def client(redis_url: str, opened: Open) -> Client:
    return opened(redis_url)


@pytest.fixture
async def far_client(wire: SlowWire, opened: Open) -> Client:
    """One behind the wire."""
    return opened(f"redis://127.0.0.1:{wire.port}/0")


async def echo(client: Client, *words: str, limit_s: float = PATIENT_S) -> list[str]:
    return [word.decode() for word in await client.run([("ECHO", word) for word in words], limit_s)]


async def scanned(client: Client, pattern: str) -> set[bytes]:
    return {key async for keys in client.scan(pattern, PATIENT_S) for key in keys}


# --- replies


async def test_replies_come_in_the_order_of_the_commands_and_refusals_in_their_place(client):
    commands = [("SET", "key", "a word"), ("INCR", "key"), ("GET", "key"), ("HGET", "key", "field"), ("GET", "none")]
    done, no_number, word, no_hash, nothing = await client.run(commands, PATIENT_S)
    assert (done, word, nothing) == (b"OK", b"a word", None)
    assert isinstance(no_number, ResponseError)
    assert isinstance(no_hash, ResponseError)
    assert await echo(client, "next") == ["next"]


async def test_a_refusal_for_want_of_memory_is_a_value_too(own_redis, opened):
    client = opened(own_redis(search=False, maxmemory=1).url)
    refusal, found = await client.run([("SET", "key", "value"), ("GET", "key")], PATIENT_S)
    assert isinstance(refusal, OutOfMemoryError)
    assert found is None


async def test_batches_one_after_the_other_share_a_connection(client):
    [first] = await client.run([("CLIENT", "ID")], PATIENT_S)
    [second] = await client.run([("CLIENT", "ID")], PATIENT_S)
    assert first == second


async def test_batches_at_once_do_not_wait_for_each_other(client):
    waits = asyncio.create_task(client.run([("BLPOP", "list", 0)], PATIENT_S))
    await client.run([("RPUSH", "list", "what it waits for")], PATIENT_S)
    assert await waits == [[b"list", b"what it waits for"]]


async def test_a_large_batch_goes_through_in_both_directions(client):
    words = [f"{number}-" * 20_000 for number in range(30)]
    assert await echo(client, *words) == words


# --- whose reply it is


async def leave_by_cancelling(batch: Callable[[float], Awaitable[Any]]) -> None:
    task = asyncio.ensure_future(batch(PATIENT_S))
    await asyncio.sleep(SHORT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_timing_out(batch: Callable[[float], Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError):
        await batch(SHORT_S)


leaving = pytest.mark.parametrize("leave", [leave_by_cancelling, leave_by_timing_out])


@leaving
async def test_a_batch_that_was_left_closes_its_connection_and_the_next_gets_its_own_replies(far_client, wire, leave):
    await echo(far_client, "connected")
    wire.frozen = True
    await leave(lambda limit_s: echo(far_client, "too", "late", limit_s=limit_s))
    wire.frozen = False
    assert await echo(far_client, "the", "next") == ["the", "next"]
    await until(lambda: wire.connections == 1)
    assert await echo(far_client, "the one after") == ["the one after"]


@leaving
async def test_a_batch_that_was_left_with_half_of_its_replies_read_is_over_as_well(client, leave):
    batch = [("ECHO", "this one comes"), ("BLPOP", "list", 0), ("ECHO", "and this would come late")]
    await leave(lambda limit_s: client.run(batch, limit_s))
    await client.run([("RPUSH", "list", "what it would have waited for")], PATIENT_S)
    assert await echo(client, "the", "next") == ["the", "next"]


@leaving
async def test_a_reply_of_which_a_part_was_read_is_never_the_begin_of_another(far_client, wire, leave):
    await far_client.run([("SET", "large", bytes(3_000_000))], PATIENT_S)
    wire.delay_s = 2 * SHORT_S  # so that it comes in pieces, and late
    await leave(lambda limit_s: far_client.run([("GET", "large")], limit_s))
    assert await echo(far_client, "the", "next") == ["the", "next"]


@leaving
async def test_a_connection_that_was_never_made_is_let_go_of(far_client, wire, leave, opened):
    impatient = opened(f"redis://127.0.0.1:{wire.port}/0", connect_timeout_s=SHORT_S)
    client = far_client if leave is leave_by_cancelling else impatient
    wire.frozen = True
    await leave(lambda limit_s: echo(client, "too", "late", limit_s=limit_s))
    wire.frozen = False
    await until(lambda: wire.connections == 0)


async def rush(client: Client, seed: int, command: Callable[[str], Command]) -> None:
    """200 callers at once; while answers come in some are cancelled, and some give up: the others get their own.

    `command`: one that is answered with this word.
    """
    seeded = random.Random(seed)
    answered = 0

    async def call(number: int) -> None:
        nonlocal answered
        for turn, limit_s in enumerate((PATIENT_S, PATIENT_S, 0.003, PATIENT_S)):
            words = [f"{number}.{turn}.{place}" for place in range(seeded.randrange(1, 6))]
            with suppress(TimeoutError):
                assert await client.run(list(map(command, words)), limit_s) == [word.encode() for word in words]
                answered += 1
                if answered % 4 == 0:
                    seeded.choice(callers).cancel()

    callers = [asyncio.create_task(call(number)) for number in range(200)]
    ends = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(end) for end in ends} == {type(None), asyncio.CancelledError}


@pytest.mark.parametrize("seed", range(2))
async def test_among_hundreds_of_batches_and_cancellations_every_reply_finds_its_command(far_client, wire, seed):
    wire.delay_s = 0.001
    await rush(far_client, seed, lambda word: ("ECHO", word))
    assert await echo(far_client, "the", "next") == ["the", "next"]


# --- connections that end


async def test_connections_that_the_server_closed_while_idle_are_replaced_unnoticed(client, redis_server):
    three = await asyncio.gather(*(client.run([("CLIENT", "ID"), ("ECHO", "x")], PATIENT_S) for _ in range(3)))
    assert len({number for number, _ in three}) == 3
    for number, _ in three:
        redis_server.raw("CLIENT", "KILL", "ID", number)
    assert await echo(client, "as", "before") == ["as", "before"]


async def test_a_connection_that_was_reset_while_idle_is_replaced_unnoticed(far_client, wire):
    await echo(far_client, "connected")
    await wire.cut()
    assert await echo(far_client, "as", "before") == ["as", "before"]


def test_on_uvloop_a_connection_that_was_reset_while_idle_is_replaced_unnoticed_too(redis_url):
    """Which says so in another way: with a RuntimeError, at the first byte that is written."""

    async def test() -> None:
        async with wire_to(redis_url) as wire, opening() as opened:
            client = opened(f"redis://127.0.0.1:{wire.port}/0")
            await asyncio.gather(*(echo(client, "connected") for _ in range(3)))
            await wire.cut()
            await until(lambda: wire.connections == 0)
            assert await echo(client, "as", "before") == ["as", "before"]
            wire.refusing = True
            await wire.cut()
            with pytest.raises((RedisConnectionError, OSError)):
                await echo(client, "x")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


async def test_a_server_that_was_restarted_is_found_again_at_once(own_redis, opened):
    server = own_redis(search=False)
    client = opened(server.url)
    await asyncio.gather(*(echo(client, "x") for _ in range(3)))
    server.restart()
    assert await echo(client, "as", "before") == ["as", "before"]


async def test_a_new_connection_that_ends_at_once_is_not_tried_again(far_client, wire):
    wire.refusing = True
    with pytest.raises((RedisConnectionError, OSError)):
        await echo(far_client, "x")


async def test_a_connection_that_ends_while_a_batch_is_under_way_raises_when_there_is_no_other(own_redis, opened):
    server = own_redis(search=False)
    client = opened(server.url)
    waits = asyncio.create_task(client.run([("BLPOP", "list", 0)], PATIENT_S))
    await until(lambda: server.raw("INFO", "clients")["blocked_clients"] == 1)
    server.kill()
    with pytest.raises((RedisConnectionError, OSError)):
        await waits


async def test_closing_lets_go_of_idle_connections_and_of_those_in_use_when_they_are_done(far_client, wire):
    await echo(far_client, "connected")
    waits = asyncio.create_task(far_client.run([("BLPOP", "list", 0)], PATIENT_S))
    await far_client.run([("RPUSH", "another list", "x")], PATIENT_S)
    assert wire.connections == 2
    await far_client.close()
    await until(lambda: wire.connections == 1)
    async with SlowWire("127.0.0.1", wire.port) as other_way:
        another = connect(access_to(f"redis://127.0.0.1:{other_way.port}/0"))
        await another.run([("RPUSH", "list", "what it waits for")], PATIENT_S)
        await another.close()
    assert await waits == [[b"list", b"what it waits for"]]
    await until(lambda: wire.connections == 0)
    await far_client.close()


async def test_after_closing_nothing_is_connected_any_more(far_client, wire):
    await far_client.close()
    with pytest.raises(RedisConnectionError, match="is closed"):
        await echo(far_client, "x")
    assert wire.connections == 0


# --- getting in


async def test_with_tls_the_servers_certificate_is_checked(own_redis, opened):
    server = own_redis(search=False, tls=True, password="secret")
    assert await echo(opened(server.url, ca_file=server.ca_file), "x") == ["x"]
    with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        await echo(opened(server.url), "x")


async def test_user_password_and_database_are_those_of_the_address_or_of_the_settings(own_redis, opened):
    server = own_redis(search=False, users={"app": "on >its-password ~* +@all"})
    by_address = opened(server.url_as("app", "its-password").replace("/0", "/3"))
    await by_address.run([("SET", "key", "value")], PATIENT_S)
    assert await by_address.run([("ACL", "WHOAMI"), ("GET", "key")], PATIENT_S) == [b"app", b"value"]
    by_settings = opened(server.url, username="app", password="its-password")
    assert await by_settings.run([("ACL", "WHOAMI"), ("GET", "key")], PATIENT_S) == [b"app", None]
    with pytest.raises(AuthenticationError):
        await echo(opened(server.url, username="app", password="another"), "x")


# --- Sentinel


async def test_sentinels_that_are_dead_or_hang_are_passed_over_and_a_new_master_is_found(sentinels, opened):
    called = 0

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    async with (
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as dead,
        SlowWire("127.0.0.1", sentinels.sentinels[0].port) as hanging,
    ):
        hanging.frozen = True
        before = f"127.0.0.1:{dead.sockets[0].getsockname()[1]},127.0.0.1:{hanging.port},"
        client = opened(sentinels.url.replace("//", f"//{before}"), connect_timeout_s=3.0)
        await client.run([("SET", "key", "value"), ("WAIT", 1, 0)], PATIENT_S)
        assert called == 1
        sentinels.kill_master()
        await asyncio.to_thread(sentinels.wait_for_failover)
        assert await client.run([("GET", "key"), ("SET", "key", "another")], PATIENT_S) == [b"value", b"OK"]
        assert called == 1


# --- Cluster


@pytest.fixture(scope="module")
def one_cluster(redis_stack, tmp_path_factory) -> Iterator[ClusterSet]:
    """One for all tests here, as it takes two seconds to begin: none of them breaks it."""
    with ClusterSet(redis_stack, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
async def in_cluster(one_cluster: ClusterSet, opened: Open) -> Client:
    for node in one_cluster.nodes:
        node.raw("FLUSHALL")
    client = opened(one_cluster.url)
    assert isinstance(client, ClusterClient)
    return client


def spread(kind: str, count: int = 30) -> list[str]:
    """Keys of every node."""
    return [f"{kind}-{number}" for number in range(count)]


async def test_in_a_cluster_replies_come_in_the_order_of_the_commands(in_cluster, one_cluster):
    keys = spread("key")
    assert await in_cluster.run([("SET", key, f"of {key}") for key in keys], PATIENT_S) != []
    replies = await in_cluster.run([("GET", key) for key in keys] + [("INCR", keys[0]), ("GET", "none")], PATIENT_S)
    assert replies[:-2] == [f"of {key}".encode() for key in keys]
    assert isinstance(replies[-2], ResponseError)
    assert replies[-1] is None
    assert all(node.raw("DBSIZE") for node in one_cluster.nodes)


async def test_in_a_cluster_commands_on_one_key_keep_their_order(in_cluster):
    keys = spread("list")
    pushes: Sequence[Command] = [("RPUSH", key, number) for number in range(10) for key in keys]
    await in_cluster.run(pushes, PATIENT_S)
    lists = await in_cluster.run([("LRANGE", key, 0, -1) for key in keys], PATIENT_S)
    assert lists == [[b"%d" % number for number in range(10)]] * len(keys)


async def test_in_a_cluster_a_script_runs_where_its_key_is(in_cluster):
    script = Script("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])")
    commands = [script.in_full(script.call([key], f"of {key}")) for key in spread("key")]
    assert await in_cluster.run(commands, PATIENT_S) == [f"of {key}".encode() for key in spread("key")]


async def test_in_a_cluster_replies_are_as_a_single_server_gives_them(in_cluster, client):
    commands: Sequence[Command] = [
        ("HSET", "hash", "field", "value"),
        ("HGET", "hash", "field"),
        ("HGETALL", "hash"),
        ("XADD", "log", "1-1", "name", "value"),
        ("XRANGE", "log", "-", "+"),
        ("XREAD", "COUNT", 1, "STREAMS", "log", "0-0"),
        ("SET", "key", "value", "NX", "PX", 60_000),
        ("SET", "key", "value", "NX"),
        ("PEXPIRE", "key", 60_000),
        ("UNLINK", "key"),
        ("UNLINK", "key"),
    ]
    by_cluster = await in_cluster.run(commands, PATIENT_S)
    assert by_cluster == await client.run(commands, PATIENT_S)


async def test_in_a_cluster_a_scan_looks_at_every_node_and_to_the_end(in_cluster, one_cluster):
    for key in spread("key", 12):
        many = [word for number in range(1500) for word in (f"{{{key}}}-{number}", "x")]
        await in_cluster.run([("MSET", *many)], PATIENT_S)
    assert min(node.raw("DBSIZE") for node in one_cluster.nodes) > 1000
    assert await scanned(in_cluster, "{key-*}-1*1") == {
        f"{{{key}}}-{number}".encode() for key in spread("key", 12) for number in range(1500) if f"{number}"[0] == "1"
        and f"{number}"[-1] == "1" and number > 10
    }  # fmt: skip


async def test_of_a_cluster_everything_that_its_nodes_tell_is_told(in_cluster):
    [info] = await in_cluster.run([("INFO", "server")], PATIENT_S)
    assert len({line for line in info.splitlines() if line.startswith(b"run_id:")}) == 3


async def test_in_a_cluster_nothing_of_a_failed_batch_is_sent_after_it_has_failed(in_cluster):
    broken: Command = ("SET", "key", None)  # type: ignore[assignment]
    later: Sequence[Command] = [("BLPOP", "list", 0.2), ("SET", "list", "written by the failed batch")]
    with pytest.raises(DataError):
        await in_cluster.run([*later, broken], PATIENT_S)
    [at_its_failure] = await in_cluster.run([("GETDEL", "list")], PATIENT_S)
    await asyncio.sleep(0.3)
    assert await in_cluster.run([("GET", "list")], PATIENT_S) == [None], at_its_failure


async def test_in_a_cluster_every_reply_finds_its_command_whatever_is_cancelled(in_cluster):
    await rush(in_cluster, 0, lambda word: ("EVAL", "return KEYS[1]", 1, word))


async def test_in_a_cluster_a_batch_that_takes_too_long_raises_a_timeout(in_cluster):
    await in_cluster.run([("GET", "key")], PATIENT_S)
    with pytest.raises(TimeoutError):
        await in_cluster.run([("BLPOP", "list", 0)], SHORT_S)
    assert await in_cluster.run([("GET", "key")], PATIENT_S) == [None]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_in_a_cluster_connections_that_ended_while_idle_are_replaced_unnoticed(one_cluster, loop):
    async def test() -> None:
        async with opening() as opened:
            client = opened(one_cluster.url)
            keys = spread("key")
            await client.run([("SET", key, "value") for key in keys], PATIENT_S)
            for node in client._cluster.get_nodes():
                assert len(node._free) > 1
                for connection in node._free:
                    connection._writer.transport.abort()
            await asyncio.sleep(0)
            assert await client.run([("GET", key) for key in keys], PATIENT_S) == [b"value"] * len(keys)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test())


# --- scanning


async def test_a_scan_gives_every_key_that_matches(client):
    await client.run([("MSET", *(word for number in range(2500) for word in (f"a:{number}", "x")))], PATIENT_S)
    await client.run([("SET", "b:1", "x")], PATIENT_S)
    assert await scanned(client, "a:*") == {b"a:%d" % number for number in range(2500)}
    assert await scanned(client, "c:*") == set()


async def test_a_refused_scan_raises(own_redis, opened):
    server = own_redis(search=False, users={"app": "on >its-password ~* +@all -scan"})
    with pytest.raises(ResponseError, match="scan"):
        await scanned(opened(server.url_as("app", "its-password")), "*")
