"""A picture of shared prefixes: a bar for each of the biggest families. SVG, written by hand: it needs no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.prefixes.study import Family

_WIDTH: Final = 760
_LEFT: Final = 190
_RIGHT: Final = _WIDTH - 70
_TOP: Final = 60
_BAR: Final = 26
_GAP: Final = 12

_FONT: Final = 'font-family="sans-serif" font-size="12"'
_SHARED: Final = "#0b6e4f"
_GAIN: Final = "#b3541e"
_REST: Final = "#ddd"


def drawn(families: Sequence[Family], title: str) -> str:
    """An SVG document: prompt tokens of each family, shared today, shared if moved, and neither."""
    height = _TOP + max(1, len(families)) * (_BAR + _GAP) + 30
    most = max((family.prompt_tokens for family in families), default=1)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="20" y="22" font-size="15">{_escaped(title)}</text>',
        *_legend(),
        *(line for row, family in enumerate(families) for line in _bar(row, family, most)),
        f'<text x="{_LEFT}" y="{height - 12}">prompt tokens (estimate)</text>',
        "</svg>\n",
    ])  # fmt: skip


def _legend() -> Iterator[str]:
    words = (("shared with an earlier prompt", _SHARED), ("shared if moved to the end", _GAIN), ("neither", "#777"))
    for number, (text, colour) in enumerate(words):
        yield f'<text x="{_LEFT + 190 * number}" y="44" fill="{colour}">{text}</text>'


def _bar(row: int, family: Family, most: int) -> Iterator[str]:
    top = _TOP + row * (_BAR + _GAP)
    label = f"{family.number}: {family.model}"
    label = label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"
    yield f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{_escaped(label)}</text>'
    start = float(_LEFT)
    gain = family.would_share.tokens - family.shared.tokens
    rest = family.prompt_tokens - family.would_share.tokens
    for tokens, colour in ((family.shared.tokens, _SHARED), (gain, _GAIN), (rest, _REST)):
        width = tokens / most * (_RIGHT - _LEFT)
        yield f'<rect x="{start:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        start += width
    share = family.shared.tokens / family.prompt_tokens
    yield f'<text x="{start + 6:.1f}" y="{top + 17}">{share:.0%}</text>'


def _escaped(text: str) -> str:
    """Also without what XML cannot hold: the model's name is the client's word."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text), quote=False)


_LABEL: Final = 26
"""Characters that fit beside a bar."""
