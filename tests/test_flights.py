"""Flights with real tasks. Gates are events: each test says who is on board before the next byte comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy import flights as module
from proxy.errors import AskOnceError, Overloaded, UpstreamInterrupted
from proxy.flights import Bounds, Flight, Flights, Landing, Seat
from proxy.telemetry.tasks import Tasks
from proxy.types import Digest, Frame

NAME, OTHER = Digest(b"question" * 2), Digest(b"another " * 2)
BOUNDS = Bounds(max_bytes=100, max_age_s=60, max_listeners=3, unstorable_s=30)
STORED = Landing(entry=None, stored=True)
BIG = b"x" * 40
"""Three of these are over the bound."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A flight's work: a status departs, bytes are added, events are waited for, callables called, errors raised."""

    def __init__(self, *moves: int | bytes | asyncio.Event | Callable[[], object] | BaseException | Landing) -> None:
        self.moves = moves
        self.flown: list[Flight] = []

    async def __call__(self, flight: Flight) -> Landing:
        self.flown.append(flight)
        for move in self.moves:
            match move:
                case int():
                    flight.depart(move, ((b"content-type", b"text/plain"),))
                case bytes():
                    flight.add(Frame(move, move))
                    await flight.room()
                case asyncio.Event():
                    await move.wait()
                case BaseException():
                    raise move
                case Landing():
                    return move
                case _:
                    move()
        return STORED


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def flights(clock: Clock):
    flights = Flights(BOUNDS, Tasks(), clock)
    yield flights
    await flights.drain(0)
    assert flights.count == 0
    assert not flights.flying(NAME)


def board(flights: Flights, script: Script, name: Digest = NAME) -> Seat:
    return flights.board(name, script, streaming=True)


async def heard(seat: Seat) -> bytes:
    return b"".join([frame.raw async for frame in seat.frames()])


# --- sharing


async def test_equal_questions_share_one_flight_and_all_hear_the_whole_answer(flights, gate):
    script = Script(200, b"one ", gate, b"two")
    seats = [board(flights, script) for _ in range(3)]
    hearing = [asyncio.create_task(heard(seat)) for seat in seats]
    await seats[0].departed()
    assert repr(script.flown[0]) == "<Flight 71756573 open seats=3 bytes=4>"
    gate.set()
    assert await asyncio.gather(*hearing) == [b"one two"] * 3
    assert [seat.shared for seat in seats] == [False, True, True]
    assert len(script.flown) == 1
    assert repr(script.flown[0]) == "<Flight 71756573 landed seats=3 bytes=7>"


async def test_different_questions_fly_apart(flights):
    script = Script(200, b"one")
    seats = [board(flights, script), board(flights, script, OTHER)]
    assert [await heard(seat) for seat in seats] == [b"one"] * 2
    assert len(script.flown) == 2


async def test_a_late_caller_hears_all_from_the_first_byte_and_then_the_live_tail(flights, gate):
    script = Script(200, b"one ", b"two ", gate, b"three")
    early = board(flights, script).frames()
    assert [(await anext(early)).raw, (await anext(early)).raw] == [b"one ", b"two "]
    late = board(flights, script).frames()
    assert [(await anext(late)).raw, (await anext(late)).raw] == [b"one ", b"two "]
    gate.set()
    assert (await anext(late)).raw == (await anext(early)).raw == b"three"
    assert [frame async for frame in late] == [frame async for frame in early] == []


async def test_the_head_and_the_landing_are_everyones(flights, gate):
    landing = Landing(entry=None, stored=False, reason="content_filter")
    script = Script(gate, 418, b"teapot", landing)
    seats = [board(flights, script) for _ in range(2)]
    asyncio.get_running_loop().call_soon(gate.set)
    for seat in seats:
        await seat.departed()
        assert (seat.status, seat.headers) == (418, ((b"content-type", b"text/plain"),))
        assert await seat.landed() is landing


async def test_a_flight_stays_on_the_board_until_its_work_is_done(flights, gate):
    reached = asyncio.Event()
    seat = board(flights, Script(200, b"all of it", reached.set, gate))
    await reached.wait()
    assert flights.flying(NAME)
    assert (flights.count, flights.landings) == (1, 0)
    gate.set()
    await seat.landed()
    assert not flights.flying(NAME)
    assert (flights.count, flights.landings) == (0, 1)


async def test_nobody_joins_a_flight_of_ones_own(flights, gate):
    script = Script(200, gate)
    own = flights.alone(NAME, script, streaming=False)
    assert not flights.flying(NAME)
    shared = board(flights, script)
    again = flights.alone(NAME, script, streaming=False)
    gate.set()
    for seat in (own, shared, again):
        await seat.landed()
    assert len(script.flown) == 3
    assert [seat.shared for seat in (own, shared, again)] == [False] * 3
    assert (own.streaming, shared.streaming) == (False, True)


