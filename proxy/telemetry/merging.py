"""Several processes' figures as one: what adds up, what is the same everywhere, and what outlives its process.

Counters and histograms add up, and those of a process that has ended stay in the sums. For gauges nothing is taken for
granted: each has a rule here, and a test fails for one that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from math import nan
from typing import Any, Final

from prometheus_client.core import Metric

Labels = tuple[tuple[str, str], ...]


class How(Enum):
    """How the same sample of several processes becomes one."""

    SUM = auto()
    MAX = auto()
    """The same for all, or the worst of them."""
    MIN = auto()
    BY_TIER = auto()
    """Each process has a memory tier of its own: these add up. Other tiers are shared, and each tells the same."""


OWN_TIERS: Final = frozenset({"memory"})

RULES: Final[Mapping[str, How]] = {
    "askonce_build_info": How.MAX,
    "askonce_event_loops": How.SUM,
    "askonce_evictions": How.BY_TIER,
    "askonce_false_hit_budget": How.MAX,
    "askonce_false_hit_ratio_upper": How.MAX,
    "askonce_flights": How.SUM,
    "askonce_semantic_degraded": How.MAX,
    "askonce_semantic_points": How.MAX,  # one index in Redis
    "askonce_semantic_suspended": How.MAX,
    "askonce_store_breaker": How.MAX,  # 1 for each state that any of them is in
    "askonce_store_bytes": How.BY_TIER,
    "askonce_store_degraded": How.MAX,
    "askonce_store_entries": How.BY_TIER,
    "askonce_upstream_endpoint_in_flight": How.SUM,
    "askonce_upstream_endpoint_kv_cache_usage": How.MAX,  # the endpoint's own word
    "askonce_upstream_endpoint_up": How.MIN,  # 0 when any of them leaves it alone
    "askonce_upstream_endpoint_waiting": How.MAX,
    "process_max_fds": How.SUM,
    "process_open_fds": How.SUM,
    "process_resident_memory_bytes": How.SUM,
    "process_start_time_seconds": How.MIN,
    "process_virtual_memory_bytes": How.SUM,
}
"""By family. Of counters only those that do not simply add up."""

ADDED: Final = frozenset({"counter", "histogram"})

KEPT: Final = frozenset({"process_start_time_seconds"})
"""Gauges that count on when their process has ended: what is counted began with the first."""


@dataclass(slots=True)
class Family:
    """A metric family without prometheus_client's machinery."""

    name: str
    what: str
    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)
    """By the sample's name and labels."""

    @property
    def lasts(self) -> bool:
        """It still counts when the process has ended."""
        return self.kind in ADDED or self.name in KEPT

    def add(self, other: Family) -> None:
        """Another process' figures."""
        for (name, labels), value in other.samples.items():
            before = self.samples.get((name, labels))
            self.samples[name, labels] = value if before is None else _one(how(self.name, labels), before, value)


def how(family: str, labels: Labels) -> How:
    """The rule for one of its samples."""
    rule = RULES.get(family, How.SUM)
    if rule is How.BY_TIER:
        return How.SUM if dict(labels).get("tier") in OWN_TIERS else How.MAX
    return rule


def _one(rule: How, one: float, other: float) -> float:
    if rule is How.MAX:
        return max(one, other)
    return min(one, other) if rule is How.MIN else one + other


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """From prometheus_client."""
    return [
        Family(each.name, each.documentation, each.type, {
            (sample.name, tuple(sample.labels.items())): sample.value for sample in each.samples
        })
        for each in metrics
    ]  # fmt: skip


def metrics_of(families: Iterable[Family]) -> list[Metric]:
    """For prometheus_client."""
    metrics = []
    for family in families:
        metric = Metric(family.name, family.what, family.kind)
        for (name, labels), value in family.samples.items():
            metric.add_sample(name, dict(labels), value)
        metrics.append(metric)
    return metrics


def merged(living: Iterable[list[Family]], ended: Iterable[list[Family]]) -> list[Family]:
    """The figures of all: of those that have ended only what lasts."""
    found: dict[str, Family] = {}
    for families, lives in [*((each, True) for each in living), *((each, False) for each in ended)]:
        for family in families:
            if lives or family.lasts:
                found.setdefault(family.name, Family(family.name, family.what, family.kind)).add(family)
    return list(found.values())


def plain(families: Iterable[Family]) -> list[Any]:
    """As JSON can say it."""
    return [
        [each.name, each.what, each.kind, [[*key, value] for key, value in each.samples.items()]] for each in families
    ]


def unplain(said: Iterable[Any]) -> list[Family]:
    """What `plain` gave, through JSON. Raises `ValueError` or `TypeError` for anything else."""
    return [
        Family(name, what, kind, {
            (sample, tuple((label, text) for label, text in labels)): nan if value is None else value
            for sample, labels, value in samples
        })
        for name, what, kind, samples in said
    ]  # fmt: skip
