"""What is about vLLM, on a real one: slow to start, so not part of the usual run. `make test-vllm` runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.path.several import flags_for
from tests.real_vllm.served import LIVELY, SERVED, Before
from tests.running import Running, Start
from tests.vllm_cpu import VllmServer, vllm

collect_ignore_glob = [] if "ASKONCE_TEST_VLLM" in os.environ else ["*"]

HERE = Path(__file__).parent

PATIENCE_S = 900
"""No test here may hang. One that starts three servers, one after the other on busy cores, takes minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The usual bound is that of tests which start nothing as slow."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The vLLM that tests share: none of them may stop it, or leave it asleep. With all that vLLM offers beside the
    API: sleep, adapters at run time, a reset of its prefix cache."""
    with vllm(tmp_path_factory.mktemp("vllm"), *SERVED, environ=LIVELY, threads="0-1") as server:
        server.wait()
        yield server


@pytest.fixture
def before(askonce: Start) -> Before:
    """`async with before(served.url) as proxy:` AskOnce before vLLMs at these addresses."""

    def start(*urls: str, flags: dict[str, Any] | None = None, **members: Any) -> AbstractAsyncContextManager[Running]:
        return askonce(flags_for([LOCAL | {"base_url": list(urls)} | members])[0] | (flags or {}))

    return start


LOCAL: dict[str, Any] = {
    "name": "local",
    "kind": "vllm",
    # Looked at often, so that nobody waits long for a look; and a busy core is no dead server.
    "health_interval": 0.5,
    "health_timeout": 60,
}
