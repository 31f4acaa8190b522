"""The rows about matching by meaning. All of them use the default engine (ONNX, int8, one thread) unless they say
otherwise, and policy `faq`, which serves from the first request on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import load
import proc
import redis_rows
import semantic_questions
import servers
from measure import Effort, Row, all_hits, hit, in_turns
from report import Result, compared
from semantic_load import (
    ON,
    PATIENT,
    Cores,
    answered,
    asked,
    beside_loop_s,
    bodies,
    bodies_file,
    busy,
    embedded,
    expect_matched,
    keep,
    matching,
    occupied,
    outcomes,
    ready_s,
    share,
)

SHARED = "client and upstream share the cores with the server"
TORCH = servers.ROOT / ".cache" / "torch-env"
WAITING = (1, 8)
"""Questions that wait for an embedding at once."""
HEAVY = ("numpy", "onnxruntime", "tokenizers", "usearch")
DIMENSIONS = 384
MOST_BYTES = 2_200
"""An entry of the embedded index."""


# -- hits ------------------------------------------------------------------------------------------------------------


def semantic_hit(bench: servers.Bench, effort: Effort) -> list[Result]:
    """A hit by meaning, end to end, one connection."""
    upstream = bench.start(servers.Upstream())
    askonce = matching(bench, upstream)
    questions = semantic_questions.stored()
    keep(askonce, questions)
    paraphrases = semantic_questions.paraphrases(questions)
    asyncio.run(asked(askonce.port, bodies(islice(paraphrases, 100))))
    seconds, counted = asyncio.run(asked(askonce.port, bodies(islice(paraphrases, effort.requests))))
    exact, _ = asyncio.run(asked(askonce.port, bodies(questions)))
    milliseconds = sorted(one * 1000 for one in seconds)
    median, worst = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]
    notes = (
        expect_matched(counted),
        f"an exact hit takes the same client {statistics.median(exact) * 1000:.2f} ms",
        SHARED,
    )
    work = "hit by meaning end to end, short question, one connection: median"
    return [
        Result("semantic-hit", work, "", 3, False, median, " ms", notes=notes),
        Result("semantic-hit-p99", "the same: 99th percentile", "", 8, False, worst, " ms"),
    ]


def semantic_throughput(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Hits by meaning a second, 16 connections."""
    work = "hits by meaning a second, 16 connections, all of the machine's cores for server, client and upstream"
    default = "the same with the default deadline of 25 ms: who waits longer goes upstream, and is not counted"
    return [
        throughput(bench, effort, "semantic-throughput", work, 350, PATIENT),
        throughput(bench, effort, "semantic-throughput-25ms", default, None, ON),
    ]


def throughput(bench: servers.Bench, effort: Effort, row: str, work: str, bar: float | None, semantic: Any) -> Result:
    """Runs of wrk that walk through paraphrases, none asked twice. Hits by meaning are counted by the server."""
    upstream = bench.start(servers.Upstream())
    askonce = matching(bench, upstream, semantic)
    questions = semantic_questions.stored()
    keep(askonce, questions)
    paraphrases = bodies_file(bench, f"{row}.jsonl", semantic_questions.paraphrases(questions))
    first, hits, runs, total = 0, [], [], Counter[str]()
    for number in range(effort.pairs + 1):  # the first one warms up
        before = outcomes(askonce)
        walk = load.walk(askonce.target, paraphrases, first)
        run = load.wrk(walk, effort.seconds)
        counted = outcomes(askonce) - before
        first += counted.total() + walk.connections  # what was under way at the end is not counted yet
        if number:
            runs.append(run)
            hits.append(run.rate * share(counted))
            total += counted
    note = answered(total) if bar is None else expect_matched(total)
    figures = f"{min(hits):,.0f} to {max(hits):,.0f} in {len(hits)} runs"
    cpu = f"{statistics.median(run.cpu_us for run in runs):,.0f} µs of the server's processor time a request"
    worst = f"99th percentile {statistics.median(run.worst_ms for run in runs):.1f} ms"
    return Result(row, work, "", bar, True, statistics.median(hits), " 1/s", notes=(figures, note, cpu, worst))


# -- the engine ------------------------------------------------------------------------------------------------------


