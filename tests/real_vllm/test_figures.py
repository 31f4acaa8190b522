"""What AskOnce tells of a real vLLM, and what of it cannot be reached."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error

import pytest

from proxy import kv_size
from tests.conftest import ROOT
from tests.real_vllm.served import BLOCK, Before, ask, asking, cached_tokens, long_text, quiet, told
from tests.running import ALICE
from tests.vllm_cpu import TINY, VLLM, VllmServer

ADMINISTERED = (
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/collective_rpc",
    "/server_info",
    "/metrics",
    "/health",
    "/version",
    "/load",
    "/tokenize",
    "/invocations",
    "/inference/v1/generate",
)
"""Paths that this vLLM has, and that no caller of the API has any business with."""


@pytest.mark.parametrize("path", ADMINISTERED)
async def test_administration_is_out_of_reach(served: VllmServer, before: Before, path: str) -> None:
    assert _there(served, path)  # or the test would show nothing
    await quiet(served)
    asked = _others(served)
    ways = {path, f"/v1{path.removeprefix('/v1')}", f"/v1/models/../..{path}", f"/v1/models/%2e%2e/%2e%2e{path}"}
    async with before(served.url) as proxy:
        own = {(method, path) for method, path in OWN if path in ways}
        for method, way in {(method, way) for method in ("GET", "POST") for way in ways} - own:
            answer = await proxy.raw(_request(method, way))
            assert answer.split(b" ", 2)[1] in (b"404", b"405"), (method, way, answer)
    assert _others(served) == asked


OWN = {("GET", "/metrics")}
"""What AskOnce has itself under such a path: its own figures."""


def _request(method: str, path: str) -> bytes:
    """As it stands on the wire: a client library would take the dots out of its path."""
    fields = ("host: askonce", f"authorization: Bearer {ALICE}", "content-type: application/json", "connection: close")
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "content-length: 2", "", "{}"]).encode()


def _there(server: VllmServer, path: str) -> bool:
    try:
        server.get(path)
    except urllib.error.HTTPError as refused:
        return refused.code != 404
    return True


def _others(server: VllmServer) -> float:
    """Requests to all of its paths but those that AskOnce asks itself."""
    looks = sum(server.metric("http_requests_total", handler=path) for path in ("/v1/models", "/health", "/version"))
    return server.metric("http_requests_total") - looks - server.metric("http_requests_total", handler="/metrics")


async def test_check_says_which_version_and_models_are_there(served: VllmServer, tmp_path) -> None:
    done = await asyncio.to_thread(
        _askonce,
        "check",
        ASKONCE_UPSTREAMS__0__NAME="local",
        ASKONCE_UPSTREAMS__0__KIND="vllm",
        ASKONCE_UPSTREAMS__0__BASE_URL=served.url,
        ASKONCE_UPSTREAMS__0__HEALTH_TIMEOUT="60s",
        ASKONCE_DATA_DIR=str(tmp_path / "data"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "upstream local" in line]
    assert line.startswith("ok")
    assert f"{served.url} answers: version {VLLM}, serves tiny" in line


async def test_stats_count_the_tokens_that_vllm_had_in_its_prefix_cache(served: VllmServer, before: Before) -> None:
    text = long_text("counting", blocks=3)
    async with before(served.url) as proxy:
        answers = [await ask(proxy, asking(text, seed=seed), stream=seed == 2) for seed in range(3)]
        await ask(proxy, asking(text, seed=0))  # a hit, which computes nothing
        done = await asyncio.to_thread(_askonce, "stats", "--json", "--url", proxy.url)
    assert [cached_tokens(each) for each in answers] == [0, 3 * BLOCK, 3 * BLOCK]
    upstream = json.loads(done.stdout)["upstream"]
    assert upstream["cached_tokens"] == {"local": 6 * BLOCK}
    assert upstream["prompt_tokens"] == {"local": sum(told(each)["usage"]["prompt_tokens"] for each in answers)}


def _askonce(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ASKONCE_SEMANTIC__MODE": "off"}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments], env=own | environ, capture_output=True, text=True, timeout=120
    )


def test_kv_size_computes_as_many_blocks_as_vllm_makes(served: VllmServer) -> None:
    """Of 1 GiB, which is what this vLLM was given."""
    model = kv_size.read(json.loads((TINY / "config.json").read_text(encoding="utf-8")), dtype="float32")
    size = int(served.label("vllm:cache_config_info", "block_size"))
    made = int(served.label("vllm:cache_config_info", "num_gpu_blocks"))
    assert kv_size.blocks_that_fit(model, kv_size.GIB, block_size=size) == made
