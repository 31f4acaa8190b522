"""Fixtures: the provider, AskOnce in the test's own loop, AskOnce as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.provider import Provider
from tests.redis_servers import free_port

pytest_plugins = ["tests.redis_fixtures"]

ROOT = Path(__file__).parent.parent

LANES: dict[str, dict[str, Any]] = {
    "fast_lane": {"server.fast_lane": True},
    "asgi": {"server.fast_lane": False},
    "sqlite": {"store.memory": 0},
}
"""Ways through the program that must come to the same: every test with the `lane` fixture runs on each."""


PATIENT: dict[str, Any] = {
    "store.read_timeout": 60,
    "store.write_timeout": 60,
    "server.drain_timeout": 1,
    # Tests that are about it switch it on: it would answer questions that others mean to miss.
    "semantic.mode": "off",
}
"""A slow machine must not turn a hit into a miss, nor a failed test into a long stop."""


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as listening:
        yield listening


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The flags of one lane."""
    return LANES[request.param]


@pytest.fixture
def askonce(provider: Provider, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """`async with askonce({"store.memory": 0}) as proxy:` a proxy in front of `provider`, with its data in `tmp_path`.

    The second argument is more environment; named arguments go to `app.build`.
    """
    from proxy import settings
    from tests.running import running

    @asynccontextmanager
    async def start(
        flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **parts: Any
    ) -> AsyncIterator[Any]:
        places = {"ASKONCE_UPSTREAM": provider.url, "ASKONCE_DATA_DIR": str(tmp_path / "data")}
        loaded = settings.load(None, PATIENT | (flags or {}), places | (environ or {}))
        async with running(loaded.settings, **parts) as proxy:
            yield proxy

    return start


@pytest.fixture
async def proxy(askonce: Callable[..., AbstractAsyncContextManager[Any]], lane: dict[str, Any]) -> AsyncIterator[Any]:
    """A running proxy with default settings, on every lane."""
    async with askonce(lane) as running:
        yield running


@pytest.fixture
async def default_proxy(askonce: Callable[..., AbstractAsyncContextManager[Any]]) -> AsyncIterator[Any]:
    """A running proxy with default settings, on the default lane: for what does not depend on the way through."""
    async with askonce() as running:
        yield running


@dataclass
class Process:
    """`python -m proxy serve`, running."""

    popen: subprocess.Popen[bytes]
    url: str
    folder: Path
    http: httpx.AsyncClient

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.popen.send_signal(how)
        return await self.ended()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.popen.wait)


@pytest.fixture
def askonce_process(provider: Provider, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Process]]:
    """`async with askonce_process("--log-format", "json", environ={...}) as process:` once it answers /livez.

    Started again in the same test it finds the same data. It sees nothing of the environment but what is given.
    """

    from tests.running import client

    @asynccontextmanager
    async def start(*arguments: str, environ: dict[str, str] | None = None) -> AsyncIterator[Process]:
        port = free_port()
        places = {"ASKONCE_UPSTREAM": provider.url, "ASKONCE_DATA_DIR": str(tmp_path / "data")}
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(client(f"http://127.0.0.1:{port}"))
            popen = stack.enter_context(launch(tmp_path, port, *arguments, environ=places | (environ or {})))
            stack.callback(popen.kill)
            process = Process(popen, f"http://127.0.0.1:{port}", tmp_path, http)
            await alive(process)
            yield process

    return start


def launch(folder: Path, port: int, *arguments: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """`python -m proxy serve` in this folder, which gets what it says. It sees no other environment than this."""
    command = [sys.executable, "-m", "proxy", "serve", "--host", "127.0.0.1", "--port", str(port), *arguments]
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), "ASKONCE_SEMANTIC__MODE": "off"}
    with (folder / "stdout").open("ab") as stdout, (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(command, env=own | environ, cwd=folder, stdout=stdout, stderr=stderr)


async def alive(process: Process) -> None:
    """Until it answers. Fails when it ended instead."""
    while process.popen.poll() is None:
        try:
            await process.http.get("/livez")
        except httpx.TransportError:
            # Another process's start cannot be awaited, only asked after.
            await asyncio.sleep(0.02)
        else:
            return
    pytest.fail(f"askonce ended with {process.popen.returncode}:\n{process.stderr}")
