"""What an answer's hash in Redis is called: the store writes it, the vector index adds to it.

    {prefix}:1:{generation}:{name}

The generation is in the key, so that a purge of everything makes all of it unreachable at once.
"""

from __future__ import annotations

from typing import Final

from proxy.types import Digest

LAYOUT: Final = 1
"""Change it with anything that makes an older program misread a key or a field."""

KEY_BYTES: Final = 200
"""What a write weighs in a queue beside what it writes."""


def of(prefix: str, generation: int, name: Digest) -> str:
    """Of one answer."""
    return f"{prefix}:{LAYOUT}:{generation:x}:{name.hex()}"


def notes(prefix: str) -> str:
    """The hash of all notes (`stores.base.ExactStore.note`), by their keys. Of no generation: no purge sweeps it."""
    return f"{prefix}:notes"


def pattern(prefix: str, generation: int | None = None) -> str:
    """A pattern (SCAN) for all answers, of one generation where it is given; without its `*` what their keys begin
    with."""
    return f"{prefix}:{LAYOUT}:*" if generation is None else f"{prefix}:{LAYOUT}:{generation:x}:*"


def name_in(key: bytes) -> Digest | None:
    """The name of the answer that lies there; None where it is no key of one."""
    try:
        return Digest(bytes.fromhex(key.rpartition(b":")[2].decode("ascii")))
    except ValueError:
        return None
