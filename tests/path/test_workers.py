"""Several processes on one port: one answer for all of them, whoever is asked, whoever dies, and one end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.embedding_model import lend
from tests.path.faults import CHAT, wire
from tests.path.redis_load import about, ask, crowd, echo, kept, until, until_gone, until_hit
from tests.path.test_drain import closes
from tests.path.test_restart import refusing
from tests.provider import Provider
from tests.redis_servers import free_port
from tests.running import ALICE, BOB, client, credential, question

Processes = Callable[..., AbstractAsyncContextManager[Any]]

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="who is whose child is read from /proc"),
]

N = 3


class Group:
    """The parent, and its workers as /proc knows them."""

    def __init__(self, process: Any, temporary: Path) -> None:
        self.process = process
        self.temporary = temporary

    @property
    def workers(self) -> list[int]:
        """Those that listen: they have a socket in the directory."""
        return sorted(int(path.name.partition("-")[0]) for path in self.temporary.glob("*/*.sock"))

    @property
    def directories(self) -> list[Path]:
        return list(self.temporary.iterdir())

    async def begun(self) -> None:
        """Until all have, and those that are gone are added up."""
        await until(lambda: len(self.workers) == N)

    @asynccontextmanager
    async def only(self, worker: int) -> AsyncIterator[httpx.AsyncClient]:
        """A connection of one's own to this worker: the others cannot take it while they do not run."""
        others = [each for each in self.workers if each != worker]
        for each in others:
            os.kill(each, signal.SIGSTOP)
        try:
            async with client(self.process.url) as http:
                await http.get("/livez")
                for each in others:
                    os.kill(each, signal.SIGCONT)
                yield http
        finally:
            for each in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)


async def counted(http: httpx.AsyncClient) -> tuple[float, float]:
    """Requests answered, and event loops that tell of it; of one scrape."""
    text = (await http.get("/metrics")).text
    found = {"askonce_requests_total": 0.0, "askonce_event_loops": 0.0}
    for sample in (each for family in text_string_to_metric_families(text) for each in family.samples):
        if sample.name in found:
            found[sample.name] += sample.value
    return found["askonce_requests_total"], found["askonce_event_loops"]


