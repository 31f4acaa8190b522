"""The fast lane: hits answered inside the HTTP protocol, before an ASGI task is even made.

uvicorn's httptools protocol makes a task for a request as soon as its headers are complete. This subclass holds an
ordinary request back until its body is there (from many clients in the same packet), asks `Reception` whether memory
can answer at once, and if so writes the answer to the transport. What memory does not have it looks for in the store
behind, where there is one. Everything else goes on to uvicorn unchanged, as if the headers had only just been
completed.

What keeps it honest:
- It decides nothing: `remembered`, `repeated`, `recall` and `look` say what the path has found, and a request that was
  never considered goes the long way.
- Order. A request is held only when nothing else is under way on the connection, and handed on in the order it came. A
  client that sends on while its answer is looked for ends that: from there on uvicorn has both, and keeps the order.
- A client that sends its body slowly is handed on after `HOLD_S`; there `server.body_timeout` takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from proxy.case import OK, Answer, Case
from proxy.drain import Drain
from proxy.edge.guard import GuardedProtocol, Patience, Phase
from proxy.edge.observer import Observer
from proxy.edge.reception import Packet, Reception
from proxy.edge.replies import hit_on_wire, valid_request_id
from proxy.telemetry.ids import Ids
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.telemetry.tracing.w3c import Parent
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
    looks: bool
    """There is a store behind memory that may have what memory has not."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What every connection's protocol shares."""

    reception: Reception
    observer: Observer
    ids: Ids
    tasks: Tasks
    settings: LaneSettings
    clock: Callable[[], float]
    drain: Drain
    tracing: Tracing


@dataclass(slots=True)
class Looking:
    """A request whose answer is being looked for, and all that is needed to hand it on."""

    case: Case
    request_id: bytes
    parent: Parent | None
    packet: bytes = b""
    """It came in one piece and was never parsed; else it was, into what follows."""
    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    task: asyncio.Task[None] | None = None
    """Not begun as long as the chunk it came in is being read."""


