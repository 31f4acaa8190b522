"""A proxy that matches by meaning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.embedding_model import lend
from tests.path.by_meaning import ON, Begin, echo, ready
from tests.provider import Provider
from tests.running import Running, Start


@pytest.fixture
def begin(askonce: Start, provider: Provider, tmp_path: Path) -> Begin:
    """A proxy that matches by meaning, its model loaded."""
    lend(tmp_path / "data")
    provider.answer = echo

    @asynccontextmanager
    async def start(
        flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **parts: Any
    ) -> AsyncIterator[Running]:
        async with askonce(ON | (flags or {}), environ, **parts) as proxy:
            await ready(proxy)
            yield proxy

    return start
