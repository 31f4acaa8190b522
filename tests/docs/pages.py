"""The project's Markdown: which pages there are, their code blocks with the marker of each, their headings and links.

A fenced block has a comment on the line above it that says what the tests do with it:

    <!-- run: WORDS -->       run, in order, by bash or Python, against a proxy of this page's own; WORDS say what for
    <!-- output -->           what the block before printed: `…` stands for anything within a line, alone for any lines
    <!-- file: NAME -->       written to NAME in the folder in which the blocks of this page run
    <!-- settings: WORDS -->  YAML for the configuration file: read by the product's own loader
    <!-- not run: REASON -->  only looked at: shell and YAML, JSON, units must parse
    <!-- snippet: NAME -->    run by tests/test_readme.py

On a page `<!-- proxy: ASKONCE_X=1 … -->` sets its proxy up, and `<!-- given: NAME from PATH -->` puts a file of the
tests into that folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

MARKER = re.compile(r"<!-- (run|output|file|settings|not run|snippet)(?:: (.+?))? -->")
_FENCE = re.compile(r"( *)(```+|~~~+)([\w-]*)\s*")
_HEADING = re.compile(r"#{1,6} (.+?)\s*#*")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?(?: \"[^\"]*\")?\)")
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
_SOURCE = re.compile(r"<(?:img|source)[^>]* (?:src|srcset)=\"([^\"]+)\"")

NOT_OURS = frozenset({".venv", ".cache", ".envs", ".git", "node_modules", "build", "dist"})


@dataclass(frozen=True)
class Block:
    """One fenced block. `line` is that of its fence, from 1; `kind` is "" where there is no marker."""

    page: Path
    line: int
    language: str
    code: str
    kind: str
    words: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}" if self.page.is_relative_to(ROOT) else str(self.page)


def pages() -> list[Path]:
    """Every Markdown file of the project."""
    found = []
    for folder, below, files in os.walk(ROOT):
        below[:] = [name for name in below if name not in NOT_OURS]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def blocks_of(page: Path) -> Iterator[Block]:
    """Its fenced blocks, in order. Raises ValueError for one that does not end."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.fullmatch(lines[at])
        if fence is None:
            at += 1
            continue
        indent, ticks, language = fence.groups()
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == ticks), None)
        if end is None:
            raise ValueError(f"{page}:{at + 1}: this block does not end")
        marker = MARKER.fullmatch(lines[at - 1].strip()) if at else None
        kind, words = (marker[1], marker[2] or "") if marker else ("", "")
        code = "".join(line.removeprefix(indent) + "\n" for line in lines[at + 1 : end])
        yield Block(page, at + 1, language, code, kind, words)
        at = end + 1


def prose_of(page: Path) -> str:
    """The page without its fenced blocks and without code between backticks."""
    kept, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        found = _FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found and line.strip().startswith(found[2]):
            fence = found[2]
        else:
            kept.append(line)
    return "\n".join(kept)


def links_of(page: Path) -> list[str]:
    """Where its links and pictures point to."""
    prose = re.sub(r"`[^`\n]*`", "``", prose_of(page))
    return [*_LINK.findall(prose), *_SOURCE.findall(prose)]


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """What may stand behind the `#` of a link to it, as GitHub makes them of headings."""
    prose = prose_of(page)
    found, seen = set(_ANCHOR.findall(prose)), dict[str, int]()
    for line in prose.splitlines():
        heading = _HEADING.fullmatch(line)
        if heading is None:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        found.add(f"{slug}-{number}" if number else slug)
    return frozenset(found)
