"""When to leave a failing peer alone, and when to try it again.

    closed      everything is tried; so many failures in a row open it
    open        nothing is tried, everything fails at once
    half_open   one probe is under way: it closes the breaker, or opens it again

Probes are sent by tasks of their own (`redis_link.link.Link.run(..., probe=True)`, `upstream.looks`), not by requests:
nobody pays for finding out.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The value of `/readyz` and of the `state` label of `askonce_store_breaker`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts failures in a row. No I/O, no clock.

    limit: so many failures in a row open it.
    trusted: closed from the start, for a peer that is tried before anything was heard of it. Else it is open until the
    first probe went well: nothing waits for somebody nobody has heard of yet.
    """

    def __init__(self, limit: int, *, trusted: bool = False) -> None:
        self.state = State.CLOSED if trusted else State.OPEN
        self.openings = 0
        """How often it opened since it was first closed."""
        self.why = "" if trusted else "not connected yet"
        """What the last failure was, for the operator."""
        self._limit = limit
        self._failures = 0

    @property
    def closed(self) -> bool:
        """Whether requests may try."""
        return self.state is State.CLOSED

    @property
    def wavers(self) -> bool:
        """The last that was tried failed: what can be left out had better be."""
        return self._failures > 0

    def probing(self) -> None:
        """A probe is sent."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def succeeded(self, *, probe: bool = False) -> None:
        """The peer answered. Only a probe closes an open breaker: what was sent before it opened may come in late."""
        if self.state is State.CLOSED:
            self._failures = 0
        elif probe:
            self.state, self._failures, self.why = State.CLOSED, 0, ""

    def failed(self, why: str, *, certain: bool = False) -> None:
        """The peer did not answer, or not in time. `certain`: it said itself that it does not serve, which needs no
        second word."""
        self.why = why
        self._failures = self._limit if certain else self._failures + 1
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN
        elif self.state is State.CLOSED and self._failures >= self._limit:
            self.state = State.OPEN
            self.openings += 1
