"""The composition root: `askonce check` tries the real parts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy import app, settings
from tests.embedding_model import lend
from tests.provider import Provider, plain


def loaded(tmp_path: Path, upstream: str, **flags: object) -> settings.Settings:
    environ = {"ASKONCE_UPSTREAM": upstream, "ASKONCE_DATA_DIR": str(tmp_path / "data")}
    return settings.load(None, {"semantic.mode": "off"} | flags, environ).settings


async def probed(tree: settings.Settings) -> dict[str, app.Probe]:
    return {probe.part: probe async for probe in app.probe(tree)}


async def test_all_is_well_where_store_and_upstream_answer(tmp_path: Path, provider: Provider) -> None:
    lend(tmp_path / "data")
    probes = await probed(loaded(tmp_path, provider.url, **{"semantic.mode": "on"}))
    assert all(probe.ok for probe in probes.values())
    assert set(probes) == {"store", "embedder", "upstream openai"}
    assert "all-MiniLM-L6-v2/onnx/int8" in probes["embedder"].detail
    assert str(tmp_path / "data" / "cache.db") in probes["store"].detail


async def test_an_upstream_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    probes = await probed(loaded(tmp_path, f"http://127.0.0.1:{port}/v1"))
    assert probes["store"].ok
    assert not probes["upstream openai"].ok
    assert str(port) in probes["upstream openai"].detail


@pytest.mark.parametrize(("status", "ok"), [(200, True), (401, True), (403, True), (404, False), (500, False)])
async def test_an_upstream_may_want_a_credential_but_not_fail(
    tmp_path: Path, provider: Provider, status: int, ok: bool
) -> None:
    provider.then(plain({"object": "list", "data": []}, status=status))
    probes = await probed(loaded(tmp_path, provider.url))
    assert probes["upstream openai"].ok is ok


async def test_a_data_directory_that_cannot_be_used_is_said(tmp_path: Path, provider: Provider) -> None:
    (tmp_path / "data").write_text("a file in its place")
    probes = await probed(loaded(tmp_path, provider.url))
    assert not probes["store"].ok
    assert "data" in probes["store"].detail


async def test_two_upstreams_of_one_name_never_share_an_answer(tmp_path: Path, provider: Provider, askonce) -> None:
    async with askonce() as proxy:
        assert (await proxy.chat()).headers["x-cache"] == "miss"
        assert (await proxy.chat()).headers["x-cache"] == "hit"
    async with Provider() as other, askonce(environ={"ASKONCE_UPSTREAM": other.url}) as proxy:
        assert (await proxy.chat()).headers["x-cache"] == "miss"
        assert other.calls == 1
