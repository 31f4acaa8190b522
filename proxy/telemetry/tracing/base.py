"""What is seen of a request's way by a tracing system? One file in this folder for each answer.

A request is a span, and so is each step on its way that waits for something; upstream calls are spans that the
conventions for generative AI know (`genai.py`). Which span is the current one goes with the task: a flight, and what is
done behind a caller's back, belong to the request that began them.

What is called on the path is here. Nothing of it fails, waits, or keeps a word that a user wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from proxy.telemetry.records import Served
from proxy.telemetry.tracing.w3c import Parent
from proxy.types import Call, CallSpan

Value = str | bool | int | float
"""Of an attribute. Numbers, tokens of our own, and names that a user chose from a list (a model's): never words."""


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """What tracing must know of the configuration; `settings.Tracing` says what each is. Seconds. None: what the
    standard variables say, or else their defaults."""

    enabled: bool
    version: str
    endpoint: str | None
    sample: float | None
    service_name: str | None
    queue: int
    timeout_s: float
    flush_s: float


class Span(Protocol):
    """One step. Inside its `with` block it is the current span; at the block's end it ends, failed if it was left by an
    error."""

    def note(self, name: str, value: Value) -> None:
        """An attribute."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class RequestSpan(Protocol):
    """One request that came to us. Inside its `with` block it is the current span."""

    trace_id: str
    """Hex, for the access log; empty where the request is not sampled."""

    def ended(self, record: Served) -> None:
        """It is over, and this is what is known of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class SendingSpan(CallSpan, Protocol):
    """The same call, seen by whoever sends it. Leaving its `with` block by an error ends it; else the reply does."""

    def onward(self, call: Call) -> Call:
        """The call as it is sent: it tells the server which span it comes from."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Followed(Protocol):
    """A place in a call that may be somebody else's."""

    @property
    def shared(self) -> bool:
        """It is."""

    @property
    def span(self) -> CallSpan | None:
        """That call's, as far as it is known now."""


class Tracing(Protocol):
    """Makes spans."""

    active: bool
    """Requests may have spans: what only they need is gathered."""

    def open(self) -> None:
        """Get ready to send spans away. Raises `errors.SettingsError`."""

    async def close(self) -> None:
        """Send what is left, within a bound."""

    # -- requests ------------------------------------------------------------------------------------------------

    def parent(self, headers: Sequence[tuple[bytes, bytes]]) -> Parent | None:
        """The span that a request says it comes from."""

    def request(self, headers: Sequence[tuple[bytes, bytes]]) -> RequestSpan:
        """A request begins."""

    def hit(self, parent: Parent | None, seconds: float) -> RequestSpan:
        """A request that is answered already, and began so long ago. Need not be entered."""

    # -- steps of the current request; without one there are none ------------------------------------------------

    def step(self, name: str) -> Span:
        """A step begins, a child of the current span. `name`: a token of ours."""

    def note(self, name: str, value: Value) -> None:
        """An attribute of the current span."""

    def event(self, name: str, notes: Mapping[str, Value]) -> None:
        """Something happened in the current span."""

    def following(self, followed: Followed) -> Span:
        """Waiting for somebody else's call: linked to it when the wait is over. Nothing where the call is one's own."""

    def afterwards(self, name: str) -> Span:
        """Work behind the caller's back: a trace of its own, linked to the request that gave cause, and sampled like
        it."""

    # -- upstream calls ------------------------------------------------------------------------------------------

    def call(self, call: Call, *, model: str, kind: str, origin: str) -> SendingSpan:
        """A call is sent to `origin` (`host:port`), a server of that kind, which knows the model by that name. One for
        each attempt."""

    def leading(self) -> CallSpan | None:
        """Of the current request, for those who will follow a call that it is about to make."""
