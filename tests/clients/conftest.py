"""Other people's SDKs, each in an environment of its own, which takes time to make: `make test-clients` runs this."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.edge.directives import NAMES
from tests.clients.environments import NotToBeHad
from tests.clients.pages import KEY, Page, Place
from tests.clients.responses import speaks_more
from tests.conftest import Process
from tests.provider import Provider

collect_ignore_glob = [] if "ASKONCE_TEST_CLIENTS" in os.environ else ["*"]


@dataclass
class Desk:
    """A page's snippets, run against an `askonce` process of its own with the provider behind it."""

    page: Page
    place: Place
    process: Process
    provider: Provider

    async def run(self, name: str) -> str:
        """What the snippet prints."""
        return await asyncio.to_thread(self.page.run, name, self.process.url, self.place)

    async def lifetime(self) -> int:
        """Seconds for which the last answer may still be served."""
        asked = self.provider.last
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        answer = await self.process.http.post(asked.target, content=asked.body, headers=headers)
        status = answer.headers["cache-status"]
        assert "; hit; ttl=" in status, status
        return int(status.partition("ttl=")[2].partition(";")[0])

    def outcomes(self, endpoint: str = "/v1/chat/completions") -> list[str]:
        """`X-Cache` of every request, by the access log. The process has ended: then all is written."""
        assert self.process.popen.poll() is not None
        lines = [json.loads(line) for line in self.process.stdout.splitlines()]
        return [
            line["reason"] if line["outcome"] == "error" else line["outcome"]
            for line in lines
            if line.get("endpoint") == endpoint
        ]


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that clients are told to reach other hosts by, which reaches none: its address, and what was wanted."""
    wanted: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wanted.append((await reader.readline()).decode("latin-1").strip())
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", wanted


@pytest.fixture
def desk(
    provider: Provider,
    askonce_process: Callable[..., AbstractAsyncContextManager[Process]],
    elsewhere: tuple[str, list[str]],
    tmp_path: Path,
) -> Callable[[Page], AbstractAsyncContextManager[Desk]]:
    """`async with desk(page) as at:` runs snippets with `at.run(name)`; the page is configured as it says.

    At the end the client has called nobody else, and no directive has come to the provider.
    """

    @asynccontextmanager
    async def sit(page: Page) -> AsyncIterator[Desk]:
        refusing, wanted = elsewhere
        try:
            environment = await asyncio.to_thread(page.environment)
        except NotToBeHad as reason:
            pytest.skip(f"{page.name}: {reason}")
        home = tmp_path / "home"
        home.mkdir()
        speaks_more(provider)
        async with askonce_process("--log-format", "json") as process:
            at = Desk(page, Place(environment, home, refusing), process, provider)
            if "configure" in page.snippets:
                await at.run("configure")
            yield at
            await process.stop()
        assert wanted == []
        for asked in provider.asked:
            assert not {name.lower().encode() for name, _ in asked.headers} & NAMES
            assert asked.header("authorization") == f"Bearer {KEY}"

    return sit