# --- leaving


async def test_the_first_callers_leaving_cancels_nothing_for_the_others(flights, gate):
    script = Script(200, b"one ", gate, b"two")
    first, second = board(flights, script), board(flights, script)
    await anext(first.frames())
    first.leave()
    first.leave()
    gate.set()
    assert await heard(second) == b"one two"
    assert repr(script.flown[0]) == "<Flight 71756573 landed seats=1 bytes=7>"


async def test_a_flight_lands_for_the_store_when_everyone_has_left(flights, gate):
    script = Script(200, b"one ", gate, b"two")
    board(flights, script).leave()
    gate.set()
    await flights.drain(60)
    assert flights.landings == 1
    assert repr(script.flown[0]) == "<Flight 71756573 landed seats=0 bytes=7>"


@pytest.mark.parametrize("waits", [Seat.departed, Seat.landed, heard], ids=["head", "landing", "frames"])
async def test_cancelling_one_who_waits_harms_no_other(flights, gate, waits):
    script = Script(gate, 200, b"all")
    seats = [board(flights, script) for _ in range(3)]
    waiting = [asyncio.create_task(waits(seat)) for seat in seats]
    started = asyncio.Event()
    asyncio.get_running_loop().call_soon(started.set)
    await started.wait()
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    gate.set()
    await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()
    assert await heard(seats[0]) == b"all"


async def test_those_who_come_and_go_while_nothing_happens_leave_nothing_behind(flights, gate):
    script = Script(200, gate)
    seat = board(flights, script)
    await seat.departed()
    for _ in range(10):
        waiting = asyncio.create_task(seat.landed())
        begun = asyncio.Event()
        asyncio.get_running_loop().call_soon(begun.set)
        await begun.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(script.flown[0]._waiting) == 0
    gate.set()
    await seat.landed()


# --- failing


@pytest.mark.parametrize("waits", [Seat.departed, Seat.landed, heard], ids=["head", "landing", "frames"])
async def test_a_flight_that_fails_before_its_head_fails_everyone_alike(flights, gate, waits):
    error = UpstreamInterrupted("the connection broke")
    script = Script(gate, error)
    waiting = [asyncio.create_task(waits(board(flights, script))) for _ in range(3)]
    gate.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
    assert repr(script.flown[0]) == "<Flight 71756573 failed seats=3 bytes=0>"
    assert not flights.flying(NAME)


async def test_a_stream_that_breaks_off_gives_what_came_and_then_its_error(flights):
    seat = board(flights, Script(200, b"one ", UpstreamInterrupted("the connection broke")))
    frames = seat.frames()
    assert (await anext(frames)).raw == b"one "
    with pytest.raises(UpstreamInterrupted):
        await anext(frames)
    with pytest.raises(UpstreamInterrupted):
        await seat.landed()


async def test_after_a_failure_the_next_caller_starts_anew(flights):
    failing = board(flights, Script(UpstreamInterrupted("the connection broke")))
    with pytest.raises(UpstreamInterrupted):
        await failing.departed()
    again = board(flights, Script(200, b"fine"))
    assert not again.shared
    assert await heard(again) == b"fine"
    assert flights.landings == 1


async def test_an_error_told_to_many_does_not_grow_with_each(flights):
    seat = board(flights, Script(UpstreamInterrupted("the connection broke")))
    depths = set()
    for _ in range(5):
        with pytest.raises(UpstreamInterrupted) as told:
            await seat.departed()
        depths.add(len(told.traceback))
    assert len(depths) == 1


@pytest.mark.parametrize("moves", [(), (200,), (200, b"one ")], ids=["before the head", "after it", "in the answer"])
async def test_a_bug_in_the_work_leaves_nobody_waiting_and_is_loud(flights, gate, caplog, moves):
    script = Script(*moves, gate, ZeroDivisionError("a bug"))
    waits = [Seat.landed, heard] if moves else [Seat.departed, Seat.landed, heard]
    waiting = [asyncio.create_task(wait(board(flights, script))) for wait in waits]
    gate.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in told] == [Overloaded] * len(waits)
    assert "a bug" not in str(told)
    assert "ZeroDivisionError" in caplog.text
    assert flights.count == 0
    assert not flights.flying(NAME)


async def test_a_flight_that_lands_without_a_head_leaves_nobody_waiting(flights):
    await board(flights, Script(STORED)).departed()


@pytest.mark.parametrize("moves", [(), (200,), (200, b"one ")], ids=["before the head", "after it", "in the answer"])
async def test_a_cancelled_flight_tells_everyone(flights, gate, moves):
    reached = asyncio.Event()
    script = Script(*moves, reached.set, gate)
    seats = [board(flights, script) for _ in range(2)]
    await reached.wait()
    script.flown[0].task.cancel()
    for seat in seats:
        with pytest.raises(Overloaded):
            await seat.landed()
    assert flights.count == 0


