"""Days, months and times of day. Plain tables."""

from __future__ import annotations

from typing import Final

from proxy.lexis.tables import words

_DAYS: Final = "monday tuesday wednesday thursday friday saturday sunday"
_MONTHS: Final = "january february march april may june july august september october november december"

CALENDAR: Final = {
    **{day: day for day in _DAYS.split()},
    **{day + "s": day for day in _DAYS.split()},
    "mon": "monday", "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday", "thur": "thursday",
    "thurs": "thursday", "fri": "friday",
    **{month: month for month in _MONTHS.split()},
    "jan": "january", "feb": "february", "apr": "april", "jun": "june", "jul": "july", "aug": "august",
    "sep": "september", "sept": "september", "oct": "october", "nov": "november", "dec": "december",
    "today": "today", "todays": "today", "tonight": "tonight", "tonights": "tonight", "tomorrow": "tomorrow",
    "tomorrows": "tomorrow", "yesterday": "yesterday", "yesterdays": "yesterday", "tmrw": "tomorrow",
    "morning": "morning", "mornings": "morning", "afternoon": "afternoon", "afternoons": "afternoon",
    "evening": "evening", "evenings": "evening", "night": "night", "nights": "night", "nightly": "night",
    "noon": "noon", "midday": "noon", "midnight": "midnight", "am": "am", "pm": "pm",
    "weekend": "weekend", "weekends": "weekend", "weekday": "weekday", "weekdays": "weekday",
    "summer": "summer", "winter": "winter", "autumn": "autumn",
    "christmas": "christmas", "easter": "easter", "thanksgiving": "thanksgiving", "halloween": "halloween",
    "hourly": "hourly", "daily": "daily", "weekly": "weekly", "monthly": "monthly", "yearly": "yearly",
    "annual": "yearly", "annually": "yearly",
}  # fmt: skip
"""Spelling to one name."""

DOUBTFUL: Final = words("may march mar sep dec jun am mon fri nov oct jan")
"""A calendar word only beside a number, behind a preposition or after `this`, `next` and their like."""

BEFORE_A_DATE: Final = words("in of by since until till this last next during early late every on between mid")

SPANS: Final = words("week month year weekend quarter semester term season day hour century decade")
SHIFTS: Final = {"this": "this", "current": "this", "next": "next", "coming": "next", "upcoming": "next",
                 "following": "next", "last": "last", "past": "last", "previous": "last"}  # fmt: skip
"""`next week` is a calendar word of its own."""
