"""Fill a store with answers to numbered questions, faster than asking them one by one.

The store must hold the answer to question 0 already, asked over HTTP: the others get copies of that entry. Names are
those the product gives to the questions, and entries go in through the product's own store.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from pathlib import Path

import load
import uvloop

from proxy import app
from proxy.case import Request
from proxy.endpoints.chat_completions import ChatCompletions
from proxy.settings import load as load_settings
from proxy.stores.redis import RedisStore
from proxy.stores.tiered import TieredStore
from proxy.types import Digest, Directives, Entry, Renderings

BATCH = 2000
"""Entries put at once: SQLite commits them together, Redis gets them in pipelines of 128."""
NOT_STORED = 9_999_999_999
FIELDS = tuple((name.encode(), value.encode()) for name, value in load.HEADERS.items())
PATIENT = {"store.redis.command_timeout": "10s"}
"""Filling is not measured: on a busy machine it may take longer, and nothing must be lost."""


class Filler:
    """An application that serves nobody, on the store to be filled."""

    def __init__(self, application: app.Application) -> None:
        self.application = application
        self.endpoint = ChatCompletions()

    async def fill(self, count: int) -> None:
        """Questions 1 .. count - 1."""
        store = self.application.store
        await store.open()
        first = await store.get(self.name(0))
        if first is None:
            raise SystemExit("the store does not hold question 0: ask it over HTTP first")
        for at in range(1, count, BATCH):
            await self.put(first, range(at, min(at + BATCH, count)))
        await store.close()

    async def put(self, first: Entry, numbers: range) -> None:
        entries = [dataclasses.replace(first, name=self.name(number), renderings=Renderings()) for number in numbers]
        kept = await asyncio.gather(*map(self.application.store.put, entries))
        if not all(kept):
            raise SystemExit(f"the store refused {kept.count(False)} of {len(kept)} answers")
        await self.written()

    async def written(self) -> None:
        """Redis is written to behind our back, in order: once something is deleted all that was put before is there."""
        store = self.application.store
        redis = store.back if isinstance(store, TieredStore) else None
        if not isinstance(redis, RedisStore):
            return
        await redis.delete(self.name(NOT_STORED))
        if redis.errors["put"]:
            raise SystemExit(f"Redis did not take {redis.errors['put']} answers: {redis.report().degraded}")

    def name(self, number: int) -> Digest:
        """What the product calls this question when wrk asks it."""
        request = Request(self.endpoint, "/chat/completions", FIELDS, (), load.numbered(number), Directives())
        return self.application.pipeline.consider(request).name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    settings = load_settings(options.config, PATIENT, {}).settings
    uvloop.run(Filler(app.build(settings)).fill(options.count))


if __name__ == "__main__":
    main()
