"""Half an hour of steady, untidy traffic: memory, descriptors and threads of the proxy must stay flat.

    make soak                                    # 30 minutes on the embedded store
    make soak ARGS="--minutes 5 --store redis"
    .venv/bin/python loadtests/soak.py --url http://127.0.0.1:8080/v1 --pid 4711   # a proxy that runs already

It starts a provider that fails, throttles and cuts answers now and then (`provider.py`), and AskOnce with matching by
meaning on and every cap so low that it is reached within the warm-up: from then on answers are evicted as fast as they
are stored, and whatever still grows is a leak. The traffic is that of `traffic.py`, plain and streamed, of several
tenants; some callers go away in the middle of an answer. Exit status: 0 flat, 1 not flat or wrongly shared, 2 could not
run. Less than ten minutes cannot show a slope; then it says "not judged", and exits with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import itertools
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import load
import measure
import proc
import report
import semantic_load
import servers
from asking import Asker, Sample, Target
from driving import Pace, Stretch, drive
from flat import Bar, Verdict, judge, judge_at_rest
from quality_svg import Chart, Line
from traffic import Asked, Mix, Traffic, made
from wrong import Judge

RESULTS = Path(__file__).parent / "results"
MiB = 2**20
CAPS: Mapping[str, Mapping[str, object]] = {
    # An answer takes about a kilobyte: a few thousand fill this within two minutes.
    "store": {"max_bytes": 2 * MiB, "memory": 1 * MiB},
    "server": {"readings": 1 * MiB},
}
SEMANTIC: Mapping[str, object] = {"mode": "on", "policy": "faq", "max_points": 2000, "audit_rate": 0.05}
PROVIDER = (
    *("--ttft-ms", "30", "--ttft-sigma", "0.5", "--itl-ms", "2", "--itl-sigma", "0.3", "--tokens", "40"),
    *("--tokens-sigma", "0.5", "--errors", "500=0.01,503=0.005,429=0.005", "--cut", "0.02"),
)
REDIS_BYTES = 64 * MiB
"""What Redis may hold; it then evicts what was least used."""
BARS = {
    "memory": Bar(
        unit="MB",
        scale=1e-6,
        slope=12,
        reason="A leak of 60 bytes a request is 12 MB an hour at 60 requests a second. glibc's arenas and SQLite's "
        "page cache move by 2 or 3 MB with no trend.",
    ),
    "descriptors": Bar(
        unit="descriptors",
        most=1000,
        rest=16,
        reason="At rest the callers' connections are gone; what the proxy keeps open to its upstream and its store may "
        "be a few more than before it was asked the first time.",
    ),
    "threads": Bar(unit="threads", slope=2, most=100, reason="Pools are at their size after the warm-up."),
    "flights": Bar(
        unit="flights",
        most=1000,
        rest=0,
        reason="Upstream calls under way: one that is left when nobody asks any more never landed.",
    ),
    "database": Bar(
        unit="MB",
        scale=1e-6,
        slope=4,
        most=16,
        reason="store.max_bytes is 2 MiB, and deleted pages are used again. Words and vectors of 2,000 questions come "
        "to it.",
    ),
    "wal": Bar(
        unit="MB",
        scale=1e-6,
        slope=8,
        most=64,
        reason="SQLite's write-ahead log is cut back at checkpoints; one never reached grows with every answer.",
    ),
    "redis": Bar(unit="MB", scale=1e-6, slope=12, most=96, reason="64 MiB are allowed to it, and its own overhead."),
}
REST_S = 90
"""Longer than `server.keep_alive` (75 s): idle connections are closed by then."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The process that is watched, and where its files are."""

    pid: int
    metrics: str
    folder: Path | None = None
    redis: int | None = None
    """Process of the Redis that was started for it."""


