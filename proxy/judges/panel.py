"""The judges in order, cheapest first: who has an opinion decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from proxy.errors import CacheFailure
from proxy.judges.base import Answers, Judge, Opinion
from proxy.judges.plain import says_nothing


class Panel:
    """A judge made of judges."""

    name: Final = "panel"

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.decided: Counter[str] = Counter()
        """Pairs, by the judge who decided; `nobody` where all were asked in vain, `no_answer` where both answers are
        refusals, errors or questions back, `refused` where one of them is."""
        self.failed: Counter[str] = Counter()
        """Judges who could not be asked: the next was."""
        self._judges = tuple(judges)

    async def compare(self, answers: Answers) -> Opinion | None:
        """Never raises: a judge that fails has no opinion."""
        empty = [says_nothing(answers.fresh), says_nothing(answers.stored)]
        if all(empty):
            # Equal refusals of two questions do not make one answer do for both: nothing is learned.
            return self._count("no_answer", None)
        if any(empty):
            return self._count("refused", Opinion(_ONE_REFUSED, self.name))
        for judge in self._judges:
            opinion = await self._asked(judge, answers)
            if opinion is not None:
                return self._count(opinion.by, opinion)
        return self._count("nobody", None)

    async def _asked(self, judge: Judge, answers: Answers) -> Opinion | None:
        try:
            return await judge.compare(answers)
        except CacheFailure:
            self.failed[judge.name] += 1
            return None

    def _count(self, by: str, opinion: Opinion | None) -> Opinion | None:
        self.decided[by] += 1
        return opinion


_ONE_REFUSED: Final = 0.1
"""The model found one question answerable and the other not. Sometimes that is a whim of the model's."""
