"""A delivery is known by its request id whichever worker is told of it, and only to whom it was made."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.feedback import Recent
from proxy.match import Match
from proxy.types import Digest, Scope
from proxy.workers.deliveries import QUESTION, Deliveries, teller

ALICE, BOB = Scope(b"a" * 32), Scope(b"b" * 32)
NAME = Digest(b"n" * 32)
MATCH = Match(Digest(b"o" * 32), "normalized", 1.0, ALICE, Digest(b"p" * 32), Digest(b"q" * 32))


def deliveries() -> Deliveries:
    """A worker beside two others, of which the second has delivered."""
    others = [Recent(), Recent()]
    others[1].delivered("one", NAME, MATCH)

    async def ask(question: str, about: Any) -> list[Any]:
        assert question == QUESTION
        said = [await teller(recent)(orjson.loads(orjson.dumps(about))) for recent in others]
        return orjson.loads(orjson.dumps(said))

    return Deliveries(ask)


async def test_what_another_delivered_is_found() -> None:
    for scope in (ALICE, None):
        assert await deliveries().elsewhere("one", scope) == (NAME, MATCH)


async def test_what_was_given_to_another_caller_or_to_nobody_is_not() -> None:
    assert await deliveries().elsewhere("one", BOB) is None
    assert await deliveries().elsewhere("two", ALICE) is None
