"""The fast lane: memory hits answered inside the HTTP protocol, before an ASGI task is even made.

uvicorn's httptools protocol makes a task for a request as soon as its headers are complete. This subclass holds an
ordinary request back until its body is there (from many clients in the same packet), asks `Reception` whether memory
can answer at once, and if so writes the answer to the transport. Everything else goes on to uvicorn unchanged, as if
the headers had only just been completed.

What keeps it honest:
- It decides nothing: `remembered`, `repeated` and `recall` say what the path has found before, and a request that was
  never considered goes the long way.
- Order. A request is held only when nothing else is under way on the connection, and handed on in the order it came.
- A client that sends its body slowly is handed on after `HOLD_S`; there `server.body_timeout` takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from proxy.case import OK, Answer
from proxy.edge.guard import GuardedProtocol, Patience, Phase
from proxy.edge.observer import Observer
from proxy.edge.reception import Packet, Reception
from proxy.edge.replies import hit_on_wire, valid_request_id
from proxy.telemetry.ids import Ids
from proxy.types import Entry

HOLD_S = 0.05
"""A body that is not there by then is slow: let the ASGI side wait for it."""

HOLD_BYTES = 1 << 18
"""A body over this is worth a task of its own."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the protocol must know of the configuration."""

    enabled: bool
    paths: frozenset[bytes]
    """Cached endpoints' paths, exactly as clients send them."""
    patience: Patience


@dataclass(frozen=True, slots=True)
class Lane:
    """What every connection's protocol shares."""

    reception: Reception
    observer: Observer
    ids: Ids
    settings: LaneSettings
    clock: Callable[[], float]


class LaneProtocol(GuardedProtocol):
    """One client connection."""

    def __init__(
        self,
        lane: Lane,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(lane.settings.patience, lane.observer, config, server_state, app_state, _loop)
        self._lane = lane
        self._paths = lane.settings.paths if lane.settings.enabled else frozenset()
        self._held: list[bytes] | None = None
        """The body so far of the request that is held back; None when none is."""
        self._held_since = 0.0
        self._ended_in_chunk = 0
        """Messages that ended in the chunk that is being read."""
        self._last_hit: Packet | None = None
        """What was answered in that chunk."""

    # -- the same bytes again ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        begins_here = self._phase is Phase.QUIET
        if begins_here and self._answered_again(data):
            return
        self._ended_in_chunk = 0
        super().data_received(data)
        hit = self._take_hit()
        if hit is not None and begins_here and self._ended_in_chunk == 1 and self._phase is Phase.QUIET:
            self._lane.reception.remember(data, hit)

    def _take_hit(self) -> Packet | None:
        hit, self._last_hit = self._last_hit, None
        return hit

    def _answered_again(self, data: bytes) -> bool:
        """A whole request that came before, byte for byte: its case is known before its head is parsed. The parser,
        which is between two messages, never hears of it."""
        reception = self._lane.reception
        packet = reception.repeated(data)
        if packet is None or self.busy() or self.flow.write_paused or self._refused:
            return False
        self._held_since = perf_counter()
        answer = reception.recall(packet.case)
        if answer is None or answer.entry is None:
            return False
        self._asked = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self._write(answer, answer.entry, packet.request_id)
        self.answered()
        return True

    # -- holding back --------------------------------------------------------------------------------------------

    def head_accepted(self) -> None:
        if self._may_hold():
            self._held = []
            self._held_since = perf_counter()
        else:
            self.begin_asgi()

    def _may_hold(self) -> bool:
        """An ordinary request, alone on a connection that can be written to."""
        if self.url not in self._paths or self.busy() or self.flow.write_paused:
            return False
        if self.expect_100_continue:  # such a client waits for a word before it sends the body
            return False
        parser = self.parser
        return (
            parser.get_method() == b"POST" and parser.get_http_version() == "1.1" and bool(parser.should_keep_alive())
        )

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
            return
        self._held.append(body)
        if len(self._held) > 1 and sum(map(len, self._held)) > HOLD_BYTES:
            self._hand_on()

    def on_message_complete(self) -> None:
        self._ended_in_chunk += 1
        held = self._held
        if held is not None:
            if self._answered(held[0] if len(held) == 1 else b"".join(held)):
                self._held = None
                self.end_message()
                self.answered()
                return
            self._hand_on()
        super().on_message_complete()

    def wait_for_body(self) -> None:
        if self._held is None:
            super().wait_for_body()
        else:
            self._timer = self.loop.call_later(HOLD_S, self._hand_on_slow)

    def _hand_on_slow(self) -> None:
        self._timer = None
        self._hand_on()
        super().wait_for_body()

    def _hand_on(self) -> None:
        """Let uvicorn have the request, as if its headers had just been completed."""
        held, self._held = self._held, None
        self.begin_asgi()
        for chunk in held or ():
            super().on_body(chunk)

    def send_400_response(self, msg: str) -> None:
        if self._held is not None:
            self._hand_on()
        super().send_400_response(msg)

    def shutdown(self) -> None:
        if self._held is not None:
            self._hand_on()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        super().connection_lost(exc)

    # -- the answer ----------------------------------------------------------------------------------------------

    def _answered(self, body: bytes) -> bool:
        reception = self._lane.reception
        # Without "/v1": these paths are listed, so nothing else is in them.
        case = reception.remembered(self.url[3:].decode("ascii"), self.headers, body)
        answer = reception.recall(case) if case is not None else None
        if answer is None or answer.entry is None:
            return False
        request_id = self._own_request_id()
        self._write(answer, answer.entry, request_id)
        self._last_hit = Packet(answer.case, request_id)
        return True

    def _own_request_id(self) -> bytes:
        for name, value in self.headers:
            if name == b"x-request-id" and valid_request_id(value):
                return value
        return b""

    def _write(self, answer: Answer, entry: Entry, request_id: bytes) -> None:
        lane = self._lane
        now = lane.clock()
        token = lane.ids.next()
        request_id = request_id or token
        rest, size = hit_on_wire(answer, entry, request_id, token, now)
        self.transport.write(b"".join((STATUS_LINE[OK], self.default_lines(), rest)))
        lane.observer.hit(answer, entry, request_id, size, perf_counter() - self._held_since, now)
