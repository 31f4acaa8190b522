"""The texts are about different days, months or times of day."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses(asked: Reading, stored: Reading) -> bool:
    return asked.calendar != stored.calendar


CALENDAR = Guard("calendar", _refuses)
