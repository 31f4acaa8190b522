"""Helpers for the guards' tests."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import read


def refuses(guard: Guard, one: str, other: str) -> bool:
    """Asked both ways round, which must not matter."""
    here, there = read(one), read(other)
    verdict = guard.refuses(here, there)
    assert guard.refuses(there, here) == verdict
    return verdict
