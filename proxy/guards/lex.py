"""The guards, cheapest first."""

from __future__ import annotations

from typing import Final

from proxy.guards.antonyms import ANTONYMS
from proxy.guards.base import Guard
from proxy.guards.calendar import CALENDAR
from proxy.guards.identifiers import IDENTIFIERS
from proxy.guards.marks import MARKS
from proxy.guards.names import ANY_NAME, NAMES
from proxy.guards.negation import NEGATION
from proxy.guards.numbers import NUMBERS
from proxy.guards.quotes import QUOTES
from proxy.guards.swaps import SWAPS
from proxy.guards.units import UNITS

LEX: Final[tuple[Guard, ...]] = (NUMBERS, IDENTIFIERS, CALENDAR, QUOTES, UNITS, NEGATION, NAMES, ANTONYMS, SWAPS, MARKS)
"""For every policy."""

LEX2: Final[tuple[Guard, ...]] = (*LEX, ANY_NAME)
"""For policy `strict`."""
