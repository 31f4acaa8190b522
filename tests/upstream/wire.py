"""A server that says exactly the bytes a test wants, and remembers exactly the bytes it was told."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(body: bytes, *fields: bytes) -> bytes:
    extra = b"".join(b"%b\r\n" % line for line in fields)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), extra, body)


@dataclass
class Asked:
    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    connection: int

    def field(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key.lower() == name), None)


@dataclass
class Peer:
    """The client's end of a connection, for one answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def hang_up(self) -> None:
        self.writer.close()

    async def reset(self) -> None:
        """RST instead of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Until the client closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


Answer = Callable[[Peer], Awaitable[None]]


def says(*pieces: bytes) -> Answer:
    return lambda peer: peer.say(*pieces)


async def ok(peer: Peer) -> None:
    await peer.say(OK)


async def resets(peer: Peer) -> None:
    await peer.reset()


async def hangs_up(peer: Peer) -> None:
    await peer.hang_up()


async def never(peer: Peer) -> None:
    await peer.gone()


@dataclass
class Wire:
    """`async with Wire(...) as wire`: answers in turn, one for each request; then `ok`."""

    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _answers: list[Answer] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def then(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop_listening(self) -> None:
        """Connections that are there stay; new ones are refused."""
        self._server.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head[:-4].split(b"\r\n")
            fields = [(name, value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
            asked = Asked(line, fields, b"", connection)
            asked.body = await self._body(reader, asked)
            self.asked.append(asked)
            await (self._answers.pop(0) if self._answers else ok)(Peer(reader, writer))

    async def _body(self, reader: asyncio.StreamReader, asked: Asked) -> bytes:
        if asked.field(b"transfer-encoding") != b"chunked":
            return await reader.readexactly(int(asked.field(b"content-length") or 0))
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body
