"""Every client snippet of the README, run twice against a proxy: it works, and the second time it is a hit."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SNIPPET = re.compile(r"<!-- snippet: ([a-z-]+) -->\n```[a-z]+\n(.*?)```", re.DOTALL)
SNIPPETS = dict(SNIPPET.findall((ROOT / "README.md").read_text()))

NODE = ROOT / ".cache" / "node"


@pytest.fixture(scope="session")
def openai_node() -> Path:
    """A folder with the npm package `openai`, installed once."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed: the openai-node snippet needs it")
    if not (NODE / "node_modules" / "openai").is_dir():
        NODE.mkdir(parents=True, exist_ok=True)
        (NODE / "package.json").write_text('{"private": true, "type": "module"}')
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        subprocess.run(["npm", "install", *quiet, "--cache", str(NODE / "cache"), "openai@6"], cwd=NODE, check=True)
    return NODE


def _command(name: str, code: str, folder: Path) -> list[str]:
    if name == "openai-node":
        script = folder / "snippet.mjs"
        script.write_text(code)
        return ["node", str(script)]
    return ["bash", "-c", code] if name == "curl" else [sys.executable, "-c", code]


def _run(name: str, url: str, folder: Path) -> str:
    code = SNIPPETS[name].replace("http://127.0.0.1:8080", url)
    environ = {**os.environ, "OPENAI_API_KEY": "sk-readme", "HOME": str(folder)}
    done = subprocess.run(
        _command(name, code, folder), env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SNIPPETS)
async def test_a_snippet_of_the_readme_works_and_its_second_run_is_a_hit(
    name, askonce_process, provider, tmp_path, request
):
    folder = request.getfixturevalue("openai_node") if name == "openai-node" else tmp_path
    async with askonce_process() as process:
        first = await asyncio.to_thread(_run, name, process.url, folder)
        second = await asyncio.to_thread(_run, name, process.url, folder)
        stats = (await process.http.get("/admin/stats")).json()

    assert first.strip()
    if name != "curl":  # which prints the frames, and with them the id of each delivery
        assert second == first
    assert len(provider.asked) == 1
    assert stats["requests"]["hit"] == 1


def test_the_readme_shows_a_client_of_each_kind():
    assert set(SNIPPETS) == {"openai-python", "openai-node", "langchain", "curl"}
