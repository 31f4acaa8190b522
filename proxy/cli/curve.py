"""A picture of thresholds: precision with its interval, and recall. SVG, written by hand: it needs no library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.calibration import Row

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 60
_TOP: Final = 40
_RIGHT: Final = _WIDTH - 20
_BOTTOM: Final = _HEIGHT - 50

_FONT: Final = 'font-family="sans-serif" font-size="12"'
_GUARDED: Final = "#0b6e4f"
_BARE: Final = "#b3541e"


def drawn(guarded: Sequence[Row], bare: Sequence[Row], chosen: float | None, title: str) -> str:
    """An SVG document. Both tables have the same thresholds, two or more, in rising order."""
    first, last = guarded[0].threshold, guarded[-1].threshold

    def x(threshold: float) -> float:
        return _LEFT + (threshold - first) / (last - first) * (_RIGHT - _LEFT)

    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{_escaped(title)}</text>',
        *_axes(first, last, x),
        *_series(guarded, _GUARDED, x),
        *_series(bare, _BARE, x),
        *_mark(chosen, x),
        *_legend(),
        "</svg>\n",
    ])  # fmt: skip


def _axes(first: float, last: float, x: Callable[[float], float]) -> Iterator[str]:
    for tenth in range(0, 11, 2):
        at = _y(tenth / 10)
        yield f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
    for hundredth in range(round(first * 100), round(last * 100) + 1, 5):
        at = x(hundredth / 100)
        yield f'<text x="{at:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{hundredth / 100:.2f}</text>'
    yield f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">threshold (cosine)</text>'


def _series(rows: Sequence[Row], colour: str, x: Callable[[float], float]) -> Iterator[str]:
    told = [row for row in rows if row.served]
    band = [(x(row.threshold), _y(row.high)) for row in told] + [(x(row.threshold), _y(row.low)) for row in told[::-1]]
    yield f'<polygon points="{_points(band)}" fill="{colour}" opacity="0.12"/>'
    precision = [(x(row.threshold), _y(row.precision)) for row in told]
    yield f'<polyline points="{_points(precision)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    recall = [(x(row.threshold), _y(row.recall)) for row in rows]
    yield f'<polyline points="{_points(recall)}" fill="none" stroke="{colour}" stroke-dasharray="4 3"/>'


def _mark(chosen: float | None, x: Callable[[float], float]) -> Iterator[str]:
    if chosen is not None:
        at = x(chosen)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_BOTTOM}" stroke="#333" stroke-dasharray="2 2"/>'
        yield f'<text x="{at:.1f}" y="{_TOP - 4}" text-anchor="middle">{chosen:.2f}</text>'


def _legend() -> Iterator[str]:
    lines = (("with guards", _GUARDED), ("without guards", _BARE), ("solid: precision, 95 %; dashed: recall", "#333"))
    for number, (words, colour) in enumerate(lines):
        yield f'<text x="{_LEFT + 10}" y="{_BOTTOM - 44 + 16 * number}" fill="{colour}">{words}</text>'


def _y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
