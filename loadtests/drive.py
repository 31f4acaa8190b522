"""Questions as people ask them, through the proxy and without it: hit ratio, waiting, wrong answers.

    .venv/bin/python loadtests/drive.py --quick                        # 20 seconds, to see whether all is well
    .venv/bin/python loadtests/drive.py --semantic faq --seconds 120
    .venv/bin/python loadtests/drive.py --questions clinc150.jsonl --semantic faq
    .venv/bin/python loadtests/drive.py --rate 50 --store redis
    .venv/bin/python loadtests/drive.py --url http://127.0.0.1:8080/v1 --direct http://127.0.0.1:8000/v1 --model m

Without `--url` it starts a provider (`provider.py`) and AskOnce in front of it, and checks its own counts against
`/metrics` and the provider's. With `--url` it asks what is there; a real provider costs money, so mind `--count`.

The traffic is `traffic.py`'s: the same for the same seed, through the proxy and without it. Both are asked in turns,
the proxy first. Written are `<name>.md`, `<name>.json` and pictures, into `results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import re
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import drive_report
import load
import measure
import proc
import report
import semantic_load
import servers
from asking import Asker, Sample, Target
from driving import Pace, drive
from figures import Figures
from traffic import Asked, Mix, Subject, Traffic, made, read

RESULTS = Path(__file__).parent / "results"
POLICIES = ("off", "faq", "learned", "strict")
LOOK_S = 0.25
"""How often memory and descriptors are looked at."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked. `pid` is the proxy's process, where its memory is to be watched; `metrics` and `calls` are pages
    to check counts against, for what was started here."""

    proxy: Target
    direct: Target | None
    pid: int | None = None
    metrics_port: int | None = None
    provider_port: int | None = None


@dataclass(slots=True)
class Usage:
    """Of the proxy's process and its children."""

    cpu_s: float = 0.0
    resident: list[tuple[float, float]] = field(default_factory=list)
    """Seconds under load so far, and MB."""
    descriptors: int = 0
    threads: int = 0
    """The most there were."""


@dataclass(slots=True)
class Outcome:
    """All that a run came to."""

    sides: list[Figures]
    usage: Usage | None
    counted: dict[str, dict[str, float]]
    """What others counted meanwhile: `metrics` by outcome, `provider`."""


def main() -> int:
    options = arguments().parse_args()
    if options.quick:
        options.seconds, options.turns, options.catalogue = 8, 2, min(options.catalogue, 200)
    facts = report.machine()
    try:
        catalogue, mix = catalogue_of(options), mix_of(options)
        measure.open_files(4 * options.connections + 200)
        with setting(options) as found:
            outcome = asyncio.run(run(options, found, mix, catalogue))
    except (servers.MissingError, load.RunError, ValueError) as why:
        print(f"The driver could not run: {why}", file=sys.stderr)
        return 2
    name = options.name or f"drive-{dt.date.today().isoformat()}"
    asked = {key: str(value) for key, value in vars(options).items() if value not in (None, False, "", [])}
    print(drive_report.write(options.out, name, outcome, asked, facts))
    return int(bool(outcome.sides[0].answers["leaked"]))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_argument_group("what is asked")
    where.add_argument("--url", help="a proxy that runs already, up to and with /v1")
    where.add_argument("--direct", help="the same provider without it, up to and with /v1")
    where.add_argument("--no-direct", action="store_true", help="through the proxy only")
    where.add_argument("--header", action="append", default=[], metavar="NAME: VALUE", help="for every request")
    where.add_argument("--model", default="gpt-4o-mini")
    where.add_argument("--pid", type=int, help="the process of --url, to watch its memory")
    where.add_argument("--store", choices=("sqlite", "memory", "redis"), default="sqlite", help="of the started proxy")
    where.add_argument("--workers", type=int, default=1, help="processes of the started proxy; needs redis")
    where.add_argument("--semantic", choices=POLICIES, default="off", help="policy of matching by meaning")
    where.add_argument("--provider", default="", metavar="FLAGS", help="of provider.py, for the one started here")
    add_load(parser)
    add_mix(parser)
    put = parser.add_argument_group("the report")
    put.add_argument("--out", type=Path, default=RESULTS, help="folder")
    put.add_argument("--name", help="of its files; drive-<date> if not given")
    return parser


