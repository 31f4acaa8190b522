"""What the rows about matching by meaning share: AskOnce with its model loaded, questions kept, hits counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import load
import measure
import proc
import servers

ON: Mapping[str, object] = {"mode": "on", "policy": "faq", "audit_rate": 0}
"""Policy `faq`, as it serves from the first request on, and no audits, which would go upstream."""
PATIENT = {**ON, "deadline": "10s"}
"""The same, and no question goes upstream for having waited."""

EXACT = {"x-cache-mode": "exact"}
"""Questions to be kept are not matched with one another."""

FEWEST = 0.9
"""Share of the requests of a row that must have been hits by meaning, for it to be a row about these."""
AT_ONCE = 50
"""Questions asked before it is waited for that all of them are candidates: more may wait than are remembered."""


def matching(
    bench: servers.Bench, upstream: servers.Running, semantic: Mapping[str, object] = ON, **other: Any
) -> servers.Running:
    """AskOnce that matches by meaning, its model loaded."""
    askonce = bench.start(servers.AskOnce(upstream.port, semantic=semantic, **other))
    ready_s(askonce)
    return askonce


def ready_s(askonce: servers.Running, patience_s: float = 60) -> float:
    """Seconds from the start of the process until `/readyz` says that matching by meaning is well."""
    said: dict[str, Any] = {}
    while time.perf_counter() - askonce.started < patience_s:
        with contextlib.suppress(OSError):
            said = json.loads(load.ask(askonce.port, path="/readyz").body)["semantic"]
            if said["status"] == "ok":
                return time.perf_counter() - askonce.started
            if said["mode"] == "off":
                raise servers.MissingError(f"matching by meaning is off: {said.get('detail')}")
        time.sleep(0.005)
    raise load.RunError(f"matching by meaning was not ready within {patience_s:g} s: {said}")


def keep(askonce: servers.Running, questions: Sequence[str]) -> None:
    """Have them answered, and wait until they are candidates for others. Raises `load.RunError` where many are not:
    on a machine that is busy with something else a few are not kept in time."""
    before = candidates(askonce)
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        asyncio.run(asked(askonce.port, bodies(some), EXACT))
        until_candidates(askonce, before + start + len(some))
    kept = candidates(askonce) - before
    if kept < 0.98 * len(questions):
        raise load.RunError(f"of {len(questions):,} questions {kept:,} became candidates")


def until_candidates(askonce: servers.Running, count: int, patience_s: float = 2) -> None:
    """Return when so many questions can be matched, or for some time no more came."""
    last, seen = time.monotonic(), candidates(askonce)
    while seen < count and time.monotonic() < last + patience_s:
        time.sleep(0.01)
        points = candidates(askonce)
        if points != seen:
            last, seen = time.monotonic(), points


def candidates(askonce: servers.Running) -> int:
    """Questions that can be matched."""
    points: int = json.loads(load.ask(askonce.port, path="/admin/semantic").body)["index"]["points"]
    return points


def bodies(texts: Iterable[str]) -> list[bytes]:
    return [load.question(text) for text in texts]


def bodies_file(bench: servers.Bench, name: str, texts: Iterable[str]) -> Path:
    """For walk.lua."""
    return bench.file(name, b"".join(body + b"\n" for body in bodies(texts)))


async def asked(
    port: int, questions: Iterable[bytes], more: Mapping[str, str] = load.NONE
) -> tuple[list[float], Counter[str]]:
    """One after the other over one connection: seconds of each, and how they were answered (`x-cache`)."""
    caller, seconds, outcomes = load.Caller(port, more=more), [], Counter[str]()
    await caller.open()
    for body in questions:
        began = time.perf_counter()
        head, _ = await caller.ask(body)
        seconds.append(time.perf_counter() - began)
        load.expect_ok(head)
        outcomes[measure.outcome(head)] += 1
    await caller.close()
    return seconds, outcomes


def outcomes(askonce: servers.Running) -> Counter[str]:
    """How requests were answered since the start, by `/metrics`; not those whose caller left, as wrk's do at its end
    (`error`: any other ends its run)."""
    counted: Counter[str] = Counter()
    lines = re.compile(r'^askonce_requests_total\{.*outcome="(\w+)".*\} (\S+)', re.MULTILINE)
    for name, value in lines.findall(metrics(askonce)):
        counted[name] += round(float(value))
    del counted["error"]
    return counted


def embedded(askonce: servers.Running) -> int:
    """Questions whose requests waited for an embedding, and got it, since the start."""
    found = re.search(r"^askonce_embed_seconds_count (\S+)", metrics(askonce), re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def metrics(askonce: servers.Running) -> str:
    return load.ask(askonce.port, path="/metrics").body.decode()


def share(counted: Counter[str]) -> float:
    """Of hits by meaning."""
    return counted["semantic"] / counted.total() if counted.total() else 0.0


def expect_matched(counted: Counter[str]) -> str:
    """A note on how requests were answered. Raises `load.RunError` where it is not a row about hits by meaning."""
    if share(counted) < FEWEST:
        raise load.RunError(f"too few hits by meaning: {dict(counted)}")
    return answered(counted)


def answered(counted: Counter[str]) -> str:
    others = "".join(f", {count:,} {name}" for name, count in counted.most_common() if name != "semantic")
    return f"{share(counted):.1%} of {counted.total():,} answered by meaning{others}"


@contextlib.contextmanager
def busy(one: load.Load) -> Iterator[None]:
    """Under this load meanwhile."""
    process = subprocess.Popen(load.wrk_command(one, 3600), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise load.RunError("the load beside ended by itself")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def occupied(core: set[int]) -> Iterator[None]:
    """Another process computes on this core all the time, as an embedder would. What clients lose by it they lose in
    both of two runs, so what is left of the difference is the server's own."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(process.pid, core)
        yield
    finally:
        process.kill()
        process.wait()


class Cores:
    """Who runs where: the server's event loop on a core of its own, its other threads (the embedder) on another, and
    clients on the rest, which on a machine with two cores is where the embedder is."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise servers.MissingError("two cores are needed")
        self.all, self.loop, self.embedder, self.clients = (
            set(cores),
            {cores[0]},
            {cores[1]},
            set(cores[2:] or cores[1:]),
        )

    def place(self, askonce: servers.Running) -> None:
        """The threads it has now; those it makes later go where who makes them is."""
        for thread in proc.threads(askonce.process.pid):
            os.sched_setaffinity(thread, self.loop if thread == askonce.process.pid else self.embedder)

    @contextlib.contextmanager
    def for_clients(self) -> Iterator[None]:
        """What is started meanwhile runs there, this program included."""
        os.sched_setaffinity(0, self.clients)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.all)

    def __str__(self) -> str:
        beside = "beside the embedder" if self.clients == self.embedder else "on cores of their own"
        return f"event loop on a core of its own, embedder on another, clients {beside}"


def beside_loop_s(askonce: servers.Running) -> float:
    """Processor time of all threads but the event loop's so far."""
    taken = proc.thread_seconds(askonce.process.pid)
    return sum(seconds for thread, seconds in taken.items() if thread != askonce.process.pid)
