"""The wire of the fault tests does to connections what it says, and to nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.slow_wire import SlowWire

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that sends back what it gets and takes note of it."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = bytearray()
        self.endings: asyncio.Queue[str] = asyncio.Queue()
        """How each connection ended: "end" or "reset"."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                self.heard += piece
                writer.write(piece)
                await writer.drain()
            self.endings.put_nowait("end")
        except ConnectionResetError:
            self.endings.put_nowait("reset")
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        yield echo


@pytest.fixture
async def wire(echo: Echo) -> AsyncIterator[SlowWire]:
    async with SlowWire("127.0.0.1", echo.port) as wire:
        yield wire


@asynccontextmanager
async def connected(wire: SlowWire) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def echoed(connection: Connection, words: bytes) -> bytes:
    reader, writer = connection
    writer.write(words)
    return await reader.readexactly(len(words))


async def test_what_is_said_comes_through_whole_and_so_does_the_end(wire: SlowWire, echo: Echo) -> None:
    words = bytes(range(256)) * 20_000
    async with connected(wire) as (reader, writer):
        writer.write(words)
        writer.write_eof()
        assert await reader.read(-1) == words
    assert await echo.endings.get() == "end"


async def test_a_round_trip_takes_at_least_twice_the_delay(wire: SlowWire) -> None:
    async with connected(wire) as connection:
        await echoed(connection, b"before")
        wire.delay_s = 0.1
        began = time.monotonic()
        await echoed(connection, b"slow")
        assert time.monotonic() - began >= 0.2


async def test_a_frozen_wire_accepts_and_passes_nothing_on_until_it_thaws(wire: SlowWire, echo: Echo) -> None:
    async with connected(wire) as old, SlowWire("127.0.0.1", echo.port) as other:
        await echoed(old, b"old")
        wire.frozen = True
        async with connected(wire) as new:
            for _, writer in (old, new):
                writer.write(b"held")
            async with connected(other) as free:
                for _ in range(10):
                    await echoed(free, b".")
            assert echo.heard == b"old.........."
            wire.frozen = False
            for reader, _ in (old, new):
                assert await reader.readexactly(4) == b"held"


async def test_a_frozen_wire_holds_the_sender_up_when_it_is_full(wire: SlowWire) -> None:
    wire.frozen = True
    async with connected(wire) as (reader, writer):

        async def send() -> None:
            for _ in range(512):
                writer.write(bytes(2**16))
                await writer.drain()

        sending = asyncio.create_task(send())
        await asyncio.wait({sending}, timeout=0.5)
        assert not sending.done()
        wire.frozen = False
        for _ in range(512):
            await reader.readexactly(2**16)
        await sending


async def test_a_cut_resets_both_sides_and_spares_what_comes_after(wire: SlowWire, echo: Echo) -> None:
    async with connected(wire) as connection:
        await echoed(connection, b"hello")
        await wire.cut()
        assert wire.connections == 0
        with pytest.raises(ConnectionResetError):
            await connection[0].read()
        assert await echo.endings.get() == "reset"
    async with connected(wire) as connection:
        assert await echoed(connection, b"hello again") == b"hello again"


async def test_a_refusing_wire_closes_new_connections_and_keeps_the_old(wire: SlowWire) -> None:
    async with connected(wire) as old:
        await echoed(old, b"hello")
        wire.refusing = True
        async with connected(wire) as (reader, _):
            assert await reader.read() == b""
        assert await echoed(old, b"still here") == b"still here"


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_client_that_left_is_no_longer_counted(wire: SlowWire, frozen: bool) -> None:
    async with connected(wire) as connection:
        await echoed(connection, b"hello")
        assert wire.connections == 1
        wire.frozen = frozen
    while wire.connections:
        await asyncio.sleep(0)


async def test_a_server_that_is_not_there_resets_the_connection(wire: SlowWire) -> None:
    async with SlowWire("127.0.0.1", 1) as nowhere, connected(nowhere) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_reset_by_the_server_comes_through(wire: SlowWire, echo: Echo) -> None:
    async with SlowWire("127.0.0.1", wire.port) as longer, connected(longer) as connection:
        await echoed(connection, b"hello")
        await wire.cut()
        with pytest.raises(ConnectionResetError):
            await connection[0].read()


async def test_nothing_is_left_of_a_wire(echo: Echo) -> None:
    before = asyncio.all_tasks()
    async with AsyncExitStack() as clients, SlowWire("127.0.0.1", echo.port) as wire:
        old = await clients.enter_async_context(connected(wire))
        await echoed(old, b"hello")
        wire.delay_s = 3600
        old[1].write(b"under way")
        wire.frozen = True
        await clients.enter_async_context(connected(wire))
    assert await echo.endings.get() == "reset"
    assert asyncio.all_tasks() <= before
