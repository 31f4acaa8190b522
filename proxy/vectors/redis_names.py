"""What the index in Redis and its fields are called."""

from __future__ import annotations

import hashlib
from typing import Final

from proxy.redis_link.script import Word
from proxy.vectors.base import Point

SCHEMA: Final = 1
"""Change it with anything about the index: the new one is made beside the old one, which older replicas go on with."""

SEPARATOR: Final = "\x1f"
"""Between tags: nobody types it."""


class Names:
    """Of the index for one embedder's vectors, and of the fields of an answer's hash. Whatever makes vectors that do
    not go together is in the name: so one that does not fit cannot be met."""

    words: Final = "words"

    def __init__(self, prefix: str, identity: str, dimensions: int) -> None:
        digest = hashlib.sha256(f"{SCHEMA}\0{dimensions}\0{identity}".encode()).hexdigest()
        self.identity = f"{identity}/{dimensions}/{SCHEMA}"
        """In full, for seals and reports."""
        self.index = f"{prefix}:index:{SCHEMA}:{digest[:16]}"
        self.vector, self.seal = f"vector_{digest[:8]}", f"seal_{digest[:8]}"

    @property
    def all(self) -> tuple[str, ...]:
        """Fields that make a hash a point of this index."""
        return (self.words, self.vector, self.seal, "shape", "scope", "tags")

    def fields(self, point: Point, words: bytes, vector: bytes, seal: bytes) -> tuple[Word, ...]:
        """Fields and values."""
        place, tags = place_of(point.shape, point.generation), SEPARATOR.join(point.tags)
        sealed: tuple[Word, ...] = (self.words, words, self.vector, vector, self.seal, seal)
        return (*sealed, "shape", place, "scope", point.scope.hex(), "tags", tags)


def place_of(shape: bytes, generation: int) -> str:
    """What only candidates for one another have in common: hexadecimal digits and a `g`."""
    return f"{shape.hex()}g{generation:x}"
