"""What samples add up to: hit ratio, percentiles by how a request was answered, wrong answers, failures.

Only whole answers are in the percentiles; what failed is counted beside them. Latency runs from when a request was due
(`driving.py`), time to first token too.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asking import Sample
from traffic import Asked
from wrong import Judge

SAVING = ("hit", "semantic", "stale", "collapsed", "again")
"""Ways of being answered that need no upstream call. `again`: no X-Cache, but an answer that was served before."""
MOST_GAPS = 2_000_000
"""Gaps between tokens that are kept for a percentile; 16 MB. Later ones are counted only."""
STEPS = 40
"""Points of the picture of the hit ratio."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles in milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    highest: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of ascending values, with linear interpolation between neighbours (numpy's default, Hyndman and Fan's type 7).
    Raises ValueError for none."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    at = (len(ordered) - 1) * share
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def spread(seconds: Iterable[float]) -> Spread | None:
    """None of nothing."""
    ordered = sorted(value * 1000 for value in seconds)
    if not ordered:
        return None
    p50, p90, p99, p999 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999))
    return Spread(len(ordered), math.fsum(ordered) / len(ordered), p50, p90, p99, p999, ordered[-1])


def series() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Figures:
    """Of one side, over all its turns. Give `sent` each request before it goes out and `add` each sample."""

    side: str
    by_echo: bool = False
    """Call an answer a hit where its call's answer was served before, whatever the proxy says: the same for every
    proxy. Else the proxy's X-Cache is believed, where there is one."""
    judge: Judge = field(default_factory=Judge)
    seconds: float = 0.0
    asked: int = 0
    unsent: int = 0
    whole: int = 0
    received: int = 0
    tokens: int = 0
    gaps_unkept: int = 0
    lateness: array[float] = field(default_factory=series)
    """Seconds from due to sent."""
    latency: dict[tuple[str, str], array[float]] = field(default_factory=lambda: defaultdict(series))
    """By how it was answered and in what form."""
    first_token: dict[str, array[float]] = field(default_factory=lambda: defaultdict(series))
    gaps: dict[str, array[float]] = field(default_factory=lambda: defaultdict(series))
    tiers: Counter[str] = field(default_factory=Counter)
    headers: Counter[str] = field(default_factory=Counter)
    """X-Cache, of every answer that had a status."""
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Whose they were (`wrong.py`)."""
    wrong_by: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind of question and how it was answered, of wrong answers."""
    repeats: Counter[str] = field(default_factory=Counter)
    """Requests of which the text, or the meaning, was asked before by the same tenant."""
    saved: list[bool] = field(default_factory=list)
    """Of each whole answer, in order: whether it needed no upstream call."""
    seen: set[tuple[int, str]] = field(default_factory=set)

    def sent(self, asked: Asked) -> None:
        self.judge.sent(asked)
        self.asked += 1
        for what, label in (("text", f"t:{asked.text}"), ("meaning", f"m:{asked.meaning}")):
            self.repeats[what] += (asked.tenant, label) in self.seen
            self.seen.add((asked.tenant, label))

    def add(self, sample: Sample) -> None:
        self.received += sample.received
        self.lateness.append(sample.began - sample.due)
        if sample.status:
            self.headers[sample.outcome] += 1
        again = self.judge.again(sample)
        answer = self.judge(sample)
        self.answers[answer] += 1
        if sample.failure:
            self.failures[f"status {sample.status}" if sample.failure == "status" else sample.failure] += 1
            return
        self.add_whole(sample, tier(sample, again, by_echo=self.by_echo), answer)

    def add_whole(self, sample: Sample, answered: str, answer: str) -> None:
        self.whole += 1
        self.tiers[answered] += 1
        self.kinds[sample.asked.kind][answered] += 1
        self.saved.append(answered in SAVING)
        if answer in ("wrong", "leaked"):
            self.wrong_by[sample.asked.kind, answered] += 1
        form = "stream" if sample.asked.stream else "plain"
        self.latency[answered, form].append(sample.ended - sample.due)
        if sample.tokens:
            self.tokens += sample.tokens
            self.first_token[answered].append(sample.first - sample.due)
            kept = self.gaps[answered]
            room = max(0, MOST_GAPS - len(kept))
            kept.extend(sample.gaps[:room])
            self.gaps_unkept += max(0, len(sample.gaps) - room)

    @property
    def hit_ratio(self) -> float:
        """Of whole answers."""
        return sum(self.tiers[name] for name in SAVING) / self.whole if self.whole else 0.0

    def pooled(self, saved: bool) -> list[float]:
        """Latency of all hits, or of all others, in seconds, ascending."""
        return sorted(value for (name, _), kept in self.latency.items() if (name in SAVING) == saved for value in kept)

    def course(self) -> list[tuple[float, float]]:
        """Requests answered so far, and the hit ratio of the last of `STEPS` parts."""
        step = max(1, len(self.saved) // STEPS)
        parts = [self.saved[at : at + step] for at in range(0, len(self.saved), step)]
        return [(at * step + len(part), sum(part) / len(part)) for at, part in enumerate(parts)]


def tier(sample: Sample, again: bool | None, *, by_echo: bool = False) -> str:
    """How it was answered: by the proxy's own word, or else by whether this answer was served before."""
    if not by_echo and sample.outcome.lower() in (*SAVING, "miss", "bypass"):
        return sample.outcome.lower()
    return {True: "again", False: "first", None: "unknown"}[again]


def curve(ordered: Sequence[float], points: int = 200) -> list[tuple[float, float]]:
    """Milliseconds, and the share of values up to it: a cumulative distribution."""
    if not ordered:
        return []
    steps = [step / points for step in range(points + 1)]
    return [(percentile(ordered, step) * 1000, step) for step in steps]


def as_json(figures: Figures) -> dict[str, object]:
    """Everything but single values."""
    spreads = {
        "latency_ms": {"/".join(key): spread(kept) for key, kept in figures.latency.items()},
        "first_token_ms": {key: spread(kept) for key, kept in figures.first_token.items()},
        "gap_ms": {key: spread(kept) for key, kept in figures.gaps.items()},
        "hit_ms": {"all": spread(figures.pooled(True))},
        "other_ms": {"all": spread(figures.pooled(False))},
        "lateness_ms": {"all": spread(figures.lateness)},
    }
    return {
        "side": figures.side,
        "seconds": figures.seconds,
        "asked": figures.asked,
        "unsent": figures.unsent,
        "whole": figures.whole,
        "hit_ratio": figures.hit_ratio,
        "repeats": dict(figures.repeats),
        "outcomes": dict(figures.tiers),
        "x_cache": dict(figures.headers),
        "kinds": {kind: dict(counted) for kind, counted in figures.kinds.items()},
        "failures": dict(figures.failures),
        "answers": dict(figures.answers),
        "wrong_by": {" answered by ".join(key): count for key, count in figures.wrong_by.items()},
        "received_bytes": figures.received,
        "tokens": figures.tokens,
        "gaps_unkept": figures.gaps_unkept,
        **{name: {key: plain(one) for key, one in found.items()} for name, found in spreads.items()},
    }


def plain(one: Spread | None) -> Mapping[str, float] | None:
    return None if one is None else {name: getattr(one, name) for name in Spread.__slots__}
