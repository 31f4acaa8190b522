"""Figures of all workers, told by any: fresh, and never less than before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from proxy.telemetry.summary import Summary
from proxy.telemetry.tasks import Tasks
from proxy.workers import siblings as module
from proxy.workers.group import Group
from proxy.workers.siblings import Siblings
from proxy.workers.snapshots import Snapshots


class Worker:
    """One, in this process."""

    def __init__(self, directory: Path) -> None:
        self.served, self.flights = 0, 1
        self.siblings = Siblings(Group(directory, b"", 0.0, os.getppid()), self._families, {}, tasks=Tasks())

    def _families(self) -> list[Metric]:
        return [
            CounterMetricFamily("askonce_requests", "Served.", value=self.served),
            GaugeMetricFamily("askonce_flights", "Now.", value=self.flights),
        ]

    async def told(self) -> tuple[float, float]:
        summary = Summary(await self.siblings.families())
        return summary.total("askonce_requests_total"), summary.total("askonce_flights")


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written that nobody asked for."""
    monkeypatch.setattr(module, "EVERY_S", 3600.0)


async def test_each_tells_of_all_as_they_are_now(directory: Path) -> None:
    workers = [Worker(directory) for _ in range(3)]
    for worker in workers:
        await worker.siblings.open()
    for number, worker in enumerate(workers):
        worker.served += 10**number
    assert [await worker.told() for worker in workers] == [(111, 3)] * 3
    for worker in workers:
        await worker.siblings.close()


async def test_what_one_told_outlives_it_even_without_a_last_word(directory: Path) -> None:
    one, other = Worker(directory), Worker(directory)
    for worker in (one, other):
        await worker.siblings.open()
    one.served, other.served = 5, 7
    assert await one.told() == (12, 2)
    # As if it were killed: nobody listens, and it writes nothing.
    await other.siblings._exchange.close()
    other.siblings._writing.cancel()
    assert await one.told() == (12, 1)
    one.served = 6
    assert await one.told() == (13, 1)
    await one.siblings.close()


async def test_the_last_word_of_one_that_ends_in_order_is_kept(directory: Path) -> None:
    one, other = Worker(directory), Worker(directory)
    for worker in (one, other):
        await worker.siblings.open()
    other.served = 7
    await other.siblings.close()
    assert await one.told() == (7, 1)
    await one.siblings.close()


async def test_a_disk_that_takes_nothing_fails_no_scrape(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    one, other = Worker(directory), Worker(directory)
    for worker in (one, other):
        await worker.siblings.open()
    monkeypatch.setattr(Snapshots, "write", full)
    one.served, other.served = 1, 2
    assert await one.told() == (3, 2)
    for worker in (one, other):
        await worker.siblings.close()
