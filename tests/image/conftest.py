"""The image, started. It has to be built first, which is long: `make test-image` does that and then runs these."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.redis_servers import free_port

collect_ignore_glob = [] if "ASKONCE_TEST_IMAGE" in os.environ else ["*"]

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("ASKONCE_TEST_IMAGE", "")

LOCKED_DOWN = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
"""As the chart and compose.yaml start it."""

PATIENT = {
    "ASKONCE_SEMANTIC__POLICY": "faq",  # decides about a near question without having learned
    "ASKONCE_SEMANTIC__AUDIT_RATE": "0",
    "ASKONCE_SEMANTIC__DEADLINE": "30s",
    "ASKONCE_STORE__READ_TIMEOUT": "30s",
}
"""A slow machine must not turn a hit into a miss."""

ASKED = "How do I reset my password?"
OTHERWISE = "How can I reset my password?"


def podman(*arguments: str, check: bool = True) -> str:
    """What it prints on standard output."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Container:
    """One that runs. It is asked from inside, so that it needs no network."""

    id: str
    port: int

    def run(self, *command: str) -> str:
        return podman("exec", self.id, *command)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        answer = self._ask("GET", path, "")
        return answer["status"], answer["body"]

    def chat(self, question: str) -> dict[str, str]:
        """The headers of the answer."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}
        answer = self._ask("POST", "/v1/chat/completions", json.dumps(body))
        assert answer["status"] == 200, answer
        return answer["headers"]

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for it. Fails with the log when it does not come, or the container has ended."""
        end = time.monotonic() + 60
        while time.monotonic() < end and podman("inspect", self.id, "--format", "{{.State.Running}}") == "true":
            if holds():
                return
            time.sleep(0.1)
        pytest.fail(f"it never came to this: {what}\n{self.log()}")

    def until_ready(self) -> None:
        """Until it listens, and matches by meaning."""
        self.until("ready", lambda: json.loads(self.get("/readyz")[1] or "{}").get("status") == "ready")

    def stop(self) -> int:
        """By SIGTERM, as all orchestrators do; the exit code. What does not end by itself is killed, which is 137."""
        podman("stop", "--time=60", self.id)
        return int(podman("inspect", self.id, "--format", "{{.State.ExitCode}}"))

    def log(self) -> str:
        done = subprocess.run(["podman", "logs", self.id], capture_output=True, text=True)
        return done.stdout + done.stderr

    def _ask(self, method: str, path: str, body: str) -> dict[str, Any]:
        answer = self.run("python", "/inside/tests/ask.py", str(self.port), method, path, body)
        return json.loads(answer)


Start = Callable[..., Container]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(ASKONCE_STORE="memory://")`: the image, locked down, with no network but its own loopback.

    `options` go to `podman run`, `upstream=False` leaves out the upstream beside it, `host=True` is for what must
    reach something on this machine; keywords in capitals are its environment.
    """
    with ExitStack() as running:

        def begin(
            *options: str, image: str = IMAGE, upstream: bool = True, host: bool = False, delay_ms: int = 0, **env: str
        ) -> Container:
            port = free_port() if host else 8080
            provider = free_port() if host else 9000
            if host:
                env |= {"ASKONCE_SERVER__PORT": str(port), "ASKONCE_SERVER__HOST": "127.0.0.1"}
            env = {"ASKONCE_UPSTREAM": f"http://127.0.0.1:{provider}/v1", **PATIENT, **env}
            given = [f"--env={name}={value}" for name, value in env.items()]
            mounts = [f"--volume={ROOT}/{name}:/inside/{to}:ro" for name, to in MOUNTED.items()]
            network = "host" if host else "none"
            name = podman(
                "run", "--detach", "--no-healthcheck", f"--network={network}", *LOCKED_DOWN, *mounts, *given, *options,
                image,
            )  # fmt: skip
            running.callback(podman, "rm", "--force", "--volumes", "--time=0", name, check=False)
            if upstream:
                podman(
                    "exec", "--detach", name, "python", "/inside/loadtests/upstream.py", f"--port={provider}",
                    f"--delay-ms={delay_ms}",
                )  # fmt: skip
            return Container(name, port)

        yield begin


MOUNTED = {"loadtests": "loadtests", "tests/image": "tests"}


@pytest.fixture(scope="session")
def inspected() -> dict[str, Any]:
    """What the image says of itself."""
    return json.loads(podman("image", "inspect", IMAGE))[0]
