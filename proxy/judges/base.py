"""Do two answers say the same? One file in this folder for each way to tell. Never in the path of a request.

The answers are of two questions that lie near each other; whether they say the same is the label that matching by
meaning learns from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Answers:
    """Two questions and their answers' texts."""

    asked: str
    """Words of the question whose answer is fresh."""
    fresh: str
    stored_question: str
    stored: str
    model: str
    """That gave the fresh answer."""


class Opinion(NamedTuple):
    """What a judge makes of two answers."""

    right: float
    """Probability that the stored answer would have done for the question that was asked, 0 to 1."""
    by: str
    """The judge's name: a closed set."""


class Judge(Protocol):
    """One judge. They are asked in order, cheapest first; the first that has an opinion decides."""

    @property
    def name(self) -> str: ...

    async def compare(self, answers: Answers) -> Opinion | None:
        """None: it cannot tell, ask the next. Raises only `errors.CacheFailure`."""
