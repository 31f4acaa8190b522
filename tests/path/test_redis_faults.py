"""What can go wrong with a Redis that answers are kept in, each on a real one.

Whatever it is, no request fails or waits because of it; it is said what is wrong, once and without a secret in it; and
when it is over all is as before, with nothing left behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from proxy.redis_link import client
from proxy.redis_link.deadline import Deadline
from proxy.types import Digest
from tests.conftest import ROOT
from tests.path.faults import CANARY, CHAT, case
from tests.path.redis_load import (
    Processes,
    about,
    answered,
    ask,
    breaker,
    connections,
    crowd,
    descriptors,
    echo,
    errors,
    kept,
    keys,
    metric,
    our_tasks,
    readiness,
    until,
    until_degraded,
    until_gone,
    until_hit,
    until_well,
    written,
)
from tests.provider import DONE, Asked, Provider, Script, completion, plain, stream, words
from tests.redis_servers import RedisServer, free_port
from tests.running import ALICE, Start, cache_status, credential, said
from tests.slow_wire import SlowWire

pytestmark = pytest.mark.timeout(90)

Own = Callable[..., RedisServer]

QUICK: dict[str, Any] = {"store.redis.retry": 0.05, "store.redis.poll": 0.05}
"""What is noticed is noticed soon."""

PATIENT = QUICK | {"store.redis.connect_timeout": 10, "store.redis.command_timeout": 10}
"""Where Redis is not slow: a slow machine must not look like a slow Redis."""

IMPATIENT = QUICK | {"store.redis.connect_timeout": 0.3, "store.redis.command_timeout": 0.3}
"""Where it is."""

REDIS_ALONE = {"store.memory": 0}
"""Every hit is Redis' own."""

QUICK_PROCESS = {
    "ASKONCE_STORE__REDIS__RETRY": "20ms",
    "ASKONCE_STORE__REDIS__POLL": "50ms",
    "ASKONCE_STORE__REDIS__CONNECT_TIMEOUT": "10s",
    "ASKONCE_STORE__REDIS__COMMAND_TIMEOUT": "10s",
}

MOST_CONNECTIONS = 20
"""Of one proxy with `crowd`'s callers: one for each, and a few for look-ups, writes and listening."""

DEGRADED = "the store is degraded"
HEARD_AGAIN = "the store is well again"


@pytest.fixture(autouse=True)
def _answers_that_tell(provider: Provider) -> None:
    provider.always(echo)


def store(server: RedisServer | SlowWire) -> dict[str, str]:
    """The environment that names this Redis, or the wire to one."""
    return {"ASKONCE_STORE": f"redis://127.0.0.1:{server.port}/0"}


# --- whatever it is


@dataclass
class Place:
    """Where it happens."""

    server: RedisServer
    wire: SlowWire


Do = Callable[[Place], Awaitable[object]]


@dataclass
class Fault:
    """One of them. `why` is how `/readyz` says it, `counted` the operation under which it is counted."""

    begin: Do
    end: Do
    why: str
    counted: str
    flags: dict[str, Any] = field(default_factory=lambda: PATIENT)


async def kill(place: Place) -> None:
    place.server.kill()


async def start(place: Place) -> None:
    place.server.start()


async def refuse(place: Place) -> None:
    place.wire.refusing = True
    await place.wire.cut()


async def accept(place: Place) -> None:
    place.wire.refusing = False


async def freeze(place: Place) -> None:
    place.wire.frozen = True


async def thaw(place: Place) -> None:
    place.wire.frozen = False


async def slow_down(place: Place) -> None:
    place.wire.delay_s = 0.3


async def speed_up(place: Place) -> None:
    place.wire.delay_s = 0.0


async def pause(place: Place) -> None:
    place.server.pause(2000)


async def wait_for_it(place: Place) -> None:
    await asyncio.to_thread(place.server.raw, "PING")


async def lock(place: Place) -> None:
    place.server.config("requirepass", "another")
    place.server.raw("CLIENT", "KILL", "TYPE", "normal")


async def unlock(place: Place) -> None:
    place.server.config("requirepass", "")


