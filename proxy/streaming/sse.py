"""Server-sent events, bytes in and events out, without I/O (WHATWG HTML section 9.2).

Lines end in `\\n`, `\\r` or `\\r\\n`, wherever the bytes were cut. A block ends at its blank line and is given at once,
comment-only blocks too. A blank line that ends in `\\r` ends its block before a `\\n` could follow; that `\\n` then
opens the next block, where it means nothing. So the `raw` of all events, in order, is the input byte for byte.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Two line ends. Possessive, because a `\r\n` must never be taken for two; a character class first, because it is fast.
_BLOCK_END: Final = re.compile(rb"[\n\r](?:(?<=\r)\n)?+(?:\n|\r\n?+)")
_SHORT: Final = 4096
"""Bytes of an unfinished event that may be copied with each chunk; a long one is gathered in place."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAY_BE_MARK: Final = _BYTE_ORDER_MARK[:1]


class Event(NamedTuple):
    """One block of the stream. A tuple, because one is made for every token of every answer."""

    raw: bytes
    """The block as it came, blank line included."""
    data: bytes | None
    """Its `data` lines joined by `\\n`; None when it has none (comments)."""
    name: bytes = b""
    """Its `event` field."""
    torn: bool = False
    """No complete event: the stream's unfinished end, or what came once a limit was passed."""


class SseDecoder:
    """Cuts one stream into events.

    A line over `max_line_bytes` or an event over `max_event_bytes` ends the decoding, not the stream: from there on
    every chunk is given as one torn event.
    """

    __slots__ = (
        "_has_returns",
        "_lost",
        "_max_event_bytes",
        "_max_line_bytes",
        "_max_plain_bytes",
        "_pending",
        "_started",
    )

    def __init__(self, *, max_line_bytes: int, max_event_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._max_plain_bytes = min(max_line_bytes, max_event_bytes)
        self._pending = bytearray()
        self._has_returns = False
        self._started = False
        self._lost = False

    @property
    def lost(self) -> bool:
        """A limit was passed."""
        return self._lost

    def decode(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if self._lost:
            return [Event(chunk, None, torn=True)] if chunk else []
        if not self._pending and self._is_plain(chunk):
            self._started = True
            return [Event(chunk, chunk[6:-2])]
        return self._decode_slowly(chunk)

    def lines(self, chunk: bytes) -> list[bytes] | None:
        """The lines of the events that these bytes complete, which are not yet read; an empty one ends an event.

        None, and nothing is taken, where it is not as simple as that: `decode` then.
        """
        pending = self._pending
        end = chunk.rfind(b"\n\n") + 2
        if end < 2 or b"\r" in chunk or self._lost or self._has_returns or len(pending) > _SHORT:
            return None
        events = b"".join((pending, memoryview(chunk)[:end])) if pending else chunk[:end]
        if len(events) > self._max_plain_bytes or (not self._started and events.startswith(_MAY_BE_MARK)):
            return None
        if events.endswith(b"\n\n\n"):  # which two of these are the end of an event depends on what is before them
            return None
        pending[:] = chunk[end:]
        lines = events.split(b"\n")
        lines.pop()
        return lines

    def event(self, lines: list[bytes], at: int) -> tuple[Event, int]:
        """The event that begins with line `at` of what `lines` gave, and the line that the next begins with."""
        end = lines.index(b"", at + 1) + 1
        return self._read(b"\n".join(lines[at:end]) + b"\n"), end

    def flush(self) -> list[Event]:
        """What is left at the end of the stream. The standard drops it; its bytes and what it says are given."""
        rest = bytes(self._pending)
        self._pending.clear()
        if not rest:
            return []
        return [self._read(rest)._replace(torn=True)]

    def _decode_slowly(self, chunk: bytes) -> list[Event]:
        # A block's end may have begun in the three bytes before (`\r\n\r`); what is older was searched already.
        search_from = max(0, len(self._pending) - 3)
        self._pending += chunk
        self._has_returns = self._has_returns or b"\r" in chunk
        events: list[Event] = []
        start = 0
        while not self._lost and (end := self._block_end(search_from)):
            events.append(self._read(bytes(self._pending[start:end])))
            start = search_from = end
        del self._pending[:start]
        if self._lost or len(self._pending) > self._max_event_bytes:
            self._lost = True
            events += [Event(bytes(self._pending), None, torn=True)] if self._pending else []
            self._pending.clear()
        self._has_returns = self._has_returns and bool(self._pending)
        return events

    def _block_end(self, search_from: int) -> int:
        """Where the next block ends; 0 when it is not there yet."""
        if not self._has_returns:
            found = self._pending.find(b"\n\n", search_from)
            return found + 2 if found >= 0 else 0
        match = _BLOCK_END.search(self._pending, search_from)
        return match.end() if match else 0

    def _is_plain(self, raw: bytes) -> bool:
        """One event of one `data: ` line: what servers send, mostly one in a chunk."""
        size = len(raw)
        return (
            raw.find(b"\n") == size - 2
            and raw.endswith(b"\n\n")
            and raw.startswith(b"data: ")
            and b"\r" not in raw
            and size <= self._max_plain_bytes
        )

    def _read(self, raw: bytes) -> Event:
        if self._is_plain(raw):
            self._started = True
            return Event(raw, raw[6:-2])
        content = raw
        if not self._started and raw.startswith(_BYTE_ORDER_MARK):
            content = raw[3:]
        self._started = True
        if len(raw) > self._max_event_bytes:
            self._lost = True
        data: list[bytes] = []
        name = b""
        for line in content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
            if len(line) > self._max_line_bytes:
                self._lost = True
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
        if self._lost:
            return Event(raw, None, torn=True)
        return Event(raw, b"\n".join(data) if data else None, name)
