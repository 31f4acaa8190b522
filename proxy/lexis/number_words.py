"""Numbers in words. Plain tables."""

from __future__ import annotations

from typing import Final

_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS: Final = (
    "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth"
)

CARDINALS: Final = {
    **{word: value for value, word in enumerate(_UNITS.split())},
    **{word: 20 + 10 * index for index, word in enumerate(_TENS.split())},
    "fourty": 40, "dozen": 12,
}  # fmt: skip

ORDINALS: Final = {
    "second": 2,
    **{word: 3 + index for index, word in enumerate(_ORDINALS.split())},
    "twentieth": 20, "thirtieth": 30, "fortieth": 40, "fiftieth": 50, "hundredth": 100,
}  # fmt: skip

SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
                 "hundreds": 100, "thousands": 1000, "millions": 10**6, "billions": 10**9}  # fmt: skip

SUFFIXES: Final = {"k": 1000, "m": 10**6, "mn": 10**6, "mln": 10**6, "bn": 10**9, "b": 10**9}
"""Behind digits: `5k`, `$3m`."""

BOUNDS: Final = {
    **dict.fromkeys(("after", "over", "above", "exceeding"), ">"),
    **dict.fromkeys(("more than", "greater than", "higher than", "later than", "at least", "bigger than"), ">"),
    **dict.fromkeys(("before", "under", "below"), "<"),
    **dict.fromkeys(("less than", "fewer than", "lower than", "earlier than", "at most", "up to", "smaller than"), "<"),
}
"""What stands before a number and makes it a bound."""
