"""The answer is about right now: yesterday's does not do."""

from __future__ import annotations

import re
from typing import Final

from proxy.lexis.reading import Reading
from proxy.lexis.tables import words
from proxy.settings import Rule
from proxy.types import Asking

_WORDS: Final = words("today todays tonight tonights tomorrow tomorrows latest newest upcoming headline headlines")

_TOGETHER: Final = re.compile(
    r"\b(?:"
    r"right now|as of now|at the moment|at present|up to date"
    r"|(?:this|next) (?:week|weekend|month|year|season|quarter)"
    r"|(?:current|recent|breaking|news) (?:news|events?|prices?|weather|time|date|year|scores?|temperature|situation)"
    r"|(?:news|scores?|prices?|happening|open|trending|raining|snowing) now"
    r"|(?:what|which) (?:time|day|date|year|month) (?:is )?(?:it|this)|what (?:is )?the (?:time|date)(?: in \w+)?$"
    r"|weather (?:in|for|like|forecast|report|outside)|(?:what|how) (?:is )?the weather|forecast for"
    r")\b"
)

_UNLESS_TOLD_BY_ONE: Final = re.compile(
    r"\b(?:yesterday|yesterdays|currently|so far|just now|this (?:morning|afternoon|evening|night)"
    r"|(?:last|past) (?:night|week|weekend|month|year|season|quarter)|now$)\b"
)
_ONE: Final = words("i my me we our")


def freshness(_asking: Asking, reading: Reading, rule: Rule) -> str:
    """`fresh`: its words ask for what changes by the day, and the rule does not say `match_fresh`. `I withdrew cash
    this morning` asks for nothing of the kind, and a `current account` neither."""
    return "fresh" if not rule.match_fresh and _is_about_now(reading) else ""


def _is_about_now(reading: Reading) -> bool:
    if not _WORDS.isdisjoint(reading.words):
        return True
    text = " ".join(reading.words)
    if _TOGETHER.search(text):
        return True
    return _ONE.isdisjoint(reading.words) and _UNLESS_TOLD_BY_ONE.search(text) is not None
