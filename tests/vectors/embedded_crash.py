"""Adds to an embedded index and prints the number of each point that is on disk, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from proxy.vectors.embedded import EmbeddedIndex
from tests.vectors import DIMENSIONS, point


async def main(path: Path) -> None:
    index = EmbeddedIndex(path, identity="m", dimensions=DIMENSIONS)
    await index.open()
    for number in count():
        await index.add(point(number, kept_until=4e9))
        await index.settled()
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