class Ordinary:
    """What httptools' parser says of every request that the lane holds (see `_may_hold`), for when it has moved on."""

    def get_method(self) -> bytes:
        return b"POST"

    def get_http_version(self) -> str:
        return "1.1"

    def should_keep_alive(self) -> bool:
        return True

    def should_upgrade(self) -> bool:
        return False


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
        super().__init__(lane.settings.patience, lane.observer, lane.drain, config, server_state, app_state, _loop)
        self._lane = lane
        self._paths = lane.settings.paths if lane.settings.enabled else frozenset()
        self._held: list[bytes] | None = None
        """The body so far of the request that is held back; None when none is."""
        self._held_since = 0.0
        self._ended_in_chunk = 0
        """Messages that ended in the chunk that is being read."""
        self._last_read: Packet | None = None
        """What was answered, or is looked for, in that chunk."""
        self._looking: Looking | None = None
        self._may_look = lane.settings.looks

    # -- the same bytes again ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._looking is not None:
            self._stop_looking()
        begins_here = self._phase is Phase.QUIET
        if begins_here and self._answered_again(data):
            return
        self._ended_in_chunk = 0
        super().data_received(data)
        read = self._take_read()
        if read is not None and begins_here and self._ended_in_chunk == 1 and self._phase is Phase.QUIET:
            self._lane.reception.remember(data, read)
        if self._looking is not None:
            self._begin_looking(self._looking)

    def _take_read(self) -> Packet | None:
        read, self._last_read = self._last_read, None
        return read

    def _answered_again(self, data: bytes) -> bool:
        """A whole request that came before, byte for byte: its case is known before its head is parsed. The parser,
        which is between two messages, never hears of it."""
        reception = self._lane.reception
        packet = reception.repeated(data)
        if packet is None or self.busy() or self.flow.write_paused or self._refused or self._closing:
            return False
        self._held_since = perf_counter()
        answer = reception.recall(packet.case)
        found = answer is not None and answer.entry is not None
        if not found and not self._worth_a_look(packet.case):
            return False
        self._asked = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        if answer is not None and answer.entry is not None:
            self._write(answer, answer.entry, packet.request_id, packet.parent)
            self.answered()
        else:
            self._looking = Looking(packet.case, packet.request_id, packet.parent, packet=data)
            self._begin_looking(self._looking)
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
        if self.url not in self._paths or self.busy() or self.flow.write_paused or self._closing:
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
            if self._taken_care_of(held[0] if len(held) == 1 else b"".join(held)):
                return
            self._hand_on()
        super().on_message_complete()

    def on_message_begin(self) -> None:
        if self._looking is not None:  # behind it in the same chunk
            self._stop_looking()
        super().on_message_begin()

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

    def busy(self) -> bool:
        return self._looking is not None or super().busy()

    def close_after_answer(self) -> None:
        """What is held or looked for takes the long way, where the answer says that it is the last."""
        self._closing = True
        if self._held is not None:
            self._hand_on()
        if self._looking is not None:
            self._stop_looking()
        super().close_after_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = None
        looking, self._looking = self._looking, None
        if looking is not None and looking.task is not None:
            looking.task.cancel()
        super().connection_lost(exc)

    # -- looking -------------------------------------------------------------------------------------------------

    def _worth_a_look(self, case: Case) -> bool:
        return self._may_look and case.verdict.read and not case.verdict.pool

    def _begin_looking(self, looking: Looking) -> None:
        looking.task = self._lane.tasks.spawn(self._look(looking), name="look-up")

    async def _look(self, looking: Looking) -> None:
        answer: Answer | None = None
        try:
            answer = await self._lane.reception.look(looking.case)
        finally:
            if self._looking is looking:
                self._looking = None
                if answer is None or answer.entry is None or self.flow.write_paused:
                    self._pass_on(looking)
                else:
                    self._write(answer, answer.entry, looking.request_id, looking.parent)
                    self.answered()

    def _stop_looking(self) -> None:
        """It takes the long way, where what comes after it can wait for it."""
        looking, self._looking = self._looking, None
        if looking is not None:
            if looking.task is not None:
                looking.task.cancel()
            self._pass_on(looking)

    def _pass_on(self, looking: Looking) -> None:
        """To uvicorn, as if it had only just come."""
        if looking.packet:
            self._may_look = False
            try:
                super().data_received(looking.packet)
            finally:
                self._may_look = self._lane.settings.looks
            self._take_read()
            return
        self.url, self.headers, self.expect_100_continue = looking.url, looking.headers, False
        parser, self.parser = self.parser, cast("Any", Ordinary())
        try:
            self.begin_asgi()
            super().on_body(looking.body)
            super().on_message_complete()
        finally:
            self.parser = parser

    # -- the answer ----------------------------------------------------------------------------------------------

    def _taken_care_of(self, body: bytes) -> bool:
        """Answered, or looked for. False: it has to take the long way."""
        reception = self._lane.reception
        # Without "/v1": these paths are listed, so nothing else is in them.
        case = reception.remembered(self.url[3:].decode("ascii"), self.headers, body)
        if case is None:
            return False
        answer = reception.recall(case)
        found = answer is not None and answer.entry is not None
        if not found and not self._worth_a_look(case):
            return False
        request_id = self._own_request_id()
        parent = self._lane.tracing.parent(self.headers) if self._lane.tracing.active else None
        self._last_read = Packet(case, request_id, parent)
        self._held = None
        self.end_message()
        if answer is not None and answer.entry is not None:
            self._write(answer, answer.entry, request_id, parent)
            self.answered()
        else:
            self._looking = Looking(case, request_id, parent, url=self.url, headers=self.headers, body=body)
        return True

    def _own_request_id(self) -> bytes:
        for name, value in self.headers:
            if name == b"x-request-id" and valid_request_id(value):
                return value
        return b""

    def _write(self, answer: Answer, entry: Entry, request_id: bytes, parent: Parent | None) -> None:
        lane = self._lane
        now = lane.clock()
        token = lane.ids.next()
        request_id = request_id or token
        rest, size = hit_on_wire(answer, entry, request_id, token, now)
        self.transport.write(b"".join((STATUS_LINE[OK], self.default_lines(), rest)))
        seconds = perf_counter() - self._held_since
        span = lane.tracing.hit(parent, seconds) if lane.tracing.active else NO_SPAN
        lane.observer.hit(answer, entry, request_id, size, seconds, now, span)
