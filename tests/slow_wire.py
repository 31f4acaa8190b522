"""The network between a client and a server, with what can go wrong on it: a relay of TCP connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from typing import Self

PIECE = 2**14
PIECES_UNDER_WAY = 256
"""What fits on the wire in one direction (4 MiB): beyond that the sender is held up, as by a real one."""

_Piece = tuple[float, bytes]


class SlowWire:
    """`async with SlowWire("127.0.0.1", server.port) as wire:` connections to `wire.port` lead to the server.

    It runs in the test's own loop, and its attributes may be set at any time:

    * `delay_s`: every piece of data is passed on that long after it came, in either direction, so a round trip takes
      twice `delay_s` longer. What follows closely is delayed with it, not after it. Holds for what comes from now on.
    * `frozen`: connections are accepted, and nothing is passed on, no end either, until it is False again.
    * `refusing`: new connections are closed at once; those that are stay.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.port = 0
        self.delay_s = 0.0
        self.refusing = False
        self._target = target_host, target_port
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._relays: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._left: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def frozen(self) -> bool:
        return not self._thawed.is_set()

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if frozen:
            self._thawed.clear()
        else:
            self._thawed.set()

    @property
    def connections(self) -> int:
        """How many are open now: neither cut nor closed by the client, as far as this has seen."""
        return sum(writers[0] not in self._left for writers in self._relays.values())

    async def cut(self) -> None:
        """Reset every connection, on both sides. New ones are welcome."""
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
            for writer in self._relays[relay]:
                _reset(writer)
        await asyncio.gather(*relays, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.refusing = True
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        writers = [writer]
        relay = asyncio.create_task(self._relay(reader, writers))
        self._relays[relay] = writers
        relay.add_done_callback(lambda _: self._forget(relay))

    def _forget(self, relay: asyncio.Task[None]) -> None:
        self._left.discard(self._relays.pop(relay)[0])

    async def _relay(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        """Until both sides have said their last, or one is reset: then so is the other."""
        client = writers[0]
        try:
            await self._thawed.wait()
            far_reader, server = await asyncio.open_connection(*self._target, limit=PIECE)
            writers.append(server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, server, from_client=client))
                both.create_task(self._pass_on(far_reader, client))
        except* OSError:
            for writer in writers:
                _reset(writer)
        finally:
            for writer in writers:
                writer.close()
            for writer in writers:
                with suppress(OSError):
                    await writer.wait_closed()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_client: asyncio.StreamWriter | None = None,
    ) -> None:
        """One direction. It is read ahead of what is passed on: that the client went away is seen at once."""
        under_way: asyncio.Queue[_Piece] = asyncio.Queue(PIECES_UNDER_WAY)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._arrive(under_way, writer))
            piece = b"first"
            while piece:
                piece = await reader.read(PIECE)
                due = time.monotonic() + self.delay_s
                if not piece and from_client:
                    self._left.add(from_client)
                await under_way.put((due, piece))

    async def _arrive(self, under_way: asyncio.Queue[_Piece], writer: asyncio.StreamWriter) -> None:
        while True:
            due, piece = await under_way.get()
            while (early_s := due - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            await self._thawed.wait()
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: what is not yet sent is lost, and the other side is told so."""
    raw: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # It may be closed already.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
