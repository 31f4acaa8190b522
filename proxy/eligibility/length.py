"""A text that no encoder takes whole is not worth embedding: what is cut off could say anything."""

from __future__ import annotations

from proxy.eligibility.base import Bar
from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking


def length(pieces: int) -> Bar:
    """`too_long`: surely more than so many pieces of an encoder's vocabulary. A quick look only: what is a little over
    is found by the embedder, which counts. Ask it before anything is read or embedded."""
    # A word is one piece or more; a piece is hardly ever longer than 16 characters.
    chars = 16 * pieces

    def too_long(asking: Asking, _reading: Reading, _rule: Rule) -> str:
        text = asking.words
        return "too_long" if len(text) > chars or len(text.split(None, pieces)) > pieces else ""

    return too_long
