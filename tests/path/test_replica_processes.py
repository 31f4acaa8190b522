"""Real processes on one Redis: one call for all of them, whoever dies, and no deletion that is not heard of.

The eight processes are started once; who was killed is started again while the test still waits for what comes of it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Process, alive, launch
from tests.path.faults import wire
from tests.path.sharing import Between
from tests.provider import DONE, Asked, Move, Provider, Script, completion, plain, stream, words
from tests.redis_servers import RedisServer, free_port
from tests.running import cache_status, client, frames, said

pytestmark = pytest.mark.timeout(90)

PROCESSES = 8
CALLERS = 50
"""For each process."""

SAID = [f"word {number} " for number in range(40)]
WHOLE = "".join(SAID)

seeds = itertools.count()
"""Each test asks a question of its own."""


# --- the processes


class Fleet:
    """The processes, and what is said to them from outside."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self.processes = [self._started() for _ in range(PROCESSES)]

    def _started(self) -> Process:
        port = free_port()
        folder, url = self._folder / str(port), f"http://127.0.0.1:{port}"
        folder.mkdir()
        return Process(launch(folder, port, environ=self._environ), url, folder, client(url))

    def stop(self) -> None:
        for process in self.processes:
            process.popen.kill()
            process.popen.wait()

    async def ready(self, stack: AsyncExitStack) -> None:
        """Until all answer. Connections belong to one test's loop."""
        for process in self.processes:
            process.http = await stack.enter_async_context(client(process.url))
        await asyncio.gather(*map(alive, self.processes))

    async def led(self) -> list[float]:
        """How many calls each has led so far."""
        return await asyncio.gather(*map(_led, self.processes))

    def kill(self, process: Process) -> None:
        """As a crash does. Another takes its place, for the next test."""
        process.popen.kill()
        process.popen.wait()
        self.processes[self.processes.index(process)] = self._started()


async def _led(process: Process) -> float:
    text = (await process.http.get("/metrics")).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return sum(each.value for each in samples if each.labels.get("outcome") in ("led", "took_over"))


