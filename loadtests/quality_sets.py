"""Sets of labelled questions, and the streams that are made of them.

A set is a JSONL file: clusters `{"text", "intent"}`, with `"strict"` where more than the intent must be equal; pairs
`{"a", "b", "equivalent"}`; prompts `{"text"}` without repeats, of which no two share an answer.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

INTENT_TOO = ("hwu64",)
"""Sets whose strict labels are half noise (slots are annotated unevenly): looked at with both."""
ZIPF = ("clinc150",)
"""Sets drawn with some intents far oftener than others, as people ask."""
ZIPF_REQUESTS = 6000
OUT_OF_SCOPE = 0.05
"""Of a Zipf stream: questions that nobody else asks."""
MOST = 8000
"""Requests of a stream."""


@dataclass(frozen=True)
class Stream:
    """A set under one kind of label."""

    name: str
    labels_by: str
    """`strict`, `intent` or `none`."""
    texts: list[str]
    label: list[int]
    """Equal numbers may share an answer."""
    group: list[str]
    """Intent, for Zipf streams; `oos` is drawn apart."""
    zipf: bool

    @property
    def title(self) -> str:
        extra = {"strict": " (strict)", "intent": " (intent)" if self.name in INTENT_TOO else "", "none": ""}
        return self.name + extra[self.labels_by] + (" (Zipf)" if self.zipf else "")

    def order(self, seed: int) -> list[int]:
        """The texts in the order in which they are asked."""
        rng = random.Random(seed)
        if self.zipf:
            return self._zipf(rng)
        order = list(range(len(self.texts)))
        rng.shuffle(order)
        return order[:MOST]

    def _zipf(self, rng: random.Random) -> list[int]:
        groups: dict[str, list[int]] = {}
        for index, group in enumerate(self.group):
            groups.setdefault(group, []).append(index)
        for group in groups.values():
            rng.shuffle(group)
        apart = groups.pop("oos", [])
        ranked = sorted(groups)
        rng.shuffle(ranked)
        weights = [1 / (rank + 1) for rank in range(len(ranked))]
        order: list[int] = []
        while len(order) < min(ZIPF_REQUESTS, len(self.texts)) and any(groups.values()):
            if apart and rng.random() < OUT_OF_SCOPE:
                order.append(apart.pop())
            elif texts := groups[rng.choices(ranked, weights)[0]]:
                order.append(texts.pop())
        return order


@dataclass(frozen=True)
class Pairs:
    """A set of pairs."""

    name: str
    pairs: list[tuple[str, str]]
    equivalent: list[bool]


def read(folder: Path) -> tuple[list[Stream], list[Pairs]]:
    """All sets of a folder, in the order of their names; a file of another form is said and left out."""
    streams: list[Stream] = []
    pairs: list[Pairs] = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        if rows and "equivalent" in rows[0]:
            asked = [(row["a"], row["b"]) for row in rows]
            pairs.append(Pairs(path.stem, asked, [bool(row["equivalent"]) for row in rows]))
        elif rows and "text" in rows[0]:
            streams += _streams(path.stem, rows)
        else:
            print(f"{path.name}: not a set of questions, left out")
    return streams, pairs


def _streams(name: str, rows: list[dict[str, str]]) -> list[Stream]:
    texts = [row["text"] for row in rows]
    if "intent" not in rows[0]:
        return [Stream(name, "none", texts, list(range(len(texts))), [""] * len(texts), zipf=False)]
    strict = all("strict" in row for row in rows)
    kinds = ["intent"] * (not strict or name in INTENT_TOO) + ["strict"] * strict
    group = ["oos" if str(row["intent"]).startswith("oos:") else str(row["intent"]) for row in rows]
    return [
        Stream(name, kind, texts, _numbers([str(row[kind]) for row in rows]), group, name in ZIPF) for kind in kinds
    ]


def _numbers(labels: list[str]) -> list[int]:
    seen: dict[str, int] = {}
    return [seen.setdefault(label, len(seen)) for label in labels]
