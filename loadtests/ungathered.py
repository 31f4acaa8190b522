"""AskOnce as it would be without gathering look-ups: every request sends its own HGET through redis-py's client.

All else is the product, replies checked and opened included. The client is given every advantage: no time limit of its
own, where the product has one (redis-py's default of five seconds costs it a task and two timers for each command), and
as many connections as there are requests at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from proxy import app
from proxy.settings import Settings
from proxy.settings import load as load_settings
from proxy.stores.redis import RedisStore
from proxy.stores.tiered import TieredStore
from proxy.types import Digest, Entry


class OneByOne:
    """In the place of the store's `TurnGather`."""

    def __init__(self, store: RedisStore, client: Redis) -> None:
        self.store = store
        self.client = client

    async def get(self, name: Digest) -> Entry | None:
        frame = await self.client.hget(self.store._key(name), "frame")  # type: ignore[misc]
        return self.store._entry(name, frame)


def ungathered(settings: Settings) -> app.Application:
    """The product with its look-ups one by one."""
    application = gathered(settings)
    store = cast("RedisStore", cast("TieredStore", application.store).back)
    [(host, port)] = settings.store.redis_address.hosts
    client = Redis(host=host, port=port, protocol=2, socket_timeout=None)
    store._turns = OneByOne(store, client)  # type: ignore[assignment]
    return application


gathered = app.build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    app.build = ungathered  # so that it is served just as the product is
    app.run(load_settings(options.config, {}, {}).settings)


if __name__ == "__main__":
    main()
