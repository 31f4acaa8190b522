"""A label as bytes, for every ledger that keeps it outside this process.

Fixed fields in a fixed order, little-endian: version, residual, flags, six doubles; then the source in ASCII. Doubles,
so that a label that was read is the very label that was noted and all replicas compute the same posterior from it.
Nothing of a user's words is in it.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from proxy.evidence import Comparison, Label
from proxy.lexis.base import Difference, Residual

VERSION: Final = 1

_HEAD: Final = struct.Struct("<BBBdddddd")
_RESIDUALS: Final = (Residual.NONE, Residual.ONE, Residual.BOTH)
_FLAGS: Final = ("question_word", "numbers", "names", "calendar", "polarity")
_LONGEST_SOURCE: Final = 32


def encode(label: Label) -> bytes:
    """The label's bytes. Its source is a short word of ASCII."""
    similarity, difference = label.comparison
    flags = sum(getattr(difference, flag) << place for place, flag in enumerate(_FLAGS))
    head = _HEAD.pack(
        VERSION,
        _RESIDUALS.index(difference.residual),
        flags,
        similarity,
        difference.jaccard,
        difference.order,
        difference.length,
        label.right,
        label.at,
    )
    return head + label.source.encode("ascii")


def decode(packed: bytes) -> Label | None:
    """The label again; None when it is of another version or not one at all: it is then left out, never fatal."""
    if len(packed) < _HEAD.size or packed[0] != VERSION:
        return None
    _, residual, flags, *numbers = _HEAD.unpack_from(packed)
    source = packed[_HEAD.size :]
    sound = (
        residual < len(_RESIDUALS)
        and flags < 1 << len(_FLAGS)
        and all(map(math.isfinite, numbers))
        and source.isascii()
        and 0 < len(source) <= _LONGEST_SOURCE
    )
    if not sound:
        return None
    similarity, jaccard, order, length, right, at = numbers
    difference = Difference(
        residual=_RESIDUALS[residual],
        jaccard=jaccard,
        order=order,
        length=length,
        **{flag: bool(flags >> place & 1) for place, flag in enumerate(_FLAGS)},
    )
    return Label(Comparison(similarity, difference), right, source.decode("ascii"), at)
