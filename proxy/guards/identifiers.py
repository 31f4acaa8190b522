"""The texts name different URLs, addresses, paths, versions or codes."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses(asked: Reading, stored: Reading) -> bool:
    return asked.identifiers != stored.identifiers


IDENTIFIERS = Guard("identifiers", _refuses)
