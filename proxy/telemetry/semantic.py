"""What matching by meaning shows when somebody scrapes: how each partition keeps to its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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
