"""Servers in processes of their own (`server_process.py`), to be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_servers import free_port

DELAY_S, SLOW_S = 0.02, 0.2

Three = tuple["Server", "Server", "Server"]


class Server:
    """A process that can be started again at the same place; `delay_s`: how long it thinks."""

    def __init__(self, delay_s: float) -> None:
        self.port = free_port()
        self.origin = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.origin}/v1"
        self._delay_s = delay_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("server_process.py")
        self._process = subprocess.Popen([sys.executable, script, str(self.port), str(self._delay_s)])

    async def listening(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)  # Another process's start cannot be awaited, only asked after.
            else:
                writer.close()
                return

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def servers() -> Iterator[Three]:
    """Two that answer quickly and one that is slow."""
    three = Server(DELAY_S), Server(DELAY_S), Server(SLOW_S)
    try:
        for server in three:
            server.start()
        yield three
    finally:
        for server in three:
            server.kill()
