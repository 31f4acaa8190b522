"""What tests of matching by meaning share: what is asked, how it is answered, and what to wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

from tests.provider import Asked, Script, as_said
from tests.running import ALICE, Running

ON: dict[str, Any] = {
    "semantic.mode": "on",
    "semantic.policy": "faq",
    # A slow machine must not turn a match into a miss.
    "semantic.deadline": 60,
    "semantic.audit_rate": 0,
}
ASKED = "How do I reset my password?"
OTHERWISE = "How can I reset my password?"
TYPED = "  how do i reset   my PASSWORD ??"

Begin = Callable[..., AbstractAsyncContextManager[Running]]


def user(words: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}]}


def echo(asked: Asked) -> Script:
    """Answers what was asked, so that a wrong answer shows."""
    content = asked.json()["messages"][-1]["content"]
    return as_said(asked, f"You asked: {content}")


async def figures(proxy: Running) -> Any:
    return (await proxy.http.get("/admin/semantic")).json()


async def ready(proxy: Running) -> None:
    """Until the model is there."""
    while (await figures(proxy))["embedder"]["degraded"] is not None:
        await asyncio.sleep(0.02)


async def remembered(proxy: Running, points: int = 1) -> None:
    """Until so many questions are candidates for others."""
    while (await figures(proxy))["index"]["points"] < points:
        await asyncio.sleep(0.005)


async def until_hit(proxy: Running, **members: Any) -> httpx.Response:
    """Until an alias is stored: asked again and again, which is what a caller does."""
    while (answer := await proxy.chat(**members)).headers["x-cache"] != "hit":
        await asyncio.sleep(0.005)
    return answer


def x(answer: httpx.Response, name: str) -> str | None:
    value: str | None = answer.headers.get(f"x-{name}")
    return value


async def first(proxy: Running, words: str = ASKED, **members: Any) -> httpx.Response:
    """Ask a question and wait until it is a candidate."""
    points = (await figures(proxy))["index"]["points"]
    answer = await proxy.chat(**user(words) | members)
    assert x(answer, "cache") == "miss"
    await remembered(proxy, points + 1)
    return answer


async def feedback(proxy: Running, *, credential: str = ALICE, **body: Any) -> httpx.Response:
    return await proxy.post("/v1/feedback", json.dumps(body), key=credential)
