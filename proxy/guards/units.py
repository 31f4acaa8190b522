"""The texts measure or pay in different units of one dimension."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses(asked: Reading, stored: Reading) -> bool:
    if not asked.units or not stored.units or asked.units == stored.units:
        return False
    here = {dimension for dimension, _ in asked.units - stored.units}
    return any(dimension in here for dimension, _ in stored.units - asked.units)


UNITS = Guard("units", _refuses)
