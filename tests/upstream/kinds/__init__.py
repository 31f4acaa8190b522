"""Tests of the kinds of servers, and what they share: a wire that answers as it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.errors import UpstreamError
from proxy.types import Call, Scope

ALICE, BOB = Scope(b"alice".ljust(16, b"!")), Scope(b"bob".ljust(16, b"!"))


class StandInWire:
    """Paths `beside` the base address begin with `..`; what is not told is a 404."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    async def get(self, path: str, *, beside: bool = False) -> tuple[int, bytes]:
        path = f"..{path}" if beside else path
        self.asked.append(path)
        answer = self.answers.get(path, 404)
        if isinstance(answer, UpstreamError):
            raise answer
        if isinstance(answer, int):
            return answer, b'{"detail":"Not Found"}'
        return 200, answer if isinstance(answer, bytes) else orjson.dumps(answer)


def call(body: Any = b"", target: str = "/chat/completions", **more: Any) -> Call:
    """A POST; a body that is not bytes yet is sent as JSON."""
    given = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else orjson.dumps(body)
    return Call(**{"method": "POST", "target": target, "headers": (), "body": given} | more)


def sent(prepared: Call) -> dict[str, Any]:
    """The members that go to the server."""
    assert isinstance(prepared.body, bytes)
    members: dict[str, Any] = orjson.loads(prepared.body)
    return members