def add_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how much")
    group.add_argument("--quick", action="store_true", help="20 seconds in all")
    group.add_argument("--seconds", type=float, default=60, help="for each side")
    group.add_argument("--count", type=int, default=100_000, help="requests for each side, at most")
    group.add_argument("--turns", type=int, default=4, help="in which sides take turns")
    group.add_argument("--connections", type=int, default=16)
    group.add_argument(
        "--rate", type=float, default=0, help="requests a second (open loop); 0: as fast as they come back"
    )
    group.add_argument("--timeout", type=float, default=60, help="seconds for one answer")


def add_mix(parser: argparse.ArgumentParser) -> None:
    usual, group = Mix(), parser.add_argument_group("the mix; shares from 0 to 1")
    group.add_argument("--questions", type=Path, metavar="FILE.jsonl", help="labelled questions in place of made ones")
    group.add_argument("--catalogue", type=int, default=500, help="different questions")
    group.add_argument("--exponent", type=float, default=usual.exponent, help="of Zipf's law")
    group.add_argument("--reworded", type=float, default=usual.reworded, help="share asked in other words")
    group.add_argument("--slot", type=float, default=usual.slot, help="share that differs by a slot: must not hit")
    group.add_argument("--unique", type=float, default=usual.unique, help="share never asked before or again")
    group.add_argument("--streamed", type=float, default=usual.streamed, help="share asked for as a stream")
    group.add_argument("--tenants", type=int, default=usual.tenants, help="callers with a credential each")
    group.add_argument("--seed", type=int, default=usual.seed)


def mix_of(options: argparse.Namespace) -> Mix:
    names = ("exponent", "reworded", "slot", "unique", "streamed", "tenants", "seed")
    return Mix(**{name: getattr(options, name) for name in names})


def catalogue_of(options: argparse.Namespace) -> list[Subject]:
    if options.questions:
        return read(options.questions, options.catalogue, options.seed)
    return made(options.catalogue, options.seed)


# -- what is asked ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def setting(options: argparse.Namespace) -> Iterator[Setting]:
    """What `--url` names, or what is started here."""
    own = {"model": options.model, "timeout_s": options.timeout, "headers": headers(options.header)}
    if options.url:
        direct = Target(base=options.direct.rstrip("/"), **own) if options.direct else None
        yield Setting(Target(base=options.url.rstrip("/"), **own), direct, options.pid)
        return
    with tempfile.TemporaryDirectory(prefix="askonce-drive-") as scratch, servers.Bench(Path(scratch)) as bench:
        flags = (*shlex.split(options.provider), "--seed", str(options.seed))
        # One for each side: what it counts and remembers is then of that side alone.
        behind, beside = (bench.start(servers.Provider(flags)) for _ in range(2))
        askonce = product(bench, behind.port, options)
        proxy, direct = (Target(base=f"http://127.0.0.1:{one.port}/v1", **own) for one in (askonce, beside))
        yield Setting(proxy, None if options.no_direct else direct, askonce.process.pid, askonce.port, behind.port)


