"""Calls with prompts, and endpoints to choose among."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proxy.types import Call, Scope
from proxy.upstream.balancing.base import Load

SYSTEM = {"role": "system", "content": "You are terse."}


def call(members: object, path: str = "/chat/completions", scope: bytes = b"") -> Call:
    """To a path, with these members for its body."""
    return Call("POST", path, (), orjson.dumps(members), scope=Scope(scope))


def chat(*messages: Any, scope: bytes = b"", **members: object) -> Call:
    return call({"model": "m", "messages": messages, **members}, scope=scope)


def asked(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def fleet(count: int, in_flight: Sequence[int] = ()) -> list[Load]:
    """So many endpoints, idle unless told."""
    busy = [*in_flight, *[0] * count]
    return [Load(f"10.0.0.{number}:8000", busy[number]) for number in range(count)]
