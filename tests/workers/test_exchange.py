"""Workers ask one another, and whoever asks is never held up and never fails."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from proxy.workers.exchange import GONE, SILENT, Exchange, Reply


def answering(directory: Path, name: str, **answers: Any) -> Exchange:
    return Exchange(directory, name, answers, ask_s=0.5)


async def test_all_others_are_asked_and_say_what_they_say(directory: Path) -> None:
    async def tells(about: Any) -> Any:
        return [about, large]

    exchanges = [answering(directory, f"{number}-a", tells=tells) for number in range(3)]
    for each in exchanges:
        await each.open()
    large = {"words": "é" * 300_000, "number": 1.5, "none": None}
    assert await exchanges[0].ask("tells", "this") == {
        name: Reply(lives=True, answered=True, said=["this", large]) for name in ("1-a", "2-a")
    }
    for each in exchanges:
        await each.close()
    assert list(directory.iterdir()) == []


async def test_one_that_was_killed_is_gone(directory: Path) -> None:
    asking = answering(directory, "1-a")
    await asking.open()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "2-b.sock"))
    (directory / "3-c.sock").symlink_to(directory / "nothing")
    assert await asking.ask("echo") == {"2-b": GONE, "3-c": GONE}
    await asking.close()


async def test_one_that_hangs_is_silent(directory: Path) -> None:
    """It listens, and nobody accepts; or somebody accepts and thinks."""
    asking, never = answering(directory, "1-a"), asyncio.Event()
    await asking.open()

    async def thinks(_about: Any) -> None:
        await never.wait()

    thinking = answering(directory, "3-c", echo=thinks)
    await thinking.open()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(directory / "2-b.sock"))
        hanging.listen()
        assert await asking.ask("echo") == {"2-b": SILENT, "3-c": SILENT}
    await asking.close()
    await thinking.close()


@pytest.mark.parametrize("said", [b"", b"[1, 2"], ids=["nothing", "half"])
async def test_one_that_ends_while_it_answers_is_silent(directory: Path, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    ending = await asyncio.start_unix_server(serve, directory / "2-b.sock")
    asking = answering(directory, "1-a")
    await asking.open()
    assert await asking.ask("echo") == {"2-b": SILENT}
    await asking.close()
    ending.close()
