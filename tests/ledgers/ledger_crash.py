"""Notes and refuses and prints the number of each that was promised, until it is killed."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from proxy.ledgers.sqlite import SqliteLedger
from tests.ledgers import PARTITION, label, pair_of


async def main(path: Path) -> None:
    ledger = SqliteLedger(path)
    await ledger.open()
    for number in count():
        await ledger.note(PARTITION, [label(number)])
        await ledger.refuse(pair_of(number))
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
