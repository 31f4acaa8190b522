"""One upstream call for any number of equal questions in the air, streams included.

The provider holds its frames back at gates, so each test says who is on board before the next byte comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest

from tests.provider import DONE, Ending, Provider, Script, as_said, completion, failure, plain, stream, words
from tests.running import (
    ALICE,
    BOB,
    Reading,
    Running,
    Start,
    body_of,
    dechunked,
    error,
    frames,
    question,
    request_bytes,
    said,
)

FIRST, *REST = words("one ", "two ", "three")
QUIET = b"".join(words("one ", "two ", "three", usage=False))
LOUD = b"".join([FIRST, *REST])
WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}


@pytest.fixture
async def proxy(askonce: Start, lane: dict[str, Any]) -> AsyncIterator[Running]:
    """A proxy that must have nothing in the air when the test is over."""
    async with askonce(lane) as running:
        yield running
        await nothing_flies(running)


async def nothing_flies(proxy: Running) -> None:
    await proxy.landed()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("flight")] == []


@pytest.fixture
def gate() -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    # A test that failed before it opened the gate must not leave the provider waiting.
    event.set()


async def left(proxy: Running, count: int) -> None:
    """Until the proxy has noticed that so many callers went away."""
    while await proxy.metric("askonce_requests_total", endpoint="/v1/chat/completions") < count:
        pass


async def followers(proxy: Running, count: int) -> None:
    """Until so many callers have joined somebody else's flight."""
    while await proxy.metric("askonce_flight_followers_total") < count:
        pass


@contextlib.asynccontextmanager
async def many(proxy: Running, count: int, **members: Any) -> AsyncIterator[list[Reading]]:
    """So many equal streamed requests, each past its response's head."""
    async with AsyncExitStack() as stack:
        opening = (stack.enter_async_context(proxy.reading(**members)) for _ in range(count))
        yield await asyncio.gather(*opening)


# --- sharing


async def test_equal_streams_cost_one_call_and_all_hear_the_whole_answer(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with many(proxy, 20) as readings:
        for reading in readings:
            await reading.until(b"assistant")
        gate.set()
        assert {await reading.rest() for reading in readings} == {QUIET}
        caches = sorted(reading.response.headers["x-cache"] for reading in readings)
    assert caches == ["collapsed"] * 19 + ["miss"]
    assert provider.calls == 1


async def test_a_late_caller_hears_all_from_the_first_byte_and_then_the_live_tail(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, REST[0], gate, *REST[1:]]))
    async with proxy.reading() as early:
        await early.until(b"one ")
        async with proxy.reading() as late:
            assert b"assistant" in await late.until(b"one ")
            assert b"two" not in late.seen
            gate.set()
            assert await late.rest() == await early.rest() == QUIET


async def test_callers_on_one_flight_each_get_usage_only_if_they_asked(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([gate, FIRST, *REST]))
    async with asyncio.TaskGroup() as group:
        quiet = group.create_task(proxy.chat(stream=True))
        loud = group.create_task(proxy.chat(stream=True, **WITH_USAGE))
        await followers(proxy, 1)
        gate.set()
    assert (quiet.result().content, loud.result().content) == (QUIET, LOUD)
    assert provider.calls == 1


async def test_a_thousand_equal_streams_at_once_are_one_call(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([gate, FIRST, *REST]))
    request = request_bytes(question(stream=True), "connection: close")
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.raw(request)) for _ in range(1000)]
        await followers(proxy, 999)
        gate.set()
    assert {dechunked(body_of(task.result())) for task in asking} == {QUIET}
    assert provider.calls == 1


