"""The judging model over HTTP, on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest

from proxy.errors import CacheFailure
from proxy.judges.endpoint import MOST_TOKENS, ChatEndpoint

ASKED = [{"role": "user", "content": "a secret word"}]


class Model:
    """Answers every request with the same status and body, or never."""

    def __init__(self, status: int = 200, body: bytes = b"", *, silent: bool = False) -> None:
        self.status, self.body, self.silent = status, body, silent
        self.heads: list[str] = []
        self.bodies: list[dict] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.heads.append(head)
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.silent:
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (self.status, len(self.body)) + self.body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@asynccontextmanager
async def serving(model: Model, api_key: str | None = "sk-judge", timeout_s: float = 30):
    server = await asyncio.start_server(model, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = ChatEndpoint(f"http://127.0.0.1:{port}/v1/", "small", api_key=api_key, timeout_s=timeout_s)
    try:
        yield endpoint
    finally:
        await endpoint.close()
        await endpoint.close()
        server.close()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))


async def test_it_is_asked_briefly_and_with_its_own_credential():
    model = Model(body=completion('{"same": true}'))
    async with serving(model) as endpoint:
        assert await endpoint.ask(ASKED) == '{"same": true}'
    assert model.heads[0].startswith("post /v1/chat/completions ")
    assert "authorization: bearer sk-judge" in model.heads[0]
    assert model.bodies == [{"model": "small", "messages": ASKED, "temperature": 0, "max_tokens": MOST_TOKENS}]


async def test_without_a_credential_none_is_sent():
    model = Model(body=completion(""))
    async with serving(model, api_key=None) as endpoint:
        await endpoint.ask(ASKED)
    assert "authorization" not in model.heads[0]


async def test_an_answer_without_text_is_no_verdict():
    async with serving(Model(body=completion(None))) as endpoint:
        assert await endpoint.ask(ASKED) == ""


@pytest.mark.parametrize(
    "model",
    [
        Model(401, b"a secret word"),
        Model(302, b""),
        Model(500, completion('{"same": true}')),
        Model(200, b"<html>a secret word"),
        Model(200, b'{"choices": []}'),
        Model(200, b'["a secret word"]'),
        Model(200, completion("x" * 100_000)),
    ],
)
async def test_what_is_no_answer_is_a_failure_that_repeats_no_word(model):
    async with serving(model) as endpoint:
        with pytest.raises(CacheFailure) as caught:
            await endpoint.ask(ASKED)
    assert "secret" not in caught.value.message
    assert "sk-judge" not in caught.value.message


async def test_a_model_that_never_answers_is_given_up():
    async with serving(Model(silent=True), timeout_s=0.5) as endpoint:
        with pytest.raises(CacheFailure, match="longer than") as caught:
            await endpoint.ask(ASKED)
    assert caught.value.reason == "timeout"


async def test_nobody_there_is_a_failure():
    with socket.socket() as taken:
        # Bound and not listening: nobody else can take the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        endpoint = ChatEndpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "m", api_key=None, timeout_s=30)
        with pytest.raises(CacheFailure, match="cannot be reached"):
            await endpoint.ask(ASKED)
        await endpoint.close()
