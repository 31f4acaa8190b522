"""What matching by meaning shows when somebody scrapes: how it is, and how each partition keeps to its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric

from proxy.telemetry.metrics import gauge

ByPartition = Callable[[], Mapping[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class PartitionGauges:
    """Figures by partition: the first 8 hex digits of its name. At most as many as the callables give."""

    uppers: ByPartition
    suspensions: ByPartition

    def exported(self) -> Iterator[Metric]:
        yield gauge(
            "askonce_false_hit_ratio_upper",
            "95 % upper bound of the share of wrong answers among hits by meaning.",
            ("partition",),
            self.uppers(),
        )
        yield gauge(
            "askonce_semantic_suspended",
            "1 while a partition is over its budget of wrong answers and gets exact answers only.",
            ("partition",),
            self.suspensions(),
        )


@dataclass(frozen=True, slots=True)
class MatchingGauges:
    """Figures of the whole. budget: the configured share of wrong answers, 0 to 1. report: as in /readyz. points:
    stored questions in the index, which replicas may share."""

    budget: float
    report: Callable[[], Mapping[str, Any]]
    points: Callable[[], int]

    def exported(self) -> Iterator[Metric]:
        yield gauge(
            "askonce_false_hit_budget",
            "Share of wrong answers among hits by meaning that is accepted.",
            (),
            {(): self.budget},
        )
        yield gauge(
            "askonce_semantic_degraded",
            "1 while matching by meaning does not do all it should; /readyz says why.",
            (),
            {(): int(self.report()["status"] != "ok")},
        )
        yield gauge(
            "askonce_semantic_points", "Stored questions that can be matched by meaning.", (), {(): self.points()}
        )
