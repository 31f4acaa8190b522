"""A stream's caller who waits for somebody else's call is kept company; one who has a call of its own is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.path.test_flights import QUIET, followers
from tests.provider import Ending, Provider, Script, completion, failure, plain, stream, words
from tests.running import Clock, Reading, Running, Start, cache_status, frames, said

COMMENT = b": keep-alive\n\n"
SOON: dict[str, Any] = {"server.stream_keep_alive": 0.02}


@pytest.fixture
async def proxy(askonce: Start) -> AsyncIterator[Running]:
    async with askonce(SOON) as running:
        yield running


@pytest.fixture
def gate() -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    event.set()


@contextlib.asynccontextmanager
async def kept_waiting(
    proxy: Running, provider: Provider, script: Script, *, leader: dict[str, Any], headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.Task[httpx.Response], Reading]]:
    """A leader whose answer has not begun, and a streaming follower who has had two comments."""
    provider.then(script)
    leading = asyncio.create_task(proxy.chat(headers, **leader))
    await provider.arrived(1)
    async with proxy.reading(headers) as following:
        await following.until(COMMENT * 2)
        yield leading, following


async def test_who_waits_for_anothers_stream_gets_comments_and_then_all_of_it(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *stream(words("one ", "two ", "three"))]
    async with kept_waiting(proxy, provider, script, leader={"stream": True}) as (leading, following):
        response = following.response
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-cache"] == "collapsed"
        assert cache_status(response) == {"fwd": "uri-miss", "collapsed": True}
        assert not leading.done()
        gate.set()
        assert (await following.rest()).replace(COMMENT, b"") == QUIET
        assert (await leading).content == QUIET
    assert provider.calls == 1


async def test_the_caller_whose_call_it_is_gets_the_upstreams_own_head(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *failure(429, "slow down")]
    async with kept_waiting(proxy, provider, script, leader={"stream": True}) as (leading, _):
        gate.set()
        assert (await leading).status_code == 429
        assert COMMENT not in (await leading).content


async def test_an_upstreams_error_ends_a_stream_that_has_begun_as_an_event(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *failure(429, "slow down")]
    async with kept_waiting(proxy, provider, script, leader={"stream": True}) as (_, following):
        gate.set()
        body = (await following.rest()).replace(COMMENT, b"")
    assert [frame["error"]["message"] for frame in frames(body)] == ["slow down"]
    assert b"[DONE]" not in body


async def test_an_upstream_that_is_lost_ends_it_as_an_event_too(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    async with kept_waiting(proxy, provider, [gate, Ending.RESET], leader={"stream": True}) as (leading, following):
        gate.set()
        body = (await following.rest()).replace(COMMENT, b"")
        assert (await leading).status_code == 502
    [frame] = frames(body)
    assert frame["error"]["type"] == "upstream_error"


async def test_an_answer_that_is_no_stream_and_no_json_is_told_as_an_error(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *failure(503, "x")]
    async with kept_waiting(proxy, provider, script, leader={"stream": True}) as (_, following):
        gate.set()
        assert b"[DONE]" not in await following.rest()


async def test_a_plain_answer_becomes_a_stream_for_who_waited_for_one(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *plain(completion("as it was"))]
    async with kept_waiting(proxy, provider, script, leader={}) as (leading, following):
        gate.set()
        body = (await following.rest()).replace(COMMENT, b"")
    assert said(await leading) == "as it was"
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in frames(body)) == "as it was"
    assert body.endswith(b"data: [DONE]\n\n")
    assert provider.calls == 1


async def test_a_stale_answer_stands_in_also_for_who_waited_long(
    askonce: Start, provider: Provider, gate: asyncio.Event
) -> None:
    clock = Clock()
    async with askonce(SOON, clock=clock) as proxy:
        assert (await proxy.chat({"x-cache-ttl": "10"})).headers["x-cache"] == "miss"
        clock.pass_(20)
        provider.asked.clear()
        stale = {"cache-control": "stale-if-error=1000"}
        script = [gate, *failure(500)]
        async with kept_waiting(proxy, provider, script, leader={"stream": True}, headers=stale) as (_, following):
            gate.set()
            body = (await following.rest()).replace(COMMENT, b"")
        assert body.endswith(b"data: [DONE]\n\n")
        assert b"error" not in body


async def test_who_leaves_while_waiting_takes_nothing_along(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    script = [gate, *stream(words("one ", "two ", "three"))]
    async with kept_waiting(proxy, provider, script, leader={"stream": True}) as (leading, following):
        await following.response.aclose()
        while await proxy.metric("askonce_requests_total", outcome="error") < 1:
            pass
        gate.set()
        assert (await leading).content == QUIET
    await proxy.landed()
    assert [task for task in asyncio.all_tasks() if "another" in task.get_name()] == []


async def test_a_plain_caller_hears_nothing_before_its_answer(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then([gate, *plain(completion("whole"))])
    waiting = [asyncio.create_task(proxy.chat()) for _ in range(2)]
    await followers(proxy, 1)
    await asyncio.sleep(0.05)  # longer than a stream's caller would be left alone
    assert not any(task.done() for task in waiting)
    gate.set()
    assert [said(await task) for task in waiting] == ["whole"] * 2
