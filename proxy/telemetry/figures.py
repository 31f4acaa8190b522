"""Whose figures `/metrics` and `/admin/stats` show: one process' own, or those of all workers that share its port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from proxy.telemetry.metrics import Metrics


class Figures(Protocol):
    """Where the families come from."""

    async def open(self) -> None:
        """Begin to be asked."""

    async def families(self) -> list[Metric]:
        """All, as they are now."""

    async def close(self) -> None:
        """The last word."""


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """Those of this process."""

    metrics: Metrics

    async def open(self) -> None:
        """Nothing to do."""

    async def families(self) -> list[Metric]:
        """All that are registered."""
        return self.metrics.families()

    async def close(self) -> None:
        """Nothing to do."""


def exposition(families: Iterable[Metric]) -> bytes:
    """Prometheus' text format, as `Metrics.content_type` says."""
    return generate_latest(_Families(families))


class _Families(Collector):
    """What prometheus_client asks for families."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
