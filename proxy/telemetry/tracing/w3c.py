"""The two header fields of W3C Trace Context (https://www.w3.org/TR/trace-context/): read, and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from proxy.types import Pairs

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"

_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Parent(NamedTuple):
    """The span a request comes from, as its `traceparent` says it."""

    trace_id: int
    span_id: int
    flags: int


def parent_of(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """None: there is none, or what is there is none (section 3.2: then a trace begins here)."""
    found = [value for name, value in headers if name == TRACEPARENT]
    match = _TRACEPARENT.fullmatch(found[0].strip(b" \t")) if len(found) == 1 else None
    # Of version 00 these four fields are all there is; a later one may have more.
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Parent(int(match[2], 16), int(match[3], 16), int(match[4], 16))


def traceparent(trace_id: int, span_id: int, flags: int) -> bytes:
    """The field's value, in version 00.

    >>> traceparent(1, 2, 1)
    b'00-00000000000000000000000000000001-0000000000000002-01'
    """
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)


def coming_from(headers: Pairs, value: bytes, *, continued: bool) -> Pairs:
    """The fields with this `traceparent`. What other tracing systems say of a trace that goes on (`tracestate`) stays;
    of one that begins here they know nothing."""
    gone = (TRACEPARENT,) if continued else (TRACEPARENT, TRACESTATE)
    return (*(pair for pair in headers if pair[0] not in gone), (TRACEPARENT, value))
