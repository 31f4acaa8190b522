"""Programs of the load tests as processes of a test, and runs of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import load
import servers

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str, expected: int = 0) -> str:
    """One of `loadtests/`, to its end; gives what it said. Fails where it ends otherwise than expected."""
    command = [sys.executable, str(ROOT / "loadtests" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


def calls(provider: servers.Running) -> dict[str, int]:
    """What the provider counted."""
    return json.loads(load.ask(provider.port, path="/calls").body)
