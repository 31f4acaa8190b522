"""One upstream call for many equal questions, streams included.

A `Flight` is one call in the air. Its task owns the upstream read and the keeping; callers hold a `Seat` each. A
caller that leaves gives up its seat and nothing else: the flight goes on for the others, and for the store. A caller
that comes late reads from the first byte, then the live tail.

Memory. What came so far is kept in one list that all seats share, each with its own position, so a slow reader costs
nothing and holds nobody back. While it fits in `max_bytes` a flight is joinable and nothing is given up. Past that it
is *overgrown*: nobody can join, nothing will be stored, and what every seat has read is let go of. Reading the upstream
waits while the fastest reader has more than half of `max_bytes` before it; a reader that falls further behind the
fastest than the other half is told that its stream broke. So two readers of one pace both get all of it, and what is
held stays within the bound by a frame. An overgrown flight with no reader left ends: it would be read for nobody.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from proxy.errors import AskOnceError, Overloaded, UpstreamInterrupted
from proxy.match import Match
from proxy.telemetry.tasks import Tasks
from proxy.types import CallSpan, Digest, Entry, Frame, Pairs, Patience

REMEMBERED = 4096
"""How many recent landings and unstorable outcomes are remembered: a bound on memory, not a promise."""

PASSING = frozenset({"store", "ttl", "model_changed"})
"""Reasons that say nothing of the answer: the store failed, or this caller wanted it short-lived. The next caller may
well share, and while a store is down sharing is all that keeps a crowd from the upstream."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one flight may cost. Bytes, seconds, callers."""

    max_bytes: int
    max_age_s: float
    max_listeners: int
    unstorable_s: float


@dataclass(frozen=True, slots=True)
class Landing:
    """How a flight ended when it ended well."""

    entry: Entry | None
    """The whole answer, when it could be folded, kept or not."""
    stored: bool
    reason: str = ""
    """Why it was not stored."""
    match: Match | None = None
    """It is the answer to another question, and nobody was asked."""
    tier: str = ""
    """Where it was found stored under another name than the flight's (a fallback's answer), and nobody was asked."""


