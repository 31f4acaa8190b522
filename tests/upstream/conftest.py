"""A wire, and an upstream at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.upstream.openai_http import OpenAIHttp
from tests.upstream.wire import Wire

DEFAULTS: dict[str, Any] = {
    "credential": "caller",
    "api_key": None,
    "health_timeout_s": 30,
    "connect_timeout_s": 5,
    "first_byte_timeout_s": 30,
    "idle_timeout_s": 30,
    "total_timeout_s": 60,
    "max_connections": 10,
    "keepalive_expiry_s": 30,
    "max_decompression_ratio": 100,
    "max_decoded_bytes": 1024 * 1024,
    "ca_file": None,
}


@asynccontextmanager
async def opened(base_url: str, **options: Any) -> AsyncIterator[OpenAIHttp]:
    upstream = OpenAIHttp("test", base_url, **DEFAULTS | options)
    await upstream.open()
    try:
        yield upstream
    finally:
        await upstream.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire() as listening:
        yield listening


@pytest.fixture
async def upstream(wire: Wire) -> AsyncIterator[OpenAIHttp]:
    async with opened(wire.url) as ready:
        yield ready
