"""What matching by meaning shows when somebody scrapes: how each partition keeps to its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

ByPartition = Callable[[], Mapping[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class PartitionGauges:
    """Figures by partition: the first 8 hex digits of its name. At most as many as the callables give."""

    uppers: ByPartition
    suspensions: ByPartition

    def exported(self) -> Iterator[Metric]:
        yield _gauge(
            "askonce_false_hit_ratio_upper",
            "95 % upper bound of the share of wrong answers among hits by meaning.",
            self.uppers(),
        )
        yield _gauge(
            "askonce_semantic_suspended",
            "1 while a partition is over its budget of wrong answers and gets exact answers only.",
            self.suspensions(),
        )


def _gauge(name: str, what: str, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=("partition",))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
