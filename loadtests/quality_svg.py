"""A chart of a few lines as SVG, with axes and a legend: no library is worth it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 250, 36, 48
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")


@dataclass(frozen=True)
class Line:
    """One line, and perhaps a dot of the same colour."""

    name: str
    points: list[tuple[float, float]]
    dot: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """Values of both axes are shares or counts from 0 up."""

    title: str
    across: str
    upwards: str
    lines: list[Line]
    most_across: float
    most_upwards: float
    level: float | None = None
    """A dashed line across: the budget."""
    log_from: float | None = None
    """Where the axis across begins, if it is to be one of powers of ten."""
    parts: list[str] = field(default_factory=list)

    def svg(self) -> str:
        self.parts.clear()
        self._axes()
        for number, line in enumerate(self.lines):
            self._line(line, COLOURS[number % len(COLOURS)], number)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
        ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        return "\n".join([head, ground, *self.parts, "</svg>", ""])

    def _x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(self._share(value), 0), 1)

    def _share(self, value: float) -> float:
        """Of the axis across, up to this value."""
        if self.log_from is None:
            return value / self.most_across
        return math.log(max(value, self.log_from) / self.log_from) / math.log(self.most_across / self.log_from)

    def _ticks(self) -> list[float]:
        """Values across that are written out."""
        if self.log_from is None:
            return [self.most_across * step / 5 for step in range(6)]
        first, last = (math.ceil(math.log10(end) - 1e-9) for end in (self.log_from, self.most_across))
        return [10.0**power for power in range(first, last + 1) if 10.0**power <= self.most_across]

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / self.most_upwards, 1)

    def _axes(self) -> None:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        self._text(LEFT, 20, self.title, size=14)
        self._text((LEFT + right) / 2, HEIGHT - 10, self.across, anchor="middle")
        middle = (TOP + bottom) / 2
        self.parts.append(
            f'<text transform="translate(16 {middle}) rotate(-90)" font-size="12" text-anchor="middle">'
            f"{escape(self.upwards)}</text>"
        )
        for step in range(6):
            upwards = self.most_upwards * step / 5
            self._stroke(LEFT, self._y(upwards), right, self._y(upwards), "#e4e4e4")
            self._text(LEFT - 6, self._y(upwards) + 4, f"{upwards:.3g}", anchor="end")
        for across in self._ticks():
            self._text(self._x(across), bottom + 16, f"{across:g}", anchor="middle")
        self._stroke(LEFT, bottom, right, bottom, "black")
        if self.level is not None:
            self._stroke(LEFT, self._y(self.level), right, self._y(self.level), "black", dashed=True)

    def _line(self, line: Line, colour: str, number: int) -> None:
        points = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in line.points)
        self.parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if line.dot is not None:
            x, y = self._x(line.dot[0]), self._y(line.dot[1])
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        y, x = TOP + 12 + 20 * number, WIDTH - RIGHT + 16
        self._stroke(x, y - 4, x + 22, y - 4, colour)
        self._text(x + 28, y, line.name)

    def _stroke(self, x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>')

    def _text(self, x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
        )