@pytest.mark.parametrize("first_streams", [True, False], ids=["plain joins a stream", "stream joins a plain call"])
async def test_callers_of_either_form_share_a_flight(
    proxy: Running, provider: Provider, gate: asyncio.Event, first_streams: bool
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one ", "two ", "three")])
    async with asyncio.TaskGroup() as group:
        first = group.create_task(proxy.chat(stream=first_streams))
        await provider.arrived()
        second = group.create_task(proxy.chat(stream=not first_streams))
        await followers(proxy, 1)
        gate.set()
    assert said(first.result()) == said(second.result()) == "one two three"
    assert [first.result().headers["x-cache"], second.result().headers["x-cache"]] == ["miss", "collapsed"]
    assert provider.calls == 1


# --- leaving


async def test_the_first_callers_leaving_cancels_nothing_for_the_others(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with proxy.reading() as second:
        async with proxy.reading() as first:
            await first.until(b"assistant")
            await followers(proxy, 1)
        await left(proxy, 1)
        gate.set()
        assert await second.rest() == QUIET
    assert (await proxy.chat()).headers["x-cache"] == "hit"
    assert not provider.last.left.is_set()


async def test_the_answer_is_kept_when_the_only_caller_leaves(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with proxy.reading() as only:
        await only.until(b"assistant")
    gate.set()
    await proxy.landed()
    again = await proxy.chat()
    assert (again.headers["x-cache"], said(again), provider.calls) == ("hit", "one two three", 1)


async def test_a_plain_answer_is_kept_when_its_caller_leaves(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then([gate, *plain(completion("kept"))])
    asking = asyncio.create_task(proxy.chat())
    await provider.arrived()
    asking.cancel()
    await asyncio.wait([asking])
    gate.set()
    await proxy.landed()
    assert said(await proxy.chat()) == "kept"
    assert provider.calls == 1


async def test_a_caller_who_comes_after_the_first_has_left_still_joins(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([FIRST, gate, *REST]))
    async with proxy.reading() as first:
        await first.until(b"assistant")
    async with proxy.reading() as late:
        gate.set()
        assert await late.rest() == QUIET
    assert provider.calls == 1


# --- failing


def _lost(*moves: Any) -> Callable[[asyncio.Event], Script]:
    return lambda gate: [gate, *moves]


FAILURES: dict[str, tuple[Callable[[asyncio.Event], Script], int]] = {
    "status 500": (lambda gate: [gate, *failure(500, "the model is down")], 500),
    "status 429": (lambda gate: [gate, *failure(429, "slow down", [("retry-after", "7")])], 429),
    "reset before the first byte": (lambda gate: [gate, Ending.RESET], 502),
    "closed before the first byte": (lambda gate: [gate, Ending.CLOSE], 502),
}


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "plain"])
@pytest.mark.parametrize(("failing", "status"), FAILURES.values(), ids=FAILURES)
async def test_a_flight_that_fails_before_its_answer_fails_everyone_alike_and_is_not_kept(
    proxy: Running, provider: Provider, gate: asyncio.Event, failing: Any, status: int, streams: bool
) -> None:
    provider.always(lambda _: failing(gate))
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(stream=streams)) for _ in range(3)]
        await followers(proxy, 2)
        gate.set()
    answers = [task.result() for task in asking]
    assert [answer.status_code for answer in answers] == [status] * 3
    assert len({answer.content for answer in answers}) == 1
    assert error(answers[0])["message"]
    assert provider.calls == 1
    provider.always(provider.as_recorded)
    assert (await proxy.chat()).headers["x-cache"] == "miss"


BREAKS: dict[str, Ending] = {"reset": Ending.RESET, "closed without a terminator": Ending.CLOSE}


@pytest.mark.parametrize("ending", BREAKS.values(), ids=BREAKS)
async def test_a_stream_that_breaks_off_ends_with_the_same_error_for_everyone_and_is_not_kept(
    proxy: Running, provider: Provider, gate: asyncio.Event, ending: Ending
) -> None:
    provider.then(stream([FIRST, REST[0], gate], end=ending))
    async with many(proxy, 3) as readings:
        for reading in readings:
            await reading.until(b"one ")
        gate.set()
        bodies = {await reading.rest() for reading in readings}
    (body,) = bodies
    told = frames(body)[-1]["error"]
    assert (set(told), told["type"]) == ({"message", "type", "param", "code"}, "upstream_error")
    assert told["code"].endswith("_interrupted")
    assert DONE not in body
    await proxy.landed()
    assert (await proxy.chat()).headers["x-cache"] == "miss"


async def test_the_sdk_raises_where_a_stream_broke_off(proxy: Running, provider: Provider, gate: asyncio.Event) -> None:
    provider.then(stream([FIRST, REST[0]], end=Ending.CLOSE))
    async with proxy.sdk() as sdk:
        chunks = await sdk.chat.completions.create(**question(), stream=True)
        with pytest.raises(openai.APIError, match="upstream"):
            [chunk async for chunk in chunks]


# --- not lining up


async def test_questions_that_want_different_answers_are_not_lined_up(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, "one")])
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(temperature=1)) for _ in range(3)]
        await provider.arrived(3)
        gate.set()
    assert {task.result().headers["x-cache"] for task in asking} == {"bypass"}


