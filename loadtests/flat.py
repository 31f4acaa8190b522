"""Whether a series of measurements is flat: the slope of its second part, held against a bar.

The slope is Theil and Sen's: the median of the slopes of all pairs of points. A few wild points (a garbage collection,
a checkpoint, a neighbour's burst) do not move it, where they would tilt a least-squares line. What comes before the
warm-up's end does not count: caches fill, allocators find their size.

What follows the load from moment to moment (open connections, calls under way) has no slope worth a verdict: a machine
that grows busier has more of it. That is judged at rest, when all callers are gone: there must be no more of it than
before the first came.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

Points = Sequence[tuple[float, float]]
"""Seconds and values."""

FEWEST = 20
"""Points below which nothing is said of a slope."""
SHORTEST_S = 300
"""And seconds: over less, one step of an allocator makes tens of MB an hour."""
MOST = 1200
"""Points of which pairs are made; of more, every n-th is taken. 1,200 make 720,000 pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a series may do. `scale` makes its values the unit that is shown; slopes are in that unit an hour."""

    unit: str
    reason: str
    slope: float | None = None
    """None: its slope is not judged."""
    rest: float | None = None
    """At rest, so much more than before the load. None: not judged."""
    scale: float = 1
    most: float | None = None
    """A value that is never passed, warm-up included."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`flat` is None where the series is too short to say."""

    name: str
    bar: Bar
    flat: bool | None
    slope: float
    """In the bar's unit an hour."""
    first: float
    last: float
    highest: float
    """Medians of the first and last tenth after the warm-up, and the highest value at all, in the bar's unit."""
    why: str

    @property
    def word(self) -> str:
        return {True: "flat", False: "**not flat**", None: "not judged"}[self.flat]


def judge(name: str, points: Points, bar: Bar, warm_up_s: float) -> Verdict:
    """The verdict on one series. A descent is as good as a level."""
    scaled = [(at, value * bar.scale) for at, value in points]
    began = scaled[0][0] if scaled else 0.0
    after = [point for point in scaled if point[0] >= began + warm_up_s]
    if not after:
        return Verdict(name, bar, None, 0, 0, 0, 0, "no point after the warm-up")
    values = [value for _, value in after]
    tenth = max(1, len(values) // 10)
    first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
    highest = max(value for _, value in scaled)
    slope = theil_sen(after) * 3600 if len(after) > 1 else 0.0
    span = after[-1][0] - after[0][0]
    verdict = Verdict(name, bar, None, slope, first, last, highest, "")
    if bar.most is not None and highest > bar.most:
        return replace(verdict, flat=False, why=f"passed {bar.most:g} {bar.unit}")
    if bar.slope is None:
        return replace(verdict, why="follows the load: judged at rest")
    if len(after) < FEWEST or span < SHORTEST_S:
        needed = f"{len(after)} points over {span:.0f} s; {FEWEST} over {SHORTEST_S} s are needed"
        return replace(verdict, why=needed)
    if slope > bar.slope:
        return replace(verdict, flat=False, why=f"over {bar.slope:g} {bar.unit} an hour")
    return replace(verdict, flat=True)


def judge_at_rest(name: str, bar: Bar, before: float, after: float) -> Verdict:
    """The verdict on a value that was looked at before the load and after it, nobody asking either time."""
    first, last = before * bar.scale, after * bar.scale
    more, allowed = last - first, bar.rest or 0.0
    why = "" if more <= allowed else f"{more:g} {bar.unit} more at rest than before, {allowed:g} are allowed"
    return Verdict(f"{name}, at rest", bar, more <= allowed, 0.0, first, last, max(first, last), why)


def theil_sen(points: Points) -> float:
    """The median slope of all pairs, a second. Raises ValueError for fewer than two times."""
    some = points[:: len(points) // MOST + 1]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for at, earlier in enumerate(some)
        for later in some[at + 1 :]
        if later[0] != earlier[0]
    ]
    if not slopes:
        raise ValueError("a slope needs two points at different times")
    return statistics.median(slopes)
