"""Server-sent events of chat streams, out of pieces of bytes; nothing here waits or knows a client library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


class Events:
    """Server-sent events (WHATWG HTML section 9.2): data only, which is all that OpenAI uses."""

    def __init__(self) -> None:
        self.rest = b""
        self.lines: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that this piece completes. Lines may end in LF or CRLF."""
        *lines, self.rest = (self.rest + piece).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self.lines.append(line[5:].removeprefix(b" "))
            elif not line and self.lines:
                yield b"\n".join(self.lines)
                self.lines = []


def delta_of(data: bytes | Mapping[str, Any]) -> str:
    """The text that a chunk brings, of all its choices."""
    members = json.loads(data) if isinstance(data, bytes) else data
    deltas = (choice.get("delta") or {} for choice in members.get("choices") or ())
    return "".join(delta.get("content") or "" for delta in deltas)