def semantic_engine(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Embeddings by the default engine, against sentence-transformers."""
    if not (TORCH / ".made").exists():
        raise servers.MissingError("there is no environment with sentence-transformers: make test-torch")
    with engine(bench, "onnx") as ours, engine(bench, "sentence-transformers") as other:
        return [engines(ours, other, waiting, effort) for waiting in WAITING]


def engines(ours: Engine, other: Engine, waiting: int, effort: Effort) -> Result:
    """In turns, as often as the other rows."""
    runs = [(ours.run(waiting, effort.seconds), other.run(waiting, effort.seconds)) for _ in range(effort.pairs + 1)]
    series = load.Series(tuple(one for one, _ in runs[1:]), tuple(two for _, two in runs[1:]))
    work = f"short questions embedded in a second of processor time, one thread, {waiting} waiting"
    return compared(f"semantic-engine-{waiting}", work, f"sentence-transformers ({other.version})", 8, series)


class Engine:
    """semantic_engine.py, waiting to be told what to do."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.version = str(self.heard()["version"])

    def run(self, waiting: int, seconds: float) -> load.Run:
        """Texts for each second of processor time."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{waiting} {seconds:g}\n")
        self.process.stdin.flush()
        told = self.heard()
        return load.Run(told["texts"] / told["cpu_s"], told["cpu_s"] / told["texts"] * 1e6)

    def heard(self) -> dict[str, Any]:
        """One line. Raises `load.RunError` where the program has ended."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise load.RunError(f"an engine ended: {last_line(self.log)}")
        told: dict[str, Any] = json.loads(said)
        return told


@contextlib.contextmanager
def engine(bench: servers.Bench, kind: str) -> Iterator[Engine]:
    """One engine in a process of its own. Both run in the environment that has both."""
    data_dir, log = bench.scratch / f"{kind}-data", bench.scratch / f"{kind}.log"
    servers.lend_model(data_dir)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(TORCH / "bin" / "python"), str(servers.HERE / "semantic_engine.py"), kind, str(data_dir)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**servers.surroundings(), "PYTHONPATH": str(servers.ROOT)},
        )
    try:
        yield Engine(process, log)
    finally:
        process.kill()
        process.communicate()


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


# -- exact hits meanwhile --------------------------------------------------------------------------------------------


