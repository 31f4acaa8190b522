"""How good matching by meaning is: streams and pairs of labelled questions through embedder, guards and policies.

`python loadtests/quality.py [FOLDER]` writes `loadtests/results/quality.md` and pictures beside it. Vectors are kept in
`.cache/quality`, so that a second run takes a fraction of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Two streams at a time: one thread each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from quality_pairs import table
from quality_report import Precisions, Report, Result, write
from quality_sets import Stream, read
from quality_streams import Indexed, Listed, Outcome, Prepared, Ranked, run, unserved
from quality_vectors import Precision, embed

from proxy.verifiers.base import Verifier
from proxy.verifiers.faq import Faq
from proxy.verifiers.learned import Learned
from proxy.verifiers.prior import Prior, from_members, read_prior
from proxy.verifiers.static import Static
from proxy.verifiers.strict import Strict

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache/quality"
WITHOUT = ROOT / "loadtests/priors.json"
RESULTS = ROOT / "loadtests/results"


@dataclass(frozen=True)
class Policy:
    """What decides, made anew for each stream."""

    title: str
    make: Callable[[Prior], Verifier]
    guards: str = "lex"
    mislabelled: float = 0.0


MAIN = "learned 0.05"
WRONG_LABELS = "learned 0.05, 5 % wrong labels"

POLICIES = (
    Policy(MAIN, partial(Learned, 0.05)),
    Policy("learned 0.02", partial(Learned, 0.02)),
    Policy("learned 0.10", partial(Learned, 0.10)),
    Policy(WRONG_LABELS, partial(Learned, 0.05), mislabelled=0.05),
    Policy("strict", lambda _: Strict(), guards="lex2"),
    Policy("faq", lambda _: Faq()),
    Policy("static 0.85", lambda _: Static(0.85)),
    Policy("static 0.95", lambda _: Static(0.95)),
)


def prior_without(name: str) -> Prior:
    """Made without the set of that name; the shipped one where it took no part in that."""
    kept = json.loads(WITHOUT.read_text(encoding="utf-8"))
    return from_members(kept[name]) if name in kept else read_prior()


def look_at(stream: Stream, precision: Precision, seeds: tuple[int, ...]) -> Result:
    """Every policy on one stream."""
    prepared = Prepared(stream, embed(stream.texts, precision, CACHE))
    prior = prior_without(stream.name)
    outcomes: dict[str, list[Outcome]] = {policy.title: [] for policy in POLICIES}
    for seed in seeds:
        order = stream.order(seed)
        for policy in POLICIES:
            # The policy that matters goes through the proxy's own index once; `_agreement` looks whether that matters.
            index = Indexed if policy.title == MAIN and seed == seeds[0] else Listed
            verifier = policy.make(prior)
            outcome = run(prepared, order, verifier, policy.guards, seed, policy.mislabelled, index)
            outcomes[policy.title].append(outcome)
    return Result(
        stream=stream.title,
        name=stream.name,
        labels_by=stream.labels_by,
        eligible=sum(prepared.eligible) / max(len(prepared.eligible), 1),
        outcomes=outcomes,
        ranked=unserved(prepared, stream.order(seeds[0])),
        agreement=_agreement(prepared, seeds[0]),
    )


def _agreement(prepared: Prepared, seed: int) -> float:
    """Hits by the proxy's own index over hits by comparing all, with a policy that learns nothing. The index keeps
    shorter numbers, so that what lies within rounding of a threshold may fall on its other side."""
    order = prepared.stream.order(seed)
    by_index, by_all = (run(prepared, order, Static(0.85), "lex", seed, index=each) for each in (Indexed, Listed))
    return by_index.hits / by_all.hits if by_all.hits else float(by_index.hits == by_all.hits)


def compare_precisions(stream: Stream, seed: int) -> Precisions:
    """The same stream, nothing served, by either precision of the embedder."""
    by: dict[Precision, list[Ranked]] = {}
    requests = 0
    for precision in ("int8", "fp32"):
        prepared = Prepared(stream, embed(stream.texts, precision, CACHE))
        order = stream.order(seed)
        requests, by[precision] = len(order), unserved(prepared, order)
    return Precisions(stream.title, requests, by["int8"], by["fp32"])


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", nargs="?", type=Path, default=ROOT / "../shared/data")
    asked.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    asked.add_argument("--seeds", type=int, default=4)
    asked.add_argument("--out", type=Path, default=RESULTS)
    options = asked.parse_args()

    begin = time.monotonic()
    streams, pairs = read(options.folder)
    if not streams and not pairs:
        print(f"{options.folder} holds no sets of questions (*.jsonl)", file=sys.stderr)
        return 2
    seeds = tuple(range(1, options.seeds + 1))
    # The long ones first, so that both processes end together.
    longest = sorted(streams, key=lambda stream: -len(stream.texts))
    for stream in {stream.name: stream for stream in longest}.values():
        embed(stream.texts, options.precision, CACHE)
        said(f"{stream.name} embedded", begin)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        looked = {stream.title: pool.submit(look_at, stream, options.precision, seeds) for stream in longest}
        both = [pool.submit(compare_precisions, stream, 1) for stream in streams if stream.labels_by == "intent"][:3]
        rows = [pool.submit(table, each, options.precision, CACHE) for each in pairs]
        results = []
        for stream in streams:
            results.append(looked[stream.title].result())
            said(f"{stream.title} done", begin)
        report = Report(
            folder=options.folder,
            precision=options.precision,
            seeds=seeds,
            results=results,
            pairs=[row for each in rows for row in each.result()],
            precisions=[each.result() for each in both],
            seconds=time.monotonic() - begin,
        )
    missed = write(report, options.out)
    said(f"wrote {options.out / 'quality.md'}: {missed} bars missed", begin)
    return 0


def said(text: str, begin: float) -> None:
    print(f"{time.monotonic() - begin:6.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