@pytest.fixture(scope="module")
def server(redis_stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(redis_stack, tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def started(server: RedisServer, upstream_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    environ = {
        "ASKONCE_UPSTREAM": f"http://127.0.0.1:{upstream_port}/v1",
        "ASKONCE_STORE": server.url,
        "ASKONCE_STORE__REDIS__COMMAND_TIMEOUT": "10s",
        "ASKONCE_STORE__REDIS__CONNECT_TIMEOUT": "10s",
        "ASKONCE_STORE__REDIS__LEASE_TTL": "2s",
    }
    fleet = Fleet(tmp_path_factory.mktemp("processes"), environ)
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
async def provider(upstream_port: int) -> AsyncIterator[Provider]:
    provider = Provider()
    provider.port = upstream_port
    async with provider as listening:
        yield listening


@pytest.fixture
async def fleet(started: Fleet, provider: Provider) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        await started.ready(stack)
        yield started


@pytest.fixture
def between(server: RedisServer) -> Iterator[Between]:
    looking = Between(server.url)
    yield looking
    looking.close()


# --- the callers


async def ask(process: Process, seed: int, *fields: str, **members: Any) -> httpx.Response:
    """On a connection of its own. Raises `LOST` kinds where it does not come whole."""
    async with wire(process.url) as connection:
        connection.ask(*fields, seed=seed, **members)
        return await connection.answer()


LOST = (ConnectionError, asyncio.IncompleteReadError)


async def persistent(processes: list[Process], first: int, seed: int, **members: Any) -> httpx.Response:
    """As an SDK behind a load balancer: whose connection is lost asks another process."""
    for number in itertools.count(first):
        try:
            return await ask(processes[number % len(processes)], seed, **members)
        except LOST:
            await asyncio.sleep(0.01)
    raise AssertionError


async def crowd(fleet: Fleet, seed: int, **members: Any) -> list[httpx.Response]:
    """All callers of all processes, with one question."""
    processes = list(fleet.processes)
    callers = (number for number in range(PROCESSES) for _ in range(CALLERS))
    return await asyncio.gather(*(persistent(processes, number, seed, **members) for number in callers))


def answers(asked: Asked) -> Script:
    return stream(words(*SAID)) if asked.streams else plain(completion(WHOLE))


# --- one call for all


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_four_hundred_equal_questions_to_eight_processes_are_one_call(
    fleet: Fleet, provider: Provider, between: Between, streams: bool
) -> None:
    provider.always(lambda asked: [lambda _: between.asked_for(PROCESSES - 1), *answers(asked)])
    served = await crowd(fleet, next(seeds), stream=streams)
    assert provider.calls == 1
    assert [answer.headers["x-cache"] for answer in served].count("miss") == 1
    assert {answer.status_code for answer in served} == {200}
    assert {said(answer) for answer in served} == {WHOLE}


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_four_hundred_equal_questions_to_an_upstream_that_answers_at_once_are_one_call(
    fleet: Fleet, provider: Provider, streams: bool
) -> None:
    """Nobody waits until all are there: some join, and some find it stored."""
    provider.always(answers)
    served = await crowd(fleet, next(seeds), stream=streams)
    assert provider.calls == 1
    assert {said(answer) for answer in served} == {WHOLE}


# --- who dies


class Murder:
    """Kills the process that asks the upstream, at a moment of its call."""

    def __init__(self, fleet: Fleet, between: Between, provider: Provider) -> None:
        self._fleet, self._between = fleet, between
        self._before: list[float] = []
        provider.always(self._answer)
        self.at: Callable[[list[Move]], list[Move]] = lambda moves: moves
        """Where in the moves of the first call."""
        self._calls = 0

    async def prepared(self) -> None:
        self._before = await self._fleet.led()

    def _answer(self, asked: Asked) -> Script:
        self._calls += 1
        moves: list[Move] = list(answers(asked))
        return moves if self._calls > 1 else [self._all_follow, *self.at(moves)]

    async def _all_follow(self, _asked: Asked) -> None:
        await self._between.asked_for(PROCESSES - 1)

    async def now(self, _asked: Asked) -> None:
        """The one whose call this is."""
        led = await self._fleet.led()
        [victim] = [
            process
            for process, now, before in zip(self._fleet.processes, led, self._before, strict=True)
            if now > before
        ]
        self._fleet.kill(victim)


@pytest.fixture
async def murder(fleet: Fleet, between: Between, provider: Provider) -> Murder:
    murder = Murder(fleet, between, provider)
    await murder.prepared()
    return murder


def halved(moves: list[Move]) -> list[Move]:
    """A plain answer's one write as two."""
    [whole] = moves
    assert isinstance(whole, bytes)
    at = whole.index(b"\r\n\r\n") + 100
    return [whole[:at], whole[at:]]


PLAIN_MOMENTS: dict[str, Callable[[Murder, list[Move]], list[Move]]] = {
    "before the head": lambda murder, moves: [murder.now, *moves],
    "within the body": lambda murder, moves: [halved(moves)[0], murder.now],
    "right after the body": lambda murder, moves: [*moves, murder.now],
}


@pytest.mark.parametrize("moment", PLAIN_MOMENTS.values(), ids=PLAIN_MOMENTS)
async def test_whoever_asks_is_killed_all_are_answered_and_two_calls_are_enough(
    fleet: Fleet, provider: Provider, murder: Murder, moment: Callable[[Murder, list[Move]], list[Move]]
) -> None:
    murder.at = lambda moves: moment(murder, moves)
    served = await crowd(fleet, next(seeds))
    assert len(served) == PROCESSES * CALLERS
    assert {answer.status_code for answer in served} == {200}
    assert {said(answer) for answer in served} == {WHOLE}
    assert provider.calls <= 2


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_stream_whose_process_is_killed_on_its_way_ends_with_an_error_or_whole(
    fleet: Fleet, provider: Provider, murder: Murder, seed: int
) -> None:
    after = random.Random(seed).randrange(1, len(SAID))
    murder.at = lambda moves: [*moves[:after], murder.now, *moves[after:]]
    number = next(seeds)
    served = await crowd(fleet, number, stream=True)
    for answer in served:
        assert answer.status_code == 200
        if answer.content.endswith(DONE):
            assert said(answer) == WHOLE
        else:
            assert DONE not in answer.content
            assert frames(answer.content)[-1]["error"]["message"]
            assert WHOLE.startswith("".join(_words(answer)))
    assert provider.calls <= 2
    again = await persistent(fleet.processes, 0, number, stream=True)
    assert said(again) == WHOLE


def _words(answer: httpx.Response) -> list[str]:
    """What was said before the error."""
    return [
        choice["delta"].get("content") or "" for frame in frames(answer.content)[:-1] for choice in frame["choices"]
    ]


async def test_streams_that_had_not_begun_when_their_process_was_killed_come_whole(
    fleet: Fleet, provider: Provider, murder: Murder
) -> None:
    murder.at = lambda moves: [murder.now, *moves]
    served = await crowd(fleet, next(seeds), stream=True)
    assert {said(answer) for answer in served} == {WHOLE}
    assert all(answer.content.endswith(DONE) for answer in served)
    assert provider.calls == 2


# --- what is deleted

COHERENT_S = 1.0
"""Within this everybody has heard of a deletion: what is promised, not what it takes (a quarter)."""

ONLY_IF_CACHED = "cache-control: only-if-cached"


async def remembered(process: Process, seed: int) -> str:
    """Have it in this process' memory; gives its key."""
    while cache_status(answer := await ask(process, seed)).get("detail") != "memory":
        await asyncio.sleep(0.01)
    return answer.headers["x-cache-key"]


async def deleted(process: Process, key: str) -> None:
    """Until it says that it is gone everywhere, or was not there."""
    while (await process.http.delete(f"/admin/entries/{key}")).status_code not in (200, 404):
        await asyncio.sleep(0.01)


async def gone_in_time(process: Process, seed: int) -> None:
    async with asyncio.timeout(COHERENT_S):
        while (await ask(process, seed, ONLY_IF_CACHED)).status_code != 504:
            await asyncio.sleep(0.01)


async def agreed(here: Process, there: Process) -> None:
    """Until what one has answered the other has: an empty Redis makes all begin anew, each when it hears of it."""
    while True:
        seed = next(seeds)
        await ask(here, seed)
        if (await ask(there, seed)).headers["x-cache"] != "miss":
            return
        await asyncio.sleep(0.01)


TROUBLE: dict[str, tuple[str, ...]] = {
    "all is well": ("PING",),
    "every connection was just cut": ("CLIENT", "KILL", "TYPE", "normal"),
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
async def test_what_is_deleted_through_one_process_is_gone_from_anothers_memory_in_time(
    fleet: Fleet, server: RedisServer, trouble: tuple[str, ...]
) -> None:
    first, second = fleet.processes[:2]
    for here, there in ((first, second), (second, first)):
        seed = next(seeds)
        key = await remembered(here, seed)
        assert await remembered(there, seed) == key
        server.raw(*trouble)
        await deleted(here, key)
        await gone_in_time(there, seed)


async def test_what_is_deleted_after_redis_was_restarted_is_gone_in_time(fleet: Fleet, server: RedisServer) -> None:
    """Both what was remembered before, and what is remembered since."""
    here, there = fleet.processes[:2]
    before = next(seeds)
    key = await remembered(here, before)
    await remembered(there, before)
    await asyncio.to_thread(server.stop)
    server.start()
    await deleted(here, key)
    await gone_in_time(there, before)
    await agreed(here, there)
    since = next(seeds)
    key = await remembered(here, since)
    assert await remembered(there, since) == key
    await deleted(here, key)
    await gone_in_time(there, since)
