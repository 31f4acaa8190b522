"""Tests of the indexes, and what they share: points with vectors that lie as far apart as a test says."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from proxy.types import Digest, Scope, Vector
from proxy.vectors.base import Near, Point

DIMENSIONS = 16
BEGIN = 1_800_000_000.0
SHAPE = Digest(b"shape of a test.")
OTHER_SHAPE = Digest(b"another shape...")
NOTHING = np.zeros(0, np.float32)


class Clock:
    """Unix seconds, moved by the test."""

    def __init__(self, now: float = BEGIN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def name_of(number: int) -> Digest:
    """Spread like a MAC."""
    return Digest(hashlib.sha256(number.to_bytes(8, "big")).digest()[:16])


def unit(seed: int, dimensions: int = DIMENSIONS) -> Vector:
    """A direction of its own."""
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def beside(vector: Vector, cosine: float, seed: int = 1) -> Vector:
    """A direction whose cosine with that one is so."""
    other = unit(1_000_000 + seed, len(vector))
    across = other - vector * float(other @ vector)
    across /= np.linalg.norm(across)
    return (vector * cosine + across * math.sqrt(1.0 - cosine * cosine)).astype(np.float32)


def point(number: int = 0, vector: Vector | None = None, **other: Any) -> Point:
    """A stored question that is good for a day."""
    members: dict[str, Any] = {
        "name": name_of(number),
        "shape": SHAPE,
        "scope": Scope(b"scope of a test."),
        "model": "gpt-4o-mini",
        "words": f"question {number}",
        "vector": unit(number) if vector is None else vector,
        "kept_until": BEGIN + 86_400.0,
    }
    return Point(**members | other)


def names(found: list[Near]) -> list[Digest]:
    return [each.name for each in found]
