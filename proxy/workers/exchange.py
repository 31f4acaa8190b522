"""Workers ask one another: a Unix socket for each in the group's directory, one line of JSON there, one value back.

Nothing of it may hold up or fail whoever asks: a worker that does not answer in time is `silent`, one whose socket
nobody listens to is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

logger = logging.getLogger("askonce.workers")

ASK_S: Final = 2.0
"""How long all are waited for together. A busy event loop takes some hundredths; Prometheus waits 10 s by default."""

Answer = Callable[[Any], Awaitable[Any]]
"""What is asked about -> what is said, both as JSON has it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking one worker."""

    lives: bool
    """Somebody listens there."""
    answered: bool = False
    said: Any = None


GONE: Final = Reply(lives=False)
SILENT: Final = Reply(lives=True)


class Exchange:
    """One worker's ear and mouth. answers: by question."""

    def __init__(self, directory: Path, name: str, answers: Mapping[str, Answer], *, ask_s: float = ASK_S) -> None:
        self._directory = directory
        self._path = directory / f"{name}.sock"
        self._answers = answers
        self._ask_s = ask_s
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises `OSError`."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def close(self) -> None:
        """Be gone."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def ask(self, question: str, about: Any = None) -> dict[str, Reply]:
        """All others at once, by name."""
        line = orjson.dumps({"question": question, "about": about}) + b"\n"
        others = [path for path in self._directory.glob("*.sock") if path != self._path]
        replies = await asyncio.gather(*(self._ask(path, line) for path in others))
        return {path.stem: reply for path, reply in zip(others, replies, strict=True)}

    async def _ask(self, path: Path, line: bytes) -> Reply:
        try:
            async with asyncio.timeout(self._ask_s):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(line)
                    said = await reader.read()
                finally:
                    writer.close()
        except (FileNotFoundError, ConnectionRefusedError):
            return GONE
        except (OSError, TimeoutError):
            return SILENT
        try:
            return Reply(lives=True, answered=True, said=orjson.loads(said))
        except orjson.JSONDecodeError:  # it ended in the middle of it
            return SILENT

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._ask_s):
                asked = orjson.loads(await reader.readline())
                writer.write(orjson.dumps(await self._answers[asked["question"]](asked["about"])))
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as failure:  # it went away, or sent no line of JSON
            logger.debug("another worker was not answered: %r", failure)
        finally:
            writer.close()
