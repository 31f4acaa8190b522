"""What one text quotes is not in the other."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses(asked: Reading, stored: Reading) -> bool:
    if not asked.quotes and not stored.quotes:
        return False
    return _is_missing(asked.quotes, stored) or _is_missing(stored.quotes, asked)


def _is_missing(quotes: frozenset[str], other: Reading) -> bool:
    text = " ".join(other.text.lower().split())
    return any(quote not in text for quote in quotes)


QUOTES = Guard("quotes", _refuses)
