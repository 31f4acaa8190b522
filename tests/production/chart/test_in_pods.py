"""What runs in the pods, run here: the proxy on rendered settings, `helm test`, the model's init container, Redis."""

from __future__ import annotations

import asyncio
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.conftest import launch
from tests.production.chart.rendering import Object, pod_of, render
from tests.redis_servers import free_port
from tests.redis_stack import environment

PATIENT = Retry(ConstantBackoff(0.05), 400)
"""A server that has just been started cannot be awaited, only asked."""


def command_of(container: Object) -> list[str]:
    """Command and arguments, with this Python in place of the image's."""
    name, *rest = [*container["command"], *container["args"]]
    assert name == "python"
    return [sys.executable, *rest]


def replaced(command: list[str], old: str, new: str) -> list[str]:
    assert old in command
    return [new if each == old else each for each in command]


async def run(command: list[str], environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """In a thread, with nothing of the environment but what is given."""
    return await asyncio.to_thread(
        subprocess.run, command, env=environ or {}, capture_output=True, text=True, timeout=100
    )


def helm_test(base: str, seconds: str = "60") -> list[str]:
    (container,) = pod_of(render().one("Pod", "test"))["containers"]
    return replaced(replaced(command_of(container), "http://askonce:80", base), "60", seconds)


async def test_a_proxy_on_the_rendered_settings_passes_helm_test(tmp_path):
    config = tmp_path / "askonce.yaml"
    made = render({"drain": {"delay": 0, "longestStream": 0}})
    config.write_text(made.one("ConfigMap")["data"]["askonce.yaml"])
    environ = {"ASKONCE_CONFIG": str(config), "ASKONCE_DATA_DIR": str(tmp_path / "data")}
    port = free_port()
    process = launch(tmp_path, port, environ=environ)
    try:
        tested = await run(helm_test(f"http://127.0.0.1:{port}"))
        assert tested.returncode == 0, tested.stderr + (tmp_path / "stderr").read_text()
        assert "samples" in tested.stdout
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0


async def test_helm_test_fails_where_nobody_answers():
    tested = await run(helm_test(f"http://127.0.0.1:{free_port()}", "0"))
    assert tested.returncode != 0
    assert "/livez" in tested.stderr


class Shelf(http.server.BaseHTTPRequestHandler):
    """Files by path; `cut` are ended in the middle, `seen` are the tokens that came."""

    files: ClassVar[dict[str, bytes]]
    cut: ClassVar[set[str]]
    seen: ClassVar[list[str | None]]

    def do_GET(self) -> None:
        body = self.files.get(self.path)
        self.seen.append(self.headers.get("Authorization"))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path in self.cut else body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def shelf(files: dict[str, bytes], *cut: str) -> Iterator[tuple[str, list[str | None]]]:
    handler = type("Handler", (Shelf,), {"files": files, "cut": set(cut), "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/model", handler.seen
        finally:
            server.shutdown()
            thread.join()


def fetch(base: str, folder: Path) -> list[str]:
    container = pod_of(render(file="model-fetched").one("Deployment"))["initContainers"][0]
    hub = "https://hub.example/sentence-transformers/all-MiniLM-L6-v2/resolve/main"
    return replaced(replaced(command_of(container), hub, base), "/opt/askonce/model", str(folder))


MODEL = {"/model/config.json": b"{}", "/model/tokenizer.json": b"[]", "/model/onnx/model.onnx": b"weights" * 1000}


async def test_the_model_is_fetched_with_its_token_once(tmp_path):
    with shelf(MODEL) as (base, seen):
        fetched = await run(fetch(base, tmp_path), {"TOKEN": "hf-token"})
        assert fetched.returncode == 0, fetched.stderr
        assert seen == ["Bearer hf-token"] * 3
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {
            Path(path).name: body for path, body in MODEL.items()
        }
        assert (await run(fetch(base, tmp_path))).returncode == 0
        assert len(seen) == 3


async def test_half_a_model_is_never_there(tmp_path):
    with shelf(MODEL, "/model/onnx/model.onnx") as (base, _):
        fetched = await run(fetch(base, tmp_path))
    assert fetched.returncode != 0
    assert "model.onnx" in fetched.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.json", "tokenizer.json"]


async def test_a_file_that_the_hub_does_not_have_is_named(tmp_path):
    with shelf({}) as (base, _):
        fetched = await run(fetch(base, tmp_path))
    assert fetched.returncode != 0
    assert f"{base}/config.json" in fetched.stderr
    assert list(tmp_path.iterdir()) == []


def expanded(argument: str, environ: dict[str, str]) -> str:
    """`$(NAME)`, as the kubelet reads it."""
    for name, value in environ.items():
        argument = argument.replace(f"$({name})", value)
    return argument


@pytest.mark.parametrize("persistent", [False, True])
def test_a_redis_server_takes_the_arguments_and_asks_for_the_password(redis_stack, tmp_path, persistent):
    values: dict[str, Any] = {
        "redis": {
            "internal": {
                "enabled": True,
                "auth": {"existingSecret": "r"},
                "persistence": {"enabled": persistent},
                "maxmemory": "64mb",
            }
        }
    }
    (container,) = pod_of(render(values).one("Deployment", "redis"))["containers"]
    assert "command" not in container
    arguments = [expanded(each, {"REDISCLI_AUTH": "pass word$1"}) for each in container["args"]]
    arguments = replaced(arguments, "/data", str(tmp_path))
    port = free_port()
    server = subprocess.Popen(
        [str(redis_stack / "bin" / "redis-server"), *arguments, "--port", str(port), "--bind", "127.0.0.1"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]} | environment(redis_stack),
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis(
            port=port, password="pass word$1", retry=PATIENT, retry_on_error=[redis.ConnectionError]
        ) as up:
            assert up.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-lfu"
            assert up.config_get("maxmemory")["maxmemory"] == str(64 << 20)
            assert up.config_get("save") == {"save": ""}
            assert up.config_get("appendonly") == {"appendonly": "yes" if persistent else "no"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.terminate()
        server.wait()
