"""What the tests of bad input and faults share: a bare connection, and what must be true after a failure."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx

from tests.provider import Provider
from tests.running import ALICE, Running, question, said

CANARY = "grapefruit7261"
"""A user's word: it may stand in what a user gets, and nowhere else."""

CHAT = "/v1/chat/completions"


class Wire:
    """One connection to the proxy, written to byte by byte and read answer by answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, *fields: str, **members: Any) -> None:
        """A whole, ordinary chat request."""
        self.send(post(question(**members), *fields))

    async def answer(self) -> httpx.Response:
        """The next response, whole. Raises `asyncio.IncompleteReadError` where the connection ends before it does."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        response = httpx.Response(status, headers=headers)
        body = await self._chunked() if "transfer-encoding" in response.headers else await self._counted(response)
        return httpx.Response(status, headers=headers, content=body)

    async def rest(self) -> bytes:
        """All that comes until the server closes. A reset is a way to close."""
        pieces = []
        try:
            while piece := await self.reader.read(65536):
                pieces.append(piece)
        except ConnectionError:
            pass
        return b"".join(pieces)

    async def drip(self, piece: bytes, *, pause: float = 0.01) -> bytes:
        """Send this over and over, slowly, until the server has had enough; gives what it said."""
        reading = asyncio.create_task(self.rest())
        while not reading.done():
            self.send(piece)
            # The slowness is what is tested: no event says when a byte of nothing has been read.
            await asyncio.wait({reading}, timeout=pause)
        return reading.result()

    async def reset(self) -> None:
        """Leave as a crashed process does (RST)."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await asyncio.sleep(0)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):  # The server closed first, and did not read all of what was sent.
            await self._writer.wait_closed()

    async def _counted(self, response: httpx.Response) -> bytes:
        return await self.reader.readexactly(int(response.headers.get("content-length", 0)))

    async def _chunked(self) -> bytes:
        pieces = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(pieces)


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A connection of one's own to this address (`http://host:port`)."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**24)
    connection = Wire(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def case(name: str) -> Iterator[None]:
    """One of a table's cases, named where it fails. A proxy started for each would take longer than all of them."""
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"in the case {name!r}")
        raise


def head(*fields: str, line: str = f"POST {CHAT} HTTP/1.1", key: str = ALICE) -> bytes:
    """A header section, exactly as given, with a host and a credential."""
    return "\r\n".join([line, "host: askonce", f"authorization: Bearer {key}", *fields, "", ""]).encode("latin-1")


def post(members: dict[str, Any] | bytes, *fields: str, line: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    """A request with a body and its length."""
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return head(f"content-length: {len(body)}", *fields, line=line) + body


async def untouched(proxy: Running, provider: Provider, *, calls: int = 0) -> None:
    """Nothing reached the provider, nothing is stored, nothing is in the air, and the next question is served."""
    assert provider.calls == calls
    assert await proxy.metric("askonce_store_entries") == 0
    await serves(proxy, provider)


async def serves(proxy: Running, provider: Provider) -> None:
    """Nothing is left in the air, and a healthy question is asked, kept and found."""
    await proxy.landed()
    provider.always(provider.as_recorded)
    healthy = question(messages=[{"role": "user", "content": "Are you well?"}])
    for cache in ("miss", "hit"):
        answer = await proxy.post(CHAT, json.dumps(healthy))
        assert (answer.status_code, answer.headers["x-cache"]) == (200, cache)
        assert said(answer).startswith("Answer ")
