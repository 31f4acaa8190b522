"""Our member of `Cache-Status` (RFC 9211), written as a structured field (RFC 9651)."""

from __future__ import annotations

import re
from functools import lru_cache

from proxy.types import CacheStatus

NAME = "askonce"

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")


@lru_cache(maxsize=4096)
def render(status: CacheStatus) -> bytes:
    """The field's value. `hit` and `fwd` exclude each other (RFC 9211 section 2.2); what is said of going forward is
    left out of a hit (sections 2.3, 2.5, 2.6)."""
    parts = [NAME, "hit" if status.fwd is None else f"fwd={status.fwd}"]
    forwarded = status.fwd is not None
    if forwarded and status.fwd_status is not None:
        parts.append(f"fwd-status={status.fwd_status}")
    if status.ttl is not None:
        parts.append(f"ttl={status.ttl}")
    for name, value in (("stored", status.stored), ("collapsed", status.collapsed)):
        if forwarded and value is not None:
            parts.append(name if value else f"{name}=?0")
    if status.detail:
        parts.append(f"detail={status.detail if _TOKEN.fullmatch(status.detail) else _string(status.detail)}")
    return "; ".join(parts).encode("ascii")


def _string(text: str) -> str:
    """RFC 9651 section 3.3.3: printable ASCII between quotes, quotes and backslashes escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(letter if " " <= letter <= "~" else "?" for letter in escaped) + '"'
