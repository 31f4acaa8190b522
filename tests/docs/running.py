"""How the blocks of a page are run: one after the other, as a reader would, in one folder, against one proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.pages import ROOT, Block
from tests.redis_servers import free_port

PATIENCE_S = 60.0
"""For one block. Nothing asserts it: a block that hangs must not hang the suite."""


@dataclass
class Reader:
    """Somebody who follows a page. `url` is that of the proxy that answers where the page says 127.0.0.1:8080."""

    url: str
    home: Path
    upstream: str
    printed: str = ""
    """What the last block printed."""
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        tools = self.home / ".bin"
        tools.mkdir()
        # The commands that ask a running proxy know it by its usual address.
        askonce = f"""#!/bin/sh
case "$1" in stats|purge) exec "{sys.executable}" -m proxy "$@" --url "{self.url}" ;; esac
exec "{sys.executable}" -m proxy "$@"
"""
        for name, script in {
            "askonce": askonce,
            "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
        }.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        self.environ = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "OPENAI_API_KEY": "sk-reader",
            "ASKONCE_UPSTREAM": self.upstream,
            "ASKONCE_SEMANTIC__MODE": "off",
        }

    def run(self, block: Block) -> None:
        """Do what the block says. Fails with its place and what was printed."""
        code = self._here(block.code)
        if block.kind == "file":
            (self.home / block.words).write_text(code)
        elif block.kind == "output":
            printed = "".join(line.rstrip() + "\n" for line in self.printed.rstrip().splitlines())
            assert re.fullmatch(expected(block.code), printed), f"{block.place}: it printed\n{self.printed}"
        elif block.words.startswith("serves"):
            self._serve(block, code)
        else:
            self._run(block, code)

    def _here(self, code: str) -> str:
        return code.replace("http://127.0.0.1:8080", self.url)

    def _run(self, block: Block, code: str) -> None:
        command = ["bash", "-euo", "pipefail", "-c", code] if block.language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=self.environ, cwd=self.home, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"
        self.printed = done.stdout

    def _serve(self, block: Block, code: str) -> None:
        """A command that goes on until it is stopped: it answers, and stops in order."""
        port = free_port()
        environ = {**self.environ, "ASKONCE_SERVER__PORT": str(port)}
        popen = subprocess.Popen(
            ["bash", "-euc", code],
            env=environ,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            answered = _answers(popen, f"http://127.0.0.1:{port}/livez")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGTERM)
            said, _ = popen.communicate(timeout=PATIENCE_S)
        assert answered, f"{block.place}: {said}"


def _answers(popen: subprocess.Popen[str], url: str) -> bool:
    while popen.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S):
                return True
        except urllib.error.URLError:
            # Another process's start cannot be awaited, only asked after.
            time.sleep(0.02)
    return False


def expected(text: str) -> str:
    """A pattern for what a block should print: `…` is anything within a line, or any lines where it stands alone."""
    lines = []
    for line in text.splitlines(keepends=True):
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*?".join(re.escape(piece) for piece in line.split("…")))
    return "".join(lines)


async def follow(reader: Reader, blocks: list[Block]) -> None:
    for block in blocks:
        await asyncio.to_thread(reader.run, block)
