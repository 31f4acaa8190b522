"""What a large store costs: hits a second with many stored answers against hits a second with a thousand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import load
import servers
from measure import Effort, all_hits, in_turns
from report import Result, compared

FEW = 1000
"""Answers in the small store, and questions that are asked where only some are asked."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A store, by the AskOnce that serves it. `count` is how many answers it holds."""

    askonce: servers.AskOnce
    count: int


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask. `spread` draws from all that is stored; otherwise from the first thousand."""

    row: str
    work: str
    bar: float | None
    memory: str | int
    readings: str | int
    spread: bool


WAYS = (
    Way("size-memory", "hits on 1,000 questions, memory tier on", 0.9, "256MiB", "32MiB", spread=False),
    Way("size-sqlite", "hits on all that is stored, memory tier off, readings off", 0.9, 0, 0, spread=True),
    Way("size-sqlite-readings", "the same with `server.readings` on", None, 0, "32MiB", spread=True),
)


def size(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Cost with size."""
    upstream = bench.start(servers.Upstream())
    few, many = (filled(bench, on_disk(bench, upstream, count), count) for count in (FEW, effort.entries))
    note = f"{megabytes(many):,.0f} MB on disk"
    return [one_way(way, bench, upstream, few, many, effort, note) for way in WAYS]


def on_disk(bench: servers.Bench, upstream: servers.Running, count: int) -> servers.AskOnce:
    return servers.AskOnce(upstream.port, memory=0, data_dir=bench.scratch / f"data-{count}")


def megabytes(store: Filled) -> float:
    """What the store's files take up."""
    folder = store.askonce.data_dir
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6 if folder else 0


def filled(bench: servers.Bench, server: servers.AskOnce, count: int) -> Filled:
    """The store of this AskOnce with the answers to questions 0 .. count - 1."""
    askonce = bench.start(server)
    load.ask(askonce.port, load.numbered(0))
    servers.end(askonce.process)
    command = [sys.executable, str(servers.HERE / "fill.py"), "--config", str(askonce.workdir / "askonce.yaml")]
    done = subprocess.run(
        [*command, "--count", str(count)],
        env={**servers.surroundings(), "PYTHONPATH": str(servers.ROOT)},
        cwd=askonce.workdir,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise load.RunError(f"the store could not be filled: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
    return Filled(server, count)


def one_way(
    way: Way, outer: servers.Bench, upstream: servers.Running, few: Filled, many: Filled, effort: Effort, note: str
) -> Result:
    """Both stores served and asked in this way. Each store belongs to one process, so they end with the comparison."""
    scratch = outer.scratch / way.row
    scratch.mkdir()
    with servers.Bench(scratch) as bench:
        body = bench.file("numbered.json", load.NUMBERED)
        large, small = (serving(bench, way, store, body) for store in (many, few))
        series = all_hits(upstream, lambda: in_turns(large, small, effort))
    return compared(way.row, f"{way.work}; {many.count:,} stored", f"{few.count:,} stored", way.bar, series, note)


def serving(bench: servers.Bench, way: Way, store: Filled, body: Path) -> load.Load:
    """AskOnce on this store, with the first, a middle and the last answer checked to be there."""
    askonce = bench.start(replace(store.askonce, memory=way.memory, readings=way.readings))
    for number in (0, store.count // 2, store.count - 1):
        found = load.ask(askonce.port, load.numbered(number)).field("x-cache")
        if found != "hit":
            raise load.RunError(f"question {number:,} of {store.count:,} was answered with x-cache {found!r}")
    if way.spread:
        return load.spread(askonce.target, body, store.count)
    for number in range(FEW):  # into memory
        load.ask(askonce.port, load.numbered(number))
    return load.spread(askonce.target, body, FEW)