def exact_while_embedding(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hits while the embedder has more to do than it can, against the same hits alone."""
    questions = semantic_questions.stored()
    long = [semantic_questions.STORY + question for question in questions[:100]]
    short = "the same with short questions, of which so many more are answered: their own cost is part of it"
    work = "exact hits while all of an embedder's core goes into long questions, 16 of which always wait"
    return [
        *meanwhile(bench, effort, "exact-while-embedding", work, long, 0.8),
        *meanwhile(bench, effort, "exact-while-embedding-short", short, questions, None),
    ]


def meanwhile(
    bench: servers.Bench, effort: Effort, row: str, work: str, questions: Sequence[str], bar: float | None
) -> list[Result]:
    """In turns: with the embedder saturated by hits by meaning, and without."""
    cores, upstream = Cores(), bench.start(servers.Upstream())
    askonce = matching(bench, upstream, PATIENT)
    hit(askonce, upstream)
    keep(askonce, questions)
    exact = load.same(askonce.target, bench.file("same.json", load.SAME))
    paraphrases = bodies_file(bench, f"{row}.jsonl", semantic_questions.paraphrases(questions))
    cores.place(askonce)
    first, runs, shares, rates = 0, [], [], []
    before_all = outcomes(askonce)
    with cores.for_clients():
        load.wrk(exact, min(effort.seconds, 2))
        for _ in range(effort.pairs):
            before, began, worked = embedded(askonce), time.perf_counter(), beside_loop_s(askonce)
            walk = load.walk(askonce.target, paraphrases, first)
            with busy(walk):
                time.sleep(0.3)
                loaded = load.wrk(exact, effort.seconds)
            took_s = time.perf_counter() - began
            shares.append((beside_loop_s(askonce) - worked) / took_s)
            first += (count := embedded(askonce) - before) + walk.connections
            rates.append(count / took_s)
            time.sleep(0.5)  # what is under way ends
            with occupied(cores.embedder):
                runs.append((loaded, load.wrk(exact, effort.seconds)))
    counted = outcomes(askonce) - before_all
    del counted["hit"]
    series = load.Series(tuple(one for one, _ in runs), tuple(two for _, two in runs))
    notes = (
        f"meanwhile {statistics.median(rates):,.0f} questions a second embedded",
        f"threads beside the event loop at work {statistics.median(shares):.0%} of the time",
        expect_matched(counted),
        str(cores),
    )
    worst = statistics.median(run.worst_ms for run in series.subject)
    alone = f"{statistics.median(run.worst_ms for run in series.reference):.1f} ms without"
    limit = None if bar is None else 5
    return [
        compared(
            row, work, "the same hits while another process computes in the embedder's place", bar, series, *notes
        ),
        Result(f"{row}-p99", "99th percentile of these exact hits", "", limit, False, worst, " ms", notes=(alone,)),
    ]


# -- the index -------------------------------------------------------------------------------------------------------


def vectors_embedded(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Search, fetch and verify among many questions of one shape, embedded index and SQLite."""
    where = "embedded index, answers in SQLite"
    default = {"store.memory": "256MiB"}
    return [
        looked_up(bench, effort, "vectors-embedded", where, {}),
        looked_up(bench, effort, "vectors-embedded-default", f"{where} behind the memory tier, as by default", default),
    ]


def vectors_redis(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Search, fetch and verify among many questions of one shape, Redis."""
    shared = bench.start(servers.Redis(search=True))
    store = {"store.url": redis_rows.url(shared)}
    note = redis_rows.version(shared)
    return [looked_up(bench, effort, "vectors-redis", "index and answers in Redis", store, note)]


def looked_up(bench: servers.Bench, effort: Effort, row: str, where: str, store: dict[str, str], *notes: str) -> Result:
    """By semantic_lookup.py."""
    told = lookup(bench, "seek", effort.points, {"count": effort.requests, "flags": store})
    if told["matched"] < 0.95 * effort.requests:
        raise load.RunError(f"{told['matched']} of {effort.requests} searches ended with an answer")
    work = f"search, fetch, guards and verifier, no embedding, {effort.points:,} in one shape; {where}: median"
    about = (
        f"99th percentile {told['worst_ms']:.2f} ms",
        f"the search alone {told['search_ms']:.2f} ms",
        f"{told['matched']:,} of {effort.requests:,} matched",
        f"filled in {told['fill_s']:,.0f} s",
        "memory tier on" if "store.memory" in store else "memory tier off: the answer is read from the store",
    )
    return Result(row, work, "", 1.5, False, told["median_ms"], " ms", notes=(*about, *notes))


def semantic_memory(bench: servers.Bench, effort: Effort) -> list[Result]:
    """What the embedded index and the embedder take up, and how soon they are there."""
    told = lookup(bench, "bytes", effort.points, {})
    work = f"resident memory of the embedded index for a question, {DIMENSIONS} dimensions, {effort.points:,} questions"
    note = f"{told['reported']:,.0f} B by its own count; words of {told['characters']:.0f} characters included"
    index = Result("semantic-bytes", work, "", MOST_BYTES, False, told["bytes"], " B", notes=(note,))
    return [index, *process_memory(bench, effort)]


def process_memory(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Of `askonce serve` with the model loaded, after traffic; and start to ready."""
    upstream = bench.start(servers.Upstream())
    taken, idle, resident = [], [], []
    questions = semantic_questions.stored()
    for _ in range(effort.starts + 1):  # the first start may have to compile modules
        askonce = bench.start(servers.AskOnce(upstream.port, semantic=ON), wait=False)
        taken.append(ready_s(askonce))
        time.sleep(1)
        idle.append(askonce.resident_mb())
        if len(taken) <= 2:
            keep(askonce, questions[:200])
            paraphrases = islice(semantic_questions.paraphrases(questions[:200]), effort.requests)
            asyncio.run(asked(askonce.port, bodies(paraphrases)))
            resident.append(askonce.resident_mb())
        servers.end(askonce.process)
    span = f"{min(taken[1:]):.2f} to {max(taken[1:]):.2f} s in {effort.starts} starts; model converted before"
    before = f"{statistics.median(idle[1:]):.0f} MB before the first question"
    traffic = f"200 questions kept, {effort.requests:,} paraphrases"
    memory = "resident memory of the process with the embedder, after traffic"
    ready = "start of the process until `/readyz` says that matching by meaning is well"
    return [
        Result("semantic-memory", memory, "", 260, False, max(resident), " MB", notes=(before, traffic)),
        Result("semantic-start", ready, "", 3, False, statistics.median(taken[1:]), " s", notes=(span,)),
    ]


def lookup(bench: servers.Bench, what: str, points: int, options: dict[str, Any]) -> dict[str, Any]:
    """semantic_lookup.py in a process of its own; it shows its progress. Raises `load.RunError`."""
    workdir = Path(tempfile.mkdtemp(prefix=f"{what}-", dir=bench.scratch))
    program = [sys.executable, str(servers.HERE / "semantic_lookup.py"), what, str(points), json.dumps(options)]
    done = subprocess.run(
        program,
        cwd=workdir,
        env={**servers.surroundings(), "PYTHONPATH": str(servers.ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise load.RunError("semantic_lookup.py failed; it says why above")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# -- off -------------------------------------------------------------------------------------------------------------


def semantic_off(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hits with matching by meaning on, against off."""
    upstream = bench.start(servers.Upstream())
    on, off = matching(bench, upstream), bench.start(servers.AskOnce(upstream.port))
    loaded = proc.maps(off.process.pid, *HEAVY)
    if loaded:
        raise load.RunError(f"off, and {', '.join(loaded)} loaded all the same")
    for side in (on, off):
        hit(side, upstream)
    same = bench.file("same.json", load.SAME)
    series = all_hits(upstream, lambda: in_turns(load.same(on.target, same), load.same(off.target, same), effort))
    notes = (
        f"resident {on.resident_mb():.0f} MB against {off.resident_mb():.0f} MB",
        f"off has none of {', '.join(HEAVY)} loaded",
    )
    work = "exact hit, memory, plain, fast lane, with matching by meaning on"
    return [compared("semantic-off", work, "`semantic.mode: off`", 0.95, series, *notes)]


ROWS: dict[str, Row] = {
    "semantic-hit": semantic_hit,
    "semantic-throughput": semantic_throughput,
    "semantic-engine": semantic_engine,
    "exact-while-embedding": exact_while_embedding,
    "vectors-embedded": vectors_embedded,
    "vectors-redis": vectors_redis,
    "semantic-memory": semantic_memory,
    "semantic-off": semantic_off,
}
