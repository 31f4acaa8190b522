"""Feedback that names a delivery by its request id: the worker that delivered knows it, and any may be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.feedback import Delivery, Recent
from proxy.match import decode, encode
from proxy.types import Digest, Scope

QUESTION: Final = "delivery"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Those of the other workers. ask: a question and what it is about -> what others say."""

    ask: Callable[[str, Any], Awaitable[list[Any]]]

    async def elsewhere(self, request_id: str, scope: Scope | None) -> Delivery | None:
        """One that another worker made for this caller, or for anybody (None)."""
        about = {"request_id": request_id, "scope": None if scope is None else scope.hex()}
        for said in await self.ask(QUESTION, about):
            if said is not None:
                return Delivery(Digest(bytes.fromhex(said["name"])), decode(said["match"]))
        return None


def teller(recent: Recent) -> Callable[[Any], Awaitable[Any]]:
    """What answers the others' question."""

    async def told(about: Any) -> Any:
        scope = None if about["scope"] is None else Scope(bytes.fromhex(about["scope"]))
        delivery = recent.of_request(about["request_id"], scope)
        if delivery is None:
            return None
        return {"name": delivery.name.hex(), "match": orjson.loads(encode(delivery.match))}

    return told