@dataclass(slots=True)
class Log:
    """What was seen while it ran: series by name, and what became of requests."""

    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    evictions: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    """At rest, before the first request and after the last."""
    unscraped: int = 0
    """Samples for which /metrics did not answer."""

    def add(self, at: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((at, value))


def main() -> int:
    options = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # what was started is stopped on the way out
    facts = report.machine()
    try:
        with surroundings(options) as (target, watched):
            log, stretch = asyncio.run(soak(options, target, watched))
    except (servers.MissingError, load.RunError) as why:
        print(f"The soak could not run: {why}", file=sys.stderr)
        return 2
    warm_up_s = warm_up(options.minutes)
    verdicts = [judge(name, points, BARS[name], warm_up_s) for name, points in log.series.items()]
    verdicts += rested(log) if options.rest >= REST_S else []
    text = written(options, log, stretch, verdicts, facts)
    print(text)
    bad = any(verdict.flat is False for verdict in verdicts) or log.answers["leaked"]
    return int(bool(bad))


def warm_up(minutes: float) -> float:
    """Seconds that do not count: half of the time, 15 minutes at most."""
    return min(minutes * 60 / 2, 900)


def rested(log: Log) -> list[Verdict]:
    """Verdicts on what must be as it was before anybody asked."""
    names = [name for name, bar in BARS.items() if bar.rest is not None]
    return [judge_at_rest(name, BARS[name], log.before[name], log.after[name]) for name in names if name in log.after]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    parser.add_argument("--connections", type=int, default=64, help="of the client, at most")
    parser.add_argument("--rest", type=float, default=REST_S, metavar="SECONDS", help="without load at the end")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="how often is looked")
    parser.add_argument("--leave", type=float, default=0.02, help="share of callers that go away mid-answer")
    parser.add_argument("--tenants", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--no-semantic", action="store_true", help="matching by meaning off")
    parser.add_argument("--url", help="a proxy that runs already, up to and with /v1; needs --pid")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    return parser


@contextlib.contextmanager
def surroundings(options: argparse.Namespace) -> Iterator[tuple[Target, Watched]]:
    """What is soaked: started here, or what `--url` names."""
    if options.url:
        if not options.pid:
            raise load.RunError("--url needs --pid: memory and descriptors are read from /proc")
        base = options.url.rstrip("/")
        yield Target(base=base), Watched(options.pid, base.removesuffix("/v1") + "/metrics")
        return
    measure.open_files(4 * options.connections + 200)
    with tempfile.TemporaryDirectory(prefix="askonce-soak-") as scratch, servers.Bench(Path(scratch)) as bench:
        provider = bench.start(servers.Provider((*PROVIDER, "--seed", str(options.seed))))
        redis = redis_for(bench) if options.store == "redis" else None
        askonce = started(bench, provider, redis, semantic=not options.no_semantic)
        address = f"http://127.0.0.1:{askonce.port}"
        folder = None if redis else askonce.workdir / "data"
        watched = Watched(askonce.process.pid, f"{address}/metrics", folder, redis.process.pid if redis else None)
        yield Target(base=f"{address}/v1"), watched


def redis_for(bench: servers.Bench) -> servers.Running:
    """A Redis with a limit, which evicts."""
    running = bench.start(servers.Redis(search=True))
    command = ("CONFIG", "SET", "maxmemory", str(REDIS_BYTES), "maxmemory-policy", "allkeys-lru")
    servers.redis_command(running.port, *command)
    return running


def started(
    bench: servers.Bench, provider: servers.Running, redis: servers.Running | None, *, semantic: bool
) -> servers.Running:
    store = f"redis://127.0.0.1:{redis.port}/0" if redis else None
    product = servers.AskOnce(
        provider.port, store=store, more=CAPS, semantic=SEMANTIC if semantic else {"mode": "off"}, access_log=False
    )
    askonce = bench.start(product)
    if semantic:
        semantic_load.ready_s(askonce)
    return askonce


async def soak(options: argparse.Namespace, target: Target, watched: Watched) -> tuple[Log, Stretch]:
    """Traffic, and a look at the process every now and then."""
    log, judging = Log(), Judge()
    mix = Mix(seed=options.seed, tenants=options.tenants, unique=0.3, reworded=0.25, slot=0.1, streamed=0.5)
    traffic = iter(Traffic(mix, made(2000, options.seed)))
    pace = Pace(
        connections=options.connections,
        rate=options.rate,
        seconds=options.minutes * 60,
        seed=options.seed,
        patience_s=60,
    )

    def note(sample: Sample) -> None:
        log.outcomes[sample.outcome] += 1
        log.failures[failure(sample)] += 1
        log.answers[judging(sample)] += 1

    async with Asker(target) as asker, aiohttp.ClientSession() as scraper:

        async def ask(asked: Asked, due: float) -> Sample:
            judging.sent(asked)
            return await asker.ask(asked, due, leaves_after(asked, options))

        log.before = await everything(watched, scraper)
        looking = asyncio.get_running_loop().create_task(look(watched, log, options.every, scraper))
        try:
            stretch = await drive(ask, traffic, pace, note)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        if not looking.cancelled():
            looking.result()  # the process is gone: say so
        await asker.session.close()  # the callers go home
        await asyncio.sleep(options.rest)
        log.after = await everything(watched, scraper)
    return log, stretch


def leaves_after(asked: Asked, options: argparse.Namespace) -> int | None:
    """After how many pieces of the answer this caller goes away; None: it stays."""
    rng = random.Random(f"{options.seed}/leave/{asked.number}")
    return rng.randint(1, 10) if rng.random() < options.leave else None


def failure(sample: Sample) -> str:
    return f"status {sample.status}" if sample.failure == "status" else sample.failure or "whole"


async def look(watched: Watched, log: Log, every_s: float, scraper: aiohttp.ClientSession) -> None:
    """Sample until cancelled. Raises OSError when the process ended."""
    began = time.monotonic()
    for step in itertools.count():
        await asyncio.sleep(max(0.0, began + step * every_s - time.monotonic()))
        at = time.monotonic() - began
        log.add(at, seen(watched))
        try:
            found = await scraped(watched, scraper)
        except (aiohttp.ClientError, TimeoutError):
            log.unscraped += 1
            continue
        log.evictions = found.pop("evictions")
        log.add(at, found)


async def everything(watched: Watched, scraper: aiohttp.ClientSession) -> dict[str, float]:
    """All that is looked at, once. Raises OSError, and what aiohttp raises."""
    return {**seen(watched), **await scraped(watched, scraper)}


async def scraped(watched: Watched, scraper: aiohttp.ClientSession) -> dict[str, float]:
    """What `/metrics` says."""
    async with scraper.get(watched.metrics, timeout=aiohttp.ClientTimeout(total=5)) as response:
        text = await response.text()
    return {"flights": total(text, "askonce_flights"), "evictions": total(text, "askonce_evictions_total")}


def seen(watched: Watched) -> dict[str, float]:
    """What /proc and the folder say. Raises OSError when the process ended."""
    values: dict[str, float] = {
        "memory": proc.resident_bytes(watched.pid),
        "descriptors": proc.descriptors(watched.pid),
        "threads": proc.thread_count(watched.pid),
    }
    if watched.folder:
        database = watched.folder / "cache.db"
        values |= {"database": size(database), "wal": size(database.with_name("cache.db-wal"))}
    if watched.redis:
        values["redis"] = proc.resident_bytes(watched.redis)
    return values


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def total(text: str, name: str) -> float:
    """The sum of a metric's samples."""
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


# -- the report ------------------------------------------------------------------------------------------------------


def written(
    options: argparse.Namespace, log: Log, stretch: Stretch, verdicts: Sequence[Verdict], facts: dict[str, Any]
) -> str:
    """The report, which is also put into `--out` as Markdown, JSON and pictures."""
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"soak-{options.store}-{dt.date.today().isoformat()}"
    pictures = {name: picture(name, log.series[name], options.minutes) for name in ("memory", "descriptors")}
    for name, chart in pictures.items():
        (folder / f"{stem}-{name}.svg").write_text(chart.svg(), encoding="utf-8")
    text = markdown(options, log, stretch, verdicts, facts, stem)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    kept = {
        "options": {name: str(value) for name, value in vars(options).items()},
        "machine": facts,
        "stretch": asdict(stretch),
        "verdicts": [{**asdict(verdict), "word": verdict.word.strip("*")} for verdict in verdicts],
        "outcomes": dict(log.outcomes),
        "failures": dict(log.failures),
        "answers": dict(log.answers),
        "evictions": log.evictions,
        "unscraped": log.unscraped,
        "before": log.before,
        "after": log.after,
        "series": log.series,
    }
    (folder / f"{stem}.json").write_text(json.dumps(kept, ensure_ascii=False) + "\n", encoding="utf-8")
    return text


def picture(name: str, points: Sequence[tuple[float, float]], minutes: float) -> Chart:
    bar = BARS[name]
    line = [(at / 60, value * bar.scale) for at, value in points]
    most = max(value for _, value in line) * 1.15
    title = f"{name} while it was under load; the first {warm_up(minutes) / 60:.1f} minutes are warm-up"
    across = max(at for at, _ in line) or 1.0
    return Chart(title, "minutes", bar.unit, [Line(name, line)], across, most or 1.0)


def markdown(
    options: argparse.Namespace,
    log: Log,
    stretch: Stretch,
    verdicts: Sequence[Verdict],
    facts: dict[str, Any],
    stem: str,
) -> str:
    judged = [verdict for verdict in verdicts if verdict.flat is not None]
    head = ("series", "verdict", "slope, an hour", "bar", "after warm-up", "at the end", "highest", "why")
    return "\n".join(
        [
            f"# Soak on {options.store}, {dt.date.today().isoformat()}",
            "",
            f"{options.minutes:g} minutes, {stretch.asked:,} requests asked ({options.rate:g} a second wanted,",
            f"{stretch.asked / stretch.seconds:.1f} reached), {stretch.unsent:,} due and not sent.",
            f"{'All judged series are flat.' if judged and all(v.flat for v in judged) else 'See the verdicts.'}",
            "",
            report.line(head),
            report.line(["---"] * len(head)),
            *(report.line(row(verdict)) for verdict in verdicts),
            "",
            f"![memory]({stem}-memory.svg)",
            "",
            f"![descriptors]({stem}-descriptors.svg)",
            "",
            f"Answered as (`X-Cache`): {listed(log.outcomes)}.",
            f"Came to: {listed(log.failures)}.",
            f"Whose answer it was: {listed(log.answers)}.",
            f"Evictions: {log.evictions:,.0f}. Scrapes that failed: {log.unscraped}.",
            "",
            "## Bars",
            "",
            *(f"- {name}: {BARS[name].reason}" for name in log.series),
            "",
            f"Slopes are Theil and Sen's (median of all pairs) after {warm_up(options.minutes) / 60:.1f} minutes of",
            f"warm-up, sampled every {options.every:g} s.",
            f"{facts['cpu']}, {facts['cores']} cores; load average at the start {facts['load_at_start']:.2f};",
            f"{facts['python']}; commit {facts['commit'] or 'unknown'}.",
            "",
        ]
    )


def row(verdict: Verdict) -> list[str]:
    bar, unit = verdict.bar, verdict.bar.unit
    values = [f"{value:,.1f} {unit}" for value in (verdict.first, verdict.last, verdict.highest)]
    at_rest = verdict.name.endswith("at rest")
    slope = "" if verdict.flat is None or at_rest or bar.slope is None else f"{verdict.slope:+.2f} {unit}"
    wanted = f"≤ {bar.slope:g} {unit}" if bar.slope is not None else ""
    return [verdict.name, verdict.word, slope, f"{bar.rest:g} more" if at_rest else wanted, *values, verdict.why]


def listed(counted: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counted.most_common()) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
