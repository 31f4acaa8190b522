"""Two answers that are the same but for Unicode form, case, white space, markup and closing punctuation."""

from __future__ import annotations

from typing import Final

from proxy.judges.base import Answers, Opinion
from proxy.judges.plain import LONGEST, plain

_RIGHT: Final = 0.995
"""Not 1, which is for what a person said."""


class EqualityJudge:
    """Sure when it has an opinion, and it only ever has one for."""

    name: Final = "equality"

    async def compare(self, answers: Answers) -> Opinion | None:
        """What is longer than a judge looks at must be equal to the letter."""
        return Opinion(_RIGHT, self.name) if _equal(answers.fresh, answers.stored) else None


def _equal(one: str, other: str) -> bool:
    if one == other:
        return True
    if len(one) > LONGEST or len(other) > LONGEST:
        return False
    return _bare(one) == _bare(other) != ""


def _bare(text: str) -> str:
    return " ".join(plain(text).casefold().split()).rstrip(".!?…。！？ ")  # noqa: RUF001 - full stops of other scripts
