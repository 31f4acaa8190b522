"""Counters and histograms that cost a fraction of prometheus_client's: plain numbers in dictionaries.

Its `Counter.inc` takes a lock and its `Histogram.observe` walks the buckets in Python; a memory hit has no time for
either. So these are written from the event loop's thread only, and turned into its families when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

Labels = tuple[str, ...]


class Count:
    """A counter. Its exported name ends in `_total`."""

    def __init__(self, name: str, what: str, labels: Labels = ()) -> None:
        self.name = name
        self.labels = labels
        self._what = what
        # One without labels exists from the start, so that a rate over it begins at zero.
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Label values in the order of the names."""
        values = self.values
        values[labels] = values.get(labels, 0) + amount

    @property
    def total(self) -> float:
        """Over all labels."""
        return sum(self.values.values())

    def clear(self) -> None:
        """For one that is filled from elsewhere before each export."""
        self.values.clear()

    def family(self) -> CounterMetricFamily:
        """What prometheus_client exports."""
        family = CounterMetricFamily(self.name, self._what, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


@dataclass(slots=True)
class Cell:
    """A histogram's numbers for one combination of labels: how many fell into each bucket, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    def observe(self, value: float) -> None:
        """Count a value in. A bucket holds what is at most its bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Spread:
    """A histogram. `bounds` are the buckets' upper bounds, rising; one for all the rest is added."""

    def __init__(self, name: str, what: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.labels = labels
        self._what = what
        self._bounds = bounds
        self._cells: dict[Labels, Cell] = {}

    def cell(self, labels: Labels) -> Cell:
        """The numbers for these label values. It may be kept."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = Cell(self._bounds, [0] * (len(self._bounds) + 1))
        return cell

    def family(self) -> HistogramMetricFamily:
        """What prometheus_client exports: each bucket with all below it."""
        family = HistogramMetricFamily(self.name, self._what, labels=self.labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, cell in self._cells.items():
            family.add_metric(labels, list(zip(bounds, accumulate(cell.counts), strict=True)), cell.sum)
        return family
