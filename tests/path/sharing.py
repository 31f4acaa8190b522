"""What the tests of replicas share: the Redis between them, looked into from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import redis

MARKS = (b"-", b"~", None)
"""What stands in a lease's key when nobody holds it."""


class Between:
    """The Redis that replicas share."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, protocol=2)

    def __call__(self, *command: Any) -> Any:
        return self._client.execute_command(*command)

    def close(self) -> None:
        self._client.close()

    async def asked_for(self, count: int) -> None:
        """Until so many have told a holder that they follow the call it is making."""
        while self._followers() < count:
            await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Until every lease has ended: what was to be stored is written."""
        while self._holders():
            await asyncio.sleep(0.005)

    def _holders(self) -> set[bytes]:
        return {holder for key in self("KEYS", "*:lease:*") if (holder := self("GET", key)) not in MARKS}

    def _followers(self) -> int:
        holders = self._holders()
        posted = [fields for inbox in self("KEYS", "*:in:*") for _, fields in self("XRANGE", inbox, "-", "+")]
        return sum(fields[b"what"] == b"follow" and fields[b"token"] in holders for fields in posted)
