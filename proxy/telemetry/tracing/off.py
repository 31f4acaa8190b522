"""No tracing. Everything here is made once and does nothing, so that a path with it costs what one without would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Self

from proxy.telemetry.records import Served
from proxy.telemetry.tracing.base import Followed, Value
from proxy.telemetry.tracing.w3c import Parent
from proxy.types import Call, Usage


class NoSpan:
    """Of anything: a step, a request, a call."""

    __slots__ = ()

    trace_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def note(self, _name: str, _value: Value) -> None:
        """Nobody asks."""

    def ended(self, _record: Served) -> None:
        """Nothing to end."""

    def onward(self, call: Call) -> Call:
        """As it is: a caller's own trace goes on past us."""
        return call

    def departed(self, _status: int) -> None:
        """Nobody asks."""

    def first_byte(self) -> None:
        """Nobody asks."""

    def answered(self, _model: str, _usage: Usage, _finishes: Sequence[str]) -> None:
        """Nobody asks."""

    def failed(self, _reason: str) -> None:
        """Nobody asks."""

    def over(self) -> None:
        """Nothing to end."""

    def end(self) -> None:
        """Nothing to end."""


NO_SPAN: Final = NoSpan()


class NoTracing:
    """`telemetry.tracing.enabled: false`."""

    active = False

    def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def parent(self, _headers: Sequence[tuple[bytes, bytes]]) -> Parent | None:
        return None

    def request(self, _headers: Sequence[tuple[bytes, bytes]]) -> NoSpan:
        return NO_SPAN

    def hit(self, _parent: Parent | None, _seconds: float) -> NoSpan:
        return NO_SPAN

    def step(self, _name: str) -> NoSpan:
        return NO_SPAN

    def note(self, _name: str, _value: Value) -> None:
        """Nobody asks."""

    def event(self, _name: str, _notes: Mapping[str, Value]) -> None:
        """Nobody asks."""

    def following(self, _followed: Followed) -> NoSpan:
        return NO_SPAN

    def afterwards(self, _name: str) -> NoSpan:
        return NO_SPAN

    def call(self, _call: Call, *, model: str, kind: str, origin: str) -> NoSpan:
        del model, kind, origin
        return NO_SPAN

    def leading(self) -> None:
        return None


OFF: Final = NoTracing()
