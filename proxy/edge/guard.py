"""What every request must keep to before it is one: the size of its header section, and how long it may take to come.

uvicorn bounds neither. This subclass of its httptools protocol does, and answers what cannot be parsed in OpenAI's
shape. A whole request in one packet costs no timer: one is only set when a chunk leaves something unfinished.

It also offers the application an ASGI extension, `askonce.whole`: a response that is all here goes out in one write,
where ASGI's two messages take two, with every field checked anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from proxy.drain import Drain
from proxy.edge.observer import Observer
from proxy.edge.replies import error_body, lines
from proxy.errors import BadRequest, HeadersTooLarge, NotImplementedHere, RequestError, RequestTimeout

MAX_FIELDS: Final = 256
"""Header fields in a request: SDKs send about twenty."""

ENOUGH_BYTES: Final = 1 << 16
"""A body that brings so much within the time-out gets as much time again: a long upload is not a slow one."""

REFUSAL: Final = "askonce.refusal"
"""An error in the ASGI scope's state: no more of the body comes, and `Exchange` refuses the request with it."""

LINGER_S: Final = 2.0
"""How long a client that is still sending may take to notice that it was refused, before its connection is closed."""

WHOLE: Final = "askonce.whole"
"""The extension's name in the ASGI scope; its value is a `SendWhole`."""

SendWhole = Callable[[int, bytes], bool]
"""Status, and everything from the first field to the last byte, checked by whoever made it. False: not now (a client
that reads slowly, HTTP/1.0, HEAD, a connection about to close), and nothing was sent."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Bytes and seconds."""

    max_header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    keep_alive_s: float


class Phase(Enum):
    """Where in a message the bytes so far end."""

    QUIET = auto()
    """Between messages."""
    HEAD = auto()
    BODY = auto()


class GuardedProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        patience: Patience,
        observer: Observer,
        drain: Drain,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        drain.watch(cast("set[GuardedProtocol]", server_state.connections))
        self._patience = patience
        self._observer = observer
        self._drain = drain
        self._closing = drain.closing
        """The process is about to end: the next answer is the last."""
        self._phase = Phase.QUIET
        self._asked = False
        """A first byte came."""
        self._began_in_chunk = False
        """The head began in the chunk that is being read: of that chunk it is not known which part is head."""
        self._chunk_bytes = 0
        self._head_bytes = 0
        """In chunks after the one it began in."""
        self._body_bytes = 0
        """Since the timer was set."""
        self._timer: asyncio.TimerHandle | None = None
        """For what is unfinished: at most one thing is awaited at a time."""
        self._refused = False
        self._rests_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._default_fields: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self._patience.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._chunk_bytes = len(data)
        self._began_in_chunk = False
        super().data_received(data)
        if self._phase is Phase.HEAD:
            self._watch_head()
        elif self._phase is Phase.BODY:
            self._watch_body()

    def busy(self) -> bool:
        """An earlier request on this connection is still being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    # -- the message ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._phase = Phase.HEAD
        self._asked = self._began_in_chunk = True
        self._head_bytes = 0
        # All that is needed until the headers are complete; `begin_asgi` does the rest where ASGI is needed at all.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def begin_asgi(self) -> None:
        """uvicorn's own beginning of a message, put off, and the end of its headers."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)  # the scope holds this very list
        scope = cast("dict[str, Any]", self.scope)
        super().on_headers_complete()
        # The application's task has been made and has not run yet.
        scope["extensions"] = {WHOLE: partial(self._send_whole, self.cycle)}
        if self._closing:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        self._phase = Phase.BODY
        self._stop_waiting()
        if self._refused:
            return
        limit = self._patience.max_header_bytes
        if len(self.headers) > MAX_FIELDS:
            self._refuse(HeadersTooLarge(f"{len(self.headers)} header fields, more than {MAX_FIELDS}"))
        elif self._head_bytes + self._chunk_bytes > limit and self._head_size() > limit:
            self._refuse(self._head_is_large())
        elif self.parser.should_upgrade() and self._has_body():
            # httptools takes what follows an upgrade for the new protocol: the body would be lost.
            message = "AskOnce speaks HTTP/1.1 and cannot upgrade; have the client use HTTP/1.1 and send no Upgrade"
            self._refuse(NotImplementedHere(message, code="upgrade_not_supported"))
        else:
            self.head_accepted()

    def head_accepted(self) -> None:
        """The header section is within its bounds."""
        self.begin_asgi()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.end_message()
        if not self._refused:
            super().on_message_complete()

    def end_message(self) -> None:
        """All of it is here."""
        self._phase = Phase.QUIET
        self._stop_waiting()

    # -- the response --------------------------------------------------------------------------------------------

    def _send_whole(self, cycle: RequestResponseCycle, status: int, rest: bytes) -> bool:
        scope = cycle.scope
        if cycle.disconnected or cycle.response_started or not cycle.keep_alive or self.flow.write_paused:
            return False
        if scope["method"] == "HEAD" or scope["http_version"] != "1.1":
            return False
        self.transport.write(b"".join((STATUS_LINE[status], self.default_lines(), rest)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if self.pipeline:
            cycle.on_response()
        else:
            self.answered()
        return True

    def answered(self) -> None:
        """What uvicorn does after a response, but for its timer: setting and cancelling one for every hit would be a
        tenth of its cost. One stays set and looks, when it fires, whether the connection has been idle since."""
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rests_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self._patience.keep_alive_s, self._look_for_idleness)

    def _look_for_idleness(self) -> None:
        self._idle_timer = None
        if self.busy() or self._phase is not Phase.QUIET or self.timeout_keep_alive_task is not None:
            return  # another timer is set, or will be after the response
        rest_s = self._patience.keep_alive_s - (self.loop.time() - self._rests_since)
        if rest_s > 0:
            self._idle_timer = self.loop.call_later(rest_s, self._look_for_idleness)
        else:
            self.transport.close()

    # -- the end of the process ----------------------------------------------------------------------------------

    def close_after_answer(self) -> None:
        """See `drain.Connection`. A response that has begun has said nothing of it; its connection closes all the
        same."""
        self._closing = True
        if self.busy():
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Nothing listens any more. uvicorn would close what is idle; but a request may have arrived that was not read
        yet, or not to its end."""
        self.close_after_answer()
        if not self.busy():
            self.loop.call_later(self._drain.linger_s, self._close_idle)

    def _close_idle(self) -> None:
        if not self.busy() and self._phase is Phase.QUIET:
            self.transport.close()

    def default_lines(self) -> bytes:
        """uvicorn's own fields (Date): it makes a new list once a second."""
        fields = self.server_state.default_headers
        if fields is not self._default_fields:
            self._default_fields, self._default_lines = fields, lines(fields)
        return self._default_lines

    # -- bounds --------------------------------------------------------------------------------------------------

    def _watch_head(self) -> None:
        if self._refused:  # while this chunk was read
            return
        if not self._began_in_chunk:
            self._head_bytes += self._chunk_bytes
        if self._head_bytes > self._patience.max_header_bytes:
            self._refuse(self._head_is_large())
        elif self._timer is None:
            self._wait(self._patience.header_timeout_s)

    def _head_is_large(self) -> HeadersTooLarge:
        limit = self._patience.max_header_bytes
        return HeadersTooLarge(f"the header section is over {limit} bytes (server.max_header_bytes)")

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _watch_body(self) -> None:
        self._body_bytes += self._chunk_bytes
        if self._body_bytes >= ENOUGH_BYTES:
            self._stop_waiting()
        if self._timer is None and not self._refused:
            self._body_bytes = 0
            self.wait_for_body()

    def wait_for_body(self) -> None:
        """More of the body has to come."""
        self._wait(self._patience.body_timeout_s)

    def _wait(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self._phase is Phase.BODY:
            self._have_refused(RequestTimeout("the request's body did not arrive in time (server.body_timeout)"))
        elif self._asked:
            limit_s = self._patience.header_timeout_s
            self._refuse(
                RequestTimeout(f"the header section did not arrive within {limit_s:g} s (server.header_timeout)")
            )
        else:
            self.transport.close()  # a connection that never asked: nothing to answer

    def send_400_response(self, msg: str) -> None:
        """What httptools cannot parse: also CR/LF in a field, Content-Length beside Transfer-Encoding."""
        error = BadRequest("the request is not valid HTTP/1.1", code="invalid_http")
        if self._phase is Phase.BODY and self.busy():
            self._have_refused(error)
        else:
            self._refuse(error)

    def _have_refused(self, error: RequestError) -> None:
        """By the request's handler, which waits for its body. Nothing behind it can be read."""
        self._refused = True
        self._stop_waiting()
        self.scope["state"][REFUSAL] = error
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def _refuse(self, error: RequestError) -> None:
        """Answer and close. Where an earlier request on the connection is still being answered, only close."""
        self._refused = True
        self._stop_waiting()
        if self.busy():
            self.transport.close()
            return
        body = error_body(error)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"".join((STATUS_LINE[error.status], head, body)))
        self._observer.refused(error)
        self._close_in_stages()

    def _close_in_stages(self) -> None:
        """RFC 9112 section 9.6: closing at once would reset a connection on which the client still sends, and the reset
        can reach it before it has read the answer."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)
