"""The fast lane: memory hits answered inside the HTTP protocol, before an ASGI task is even made.

uvicorn's httptools protocol makes a task for a request as soon as its headers are complete. This subclass holds an
ordinary request back until its body is there (in most clients that is the same packet), asks `Reception` whether memory
can answer at once, and if so writes the answer to the transport. Everything else goes on to uvicorn unchanged, as if
the headers had only just been completed.

What keeps it honest:
- It decides nothing: `remembered` and `recall` are the path's own functions, and a request that was never considered
  before goes the long way.
- Order. A request is held only when nothing else is under way on the connection, and handed on in the order it came.
- A client that sends its body slowly is handed on after `HOLD_S`; there `server.body_timeout` takes over.

It also guards the head of every request, which the ASGI side never sees: its size, its fields and how long it may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from proxy.edge.cache_status import render
from proxy.edge.observer import Observer
from proxy.edge.reception import Reception
from proxy.edge.replies import entry_body, entry_fields, error_body, valid_request_id
from proxy.errors import BadRequest, HeadersTooLarge, RequestError, RequestTimeout
from proxy.pipeline import Answer
from proxy.telemetry.ids import Ids
from proxy.telemetry.records import Served
from proxy.types import Entry

HOLD_S = 0.05
"""A body that is not there by then is slow: let the ASGI side wait for it."""

HOLD_BYTES = 1 << 18
"""A body over this is worth a task of its own."""

MAX_FIELDS = 256
"""Header fields in a request: SDKs send about twenty."""

UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"upgrade", b"expect"})
"""Fields that need the long way."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the protocol must know of the configuration. Bytes and seconds."""

    enabled: bool
    paths: frozenset[bytes]
    """Cached endpoints' paths, exactly as clients send them."""
    max_header_bytes: int
    header_timeout_s: float


@dataclass(frozen=True, slots=True)
class Lane:
    """What every connection's protocol shares."""

    reception: Reception
    observer: Observer
    ids: Ids
    settings: LaneSettings
    clock: Callable[[], float]


class LaneProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        lane: Lane,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lane = lane
        self._held: list[bytes] | None = None
        """The body so far of the request that is held back; None when none is."""
        self._held_since = 0.0
        self._in_head = True
        self._begun = False
        """A first byte came."""
        self._begun_here = False
        """The head began in the chunk that is being read: of that chunk it is not known which part is head."""
        self._chunk_bytes = 0
        self._head_bytes = 0
        """In chunks after the one it began in."""
        self._timer: asyncio.TimerHandle | None = None
        """For a head or a held body that does not come: at most one of them is awaited at a time."""
        self._refused = False

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self._lane.settings.header_timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._held = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._chunk_bytes = len(data)
        self._begun_here = False
        super().data_received(data)
        if self._in_head:
            self._watch_head(0 if self._begun_here else len(data))
        elif self._held is not None and self._timer is None:
            self._timer = self.loop.call_later(HOLD_S, self._hand_on)

    def shutdown(self) -> None:
        if self._held is not None:
            self._hand_on()
        super().shutdown()

    # -- the head ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = self._begun = self._begun_here = True
        self._head_bytes = 0
        super().on_message_begin()

    def _watch_head(self, arrived: int) -> None:
        if self._refused:  # while this chunk was read
            return
        limits = self._lane.settings
        self._head_bytes += arrived
        if self._head_bytes > limits.max_header_bytes:
            self._refuse(self._head_is_large())
        elif self._timer is None and not self._idle():
            self._timer = self.loop.call_later(limits.header_timeout_s, self._head_is_late)

    def _head_is_large(self) -> HeadersTooLarge:
        limit = self._lane.settings.max_header_bytes
        return HeadersTooLarge(f"the header section is over {limit} bytes (server.max_header_bytes)")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _idle(self) -> bool:
        """Between requests: the keep-alive time-out watches."""
        return self.timeout_keep_alive_task is not None

    def _head_is_late(self) -> None:
        self._timer = None
        limit_s = self._lane.settings.header_timeout_s
        if not self._begun:
            self.transport.close()  # a connection that never asked: nothing to answer
        else:
            self._refuse(
                RequestTimeout(f"the header section did not arrive within {limit_s:g} s (server.header_timeout)")
            )

    def send_400_response(self, msg: str) -> None:
        """What httptools cannot parse: also CR/LF in a field, Content-Length beside Transfer-Encoding."""
        self._refuse(BadRequest("the request is not valid HTTP/1.1", code="invalid_http"))

    def _refuse(self, error: RequestError) -> None:
        """Answer and close. Where an earlier request on the connection is still being answered, only close."""
        self._refused = True
        self._stop_timer()
        self._held = None
        if not self._busy():
            body = error_body(error)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(b"".join((STATUS_LINE[error.status], head, body)))
            self._lane.observer.refused(error)
        self.transport.close()

    # -- the request ---------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        if self._refused:
            return
        limit = self._lane.settings.max_header_bytes
        if len(self.headers) > MAX_FIELDS:
            self._refuse(HeadersTooLarge(f"{len(self.headers)} header fields, more than {MAX_FIELDS}"))
        elif self._head_bytes + self._chunk_bytes > limit and self._head_size() > limit:
            self._refuse(self._head_is_large())
        elif self._may_hold():
            self._held = []
            self._held_since = perf_counter()
        else:
            super().on_headers_complete()

    def _may_hold(self) -> bool:
        """An ordinary request, alone on a connection that can be written to."""
        settings = self._lane.settings
        if not settings.enabled or self.url not in settings.paths:
            return False
        if self._busy():
            return False
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and bool(parser.should_keep_alive())
            and not self.flow.write_paused
        )

    def _busy(self) -> bool:
        """An earlier request on this connection is still being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def on_body(self, body: bytes) -> None:
        if self._held is not None:
            self._held.append(body)
            if len(self._held) > 1 and sum(map(len, self._held)) > HOLD_BYTES:
                self._hand_on()
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        if self._held is not None:
            held = self._held
            if self._answered(held[0] if len(held) == 1 else b"".join(held)):
                self._held = None
                self._stop_timer()
                self.on_response_complete()
                return
            self._hand_on()
        super().on_message_complete()

    def _hand_on(self) -> None:
        """Let uvicorn have the request, as if its headers had just been completed."""
        self._stop_timer()
        held, self._held = self._held, None
        super().on_headers_complete()
        for chunk in held or ():
            super().on_body(chunk)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the answer ----------------------------------------------------------------------------------------------

    def _answered(self, body: bytes) -> bool:
        request_id = b""
        for name, value in self.headers:
            if name in UNUSUAL or (name == b"connection" and value.lower() != b"keep-alive"):
                return False
            if name == b"x-request-id" and valid_request_id(value):
                request_id = value
        lane = self._lane
        case = lane.reception.remembered(self._target(), self.headers, body)
        answer = lane.reception.recall(case) if case is not None else None
        if answer is None or answer.entry is None:
            return False
        self._write(answer, answer.entry, request_id or lane.ids.next())
        return True

    def _target(self) -> str:
        return self.url[3:].decode("ascii")  # without "/v1": these paths are listed, so nothing else is in them

    def _write(self, answer: Answer, entry: Entry, request_id: bytes) -> None:
        lane = self._lane
        case = answer.case
        now = lane.clock()
        record = Served(endpoint=case.endpoint.path, method="POST", request_id=request_id.decode(), status=200)
        lane.observer.considered(record, case, self.client[0] if self.client else "")
        lane.observer.answered(record, answer, now)
        body = entry_body(entry, case, lane.ids.next(), now)
        framing = b"transfer-encoding: chunked\r\n\r\n%x\r\n" if case.stream else b"content-length: %d\r\n\r\n"
        self.transport.write(
            b"".join(
                (
                    self._fixed_head(answer, entry),
                    self._default_fields(),
                    b"cache-status: %b\r\nage: %d\r\nx-request-id: %b\r\n"
                    % (render(answer.cache_status), entry.age_s(now), request_id),
                    framing % len(body),
                    body,
                    b"\r\n0\r\n\r\n" if case.stream else b"",
                )
            )
        )
        record.bytes_sent = len(body)
        record.seconds = record.first_byte_s = perf_counter() - self._held_since
        record.outcome = answer.outcome
        lane.observer.served(record)

    def _fixed_head(self, answer: Answer, entry: Entry) -> bytes:
        """Status line and the fields that are the same for every delivery: joined once, kept beside the answer."""
        variant = "head of stream" if answer.case.stream else "head of plain"
        pieces = entry.renderings.get(variant)
        if pieces is None:
            fields = entry_fields(entry, answer.case, answer.outcome)
            lines = b"".join(b"%b: %b\r\n" % field for field in fields)
            pieces = entry.renderings.keep(variant, (STATUS_LINE[200] + lines,))
        return pieces[0]

    def _default_fields(self) -> bytes:
        """uvicorn's own (Date), which change once a second."""
        return b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers])
