"""The texts name different numbers: amounts, years, ordinals, dates, times, in digits or in words."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses(asked: Reading, stored: Reading) -> bool:
    return asked.numbers != stored.numbers


NUMBERS = Guard("numbers", _refuses)
