"""Keeping a stream open for a caller who waits for somebody else's call."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.case import Answer, Later
from proxy.edge.exchange import Exchange
from proxy.errors import AskOnceError
from proxy.telemetry.tasks import Tasks

COMMENT: Final = b": keep-alive\n\n"
"""A comment (server-sent events, HTML standard section 9.2.6): clients skip it, and what is in between sees traffic."""


async def kept_alive(exchange: Exchange, later: Later, interval_s: float, tasks: Tasks) -> Answer:
    """The answer, when it comes; a comment now and every so often until then. Raises as `later` does."""

    async def wait() -> Answer:
        return await later()

    answer = tasks.spawn(wait(), name="answer of another's call", expected=AskOnceError)
    try:
        while not answer.done():
            await exchange.write(COMMENT)
            await asyncio.wait([answer], timeout=interval_s)
        return answer.result()
    except BaseException:
        answer.cancel()
        raise
