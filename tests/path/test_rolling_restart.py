"""A rolling restart on real processes: behind what balances connections as Kubernetes does, nobody notices.

Callers keep their connections and never ask twice: one that is closed without a word is a request that could have been
lost, and fails the test as a lost one does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Process, alive, launch
from tests.path.faults import Wire, post
from tests.path.redis_load import about, echo
from tests.path.test_restart import refusing
from tests.provider import DONE, Asked, Provider, Script, delta, stream
from tests.redis_servers import RedisServer, free_port
from tests.running import client, said

pytestmark = pytest.mark.timeout(110)

WORKERS = (1, 1, 1, 2)
"""Of each replica."""

CALLERS = 8

PROBE_S = 0.1
"""How often the balancer asks who is ready (Kubernetes: readinessProbe.periodSeconds)."""

DELAY_S = 1.5
"""`server.shutdown_delay`: time to notice and to move, many times over."""

LONG = "a stream that outlasts the delay"


class Replica:
    """One address and the process that serves it, another after each restart."""

    def __init__(self, folder: Path, environ: dict[str, str], workers: int) -> None:
        self.folder, self._environ, self._workers = folder, environ, workers
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process

    def start(self, http: httpx.AsyncClient) -> None:
        popen = launch(self.folder, self.port, "--workers", str(self._workers), environ=self._environ)
        self.process = Process(popen, self.url, self.folder, http)

    def kill(self) -> None:
        self.process.popen.kill()
        self.process.popen.wait()


class Balancer:
    """Sends new connections to replicas that say they are ready, in turns. Those that are open it leaves alone."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._turn = itertools.count()
        self._changed = asyncio.Condition()
        self.ready: list[Replica] = []

    async def watch(self) -> None:
        while True:
            ready = await asyncio.gather(*map(_is_ready, self._replicas))
            async with self._changed:
                self.ready = [replica for replica, well in zip(self._replicas, ready, strict=True) if well]
                self._changed.notify_all()
            await asyncio.sleep(PROBE_S)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    @asynccontextmanager
    async def connection(self, replica: Replica | None = None) -> AsyncIterator[Wire]:
        """To this one, or the next that is ready."""
        chosen = replica or self.ready[next(self._turn) % len(self.ready)]
        reader, writer = await asyncio.open_connection("127.0.0.1", chosen.port, limit=2**20)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()


async def _is_ready(replica: Replica) -> bool:
    try:
        async with client(replica.url) as http:
            return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


class Load:
    """Callers who ask without a pause: plain, as streams, what was asked before and what was not."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._numbers = itertools.count()
        self._over = False
        self.seen: Counter[str] = Counter()
        """Answers by what `X-Cache` said."""

    def stop(self) -> None:
        self._over = True

    async def one(self) -> None:
        """One caller, on one connection after another."""
        while not self._over:
            async with self._balancer.connection() as wire:
                while not self._over and await self._asks(wire):
                    pass

    async def _asks(self, wire: Wire) -> bool:
        """Whether the connection can be asked again."""
        number = next(self._numbers)
        # Three of four questions are among the last few: hits, and callers who join others' calls on any replica.
        words = f"question {number if number % 4 == 0 else number // 16 * 16}"
        answer = await asked(wire, words, streams=number % 3 == 0)
        self.seen[answer.headers["x-cache"]] += 1
        return answer.headers.get("connection") != "close"


async def asked(wire: Wire, words: str, *, streams: bool) -> httpx.Response:
    """Ask; the answer is whole and the right one."""
    wire.send(post(json.dumps(about(words, stream=streams or None)).encode()))
    answer = await wire.answer()
    assert answer.status_code == 200, answer.text
    assert said(answer) == f"echo of {words}"
    assert not streams or answer.content.endswith(DONE)
    return answer


class LongStream:
    """One that began before its replica was asked to stop, and goes on until the upstream is told to end it."""

    def __init__(self, upstream: Upstream, number: int) -> None:
        self._words = f"{LONG} {number}"
        self._gate = upstream.gates[self._words] = asyncio.Event()

    async def begins(self, wire: Wire) -> None:
        wire.send(post(json.dumps(about(self._words, stream=True)).encode()))
        await wire.reader.readuntil(LONG.encode())

    async def ends_whole(self, wire: Wire) -> None:
        """And its connection with it."""
        self._gate.set()
        assert (await wire.rest()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


class Upstream:
    """Answers with an echo of the question, at once or, for some, when a gate opens."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}

    def answer(self, asked: Asked) -> Script:
        words = asked.json()["messages"][0]["content"]
        if words not in self.gates:
            return echo(asked)
        end = [delta({}, finish="stop"), DONE]
        return stream([delta({"role": "assistant", "content": words}), self.gates[words], *end])


@pytest.fixture
async def replicas(
    own_redis: Callable[..., RedisServer], provider: Provider, tmp_path: Path
) -> AsyncIterator[list[Replica]]:
    environ = {
        "ASKONCE_UPSTREAM": provider.url,
        "ASKONCE_STORE": own_redis().url,
        "ASKONCE_STORE__REDIS__COMMAND_TIMEOUT": "10s",
        "ASKONCE_STORE__REDIS__CONNECT_TIMEOUT": "10s",
        "ASKONCE_SERVER__SHUTDOWN_DELAY": f"{DELAY_S}s",
        "ASKONCE_SERVER__DRAIN_TIMEOUT": "60s",
        "ASKONCE_TELEMETRY__ACCESS_LOG": "false",
    }
    replicas = [Replica(tmp_path / f"replica-{n}", environ, workers) for n, workers in enumerate(WORKERS)]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            replica.start(await stack.enter_async_context(client(replica.url)))
            stack.callback(replica.kill)
        await asyncio.gather(*(alive(replica.process) for replica in replicas))
        yield replicas


async def restarted(replica: Replica, balancer: Balancer, long: LongStream) -> None:
    """As a rolling update does: stopped, and when it has ended started anew and waited for."""
    async with balancer.connection(replica) as wire:
        await long.begins(wire)
        replica.process.popen.send_signal(signal.SIGTERM)
        await balancer.until(lambda: replica not in balancer.ready)
        await refusing(replica.process)
        await long.ends_whole(wire)
    assert await replica.process.ended() == 0
    replica.start(replica.process.http)
    await balancer.until(lambda: replica in balancer.ready)


async def test_replicas_restarted_one_after_another_under_load_lose_no_request_and_cut_no_stream(
    replicas: list[Replica], provider: Provider
) -> None:
    upstream = Upstream()
    provider.always(upstream.answer)
    balancer = Balancer(replicas)
    load = Load(balancer)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(balancer.watch())
        await balancer.until(lambda: len(balancer.ready) == len(replicas))
        for _ in range(CALLERS):
            group.create_task(load.one())
        for number, replica in enumerate(replicas):
            await restarted(replica, balancer, LongStream(upstream, number))
        load.stop()
        watching.cancel()
    assert load.seen["hit"] > CALLERS
    assert load.seen["miss"] > CALLERS
    assert set(load.seen) <= {"hit", "miss", "collapsed", "stale"}
