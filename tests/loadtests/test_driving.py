"""Closed and open loops ask what they should, when they should, and stop."""

from __future__ import annotations

import asyncio
import itertools
import time
from itertools import islice

import driving
import pytest
from asking import Sample
from driving import Pace, drive
from figures import Figures, spread
from traffic import Mix, Traffic, arrivals, made


def questions():
    return iter(Traffic(Mix(unique=1, reworded=0, slot=0), made(1)))


class Clock:
    """Seconds that pass only while somebody sleeps: a load test without waiting."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.sleepers = []
        self.numbers = itertools.count()
        monkeypatch.setattr(driving.time, "perf_counter", lambda: self.now)

    async def sleep(self, seconds):
        """Until the clock is there; `run` moves it on when nobody else can."""
        done = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, next(self.numbers), done))
        await done

    async def run(self, work):
        task = asyncio.get_running_loop().create_task(work)
        while not task.done():
            for _ in range(5):
                await REAL_SLEEP(0)
            if self.sleepers and not task.done():
                self.sleepers.sort()
                at, _, done = self.sleepers.pop(0)
                self.now = max(self.now, at)
                done.set_result(None)
        return task.result()


REAL_SLEEP = asyncio.sleep


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(monkeypatch)

    class Loop:
        """`asyncio` as the loop sees it: sleeping goes by our clock."""

        sleep = staticmethod(clock.sleep)
        TaskGroup = asyncio.TaskGroup

    monkeypatch.setattr(driving, "asyncio", Loop)
    monkeypatch.setattr(driving, "time", type("Time", (), {"perf_counter": staticmethod(lambda: clock.now)}))
    return clock


def server(clock, *, takes_s, stalls=()):
    """Answers after `takes_s`; a request that begins within a stall is answered when it is over."""

    async def ask(asked, due):
        began = clock.now
        wait = max([takes_s, *(until - began for since, until in stalls if since <= began < until)])
        await clock.sleep(wait)
        return Sample(asked, due, began, ended=clock.now, status=200)

    return ask


async def test_a_count_is_asked_exactly(clock):
    samples = []
    stretch = await clock.run(
        drive(server(clock, takes_s=0.1), questions(), Pace(connections=4, count=10), samples.append)
    )
    assert stretch.asked == len(samples) == 10
    assert sorted(one.asked.number for one in samples) == list(range(10))
    assert stretch.seconds == pytest.approx(0.3)


async def test_a_closed_loop_stops_after_its_seconds_and_reads_the_last_answers(clock):
    samples = []
    stretch = await clock.run(
        drive(server(clock, takes_s=0.4), questions(), Pace(connections=2, seconds=1), samples.append)
    )
    assert stretch.asked == len(samples) == 6
    assert stretch.seconds == pytest.approx(1.2)


async def test_an_open_loop_asks_when_requests_are_due(clock):
    samples = []
    pace = Pace(connections=50, rate=20, seconds=5, seed=9)
    stretch = await clock.run(drive(server(clock, takes_s=0.01), questions(), pace, samples.append))
    due = [1000 + at for at in itertools.takewhile(lambda at: at < 5, arrivals(20, 9))]
    assert stretch.asked == len(due)
    assert [one.began for one in sorted(samples, key=lambda one: one.began)] == pytest.approx(due)


async def test_a_stall_is_seen_by_all_who_were_due_meanwhile(clock):
    """A server that stands still for two seconds: in a closed loop one request of each connection notices, in an open
    loop all that were due, since they are counted from when they were due (coordinated omission)."""

    async def late(pace):
        figures, began = Figures("x"), clock.now
        stalled = server(clock, takes_s=0.001, stalls=[(began + 4, began + 6)])
        await clock.run(drive(stalled, questions(), pace, figures.add))
        waits = [value for kept in figures.latency.values() for value in kept]
        return sum(wait > 0.1 for wait in waits), len(waits), spread(waits)

    noticed, _, _ = await late(Pace(connections=2, seconds=10))
    assert noticed == 2
    noticed, asked, found = await late(Pace(connections=2, rate=100, seconds=10))
    assert noticed == pytest.approx(190, abs=30)
    assert asked == pytest.approx(1000, abs=120)
    assert found.p99 > 1500
    assert found.p50 < 10


async def test_what_is_never_sent_for_lateness_is_said(clock):
    samples = []
    pace = Pace(connections=1, rate=10, seconds=2, patience_s=1)
    stretch = await clock.run(drive(server(clock, takes_s=1), questions(), pace, samples.append))
    due = len(list(itertools.takewhile(lambda at: at < 2, arrivals(10, 1))))
    assert stretch.unsent > 0
    assert stretch.asked + stretch.unsent == due
    assert len(samples) == stretch.asked


def test_a_load_without_an_end_is_refused():
    with pytest.raises(ValueError, match="without an end"):
        Pace(connections=1)


async def test_real_time_passes_as_well():
    async def ask(asked, due):
        return Sample(asked, due, time.perf_counter(), ended=time.perf_counter(), status=200)

    samples = []
    await drive(ask, questions(), Pace(connections=2, rate=500, count=20), samples.append)
    assert all(one.began >= one.due for one in samples)
    assert len({one.asked.text for one in samples}) == len(list(islice(samples, 20))) == 20