async def test_a_flight_cancelled_before_its_first_step_tells_everyone_too(flights):
    seat = board(flights, Script(200))
    (task,) = (task for task in asyncio.all_tasks() if task.get_name().startswith("flight"))
    task.cancel()
    with pytest.raises(Overloaded):
        await seat.departed()
    assert flights.count == 0
    assert not flights.flying(NAME)


# --- who may join


async def test_a_flight_over_its_age_is_not_joined(flights, clock, gate):
    script = Script(200, gate, b"one")
    seats = [board(flights, script)]
    clock.now += BOUNDS.max_age_s
    seats.append(board(flights, script))
    clock.now += 1
    seats.append(board(flights, script))
    gate.set()
    assert [await heard(seat) for seat in seats] == [b"one"] * 3
    assert [seat.shared for seat in seats] == [False, True, False]


async def test_a_flight_takes_no_more_callers_than_its_bound_and_a_left_seat_is_free(flights, gate):
    script = Script(200, gate, b"one")
    seats = [board(flights, script) for _ in range(BOUNDS.max_listeners)]
    seats[1].leave()
    seats += [board(flights, script) for _ in range(2)]
    gate.set()
    assert [await heard(seat) for seat in seats] == [b"one"] * 5
    assert [seat.shared for seat in seats] == [False, True, True, True, False]


async def test_an_overgrown_flight_is_not_joined(flights, gate):
    script = Script(200, BIG, BIG, BIG, gate)
    first = board(flights, script)
    assert await first.landed() is None
    second = board(flights, script)
    gate.set()
    assert not second.shared
    assert await heard(first) == await heard(second) == BIG * 3


async def test_a_replaced_flight_does_not_take_the_new_one_off_the_board(flights, clock, gate):
    old = board(flights, Script(200, b"old"))
    clock.now += BOUNDS.max_age_s + 1
    new = board(flights, Script(200, gate, b"new"))
    assert await heard(old) == b"old"
    assert flights.flying(NAME)
    joined = board(flights, Script())
    gate.set()
    assert joined.shared
    assert await heard(new) == await heard(joined) == b"new"


# --- overgrown


def held_bytes(flight: Flight) -> int:
    return int(repr(flight).rpartition("bytes=")[2].rstrip(">"))


async def test_with_one_reader_the_upstream_is_read_no_faster_than_it_reads(flights):
    script = Script(200, *[BIG] * 20)
    seat = board(flights, script)
    assert await seat.landed() is None
    (flight,) = script.flown
    assert repr(flight) == "<Flight 71756573 open seats=1 bytes=120>"
    read = b""
    async for frame in seat.frames():
        read += frame.raw
        assert held_bytes(flight) <= BOUNDS.max_bytes + len(BIG)
    assert read == BIG * 20


async def test_a_slow_reader_within_the_bound_holds_nobody_back_and_goes_on_later(flights):
    script = Script(200, b"one ", b"two ", b"three")
    slow, fast = board(flights, script), board(flights, script)
    frames = slow.frames()
    await anext(frames)
    assert await heard(fast) == b"one two three"
    assert [frame.raw async for frame in frames] == [b"two ", b"three"]


async def test_what_every_reader_has_read_of_an_overgrown_flight_is_let_go_of(flights, gate):
    script = Script(200, BIG, BIG, BIG, gate, b"end")
    readers = [board(flights, script).frames() for _ in range(2)]
    for reader in readers:
        for _ in range(3):
            await anext(reader)
    gate.set()
    for reader in readers:
        assert [frame.raw async for frame in reader] == [b"end"]
    assert repr(script.flown[0]) == "<Flight 71756573 landed seats=2 bytes=3>"


async def test_a_reader_too_far_behind_is_told_and_the_others_finish(flights):
    script = Script(200, *[BIG] * 20)
    slow, fast = board(flights, script), board(flights, script)
    frames = slow.frames()
    await anext(frames)
    assert await heard(fast) == BIG * 20
    with pytest.raises(UpstreamInterrupted) as told:
        await anext(frames)
    assert told.value.reason == "slow_reader"


async def test_a_reader_behind_by_less_than_the_bound_is_not_told(flights, gate):
    script = Script(200, BIG, BIG, gate, BIG, b"end")
    slow, fast = board(flights, script).frames(), board(flights, script).frames()
    for frames in (slow, slow, fast, fast):
        await anext(frames)
    gate.set()
    assert [frame.raw async for frame in fast] == [BIG, b"end"]
    assert repr(script.flown[0]) == "<Flight 71756573 landed seats=2 bytes=43>"
    assert [frame.raw async for frame in slow] == [BIG, b"end"]


