"""The fake provider does what its scripts say: else no test that leans on it means anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.provider import (
    DONE,
    Ending,
    Provider,
    Script,
    completion,
    deepseek_plain,
    dump,
    endless,
    event,
    failure,
    gzipped,
    html,
    plain,
    stream,
    truncated,
    usage_frame,
    with_length,
    words,
)
from tests.recordings import RECORDINGS, Recording

CHAT = "/chat/completions"


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=provider.url, timeout=None, verify=False) as http:
        yield http


WHOLE: dict[str, tuple[Callable[[], Script], int, bytes]] = {
    "plain": (lambda: plain({"a": 1}), 200, b'{"a":1}'),
    "gzip": (lambda: gzipped({"a": 1}), 200, b'{"a":1}'),
    "blank lines first": (lambda: deepseek_plain({"a": 1}), 200, b'\n\n\n\n{"a":1}'),
    "a page": (html, 200, b"<!doctype html><title>Sign in</title>"),
    "half a JSON text": (lambda: truncated({"a": 1}, by=3), 200, b'{"a"'),
    "a failure": (
        lambda: failure(503, "busy"),
        503,
        dump({"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}),
    ),
    "a stream": (lambda: stream([b"data: 1\n\n", DONE]), 200, b"data: 1\n\n" + DONE),
}


@pytest.mark.parametrize(("script", "status", "body"), WHOLE.values(), ids=WHOLE)
async def test_a_whole_answer_arrives_and_its_connection_serves_the_next(
    provider: Provider, client: httpx.AsyncClient, script: Callable[[], Script], status: int, body: bytes
) -> None:
    provider.then(script(), script())
    for _ in range(2):
        answer = await client.post(CHAT)
        assert (answer.status_code, answer.content) == (status, body)
    assert provider.connections == 1


BROKEN: dict[str, tuple[Callable[[], Script], type[httpx.TransportError]]] = {
    "short of its length": (lambda: with_length([b"{", Ending.CLOSE], 50), httpx.RemoteProtocolError),
    "reset inside a body": (lambda: with_length([b"{", Ending.RESET], 50), httpx.ReadError),
    "stream without its terminator": (lambda: stream(words("a"), end=Ending.CLOSE), httpx.RemoteProtocolError),
    "stream reset": (lambda: stream(words("a"), end=Ending.RESET), httpx.ReadError),
    "closed at once": (lambda: [Ending.CLOSE], httpx.RemoteProtocolError),
    "reset at once": (lambda: [Ending.RESET], httpx.ReadError),
}


@pytest.mark.parametrize(("script", "fault"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_breaks_where_it_says(
    provider: Provider, client: httpx.AsyncClient, script: Callable[[], Script], fault: type[httpx.TransportError]
) -> None:
    provider.then(script())
    with pytest.raises(fault):
        await client.post(CHAT)


@pytest.mark.parametrize("script", [endless, lambda: [Ending.NEVER], lambda: [asyncio.Event()]])
async def test_it_notices_that_the_other_side_has_left(
    provider: Provider, client: httpx.AsyncClient, script: Callable[[], Script]
) -> None:
    provider.then(script())
    asking = asyncio.create_task(client.post(CHAT))
    await provider.arrived()
    assert not provider.last.left.is_set()
    asking.cancel()
    await provider.last.left.wait()


async def test_a_gate_holds_the_next_frame_back(provider: Provider, client: httpx.AsyncClient) -> None:
    gate = asyncio.Event()
    provider.then(stream([b"data: 1\n\n", gate, b"data: 2\n\n"]))
    async with client.stream("POST", CHAT) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"data: 1\n\n"
        gate.set()
        assert await anext(pieces) == b"data: 2\n\n"


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
async def test_a_recording_is_sent_in_the_form_that_was_asked_for(
    provider: Provider, client: httpx.AsyncClient, recording: Recording
) -> None:
    provider.recording = recording
    usage = {"stream_options": {"include_usage": True}}
    whole, loud, quiet = [
        (await client.post(CHAT, json=members)).content for members in ({}, {"stream": True} | usage, {"stream": True})
    ]
    assert whole == dump(recording.plain)
    assert loud == b"".join(recording.frames)
    assert b'"usage"' not in quiet
    assert quiet.endswith(DONE)


async def test_it_keeps_what_was_asked(provider: Provider, client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":"m",'
        yield b'"stream":true}'

    await client.post(f"{CHAT}?a=1", content=pieces(), headers={"x-mine": "1"})
    asked = provider.last
    assert (asked.method, asked.target, asked.path) == ("POST", "/v1/chat/completions?a=1", "/v1/chat/completions")
    assert (asked.model, asked.streams, asked.wants_usage, asked.header("X-Mine")) == ("m", True, False, "1")


def test_words_say_what_they_are_told_with_usage_only_when_asked() -> None:
    assert words("a", "b")[-2:] == [usage_frame(), DONE]
    assert b"usage" not in b"".join(words("a", usage=False))
    assert event(completion("a")).startswith(b'data: {"id":')