async def test_questions_of_two_callers_are_not_lined_up(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.always(lambda asked: [gate, *as_said(asked, asked.header("authorization") or "")])
    async with asyncio.TaskGroup() as group:
        asking = {key: group.create_task(proxy.chat(key=key, stream=True)) for key in (ALICE, BOB)}
        await provider.arrived(2)
        gate.set()
    assert {key: said(task.result()) for key, task in asking.items()} == {key: f"Bearer {key}" for key in asking}


async def test_after_an_answer_that_could_not_be_kept_equal_questions_are_not_lined_up(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    refused = words("no", finish="content_filter")
    provider.then(stream(refused))
    await proxy.chat(stream=True)
    provider.always(lambda _: stream([gate, *refused]))
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(stream=True)) for _ in range(3)]
        await provider.arrived(4)
        gate.set()
    assert {task.result().headers["x-cache"] for task in asking} == {"miss"}


async def test_regenerating_does_not_join_an_earlier_question(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then([gate, *plain(completion("old"))], plain(completion("new")))
    asking = asyncio.create_task(proxy.chat())
    await provider.arrived()
    regenerated = await proxy.chat({"cache-control": "no-cache"})
    gate.set()
    assert (said(regenerated), said(await asking)) == ("new", "old")


# --- bounds

SMALL = {"server.flight_max_bytes": 20_000}
LONG = words(*(["a" * 1000] * 100))


async def test_a_stream_past_the_bound_is_served_whole_and_not_kept(
    askonce: Start, lane: dict[str, Any], provider: Provider
) -> None:
    provider.always(lambda _: stream(LONG))
    async with askonce(lane | SMALL) as proxy:
        for call in (1, 2):
            answer = await proxy.chat(stream=True, **WITH_USAGE)
            assert (answer.content, answer.headers["x-cache"]) == (b"".join(LONG), "miss")
            assert provider.calls == call
        assert await proxy.metric("askonce_store_skipped_total", reason="too_large") == 2
        await nothing_flies(proxy)


async def test_nobody_joins_a_stream_that_is_past_the_bound(
    askonce: Start, lane: dict[str, Any], provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([*LONG[:50], gate, *LONG[50:]]), stream(LONG))
    async with askonce(lane | SMALL) as proxy, proxy.reading(**WITH_USAGE) as early:
        while len(early.seen) < 40_000:
            await early.until(early.seen + b"d")
        late = await proxy.chat(stream=True, **WITH_USAGE)
        gate.set()
        assert await early.rest() == late.content == b"".join(LONG)
        assert provider.calls == 2


async def test_a_flight_takes_no_more_callers_than_its_bound(
    askonce: Start, lane: dict[str, Any], provider: Provider, gate: asyncio.Event
) -> None:
    provider.always(lambda _: stream([FIRST, gate, *REST]))
    async with askonce(lane | {"server.flight_max_listeners": 2}) as proxy:
        async with many(proxy, 4) as readings:
            gate.set()
            assert {await reading.rest() for reading in readings} == {QUIET}
        assert provider.calls == 2
        await nothing_flies(proxy)


HUGE = words(*(["a" * 60_000] * 150))
"""More than socket buffers take from a writer whose reader does not read."""


async def test_a_reader_who_stops_reading_holds_nobody_back_and_can_go_on_later(
    proxy: Running, provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([HUGE[0], gate, *HUGE[1:]]))
    async with stuck_reader(proxy) as stuck:
        async with many(proxy, 3, **WITH_USAGE) as readings:
            gate.set()
            assert {await reading.rest() for reading in readings} == {b"".join(HUGE)}
        assert provider.calls == 1
        assert b"".join([piece async for piece in stuck]).count(b"data: ") == len(HUGE)


async def test_a_reader_too_far_behind_a_long_stream_is_told_and_the_others_finish(
    askonce: Start, lane: dict[str, Any], provider: Provider, gate: asyncio.Event
) -> None:
    provider.then(stream([HUGE[0], gate, *HUGE[1:]]))
    async with askonce(lane | {"server.flight_max_bytes": 1_000_000}) as proxy, stuck_reader(proxy) as stuck:
        async with proxy.reading(**WITH_USAGE) as other:
            gate.set()
            assert await other.rest() == b"".join(HUGE)
        told = b"".join([piece async for piece in stuck])
        assert b'"error"' in told
        assert DONE not in told


@contextlib.asynccontextmanager
async def stuck_reader(proxy: Running) -> AsyncIterator[AsyncIterator[bytes]]:
    """A streamed caller whose socket takes little, past the response's head; it reads on when it is iterated."""
    loop = asyncio.get_running_loop()
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        await loop.sock_connect(stuck, (host, int(port)))
        await loop.sock_sendall(stuck, request_bytes(question(stream=True, **WITH_USAGE), "connection: close"))
        await loop.sock_recv(stuck, 1)
        yield reading_on(stuck)


async def reading_on(stuck: socket.socket) -> AsyncIterator[bytes]:
    while piece := await asyncio.get_running_loop().sock_recv(stuck, 2**20):
        yield piece
