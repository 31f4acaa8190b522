"""The same questions through AskOnce, LiteLLM, CacheLLM, nginx and nothing: hit ratio, wrong answers, waiting, memory.

    .venv/bin/python loadtests/compare.py                       # about 8 minutes; writes results/compare-<date>.*
    .venv/bin/python loadtests/compare.py --quick               # about a minute and a half, to try it
    .venv/bin/python loadtests/compare.py --only askonce --only nginx --questions clinc150.jsonl

Every subject has a provider of its own, with the same seed, and is asked the same number of the same questions, in
turns: what differs is the subject. A hit is counted alike for all, by the provider's echo: an answer whose call had
been served before. So a proxy needs no header to be counted, and cannot call a miss a hit.

Each has its cache in memory and as its makers ship it, but for what is said in `SUBJECTS`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import load
import measure
import proc
import report
import semantic_load
import servers
from asking import Asker, Sample, Target
from drive import RESULTS, add_mix, catalogue_of, mix_of
from driving import Pace, drive
from figures import SAVING, Figures, Spread, as_json, curve, spread
from quality_svg import Chart, Line
from report import line
from traffic import Asked, Mix, Subject, Traffic

PROVIDER = ("--ttft-ms", "60", "--ttft-sigma", "0.2", "--itl-ms", "2", "--tokens", "40")


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared. `server` gets the port of its provider; None: there is no proxy."""

    what: str
    server: Callable[[int], servers.Server] | None
    version: Callable[[], str]
    by_meaning: bool = False


def askonce_version() -> str:
    return report.said(["git", "describe", "--always"], r"(\S+)") or "of this checkout"


SUBJECTS: Mapping[str, Contender] = {
    "nothing": Contender("the provider directly", None, lambda: ""),
    "askonce": Contender("exact answers only", servers.AskOnce, askonce_version),
    "askonce-meaning": Contender(
        "matching by meaning, policy faq",
        lambda port: servers.AskOnce(port, semantic={"mode": "on", "policy": "faq"}),
        askonce_version,
        by_meaning=True,
    ),
    "nginx": Contender(
        "proxy_cache, POST bodies in its key", servers.Nginx, lambda: report.programs().get("nginx", "")
    ),
    "litellm": Contender(
        "cache_params local: exact; its semantic caches need a Redis, Valkey or Qdrant and an embedding API",
        servers.LiteLLM,
        lambda: servers.version_in("litellm", "litellm"),
    ),
    "cachellm": Contender(
        "in memory, exact and semantic, with the embedder that needs no download (`hash`: words, not meaning)",
        servers.CacheLLM,
        lambda: servers.version_in("cachellm", "cachellm-proxy"),
    ),
}


@dataclass(slots=True)
class Run:
    """What one of them came to."""

    name: str
    figures: Figures
    target: Target
    pid: int | None
    provider: servers.Running
    cpu_s: float = 0.0
    resident_mb: tuple[float, float] = (0.0, 0.0)
    """Before the first question and after the last."""


def main() -> int:
    options = arguments().parse_args()
    if options.quick:
        options.count, options.turns = 240, 2
    facts = report.machine()
    measure.open_files(1024)
    try:
        mix, catalogue = mix_of(options), catalogue_of(options)
    except ValueError as why:
        print(f"The comparison could not run: {why}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="askonce-compare-") as scratch, servers.Bench(Path(scratch)) as bench:
        runs, missing = started(bench, options.only or list(SUBJECTS), options)
        asyncio.run(asked_in_turns(runs, options, mix, catalogue))
        text = written(runs, missing, options, facts)
    print(text)
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(SUBJECTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=3000, help="questions for each")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--provider", default=" ".join(PROVIDER), metavar="FLAGS", help="of provider.py")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--name")
    add_mix(parser)
    return parser


def started(
    bench: servers.Bench, names: Sequence[str], options: argparse.Namespace
) -> tuple[list[Run], dict[str, str]]:
    """Those that can be had here, and why the others cannot."""
    runs: list[Run] = []
    missing: dict[str, str] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        provider = bench.start(servers.Provider((*shlex.split(options.provider), "--seed", str(options.seed))))
        try:
            runs.append(start(bench, name, provider))
        except (servers.MissingError, load.RunError) as why:
            missing[name] = str(why)
    return runs, missing


def start(bench: servers.Bench, name: str, provider: servers.Running) -> Run:
    """Started, and warm: it has answered a question."""
    contender = SUBJECTS[name]
    if contender.server is None:
        server, pid = provider, None
    else:
        server = bench.start(contender.server(provider.port))
        pid = server.process.pid
        if contender.by_meaning:
            semantic_load.ready_s(server)
    answer = load.ask(server.port, load.question("Are you there?"))
    if answer.status != 200:
        raise load.RunError(f"{name} answered {answer.status}: {answer.body[:200].decode(errors='replace')}")
    target = Target(base=f"http://127.0.0.1:{server.port}/v1")
    memory = proc.resident_bytes(pid) / 1e6 if pid else 0.0
    return Run(name, Figures(name, by_echo=True), target, pid, provider, resident_mb=(memory, memory))