class Flight:
    """One upstream call in the air. Only its own task writes to it."""

    def __init__(
        self, name: Digest, *, streaming: bool, bounds: Bounds, born: float, patience_s: float | None = None
    ) -> None:
        self.name = name
        self.patience = Patience(patience_s)
        """Of whoever waits longest."""
        self.streaming = streaming
        self.born = born
        self.status = 0
        self.headers: Pairs = ()
        self.overgrown = False
        self.followed = False
        """Another replica's call is passed on: no caller here has a call of its own."""
        self.span: CallSpan | None = None
        """The call's, once it has its answer's head; before that, of the request that began it."""
        self._bounds = bounds
        self._frames: list[Frame] = []
        self._starts = array("q")
        """Where in the stream each of these frames starts. Bytes."""
        self._end = 0
        self._dropped = 0
        """Frames let go of: the first in the list is number `_dropped` of the stream."""
        self._landing: Landing | None = None
        self._error: AskOnceError | None = None
        self._seats: set[Seat] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._room = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "failed" if self._error else "landed" if self._landing else "open"
        return f"<Flight {self.name.hex()[:8]} {state} seats={len(self._seats)} bytes={self._held_bytes()}>"

    # What the flight's task says.

    def depart(self, status: int, headers: Pairs) -> None:
        """The response's head is here."""
        self.status, self.headers = status, headers
        self._tell()

    def add(self, frame: Frame) -> None:
        """A run of bytes for every seat."""
        self._frames.append(frame)
        self._starts.append(self._end)
        self._end += len(frame.raw)
        if self._held_bytes() > self._bounds.max_bytes:
            self.overgrown = True
        self._tell()

    async def room(self) -> None:
        """Wait, when overgrown, until the fastest reader is within bounds."""
        while self.overgrown:
            if not self._seats:
                raise Overloaded("the answer grew past server.flight_max_bytes and nobody is reading it")
            fastest = max(seat.position for seat in self._seats)
            self._let_go(fastest)
            if self._end - self._start_of(fastest) <= self._bounds.max_bytes // 2:
                return
            self._room.clear()
            await self._room.wait()

    def land(self, landing: Landing) -> None:
        """All bytes are here and what could be kept is kept."""
        self._landing = landing
        self._tell()

    def fail(self, error: AskOnceError) -> None:
        """It ends here for everyone."""
        self._error = error
        self._tell()

    # What seats ask.

    @property
    def over(self) -> bool:
        return self._landing is not None or self._error is not None

    def joinable(self, now: float) -> bool:
        """Whether a newcomer would get everything from the first byte, within bounds."""
        return (
            not self.overgrown
            and self._error is None
            and len(self._seats) < self._bounds.max_listeners
            and now - self.born <= self._bounds.max_age_s
        )

    def sit(self, *, shared: bool) -> Seat:
        seat = Seat(self, shared=shared)
        self._seats.add(seat)
        return seat

    def stand_up(self, seat: Seat) -> None:
        self._seats.discard(seat)
        self._room.set()

    async def departed(self) -> None:
        """Until the head is known. Raises what the flight failed with before that."""
        while not self.status and self._landing is None:
            self._raise_error()
            await self._change()

    async def landed(self) -> Landing | None:
        """Until it is over, or overgrown (None). Raises what it failed with."""
        while self._landing is None:
            self._raise_error()
            if self.overgrown:
                return None
            await self._change()
        return self._landing

    async def frames_from(self, seat: Seat) -> AsyncGenerator[Frame, None]:
        while True:
            index = seat.position - self._dropped
            if index < 0:
                raise UpstreamInterrupted(
                    "this reader fell further behind the stream than server.flight_max_bytes", code="slow_reader"
                )
            if index < len(self._frames):
                frame = self._frames[index]
                seat.position += 1
                if self.overgrown:
                    self._room.set()
                yield frame
            elif self._landing is not None:
                return
            else:
                self._raise_error()
                await self._change()

    def _raise_error(self) -> None:
        if self._error is not None:
            # One error for all: without this its traceback would grow by each caller, and hold them all in memory.
            raise self._error.with_traceback(None)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _change(self) -> None:
        # A future for each waiter: cancelling one who awaits a shared future would cancel it for all.
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _let_go(self, fastest: int) -> None:
        """Drop what everyone has read, and what is further behind the fastest than it is waited for."""
        slowest = min(seat.position for seat in self._seats)
        least = self._start_of(fastest) - self._bounds.max_bytes // 2
        keep_from = self._dropped
        while keep_from < slowest or (keep_from < fastest and self._start_of(keep_from) < least):
            keep_from += 1
        gone = keep_from - self._dropped
        del self._frames[:gone], self._starts[:gone]
        self._dropped = keep_from

    def _start_of(self, position: int) -> int:
        """Where frame number `position` starts, or will start when it comes. Bytes."""
        index = position - self._dropped
        return self._starts[index] if index < len(self._starts) else self._end

    def _held_bytes(self) -> int:
        return self._end - self._start_of(self._dropped)


class Seat:
    """One caller's place on a flight: a position in what all share."""

    def __init__(self, flight: Flight, *, shared: bool) -> None:
        self._flight = flight
        self._joined = shared
        self.position = 0

    @property
    def shared(self) -> bool:
        """Joined somebody else's call, in this process or another."""
        return self._joined or self._flight.followed

    @property
    def span(self) -> CallSpan | None:
        """Of the call, for whoever traces this caller's way."""
        return self._flight.span

    @property
    def overgrown(self) -> bool:
        """Too large to be held."""
        return self._flight.overgrown

    @property
    def streaming(self) -> bool:
        """The upstream was asked for a stream."""
        return self._flight.streaming

    @property
    def status(self) -> int:
        return self._flight.status

    @property
    def headers(self) -> Pairs:
        return self._flight.headers

    async def departed(self) -> None:
        """Until the upstream's status and headers are known. Raises what the flight failed with."""
        await self._flight.departed()

    async def landed(self) -> Landing | None:
        """Until the answer is whole and kept; None when it is too large to wait for. Raises what it failed with."""
        return await self._flight.landed()

    def frames(self) -> AsyncGenerator[Frame, None]:
        """From the first byte, then as they come. Raises `errors.UpstreamError` where the stream broke."""
        return self._flight.frames_from(self)

    def leave(self) -> None:
        """Give up the seat. More than once is harmless."""
        self._flight.stand_up(self)


Fly = Callable[[Flight], Awaitable[Landing]]
"""The flight's work, run in its own task."""


