"""An ideal prefix cache: it has every earlier prompt, whole blocks of it, for ever.

A radix tree over digests of blocks. An edge is one string of digests, so a prompt that shares nothing more costs a few
bytes a block and no object for each. A block's meaning depends on all before it, as in the caches themselves (vLLM
hashes a block with its parent's hash): here the way from the root says what is before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

DIGEST_BYTES: Final = 6
"""Two blocks of one place look alike by chance once in 2**48 pairs; a tree of a million has no such pair."""

MOST_BLOCKS: Final = 32_000_000
"""Blocks that are remembered: 192 MB of digests, half a milliard tokens of prompts that differ."""


@dataclass(slots=True)
class _Node:
    digests: bytes
    """The way from its parent, at least one digest but for the root."""
    below: dict[bytes, _Node] = field(default_factory=dict)


class PrefixTrie:
    """`share` says how much of a prompt an earlier one began with, and remembers the prompt."""

    def __init__(self, block_bytes: int, *, most_blocks: int = MOST_BLOCKS) -> None:
        self.block_bytes = block_bytes
        self.blocks = 0
        self.forgotten = 0
        """Blocks that were not remembered, because there were `most_blocks`."""
        self._most = most_blocks
        self._roots: dict[tuple[str, ...], _Node] = {}

    def share(self, scope: tuple[str, ...], text: bytes) -> int:
        """Blocks that `text` has in common with the beginning of an earlier text of `scope`."""
        digests = self._digests(text)
        node = self._roots.get(scope)
        if node is None:
            node = self._roots[scope] = _Node(b"")
        at = 0
        while at < len(digests):
            below = node.below.get(digests[at : at + DIGEST_BYTES])
            if below is None:
                self._hang(node, digests[at:])
                break
            common = _common(below.digests, digests[at:])
            if common < len(below.digests):
                if at + common < len(digests):
                    below = self._split(node, below, common)
                    self._hang(below, digests[at + common :])
                at += common
                break
            at += common
            node = below
        return at // DIGEST_BYTES

    def _digests(self, text: bytes) -> bytes:
        size = self.block_bytes
        whole = len(text) - len(text) % size
        return b"".join(
            blake2b(text[start : start + size], digest_size=DIGEST_BYTES).digest() for start in range(0, whole, size)
        )

    def _hang(self, node: _Node, digests: bytes) -> None:
        room = (self._most - self.blocks) * DIGEST_BYTES
        kept = digests[:room]
        self.blocks += len(kept) // DIGEST_BYTES
        self.forgotten += (len(digests) - len(kept)) // DIGEST_BYTES
        if kept:
            node.below[kept[:DIGEST_BYTES]] = _Node(kept)

    def _split(self, parent: _Node, node: _Node, at: int) -> _Node:
        """A node at `at` bytes of the way to `node`."""
        middle = _Node(node.digests[:at], {node.digests[at : at + DIGEST_BYTES]: node})
        parent.below[middle.digests[:DIGEST_BYTES]] = middle
        node.digests = node.digests[at:]
        return middle


def _common(one: bytes, other: bytes) -> int:
    """Bytes of whole digests that both begin with, found by halving: comparing slices runs in C."""
    low, high = 0, min(len(one), len(other)) // DIGEST_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        end = middle * DIGEST_BYTES
        if one[low * DIGEST_BYTES : end] == other[low * DIGEST_BYTES : end]:
            low = middle
        else:
            high = middle - 1
    return low * DIGEST_BYTES