async def asked_in_turns(
    runs: Sequence[Run], options: argparse.Namespace, mix: Mix, catalogue: Sequence[Subject]
) -> None:
    questions = {run.name: iter(Traffic(mix, catalogue)) for run in runs}
    part = max(1, options.count // options.turns)
    async with contextlib.AsyncExitStack() as stack:
        askers = {run.name: await stack.enter_async_context(Asker(run.target)) for run in runs}
        for turn in range(options.turns):
            for run in runs:
                print(f"turn {turn + 1}: {run.name}", file=sys.stderr, flush=True)
                some = list(islice(questions[run.name], part))
                await one_turn(run, askers[run.name], some, options.connections)


async def one_turn(run: Run, asker: Asker, some: Sequence[Asked], connections: int) -> None:
    figures = run.figures
    used = proc.cpu_seconds(run.pid) if run.pid else 0.0

    async def ask(asked: Asked, due: float) -> Sample:
        figures.sent(asked)
        return await asker.ask(asked, due)

    stretch = await drive(ask, iter(some), Pace(connections=connections, count=len(some)), figures.add)
    figures.seconds += stretch.seconds
    if run.pid:
        run.cpu_s += proc.cpu_seconds(run.pid) - used
        run.resident_mb = (run.resident_mb[0], proc.resident_bytes(run.pid) / 1e6)


# -- the report ------------------------------------------------------------------------------------------------------


def written(runs: Sequence[Run], missing: Mapping[str, str], options: argparse.Namespace, facts: dict[str, Any]) -> str:
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    name = options.name or f"compare-{dt.date.today().isoformat()}"
    text = markdown(runs, missing, options, facts, name)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.svg").write_text(picture(runs).svg(), encoding="utf-8")
    kept = {
        "options": {key: str(value) for key, value in vars(options).items()},
        "machine": facts,
        "missing": dict(missing),
        "runs": {
            run.name: {
                **as_json(run.figures),
                "version": SUBJECTS[run.name].version(),
                "cpu_s": run.cpu_s,
                "resident_mb": run.resident_mb,
                "provider": provider_counts(run),
            }
            for run in runs
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return text


def provider_counts(run: Run) -> dict[str, int]:
    counted: dict[str, int] = json.loads(load.ask(run.provider.port, path="/calls").body)
    return counted


def picture(runs: Sequence[Run]) -> Chart:
    """How long a whole answer took, hits and others together."""
    lines = [
        Line(run.name, curve(sorted(value for kept in run.figures.latency.values() for value in kept))) for run in runs
    ]
    return Chart("How long a whole answer took", "ms", "share of answers", lines, 10_000, 1, log_from=0.1)


def markdown(
    runs: Sequence[Run],
    missing: Mapping[str, str],
    options: argparse.Namespace,
    facts: dict[str, Any],
    name: str,
) -> str:
    head = (
        *("", "version", "hit ratio", "calls", "wrong", "failed", "1/s", "hit p50", "hit p99", "miss p50", "miss p99"),
        *("first token, miss p50", "hit", "CPU µs", "MB at first", "MB at the end"),
    )
    any_run = runs[0].figures if runs else Figures("")
    asked = max(1, any_run.asked)
    return "\n".join(
        [
            f"# {name}: the same {any_run.asked:,} questions through each",
            "",
            line(head),
            line(["---"] * len(head)),
            *(line(row(run)) for run in runs),
            *(line([each, f"not measured: {why}", *[""] * (len(head) - 2)]) for each, why in missing.items()),
            "",
            "Times are in milliseconds, for whole answers, plain and streamed together. `calls` are those that",
            "reached the provider, one of them from before. `wrong`: an answer to a question with another",
            "meaning, as a share of hits.",
            "",
            f"At most {any_run.repeats['text'] / asked:.1%} can be hits in the same words, and",
            f"{any_run.repeats['meaning'] / asked:.1%} in whatever words.",
            "",
            f"![how long answers took]({name}.svg)",
            "",
            *(f"- **{run.name}**: {SUBJECTS[run.name].what}." for run in runs),
            "",
            f"{options.connections} connections in a closed loop, {options.turns} turns, each with a provider",
            f"of its own (`{options.provider}`), seed {options.seed}.",
            "Client, proxy and provider share the machine's cores.",
            f"{facts['cpu']}, {facts['cores']} cores, {facts['python']}. Load average at the start",
            f"{facts['load_at_start']:.2f}.",
            "",
        ]
    )


def row(run: Run) -> list[str]:
    figures = run.figures
    hits = sum(figures.tiers[name] for name in SAVING)
    hit, other = spread(figures.pooled(True)), spread(figures.pooled(False))
    first_other = spread(figures.first_token["first"])
    first_hit = spread(figures.first_token["again"])
    wrong = figures.answers["wrong"]
    cpu = f"{run.cpu_s / max(1, figures.asked) * 1e6:,.0f}" if run.pid else ""
    return [
        run.name,
        SUBJECTS[run.name].version(),
        f"{figures.hit_ratio:.1%}",
        f"{provider_counts(run)['calls']:,}",
        f"**{wrong:,}** ({wrong / hits:.1%})" if wrong and hits else f"{wrong:,}",
        ", ".join(f"{count:,} {name}" for name, count in figures.failures.most_common()) or "0",
        f"{figures.asked / figures.seconds:,.0f}" if figures.seconds else "",
        *(middle(hit, "p50"), middle(hit, "p99"), middle(other, "p50"), middle(other, "p99")),
        *(middle(first_other, "p50"), middle(first_hit, "p50")),
        cpu,
        *((f"{value:,.0f}" for value in run.resident_mb) if run.pid else ("", "")),
    ]


def middle(found: Spread | None, name: str) -> str:
    return f"{getattr(found, name):,.2f}" if found else ""


if __name__ == "__main__":
    sys.exit(main())
