"""Writes to an embedded store and prints the number of each answer that was acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from proxy.stores.sqlite import SqliteStore
from tests.stores import codec, entry


def kept(number: int):
    return entry(number, body=b"answer %d " % number * (number % 997), kept_s=1e9)


async def main(path: Path) -> None:
    store = SqliteStore(path, codec(), max_bytes=1 << 30)
    await store.open()
    numbers = count()

    async def write() -> None:
        while True:
            number = next(numbers)
            if await store.put(kept(number)):
                print(number, flush=True)

    await asyncio.gather(*(write() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
