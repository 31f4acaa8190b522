"""Ends of the process, wanted and unwanted: what was promised as stored is there, and open streams end well."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.path.faults import CHAT
from tests.provider import DONE, Asked, Ending, Provider, Script, as_said, completion, plain, stream, words
from tests.running import cache_status, credential, frames, question, said

Processes = Callable[..., AbstractAsyncContextManager[Any]]

PATIENT = {"ASKONCE_STORE__WRITE_TIMEOUT": "60s", "ASKONCE_STORE__READ_TIMEOUT": "60s"}
"""On a busy machine a commit may take longer than the proxy would let an answer's end wait for it."""


async def ask(process: Any, **members: Any) -> httpx.Response:
    answer: httpx.Response = await process.http.post(CHAT, json=question(**members), headers=credential("sk-alice"))
    return answer


@asynccontextmanager
async def reading(process: Any, **members: Any) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    asked = {"json": question(stream=True, **members), "headers": credential("sk-alice")}
    async with process.http.stream("POST", CHAT, **asked) as response:
        yield response, response.aiter_raw()


async def rest(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def refusing(process: Any) -> None:
    """Until nothing listens there any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # It came into the queue of a socket that was being closed.
        writer.close()
        # Another process: there is no event to wait for.
        await asyncio.sleep(0.01)


# --- what is stored stays


CODES = {
    signal.SIGTERM: {0},
    signal.SIGINT: {0, 128 + signal.SIGINT},  # a shell wants to know that its user pressed Ctrl-C
    signal.SIGKILL: {-signal.SIGKILL},
}


@pytest.mark.parametrize("how", CODES)
async def test_what_was_stored_is_a_hit_after_any_end(
    askonce_process: Processes, provider: Provider, how: signal.Signals
) -> None:
    async with askonce_process(environ=PATIENT) as process:
        assert cache_status(await ask(process, seed=0))["stored"] is True
        assert (await ask(process, seed=1, stream=True)).content.endswith(DONE)
        ended = await process.stop(how)
    assert ended in CODES[how]
    async with askonce_process(environ=PATIENT) as process:
        for seed in (0, 1):
            for streams in (False, True):
                answer = await ask(process, seed=seed, stream=streams)
                assert (answer.headers["x-cache"], said(answer)) == ("hit", f"Answer {seed + 1}")
    assert provider.calls == 2


def told_by_seed(asked: Asked) -> Script:
    """An answer that can be checked: each word carries the seed, and the last one how many there are."""
    seed = asked.json()["seed"]
    return as_said(asked, *expected(seed))


def expected(seed: int) -> list[str]:
    return [f"{seed}-{number} " for number in range(200)] + [f"end of {seed}"]


@pytest.mark.parametrize("after", [5, 40, 150])
async def test_kill_9_under_load_loses_nothing_that_was_promised_and_tears_nothing(
    askonce_process: Processes, provider: Provider, after: int
) -> None:
    provider.always(told_by_seed)
    promised: set[int] = set()
    seeds = count()
    async with askonce_process(environ=PATIENT) as process, asyncio.TaskGroup() as group:

        async def caller() -> None:
            try:
                while True:
                    seed = next(seeds)
                    streams = seed % 2 == 0
                    answer = await ask(process, seed=seed, stream=streams)
                    if answer.content.endswith(DONE) if streams else cache_status(answer).get("stored"):
                        promised.add(seed)
                    if len(promised) >= after:
                        process.popen.kill()
            except httpx.TransportError:
                return

        for _ in range(8):
            group.create_task(caller())
    asked = next(seeds)
    calls = provider.calls
    async with askonce_process(environ=PATIENT) as process:
        for seed in range(asked):
            answer = await ask(process, seed=seed, stream=bool(seed % 3))
            assert said(answer) == "".join(expected(seed))
            assert answer.headers["x-cache"] == "hit" or seed not in promised
        assert (await process.http.get("/readyz")).json()["status"] == "ready"
    assert provider.calls - calls <= asked - len(promised)
    assert "Traceback" not in process.stderr


async def test_a_process_killed_over_and_over_serves_what_each_had_stored(
    askonce_process: Processes, provider: Provider
) -> None:
    for seed in range(4):
        async with askonce_process(environ=PATIENT) as process:
            assert cache_status(await ask(process, seed=seed))["stored"] is True
            for earlier in range(seed):
                assert (await ask(process, seed=earlier)).headers["x-cache"] == "hit"
            await process.stop(signal.SIGKILL)
    assert provider.calls == 4


async def test_a_purge_holds_after_a_kill(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process(environ=PATIENT) as process:
        await ask(process)
        assert (await process.http.post("/admin/purge", json={"all": True})).json() == {"purged": 1}
        await process.stop(signal.SIGKILL)
    async with askonce_process(environ=PATIENT) as process:
        assert (await ask(process)).headers["x-cache"] == "miss"


async def test_a_deletion_holds_after_a_kill(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process(environ=PATIENT) as process:
        key = (await ask(process)).headers["x-cache-key"]
        assert (await process.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
        await process.stop(signal.SIGKILL)
    async with askonce_process(environ=PATIENT) as process:
        assert (await ask(process)).headers["x-cache"] == "miss"


async def test_what_is_kept_on_disk_is_the_owners_alone(
    askonce_process: Processes, provider: Provider, tmp_path: Path
) -> None:
    async with askonce_process() as process:
        await ask(process)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
        assert {name for name, mode in modes.items() if mode & 0o077} == set()
        assert {"secret", "cache.db"} <= set(modes)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) & 0o077 == 0


async def test_a_credential_and_a_prompt_are_not_on_disk(
    askonce_process: Processes, provider: Provider, tmp_path: Path
) -> None:
    """Answers are kept, compressed; questions and credentials only as a MAC."""
    async with askonce_process(environ=PATIENT) as process:
        await ask(process, messages=[{"role": "user", "content": "grapefruit7261"}])
        await process.stop(signal.SIGKILL)
    for path in (tmp_path / "data").iterdir():
        content = path.read_bytes()
        assert b"grapefruit7261" not in content
        assert b"sk-alice" not in content


# --- stopping with streams open

SOON = {"ASKONCE_SERVER__DRAIN_TIMEOUT": "1s"}


async def test_an_open_stream_ends_whole_and_is_kept_while_nobody_new_is_let_in(
    askonce_process: Processes, provider: Provider
) -> None:
    first, *others = words("one ", "two")
    gate = asyncio.Event()
    provider.then(stream([first, gate, *others]))
    async with askonce_process(environ=PATIENT) as process:
        async with reading(process) as (_, pieces):
            seen = await anext(pieces)
            process.popen.terminate()
            await refusing(process)
            gate.set()
            seen += await rest(pieces)
        assert seen.endswith(DONE)
        assert [frame["choices"][0]["delta"].get("content") for frame in frames(seen)[1:3]] == ["one ", "two"]
        assert await process.ended() == 0
    async with askonce_process(environ=PATIENT) as process:
        assert (await ask(process, stream=True)).headers["x-cache"] == "hit"


async def test_a_plain_answer_under_way_comes_whole(askonce_process: Processes, provider: Provider) -> None:
    gate = asyncio.Event()
    provider.then([gate, *plain(completion("late"))])
    async with askonce_process() as process:
        asking = asyncio.create_task(ask(process))
        await provider.arrived()
        process.popen.terminate()
        await refusing(process)
        gate.set()
        assert said(await asking) == "late"
        assert await process.ended() == 0


async def test_a_stream_that_outlasts_the_deadline_is_told_so(askonce_process: Processes, provider: Provider) -> None:
    first, *_ = words("one ", "two", usage=False)
    provider.always(lambda _: stream([first], end=Ending.NEVER))
    async with askonce_process(environ=SOON) as process:
        async with reading(process) as (_, pieces):
            seen = await anext(pieces)
            process.popen.terminate()
            seen += await rest(pieces)
        assert seen.startswith(first)
        last = json.loads(seen.rstrip().rpartition(b"data: ")[2])["error"]
        assert (set(last), last["code"]) == ({"message", "type", "param", "code"}, "shutting_down")
        assert DONE.strip() not in seen
        assert await process.ended() == 0
    assert "Traceback" not in process.stderr
    async with askonce_process() as process:
        provider.always(provider.as_recorded)
        assert (await ask(process, stream=True)).headers["x-cache"] == "miss"


async def test_a_question_still_without_an_answer_at_the_deadline_is_told_to_come_again(
    askonce_process: Processes, provider: Provider
) -> None:
    provider.always(lambda _: [Ending.NEVER])
    async with askonce_process(environ=SOON) as process:
        asking = asyncio.create_task(ask(process))
        await provider.arrived()
        process.popen.terminate()
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"]
        assert await process.ended() == 0
    await provider.last.left.wait()


async def test_idle_connections_do_not_hold_a_stop_up(askonce_process: Processes, provider: Provider) -> None:
    async with askonce_process() as process:
        await ask(process)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
        process.popen.terminate()
        assert await reader.read() == b""
        writer.close()
        assert await process.ended() == 0


async def test_an_answer_whose_caller_left_still_lands_and_is_kept(
    askonce_process: Processes, provider: Provider
) -> None:
    first, *others = words("one ", "two")
    gate = asyncio.Event()
    provider.then(stream([first, gate, *others]))
    async with askonce_process(environ=PATIENT) as process:
        async with reading(process) as (_, pieces):
            await anext(pieces)
        process.popen.terminate()
        await refusing(process)
        gate.set()
        assert await process.ended() == 0
    async with askonce_process(environ=PATIENT) as process:
        answer = await ask(process)
        assert (answer.headers["x-cache"], said(answer)) == ("hit", "one two")


async def test_many_streams_at_once_all_end_well(askonce_process: Processes, provider: Provider) -> None:
    first, *others = words("one ", "two", usage=False)
    gate = asyncio.Event()
    provider.always(lambda _: stream([first, gate, *others]))
    async with askonce_process() as process, asyncio.TaskGroup() as group:
        opened = asyncio.Semaphore(0)

        async def read(seed: int) -> bytes:
            async with reading(process, seed=seed) as (_, pieces):
                seen = await anext(pieces)
                opened.release()
                return seen + await rest(pieces)

        tasks = [group.create_task(read(random.getrandbits(32))) for _ in range(50)]
        for _ in tasks:
            await opened.acquire()
        process.popen.terminate()
        await refusing(process)
        gate.set()
        assert {await task for task in tasks} == {b"".join([first, *others])}
        assert await process.ended() == 0