def headers(given: list[str]) -> Mapping[str, str]:
    """Of `name: value` lines. Raises ValueError."""
    pairs = [line.partition(":") for line in given]
    if any(not colon for _, colon, _ in pairs):
        raise ValueError("write a header as NAME: VALUE")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def product(bench: servers.Bench, provider_port: int, options: argparse.Namespace) -> servers.Running:
    """AskOnce as the options want it, ready to match by meaning where it is to."""
    store, more = {"sqlite": None, "memory": "memory://"}.get(options.store), {}
    if options.store == "redis":
        store = f"redis://127.0.0.1:{bench.start(servers.Redis(search=True)).port}/0"
    if options.workers > 1:
        more = {"server": {"workers": options.workers}}
    semantic = {"mode": "off"} if options.semantic == "off" else {"mode": "on", "policy": options.semantic}
    askonce = bench.start(servers.AskOnce(provider_port, store=store, semantic=semantic, more=more))
    if options.semantic != "off":
        semantic_load.ready_s(askonce)
    return askonce


# -- asking ----------------------------------------------------------------------------------------------------------


async def run(options: argparse.Namespace, found: Setting, mix: Mix, catalogue: list[Subject]) -> Outcome:
    """Both sides in turns."""
    sides = [(Figures("proxy"), found.proxy)]
    if found.direct is not None:
        sides.append((Figures("direct"), found.direct))
    questions = {figures.side: iter(Traffic(mix, catalogue)) for figures, _ in sides}
    usage = Usage() if found.pid else None
    before = counts(found)
    async with contextlib.AsyncExitStack() as stack:
        askers = [(figures, await stack.enter_async_context(Asker(target))) for figures, target in sides]
        for turn in range(options.turns):
            for figures, asker in askers:
                watching = found.pid if figures.side == "proxy" else None
                await one_turn(options, turn, figures, asker, questions[figures.side], watching, usage)
    after = counts(found)
    counted = {page: {name: after[page][name] - before[page].get(name, 0) for name in after[page]} for page in after}
    return Outcome([figures for figures, _ in sides], usage, counted)


async def one_turn(
    options: argparse.Namespace,
    turn: int,
    figures: Figures,
    asker: Asker,
    questions: Iterator[Asked],
    pid: int | None,
    usage: Usage | None,
) -> None:
    """One side's part of its time."""
    pace = Pace(
        connections=options.connections,
        rate=options.rate,
        seconds=options.seconds / options.turns,
        count=max(1, options.count // options.turns),
        seed=options.seed * 1000 + turn,
    )

    async def ask(asked: Asked, due: float) -> Sample:
        figures.sent(asked)
        return await asker.ask(asked, due)

    async with watched(pid, usage, figures.seconds):
        stretch = await drive(ask, questions, pace, figures.add)
    figures.seconds += stretch.seconds
    figures.unsent += stretch.unsent


@contextlib.asynccontextmanager
async def watched(pid: int | None, usage: Usage | None, so_far_s: float) -> Any:
    """Look at the process meanwhile. Raises OSError when it ended."""
    if pid is None or usage is None:
        yield
        return
    used = proc.cpu_seconds(pid)
    looking = asyncio.get_running_loop().create_task(look(pid, usage, so_far_s))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    usage.cpu_s += proc.cpu_seconds(pid) - used


async def look(pid: int, usage: Usage, so_far_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        usage.resident.append((so_far_s + loop.time() - began, proc.resident_bytes(pid) / 1e6))
        usage.descriptors = max(usage.descriptors, proc.descriptors(pid))
        usage.threads = max(usage.threads, proc.thread_count(pid))
        await asyncio.sleep(LOOK_S)


def counts(found: Setting) -> dict[str, dict[str, float]]:
    """What the proxy and the provider have counted so far; nothing for servers of others."""
    pages: dict[str, dict[str, float]] = {}
    if found.metrics_port:
        text = load.ask(found.metrics_port, path="/metrics").body.decode()
        lines = re.findall(r'^askonce_requests_total\{.*outcome="(\w+)".*\} (\S+)', text, re.MULTILINE)
        counted: Counter[str] = Counter()
        for outcome, value in lines:
            counted[outcome] += round(float(value))
        pages["metrics"] = dict(counted)
    if found.provider_port:
        pages["provider"] = json.loads(load.ask(found.provider_port, path="/calls").body)
    return pages


if __name__ == "__main__":
    sys.exit(main())
