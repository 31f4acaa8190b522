"""Does another replica ask this very question right now? One file in this folder for each way to find out.

`flights` joins equal questions within one process; a lease does it between processes. Who holds the lease on a name
asks the upstream; the others follow its answer while it runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import NamedTuple, Protocol

from proxy.types import CallSpan, Digest, Frame, Pairs


class Ending(Protocol):
    """How a call ended when it ended well."""

    @property
    def stored(self) -> bool:
        """The answer is in the store."""

    @property
    def reason(self) -> str:
        """Why it is not."""


class Source(Protocol):
    """What a leader brings, for those who follow: one more reader of its flight. Its methods raise
    `errors.AskOnceError` kinds where the call fails."""

    @property
    def streaming(self) -> bool:
        """The upstream was asked for a stream."""

    @property
    def status(self) -> int:
        """HTTP status, once departed."""

    @property
    def headers(self) -> Pairs:
        """End-to-end header fields, once departed."""

    @property
    def overgrown(self) -> bool:
        """It is too large to be held: it goes at its readers' pace from here."""

    async def departed(self) -> None:
        """Until the response's head is there."""

    def frames(self) -> AsyncGenerator[Frame, None]:
        """The body from its first byte, then as it comes."""

    async def landed(self) -> Ending | None:
        """Until the answer is whole and kept; None when it is too large for that."""

    def leave(self) -> None:
        """No more of it is wanted."""


class Lease(Protocol):
    """This replica asks, for all of them."""

    @property
    def look_first(self) -> bool:
        """The answer may have been stored since it was looked for: another replica's call has just ended."""

    def lead(self, sit: Callable[[], Source]) -> None:
        """The call begins; `sit` gives a reader of it to whoever wants to follow."""

    def release(self, *, stored: bool) -> None:
        """It is over. After what was stored is written, the next one to ask is told to look first."""


class Running(Protocol):
    """Another replica asks. Read like an upstream's `Reply`, from the first byte."""

    status: int
    headers: Pairs
    length: int | None
    origin: str
    """Empty: the replica that asked knows it."""
    span: CallSpan
    """Nobody's: that replica traces it."""
    streaming: bool
    """It brings a stream."""
    stored: bool
    """After its end: whether the answer is in the store, and if not, why."""
    reason: str

    useless: bool
    """Waiting for it again would bring nothing: ask the upstream."""

    async def begun(self) -> bool:
        """Until there is something to pass on: the head and some of the body of a stream, or all of what is no stream.
        False: nothing comes any more, because its holder is gone or it was waited for as long as that is allowed
        (`useless`). Raises what the holder's call failed with.
        """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body. Raises `errors.UpstreamError` kinds where it broke."""

    async def ended(self) -> bool:
        """Until it has ended, without reading it. False: it will not end well."""

    async def aclose(self) -> None:
        """Stop following. More than once is harmless."""


class Taken(NamedTuple):
    """Who asks: this replica, by its lease, or another, whose call is running. Neither: nobody could be asked."""

    lease: Lease | None = None
    running: Running | None = None


NOBODY = Taken()
"""It cannot be told who else asks: ask the upstream."""


class Leases(Protocol):
    """Who asks. Raises nothing: where it cannot be told, everybody asks."""

    async def open(self) -> None:
        """Get ready to hear from others."""

    async def take(self, name: Digest) -> Taken:
        """The lease, or whoever has it."""

    async def drop(self, name: Digest) -> None:
        """Nobody shall follow what is being asked now: an answer that is asked for later is wanted."""

    async def close(self) -> None:
        """Give up every lease, so that others need not wait for them."""