def children(pid: int) -> list[int]:
    """Of a process, those that it started."""
    with contextlib.suppress(FileNotFoundError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs(pid: int) -> bool:
    """A process that has ended and was not waited for does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
async def start(
    askonce_process: Processes, redis_url: str, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractAsyncContextManager[Group]]:
    provider.always(echo)

    @asynccontextmanager
    async def start(*arguments: str, environ: dict[str, str] | None = None) -> AsyncIterator[Group]:
        # Below the system's own: a socket's path has to be short.
        temporary = Path(f"/tmp/askonce-test-{os.getpid()}-{free_port()}")
        temporary.mkdir()
        places = {
            "ASKONCE_STORE": redis_url,
            "ASKONCE_STORE__REDIS__COMMAND_TIMEOUT": "10s",
            "ASKONCE_STORE__REDIS__CONNECT_TIMEOUT": "10s",
            "TMPDIR": str(temporary),
        }
        try:
            async with askonce_process("--workers", str(N), *arguments, environ=places | (environ or {})) as process:
                group = Group(process, temporary)
                started = children(process.pid)
                try:
                    await group.begun()
                    started = children(process.pid)
                    yield group
                finally:
                    for pid in {*started, *children(process.pid)}:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        finally:
            for each in temporary.rglob("*"):
                each.is_dir() or each.unlink(missing_ok=True)
            for each in (*temporary.iterdir(), temporary):
                each.rmdir()

    return start


# --- figures


async def asked_everywhere(group: Group, times: int) -> int:
    """So many requests to each worker; gives the sum."""
    for worker in group.workers:
        async with group.only(worker) as http:
            for number in range(times):
                await ask(http, f"{worker} {number}")
    return N * times


async def test_whichever_worker_is_asked_tells_of_all_requests_at_once(start: Any) -> None:
    async with start() as group:
        asked = await asked_everywhere(group, 3)
        async with asyncio.TaskGroup() as callers:
            for number in range(30):
                callers.create_task(_once(group, number))
        for worker in group.workers:
            async with group.only(worker) as http:
                assert await counted(http) == (asked + 30, N)
                stats = (await http.get("/admin/stats")).json()
                assert sum(stats["requests"].values()) == asked + 30
                assert stats["upstream"]["prompt_tokens"]


async def _once(group: Group, number: int) -> None:
    async with client(group.process.url) as http:
        await ask(http, f"once {number}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_a_worker_has_counted_stays_when_it_is_gone(start: Any, how: signal.Signals) -> None:
    async with start() as group:
        asked = await asked_everywhere(group, 2)
        first, *others = group.workers
        async with group.only(others[0]) as http:
            assert await counted(http) == (asked, N)
            for gone in (first, others[1]):
                os.kill(gone, how)
                while gone in group.workers or len(group.workers) < N:  # until another has taken its place
                    assert (await counted(http))[0] == asked
                assert await counted(http) == (asked, N)
            await until(lambda: len(list(group.directories[0].glob("*-*.json"))) <= N)
            assert await counted(http) == (asked, N)
            await ask(http, "one more")
            assert await counted(http) == (asked + 1, N)
        newest = next(each for each in group.workers if each not in (first, *others))
        async with group.only(newest) as http:
            assert await counted(http) == (asked + 1, N)


async def test_a_worker_that_hangs_is_answered_for_by_what_it_last_wrote(start: Any) -> None:
    async with start() as group:
        asked = await asked_everywhere(group, 2)
        one, *others = group.workers
        async with group.only(one) as http:
            assert await counted(http) == (asked, N)
            os.kill(others[0], signal.SIGSTOP)
            assert await counted(http) == (asked, N)
            os.kill(others[0], signal.SIGCONT)


# --- one store, one secret


async def test_an_operator_reaches_all_workers_through_any(start: Any) -> None:
    """An answer that two of them have in memory is gone from both, and what was asked of one is found by the other."""
    async with start() as group:
        one, other, _ = group.workers
        async with group.only(one) as here, group.only(other) as there:
            for words, gone in (("by its key", "/admin/entries/{}"), ("all", "/admin/purge")):
                await kept(here, words)
                await until_hit(there, words)
                answer = await there.post(CHAT, json=question(messages=[{"role": "user", "content": words}]),
                                          headers={"authorization": "Bearer sk-alice"})  # fmt: skip
                assert answer.headers["x-cache"] == "hit"
                if "{}" in gone:
                    done = await here.delete(gone.format(answer.headers["x-cache-key"]))
                else:
                    done = await here.post(gone, json={"all": True})
                assert done.status_code == 200, done.text
                await until_gone(there, words)
                await until_gone(here, words)


async def test_feedback_about_a_delivery_may_be_given_to_another_worker(start: Any, tmp_path: Path) -> None:
    """By the request's id, which only the worker that delivered knows."""
    lend(tmp_path / "data")
    on = {"ASKONCE_SEMANTIC__MODE": "on", "ASKONCE_SEMANTIC__DEADLINE": "60s"}
    async with start(environ=on) as group:
        one, other, _ = group.workers
        async with group.only(one) as here, group.only(other) as there:
            await ask(here, "What is a cache?")
            matched = {"content": json.dumps(about("  what is a CACHE ??")), "headers": credential(ALICE)}
            while (answer := await here.post(CHAT, **matched)).headers["x-cache"] == "miss":
                await asyncio.sleep(0.01)
                # The same words asked anew: this question has an answer of its own by now.
                await here.post("/admin/purge", json={"key": answer.headers["x-cache-key"]})
            told = {"json": {"request_id": answer.headers["x-request-id"], "verdict": "bad"}}
            refused = await there.post("/v1/feedback", headers=credential(BOB), **told)
            assert refused.status_code == 404, refused.text
            done = await there.post("/v1/feedback", headers=credential(ALICE), **told)
            assert (done.status_code, done.json()["done"]) == (200, "pair_refused")
            while (await here.post(CHAT, **matched)).headers["x-cache"] != "miss":  # once it has heard of it
                await asyncio.sleep(0.01)


# --- beginning and end


async def test_the_group_begins_with_one_announcement_of_the_real_port(askonce_process: Processes, start: Any) -> None:
    async with start() as group:
        said = re.findall(r"serves .* at (http://\S+)/v1", group.process.stderr)
        assert said == [group.process.url]


async def test_port_0_is_a_free_one_that_all_share(redis_url: str, provider: Provider, tmp_path: Path) -> None:
    from tests.conftest import launch

    environ = {"ASKONCE_UPSTREAM": provider.url, "ASKONCE_STORE": redis_url}
    with launch(tmp_path, 0, "--workers", "2", environ=environ) as popen:
        try:
            while not (said := re.search(r"at (http://\S+)/v1", (tmp_path / "stderr").read_text())):
                assert popen.poll() is None, (tmp_path / "stderr").read_text()
                await asyncio.sleep(0.01)
            async with client(said.group(1)) as http:
                assert (await http.get("/livez")).status_code == 200
        finally:
            popen.terminate()
            assert await asyncio.to_thread(popen.wait) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_all_and_leaves_nothing(start: Any, how: signal.Signals) -> None:
    async with start() as group:
        pids = [group.process.pid, *children(group.process.pid)]
        assert len(pids) > N
        assert await group.process.stop(how) == 0
        await until(lambda: not any(map(runs, pids)))
        assert group.directories == []


async def test_when_the_parent_is_killed_its_workers_end_by_themselves(start: Any) -> None:
    async with start() as group:
        pids = children(group.process.pid)
        await group.process.stop(signal.SIGKILL)
        await until(lambda: not any(map(runs, pids)))
        assert group.directories == []
        await refusing(group.process)


async def test_a_port_that_is_taken_ends_it_with_a_sentence(start: Any, redis_url: str, tmp_path: Path) -> None:
    async with start() as group:
        taken = str(group.process.url.rpartition(":")[2])
        again = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "serve", "--port", taken, "--workers", "2", "--store", redis_url,
            cwd=Path(__file__).parents[2], stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await again.communicate()
        assert again.returncode == 3
        assert b"in use" in said
        assert b"Traceback" not in said


# --- connections


async def test_the_death_of_workers_resets_no_connection_that_waits(start: Any) -> None:
    """Not even when all die: it belongs to none of them."""
    async with start() as group:
        for worker in group.workers:
            os.kill(worker, signal.SIGSTOP)
        async with wire(group.process.url) as connection:
            connection.ask()
            for worker in group.workers:
                os.kill(worker, signal.SIGKILL)
            assert (await connection.answer()).status_code == 200


async def test_a_reload_replaces_all_workers_and_no_caller_notices(start: Any) -> None:
    async with start(environ={"ASKONCE_SERVER__SHUTDOWN_DELAY": "1s"}) as group:
        before = group.workers
        async with client(group.process.url) as http, crowd(http, callers=4) as load:
            await load.serves(20)
            os.kill(group.process.pid, signal.SIGHUP)
            while set(group.workers) & set(before):
                assert (await _status(group, "/readyz")) == 200
                await load.serves(5)
            await load.serves(20)
        async with client(group.process.url) as http:
            assert (await counted(http))[0] == load.seen.total()


async def _status(group: Group, path: str) -> int:
    async with client(group.process.url) as http:
        return (await http.get(path)).status_code


async def test_the_delay_is_the_same_for_all_and_a_second_signal_ends_it(start: Any) -> None:
    async with start(environ={"ASKONCE_SERVER__SHUTDOWN_DELAY": "1h"}) as group:
        clients = [group.only(worker) for worker in group.workers]
        async with clients[0] as one, clients[1] as two, clients[2] as three:
            # As who stops a service does: every process gets the signal, and the parent passes it on besides.
            for pid in (*group.workers, group.process.pid):
                os.kill(pid, signal.SIGTERM)
            for http in (one, two, three):
                while not closes(await http.get("/livez")):
                    pass
                await _draining(group, http)
        async with client(group.process.url) as http:  # new connections are taken
            assert await ask(http, "in the delay") == "miss"
        assert await group.process.stop(signal.SIGTERM) == 0


async def _draining(group: Group, http: httpx.AsyncClient) -> None:
    while (await http.get("/readyz")).status_code != 503:
        await asyncio.sleep(0.01)
