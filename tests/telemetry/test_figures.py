"""Whose figures are shown: those of one process are its metrics, as they are, and cost nothing else."""

from __future__ import annotations

import asyncio

from proxy.telemetry.figures import OwnFigures, exposition
from proxy.telemetry.metrics import Metrics
from proxy.types import StoreReport


def metrics() -> Metrics:
    return Metrics(version="1", models=frozenset(), flights=lambda: 2, store_report=lambda: StoreReport("memory"))


async def test_one_process_shows_its_own_and_starts_nothing_for_it() -> None:
    own = metrics()
    own.bypassed("opt_out")
    figures = OwnFigures(own)
    before = asyncio.all_tasks()
    await figures.open()
    text = exposition(await figures.families()).decode()
    await figures.close()
    assert asyncio.all_tasks() == before
    assert 'askonce_bypass_total{reason="opt_out"} 1.0' in text
    assert "askonce_flights 2.0" in text


def test_the_text_is_that_of_the_registry() -> None:
    def comparable(text: bytes) -> list[bytes]:
        return [line for line in text.split(b"\n") if b"process_" not in line and b"_cpu_" not in line]

    own = metrics()
    assert comparable(exposition(own.families())) == comparable(own.text())