async def test_readers_of_one_pace_both_get_all_of_an_overgrown_answer(flights):
    script = Script(200, *[BIG] * 20)
    readers = [board(flights, script).frames() for _ in range(2)]
    read = [b"", b""]
    for turn in range(40):
        read[turn % 2] += (await anext(readers[turn % 2])).raw
        assert held_bytes(script.flown[0]) <= BOUNDS.max_bytes + len(BIG)
    assert read == [BIG * 20] * 2


async def test_an_overgrown_flight_that_nobody_reads_ends_without_a_fault(flights, caplog):
    script = Script(200, BIG, BIG, BIG, gate := asyncio.Event(), b"end")
    board(flights, script).leave()
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name().startswith("flight")])
    assert not gate.is_set()
    assert repr(script.flown[0]) == "<Flight 71756573 failed seats=0 bytes=120>"
    assert flights.count == 0
    assert caplog.records == []


async def test_an_overgrown_flight_ends_when_its_last_reader_leaves(flights):
    script = Script(200, *[BIG] * 20)
    seats = [board(flights, script) for _ in range(2)]
    assert await seats[0].landed() is None
    seats[0].leave()
    seats[1].leave()
    await asyncio.wait([script.flown[0].task])
    assert "failed" in repr(script.flown[0])
    assert flights.landings == 0


async def test_an_overgrown_flight_still_tells_its_readers_that_it_broke(flights):
    seat = board(flights, Script(200, BIG, BIG, BIG, UpstreamInterrupted("the connection broke")))
    assert await seat.landed() is None
    with pytest.raises(UpstreamInterrupted):
        await heard(seat)


# --- what is remembered

REFUSED = Landing(entry=None, stored=False, reason="content_filter")


async def flown(flights: Flights, landing: Landing, name: Digest = NAME) -> None:
    await board(flights, Script(200, landing), name).landed()


async def lined_up(flights: Flights) -> bool:
    """Whether two equal questions share a flight now."""
    gate = asyncio.Event()
    seats = [board(flights, Script(200, gate, REFUSED)) for _ in range(2)]
    gate.set()
    for seat in seats:
        await seat.landed()
    return seats[1].shared


async def test_after_an_answer_that_may_not_be_kept_equal_questions_are_not_lined_up(flights):
    assert not flights.unstorable(NAME)
    await flown(flights, REFUSED)
    assert flights.unstorable(NAME)
    assert not await lined_up(flights)


async def test_that_is_forgotten_after_a_while(flights, clock):
    await flown(flights, REFUSED)
    clock.now += BOUNDS.unstorable_s
    assert not flights.unstorable(NAME)
    assert await lined_up(flights)


async def test_that_is_forgotten_when_an_answer_is_kept(flights):
    await flown(flights, REFUSED)
    await flown(flights, STORED)
    assert await lined_up(flights)


@pytest.mark.parametrize("reason", ["", "store", "ttl"])
async def test_a_failing_store_or_an_upstreams_error_does_not_end_sharing(flights, reason):
    await flown(flights, Landing(entry=None, stored=False, reason=reason))
    assert await lined_up(flights)


async def test_one_who_was_not_lined_up_is_joined_by_nobody(flights):
    await flown(flights, REFUSED)
    gate = asyncio.Event()
    board(flights, Script(200, gate)).leave()
    assert not flights.flying(NAME)
    gate.set()


async def test_a_landing_is_seen_by_those_who_began_before_it(flights):
    before = flights.landings
    assert not flights.landed_since(NAME, before)
    await flown(flights, STORED)
    assert flights.landed_since(NAME, before)
    assert not flights.landed_since(OTHER, before)
    assert not flights.landed_since(NAME, flights.landings)


async def test_a_failure_is_no_landing(flights):
    before = flights.landings
    with pytest.raises(AskOnceError):
        await board(flights, Script(Overloaded("full"))).landed()
    assert not flights.landed_since(NAME, before)


async def test_only_so_much_is_remembered(flights, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    names = [Digest(bytes([number]) * 16) for number in range(3)]
    for name in names:
        await flown(flights, REFUSED, name)
    assert [flights.unstorable(name) for name in names] == [False, True, True]
    assert [flights.landed_since(name, 0) for name in names] == [False, True, True]


# --- the end


async def test_draining_lets_what_is_in_the_air_land(flights, gate):
    seat = board(flights, Script(200, gate, b"whole"))
    asyncio.get_running_loop().call_soon(gate.set)
    await flights.drain(60)
    assert flights.landings == 1
    assert await heard(seat) == b"whole"


async def test_draining_ends_what_takes_longer_and_tells_its_callers(flights, gate):
    seat = board(flights, Script(200, b"one ", gate))
    frames = seat.frames()
    assert (await anext(frames)).raw == b"one "
    await flights.drain(0)
    with pytest.raises(Overloaded):
        await anext(frames)
    assert (flights.count, flights.landings) == (0, 0)