FAULTS = {
    "killed and started again": Fault(kill, start, "Connect|Connection|reset", "unreachable"),
    "every connection refused": Fault(refuse, accept, "Connection|closed", "unreachable"),
    "wants a password": Fault(lock, unlock, "Authentication required", "refused"),
    "frozen": Fault(freeze, thaw, r"no answer in \d+ ms", "timeout", IMPATIENT),
    "300 ms away": Fault(slow_down, speed_up, r"no answer in \d+ ms", "timeout", IMPATIENT),
    "paused": Fault(pause, wait_for_it, r"no answer in \d+ ms", "timeout", IMPATIENT),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_costs_no_request_and_is_over_when_it_is_over(
    askonce: Start, own_redis: Own, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    server = own_redis(search=False)
    async with SlowWire("127.0.0.1", server.port) as wire, askonce(fault.flags | REDIS_ALONE, store(wire)) as proxy:
        place = Place(server, wire)
        await until_well(proxy.http)
        at_rest = our_tasks()
        async with crowd(proxy.http, topic=CANARY) as callers:
            await callers.get("hit")
            before = await errors(proxy.http, fault.counted)
            await fault.begin(place)
            await until_degraded(proxy.http, fault.why)
            assert await errors(proxy.http, fault.counted) > before
            assert await breaker(proxy.http) in {"open", "half_open"}
            assert await metric(proxy.http, "askonce_store_breaker_openings_total", store="redis") >= 1
            await callers.serves(50)
            await until_degraded(proxy.http, fault.why)
            await fault.end(place)
            await until_well(proxy.http)
            await kept(proxy.http, CANARY)
            await callers.get("hit")
        await until(lambda: our_tasks() <= at_rest)
        await until(lambda: connections(server) <= MOST_CONNECTIONS)
    await until(lambda: connections(server) == 0)
    assert not our_tasks()
    said_in_log(caplog.records, outages=1)


def said_in_log(records: list[logging.LogRecord], outages: int) -> None:
    """One warning for each outage, one line when it is over, and nothing that is nobody's business."""
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
    lines = [formatter.format(record) for record in records]
    warnings = [line for line, record in zip(lines, records, strict=True) if record.levelno >= logging.WARNING]
    assert len(warnings) == outages, warnings
    assert all(DEGRADED in line for line in warnings)
    assert sum(HEARD_AGAIN in line for line in lines) == outages
    for secret in (CANARY, ALICE):
        assert not [line for line in lines if secret in line]


@pytest.mark.parametrize("key", ["{askonce}:control", "{askonce}:changes"])
async def test_that_replicas_cannot_agree_is_said_though_all_else_does_well(
    askonce: Start, own_redis: Own, key: str
) -> None:
    """Looked for as often as by default: so between two looks there is always somebody's command that does well."""
    server = own_redis(search=False)
    async with askonce(REDIS_ALONE, store(server)) as proxy:
        await until_well(proxy.http)
        async with crowd(proxy.http) as callers:
            server.raw("DEL", key)
            server.raw("RPUSH", key, "of somebody else")
            while await errors(proxy.http, "refused") < 4:
                await callers.serves(10)
            assert "WRONGTYPE" in (await readiness(proxy.http))["store"].get("detail", "")
            server.raw("DEL", key)
            await until_well(proxy.http)
            await callers.get("hit")


# --- it is not there


async def test_a_redis_that_comes_after_the_start_is_used_from_then_on(
    askonce_process: Processes, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False)
    server.kill()
    async with askonce_process(environ=QUICK_PROCESS | store(server)) as process:
        detail = await until_degraded(process.http)
        assert str(server.port) in detail
        assert await breaker(process.http) in {"open", "half_open"}
        first = await answered(process.http, "before")
        assert "stored" not in cache_status(first)
        assert first.headers["x-cache-reason"] == "store"
        # Memory goes on alone.
        assert await ask(process.http, "before") == "hit"
        assert await ask(process.http, "a stream", stream=True) == "miss"
        server.start()
        await until_well(process.http)
        assert cache_status(await answered(process.http, "after"))["stored"] is True
        await written(1, server)
        assert HEARD_AGAIN in process.stderr + process.stdout
        assert await process.stop() == 0
        assert "Traceback" not in process.stderr + process.stdout
    calls = provider.calls
    async with askonce_process(environ=store(server)) as another:
        assert cache_status(await answered(another.http, "after"))["detail"] == "redis"
    assert provider.calls == calls


async def test_a_redis_that_is_absent_at_the_start_is_said_once(
    askonce: Start, own_redis: Own, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis(search=False)
    server.kill()
    async with askonce(QUICK, store(server)) as proxy:
        await until_degraded(proxy.http)
    assert sum(DEGRADED in record.getMessage() for record in caplog.records) == 1


async def test_a_redis_killed_and_started_again_under_load_leaves_nothing_behind(
    askonce_process: Processes, own_redis: Own
) -> None:
    server = own_redis(search=False)
    options = ("--log-level", "debug")
    async with askonce_process(*options, environ=QUICK_PROCESS | store(server)) as process:
        await until_well(process.http)
        async with crowd(process.http, topic=CANARY) as callers:
            await callers.serves(200)
            await until(lambda: connections(server) <= MOST_CONNECTIONS)
            before = descriptors(process.pid)
            for _ in range(3):
                server.kill()
                await until_degraded(process.http, "unreachable|Connect|connect")
                await callers.serves(150)
                await callers.get("hit")  # from memory
                server.start()
                await until_well(process.http)
                await callers.serves(150)
                await until(lambda: len(keys(server)) > 0)
        # One connection more or less for each caller, to either side.
        await until(lambda: descriptors(process.pid) <= before + MOST_CONNECTIONS)
        await until(lambda: connections(server) <= MOST_CONNECTIONS)
        assert await errors(process.http, "unreachable") > 0
        assert await metric(process.http, "askonce_store_breaker_openings_total", store="redis") == 3
        assert await metric(process.http, "askonce_requests_total", outcome="error") == 0
        assert await process.stop() == 0
        log = process.stderr + process.stdout
    assert (log.count(DEGRADED), log.count(HEARD_AGAIN)) == (3, 3)
    for unwanted in ("Traceback", CANARY, ALICE):
        assert unwanted not in log


async def test_a_stop_does_not_wait_for_a_redis_that_says_nothing(
    askonce_process: Processes, own_redis: Own, provider: Provider
) -> None:
    """However long a command may take: what could not be written by then is lost to the cache, and that is all."""
    server = own_redis(search=False)
    go_on = asyncio.Event()
    provider.then(stream([*words("slow ")[:2], go_on, *words("slow ")[2:]]))
    limits = {"ASKONCE_STORE__REDIS__COMMAND_TIMEOUT": "1h", "ASKONCE_STORE__REDIS__CONNECT_TIMEOUT": "1h"}
    async with SlowWire("127.0.0.1", server.port) as wire, askonce_process(environ=store(wire) | limits) as process:
        await until_well(process.http)
        asked = process.http.stream("POST", CHAT, json=about("slow", stream=True), headers=credential(ALICE))
        async with asked as answer:
            pieces = answer.aiter_raw()
            await anext(pieces)
            wire.frozen = True
            go_on.set()
            assert b"".join([piece async for piece in pieces]).endswith(DONE)
        assert await process.stop(signal.SIGTERM) == 0
        assert "Traceback" not in process.stderr + process.stdout


async def test_what_others_may_have_deleted_is_served_no_longer_than_redis_may_be_silent(
    askonce: Start, own_redis: Own
) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT | {"store.redis.max_silence": 0.3}, store(server)) as proxy:
        await kept(proxy.http, "one")
        server.kill()
        await until_degraded(proxy.http)
        await until_gone(proxy.http, "one")
        # What is asked for from now on is nobody else's to delete.
        await kept(proxy.http, "two")


# --- removing while it is away


async def test_a_removal_without_redis_is_refused_and_says_why(askonce_process: Processes, own_redis: Own) -> None:
    server = own_redis(search=False)
    async with askonce_process(environ=QUICK_PROCESS | store(server)) as process:
        key = (await answered(process.http, "one")).headers["x-cache-key"]
        server.kill()
        await until_degraded(process.http)
        removals = {
            "DELETE": await process.http.delete(f"/admin/entries/{key}"),
            "purge of one": await process.http.post("/admin/purge", json={"key": key}),
            "purge of all": await process.http.post("/admin/purge", json={"all": True}),
        }
        for name, refusal in removals.items():
            with case(name):
                assert refusal.status_code == 503
                assert refusal.headers["content-type"] == "application/problem+json"
                assert str(server.port) in refusal.json()["detail"]
        assert await errors(process.http, "delete") == 2
        assert await errors(process.http, "purge") == 1
        code, output = await command(process, "purge", "--all")
        assert code == 1
        assert "503" in output
        assert str(server.port) in output
        assert await process.stop() == 0
        assert "Traceback" not in process.stderr + process.stdout + output


async def command(process: Any, *arguments: str) -> tuple[int, str]:
    """`askonce ...` about this process; exit code and all it says."""
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", *arguments, "--url", process.url),
        env={"PYTHONPATH": str(ROOT), "HOME": str(process.folder), "COLUMNS": "1000"},
        cwd=process.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await run.communicate()
    assert run.returncode is not None
    return run.returncode, output.decode()


async def test_a_purge_that_could_not_be_told_holds_here_and_is_told_to_all_later(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False)
    async with (
        SlowWire("127.0.0.1", server.port) as wire,
        askonce(PATIENT, store(wire)) as cut_off,
        askonce(PATIENT, store(server)) as other,
    ):
        await kept(cut_off.http, "one")
        await kept(other.http, "one")
        await refuse(Place(server, wire))
        await until_degraded(cut_off.http)
        assert (await cut_off.http.post("/admin/purge", json={"all": True})).status_code == 503
        assert await ask(cut_off.http, "one") == "miss"
        assert await ask(other.http, "one") == "hit"
        wire.refusing = False
        await until_well(cut_off.http)
        await until_gone(other.http, "one")
        assert provider.calls == 2


# --- it is full


async def test_a_full_redis_is_read_and_all_who_ask_are_answered(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False)
    flags = PATIENT | REDIS_ALONE
    async with askonce(flags, store(server)) as proxy, askonce(flags, store(server)) as other:
        await kept(proxy.http, "kept")
        await written(1, server)
        server.config("maxmemory", 1)
        answer = asyncio.Event()
        provider.always(lambda asked: [answer, *echo(asked)])
        crowded = [asyncio.create_task(ask(each.http, "the same")) for each in (proxy, other) for _ in range(10)]
        while sum([await metric(each.http, "askonce_flight_followers_total") for each in (proxy, other)]) < 18:
            await asyncio.sleep(0.01)
        answer.set()
        assert sorted(await asyncio.gather(*crowded)) == ["collapsed"] * 18 + ["miss"] * 2
        assert provider.calls == 3  # a lease is a write too: one for each
        for each in (proxy, other):
            assert await ask(each.http, "kept") == "hit"
            assert await breaker(each.http) == "closed"
        server.config("maxmemory", 0)
        await kept(proxy.http, "one")
        await until_well(proxy.http)


async def test_a_full_redis_that_evicts_nothing_is_not_written_and_that_is_said(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        await until_well(proxy.http)
        server.config("maxmemory", 1)
        assert await ask(proxy.http, "one") == "miss"
        assert "maxmemory" in await until_degraded(proxy.http, "full")
        # It is tried again now and then; in between nothing is said to be stored.
        while "stored" in cache_status(refused := await answered(proxy.http, "two")):
            pass
        assert refused.headers["x-cache-reason"] == "store"
        assert await errors(proxy.http, "put_refused") >= 1
        assert keys(server) == []
        assert await breaker(proxy.http) == "closed"
        server.config("maxmemory", 0)
        await kept(proxy.http, "three")
        await until_well(proxy.http)


async def test_that_redis_refuses_to_store_is_said_in_the_log_once(
    askonce: Start, own_redis: Own, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        await until_well(proxy.http)
        server.config("maxmemory", 1)
        async with crowd(proxy.http) as callers:
            await until_degraded(proxy.http, "full")
            await callers.serves(50)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [("maxmemory" in warning, DEGRADED in warning) for warning in warnings] == [(True, True)]


async def test_a_full_redis_that_evicts_takes_the_next_answer(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False, maxmemory="4mb", policy="allkeys-lfu")
    provider.always(bulky)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        for number in range(60):
            await proxy.chat(seed=number)
        await until(lambda: server.raw("INFO", "stats")["evicted_keys"] > 0)
        await proxy.chat(seed=60)
        while (await proxy.chat(seed=60)).headers["x-cache"] != "hit":
            await asyncio.sleep(0.01)
        await until_well(proxy.http)
        assert await errors(proxy.http, "put") == 0
        # What all agree on is asked for all the time, so it is the last to go.
        assert server.raw("HGET", "{askonce}:control", "secret")


def bulky(asked: Asked) -> Script:
    """50 kB that nothing compresses further."""
    return plain(completion(random.Random(asked.json()["seed"]).randbytes(50_000).hex()))


async def test_who_cannot_be_told_of_through_a_full_redis_is_not_waited_for(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False)
    go_on = asyncio.Event()
    provider.then(stream([*words("slow ")[:2], go_on, *words("slow ")[2:]]))
    async with (
        askonce(PATIENT, store(server)) as leader,
        askonce(PATIENT, store(server)) as follower,
        leader.reading() as slow,
    ):
        await slow.until(b"slow ")
        server.config("maxmemory", 1)
        assert said(await follower.chat()) == "echo of What is a cache?"
        go_on.set()
        assert (await slow.rest()).endswith(DONE)


# --- what stands in it


async def test_a_value_of_another_type_in_an_answers_place_is_a_miss_and_replaced(
    askonce: Start, own_redis: Own
) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        await kept(proxy.http, "one")
        await written(1, server)
        [key] = keys(server)
        server.raw("DEL", key)
        server.raw("RPUSH", key, "of somebody else")
        assert await ask(proxy.http, "one") == "miss"
        assert await errors(proxy.http, "unreadable_type") >= 1
        await until(lambda: server.raw("TYPE", key) == b"hash")
        assert await ask(proxy.http, "one") == "hit"
        assert server.raw("PTTL", key) > 0
        assert (await readiness(proxy.http))["status"] == "ready"


@pytest.mark.parametrize("changed_before", [False, True], ids=["nothing was changed before", "something was"])
async def test_what_was_flushed_is_not_served_from_memory_and_all_agree_again(
    askonce: Start, own_redis: Own, provider: Provider, changed_before: bool
) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT, store(server)) as one, askonce(PATIENT, store(server)) as other:
        for proxy in (one, other):
            await kept(proxy.http, "kept")
        if changed_before:
            key = (await answered(one.http, "kept")).headers["x-cache-key"]
            await one.http.delete(f"/admin/entries/{key}")
            for proxy in (one, other):
                await until_hit(proxy.http, "kept")
        secret = server.raw("HGET", "{askonce}:control", "secret")
        calls = provider.calls
        server.raw("FLUSHALL")
        for proxy in (one, other):
            await until_gone(proxy.http, "kept")
        assert server.raw("HGET", "{askonce}:control", "secret") == secret
        await kept(one.http, "kept")
        await written(1, server)
        assert cache_status(await answered(other.http, "kept"))["detail"] == "redis"
        assert provider.calls == calls + 1
        for proxy in (one, other):
            await until_well(proxy.http)


async def test_what_is_deleted_stays_deleted_though_redis_forgot_our_scripts(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False)
    async with askonce(REDIS_ALONE, store(server)) as proxy:
        name = Digest(bytes.fromhex((await answered(proxy.http, "one")).headers["x-cache-key"]))
        await written(1, server)
        entry = await proxy.application.store.get(name)
        assert entry is not None
        server.raw("SCRIPT", "FLUSH")  # as a restart and a failover do
        # The same turn, so the same batch: the answer is replaced, and then deleted.
        async with asyncio.TaskGroup() as turn:
            turn.create_task(proxy.application.store.put(entry))
            deleted = turn.create_task(proxy.application.store.delete(name))
        assert deleted.result()
        assert keys(server) == []


# --- it lets nobody in


async def test_a_wrong_password_is_said_and_not_shown_and_works_once_it_is_right(
    askonce_process: Processes, own_redis: Own
) -> None:
    server = own_redis(search=False, password="the right one")
    wrong = "not-the-right-one-4711"
    places = {
        "the default user": ("", lambda: server.config("requirepass", wrong)),
        "another user": (
            "app",
            lambda: server.raw("ACL", "SETUSER", "app", "on", f">{wrong}", "~askonce:*", "~{askonce}:*", "+@all"),
        ),
    }
    for name, (user, set_right) in places.items():
        with case(name):
            url = f"redis://{user}:{wrong}@127.0.0.1:{server.port}/0"
            async with askonce_process(
                "--log-level", "debug", environ=QUICK_PROCESS | {"ASKONCE_STORE": url}
            ) as process:
                detail = await until_degraded(process.http, "password")
                assert await errors(process.http, "refused") >= 1
                assert await breaker(process.http) in {"open", "half_open"}
                assert await ask(process.http, "one") == "miss"
                set_right()
                await until_well(process.http)
                await kept(process.http, "two")
                shown = [
                    detail,
                    (await process.http.get("/metrics")).text,
                    (await process.http.get("/admin/stats")).text,
                ]
                assert await process.stop() == 0
                shown += [process.stderr, process.stdout]
            assert wrong not in "".join(shown)
            assert "the right one" not in "".join(shown)
            assert "Traceback" not in "".join(shown)


@asynccontextmanager
async def connections_taken(server: RedisServer, count: int) -> AsyncIterator[None]:
    """So many of its connections are somebody else's."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
        yield


async def test_a_redis_without_a_free_connection_is_done_without(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False, maxclients=8)
    async with connections_taken(server, 8), askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        await until_degraded(proxy.http, "max number of clients")
        assert await errors(proxy.http, "unreachable") >= 1
        async with crowd(proxy.http) as callers:
            await callers.serves(50)
            await until_degraded(proxy.http, "max number of clients")


async def test_with_too_few_connections_for_all_requests_go_on(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False, maxclients=8)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as proxy:
        await until_well(proxy.http)
        at_rest = our_tasks()
        async with crowd(proxy.http) as callers:
            async with connections_taken(server, 6):
                while not await errors(proxy.http, "unreachable"):
                    await callers.serves(10)
                await callers.serves(100)
            await until_well(proxy.http)
            await callers.get("hit")
        await until(lambda: our_tasks() <= at_rest)
        await kept(proxy.http, "one")


# --- in the middle of something


async def test_the_end_of_a_stream_does_not_wait_for_a_redis_that_froze_in_the_middle(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False)
    go_on = asyncio.Event()
    async with SlowWire("127.0.0.1", server.port) as wire, askonce(PATIENT | REDIS_ALONE, store(wire)) as proxy:
        await until_well(proxy.http)
        at_rest = our_tasks()
        provider.then(stream([*words("slow ")[:2], go_on, *words("slow ")[2:]]))
        async with proxy.reading() as slow:
            await slow.until(b"slow ")
            wire.frozen = True
            go_on.set()
            assert (await slow.rest()).endswith(DONE)
        assert await errors(proxy.http, "timeout") == 0  # its patience is far from its end
        assert keys(server) == []
        wire.frozen = False
        await written(1, server)
        assert said(await proxy.chat(stream=True)) == "slow "
        await until(lambda: our_tasks() <= at_rest)
    assert provider.calls == 1


async def test_who_waits_for_another_replica_when_redis_freezes_is_answered_by_the_upstream(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    """Nothing of the other's answer was passed on yet."""
    server = own_redis(search=False)
    go_on = asyncio.Event()
    provider.then([go_on, *plain(completion("slow"))])
    flags = QUICK | {"store.redis.lease_ttl": 0.5}
    async with (
        SlowWire("127.0.0.1", server.port) as wire,
        askonce(flags, store(wire)) as follower,
        askonce(flags, store(server)) as leader,
    ):
        at_rest = our_tasks()
        leading = asyncio.create_task(leader.chat())
        await provider.arrived(1)
        following = asyncio.create_task(follower.chat())
        await until(lambda: len(keys(server, "*:in:*")) == 2)
        wire.frozen = True
        assert said(await following) == "echo of What is a cache?"
        go_on.set()
        assert said(await leading) == "slow"
        assert provider.calls == 2
        wire.frozen = False
        await until_well(follower.http)
        await until(lambda: our_tasks() <= at_rest)


async def test_a_followed_stream_that_redis_cuts_off_says_so_and_the_leaders_callers_notice_nothing(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    """What was passed on cannot be taken back, and the model would not say the same again: an error, never a stream
    that looks whole."""
    server = own_redis(search=False)
    go_on = asyncio.Event()
    provider.then(stream([*words("slow ")[:2], go_on, *words("slow ")[2:]]))
    flags = QUICK | {"store.redis.lease_ttl": 0.5}
    async with (
        SlowWire("127.0.0.1", server.port) as wire,
        askonce(flags, store(wire)) as follower,
        askonce(flags, store(server)) as leader,
    ):
        at_rest = our_tasks()
        async with leader.reading() as slow, follower.reading() as followed:
            await slow.until(b"slow ")
            await followed.until(b"slow ")
            wire.frozen = True
            seen = await followed.rest()
            assert b"stream_interrupted" in seen
            assert DONE not in seen
            go_on.set()
            assert (await slow.rest()).endswith(DONE)
        assert said(await follower.chat(seed=1)) == "echo of What is a cache?"
        wire.frozen = False
        await until_well(follower.http)
        await until(lambda: our_tasks() <= at_rest)
    assert provider.calls == 2


# --- how long it is waited for


async def test_a_redis_that_is_far_away_adds_nothing_to_the_time_of_an_answer(
    askonce_process: Processes, own_redis: Own, provider: Provider
) -> None:
    """The one bar of time: 5 ms, between the medians of what is asked side by side, in the best of some rounds; on a
    machine so busy that a proxy without any store needs half of that already, twice what that one needs."""
    server = own_redis(search=False)
    async with (
        SlowWire("127.0.0.1", server.port) as wire,
        askonce_process(environ={"ASKONCE_STORE": "off://"}) as without,
        askonce_process(environ=store(wire)) as process,
        httpx.AsyncClient(verify=False) as direct,
    ):
        wire.delay_s = 0.3
        await until_degraded(process.http, "no answer")
        ways = {
            "past": (direct, f"{provider.url}/chat/completions"),
            "without": (without.http, CHAT),
            "through": (process.http, CHAT),
        }
        rounds = []
        for round_ in range(8):
            medians = await side_by_side(ways, f"round {round_}")
            rounds.append({way: medians[way] - medians["past"] for way in ("without", "through")})
            if rounds[-1]["through"] <= max(0.005, 2 * rounds[-1]["without"]):
                break
        else:
            pytest.fail(f"seconds added: {rounds}")
        assert await breaker(process.http) in {"open", "half_open"}


async def side_by_side(ways: dict[str, tuple[httpx.AsyncClient, str]], topic: str) -> dict[str, float]:
    """The median of the seconds that each way took for a hundred new questions, asked in turn."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(100):
        for way, (http, url) in ways.items():
            began = time.perf_counter()
            answer = await http.post(url, json=about(f"{topic}, {number}"), headers=credential(ALICE))
            took[way].append(time.perf_counter() - began)
            assert answer.status_code == 200
    return {way: statistics.median(seconds) for way, seconds in took.items()}


async def test_no_request_waits_for_redis_longer_than_connecting_and_a_command_may_take(
    askonce: Start, own_redis: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the clock: the limits that ran out are added up, those of background work apart."""
    waited: list[float] = []

    class Noted(Deadline):
        def _give_up(self) -> None:
            if self._task.get_name() not in BACKGROUND:
                waited.append(self._limit_s)
            super()._give_up()

    monkeypatch.setattr(client, "Deadline", Noted)
    server = own_redis(search=False)
    never = {"store.redis.breaker_failures": 1000}
    async with SlowWire("127.0.0.1", server.port) as wire, askonce(REDIS_ALONE | never, store(wire)) as running:
        await kept(running.http, "one")
        redis = running.settings.store.redis
        wire.frozen = True
        for words_ in ("on a connection that is there", "where there is none any more"):
            waited.clear()
            await ask(running.http, words_)
            assert sum(waited) <= redis.connect_timeout + redis.command_timeout


BACKGROUND = {"redis pulse", "redis listener", "redis leases", "redis writes"}
"""Tasks that no request waits for."""


# --- what it is asked for


async def test_a_crowd_shares_few_connections(askonce: Start, own_redis: Own) -> None:
    """`store.redis.connections` says how many, one more to listen; a pulse and a row of writes may come beside."""
    server = own_redis(search=False)
    patient = {"store.redis.command_timeout": 5, "store.redis.connect_timeout": 5}
    async with SlowWire("127.0.0.1", server.port) as wire, askonce(patient, store(wire)) as running:
        await until_well(running.http)
        wire.delay_s = 0.01
        await asyncio.gather(*(ask(running.http, str(number)) for number in range(60)))
        assert wire.connections <= running.settings.store.redis.connections + 4


async def test_a_redis_that_takes_no_writes_is_said_to_be_read_only(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False)
    async with askonce(PATIENT | REDIS_ALONE, store(server)) as running:
        await kept(running.http, "one")
        server.raw("REPLICAOF", "127.0.0.1", free_port())
        async with crowd(running.http) as callers:
            for _ in range(10):
                await callers.serves(10)
                assert (await readiness(running.http))["status"] == "degraded"


async def test_that_other_replicas_cannot_be_heard_is_said_once(
    askonce: Start, own_redis: Own, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis(search=False)
    server.raw("ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all", "-xread")
    async with askonce(QUICK, store(server)) as running:
        await kept(running.http, "one")
        while server.raw("INFO", "errorstats").get("errorstat_NOPERM", {}).get("count", 0) < 5:
            await asyncio.sleep(0.01)
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 1