class Flights:
    """The board: which questions are in the air."""

    def __init__(self, bounds: Bounds, tasks: Tasks, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._tasks = tasks
        self._clock = clock
        self._board: dict[Digest, Flight] = {}
        self._landed: OrderedDict[Digest, int] = OrderedDict()
        self._unstorable: OrderedDict[Digest, float] = OrderedDict()
        self.landings = 0
        """How many have landed so far: a point in time for `landed_since`."""
        self.count = 0
        """Flights in the air, alone or shared."""

    def board(self, name: Digest, fly: Fly, *, streaming: bool, patience_s: float | None = None) -> Seat:
        """A seat on the flight that answers this question already, or on a new one. `patience_s`: how long this caller
        goes on waiting; None: as long as it takes."""
        flight = self._board.get(name)
        if flight is not None and flight.joinable(self._clock()):
            flight.patience.stretch(patience_s, self._clock() - flight.born)
            return flight.sit(shared=True)
        if self.unstorable(name):
            return self.alone(name, fly, streaming=streaming, patience_s=patience_s)
        flight = self._take_off(name, fly, streaming=streaming, patience_s=patience_s)
        self._board[name] = flight
        return flight.sit(shared=False)

    def alone(self, name: Digest, fly: Fly, *, streaming: bool, patience_s: float | None = None) -> Seat:
        """A flight that nobody else joins: for a caller who wants a new answer, or one that cannot be shared."""
        return self._take_off(name, fly, streaming=streaming, patience_s=patience_s).sit(shared=False)

    def close(self, name: Digest | None = None) -> None:
        """Nobody joins what is in the air now, for one question or for all: after a purge, answers are wanted that were
        asked for later."""
        if name is None:
            self._board.clear()
        else:
            self._board.pop(name, None)

    def flying(self, name: Digest) -> bool:
        """Whether somebody asks this question right now."""
        return name in self._board

    def unstorable(self, name: Digest) -> bool:
        """Whether an answer to this question was lately found unfit to be kept."""
        until = self._unstorable.get(name)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self._unstorable[name]
        return False

    def landed_since(self, name: Digest, landings: int) -> bool:
        """Whether this question was answered after the board had counted `landings`."""
        return self._landed.get(name, -1) >= landings

    async def drain(self, timeout_s: float) -> None:
        """Let what is in the air land and be kept; cancel what takes longer."""
        await self._tasks.drain(timeout_s)

    def _take_off(self, name: Digest, fly: Fly, *, streaming: bool, patience_s: float | None) -> Flight:
        flight = Flight(name, streaming=streaming, bounds=self._bounds, born=self._clock(), patience_s=patience_s)
        self.count += 1
        flight.task = self._tasks.spawn(self._run(flight, fly), name=f"flight {name.hex()[:8]}")
        flight.task.add_done_callback(partial(self._ended, flight))
        return flight

    async def _run(self, flight: Flight, fly: Fly) -> None:
        try:
            landing = await fly(flight)
        except AskOnceError as error:
            self._off_the_board(flight)
            flight.fail(error)
        else:
            self._remember(flight.name, landing)
            # Off the board only now that the answer is in the store: in between there is no moment at which an equal
            # question would find neither.
            self._off_the_board(flight)
            flight.land(landing)

    def _ended(self, flight: Flight, _task: asyncio.Task[None]) -> None:
        # A bug or a cancellation, maybe before the task's first step: nobody may be left waiting. It stays as loud as
        # it is, for the task reports it.
        if not flight.over:
            self._off_the_board(flight)
            flight.fail(Overloaded("the answer was given up before it was complete; ask again"))

    def _off_the_board(self, flight: Flight) -> None:
        self.count -= 1
        if self._board.get(flight.name) is flight:
            del self._board[flight.name]

    def _remember(self, name: Digest, landing: Landing) -> None:
        self._landed[name] = self.landings
        self._landed.move_to_end(name)
        self.landings += 1
        if len(self._landed) > REMEMBERED:
            self._landed.popitem(last=False)
        if landing.stored:
            self._unstorable.pop(name, None)
        elif landing.reason and landing.reason not in PASSING:
            # Varnish's hit-for-miss: equal questions are not lined up behind an answer that none of them could share
            # after it has landed.
            self._unstorable[name] = self._clock() + self._bounds.unstorable_s
            self._unstorable.move_to_end(name)
            if len(self._unstorable) > REMEMBERED:
                self._unstorable.popitem(last=False)
