"""Each client in an environment of its own: one environment for all would pull most of them down to old versions.

An environment is made by the install line of the client's own page, held to the versions of `locks/`, in
`.cache/clients/NAME`, and kept while neither changes. uv makes those of Python in seconds; where it cannot, pip does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

LOCKS = Path(__file__).parent / "locks"
PLACE = ROOT / ".cache" / "clients"

MAKE_S = 540
"""How long an installer may take: half a gigabyte over a slow line, and less than any runner's patience."""


class NotToBeHad(Exception):
    """The environment cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Environment:
    """A place with a client in it. `bin` has its commands; `modules` what `import` finds in Node.js, None in Python."""

    bin: Path
    modules: Path | None = None


def environment(name: str, install: str) -> Environment:
    """The environment of a client, made where it is not there yet.

    install: the page's line, e.g. `pip install openai`. Raises `NotToBeHad`.
    """
    installer, packages = _read(install)
    folder = PLACE / name
    with _alone(name):
        if installer == "npm":
            _keep(folder, _stamp(install, LOCKS / name), lambda: _npm(folder, LOCKS / name))
            return Environment(folder / "node_modules" / ".bin", folder / "node_modules")
        if installer == "pip":
            lock = LOCKS / f"{name}.txt"
            _keep(folder, _stamp(install, lock), lambda: _pip(folder, packages, lock))
            return Environment(folder / "bin")
    raise AssertionError(f"{install!r}: an install line is `pip install ...` or `npm install ...`")


def version(name: str, package: str) -> str:
    """The version of a package that the tests run with."""
    lock = LOCKS / f"{name}.txt"
    if lock.exists():
        pinned = [line.partition(" ;")[0].split("==") for line in lock.read_text().splitlines() if "==" in line]
        return next(number for known, number in pinned if known == package)
    dependencies = _members(LOCKS / name / "package.json", "dependencies")
    return str(dependencies[package])


def packages_of(name: str, install: str) -> list[str]:
    """The packages an install line names, without extras. For npm they must be those of the lock."""
    installer, packages = _read(install)
    if installer == "npm":
        assert set(packages) == set(_members(LOCKS / name / "package.json", "dependencies"))
    return [package.partition("[")[0] for package in packages]


def _read(install: str) -> tuple[str, list[str]]:
    installer, verb, *words = shlex.split(install)
    assert verb == "install", install
    return installer, [word for word in words if not word.startswith("-")]


def _members(file: Path, name: str) -> dict[str, str]:
    members = json.loads(file.read_text())[name]
    assert isinstance(members, dict)
    return members


def _stamp(install: str, lock: Path) -> str:
    digest = hashlib.sha256(f"{install}\n{sys.version}".encode())
    for file in sorted(lock.iterdir()) if lock.is_dir() else [lock]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process at a time makes an environment: the suite runs in several."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep(folder: Path, stamp: str, make: Callable[[], None]) -> None:
    made = folder / ".made"
    if made.exists() and made.read_text() == stamp:
        return
    shutil.rmtree(folder, ignore_errors=True)
    make()
    made.write_text(stamp)


def _pip(folder: Path, packages: Sequence[str], lock: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    uv = Path(sys.executable).with_name("uv")
    wanted = ["--constraint", str(lock), *packages]
    into = [str(folder / "bin" / "python")]
    try:
        _run([str(uv), "pip", "install", "--quiet", "--compile-bytecode", "--python", *into, *wanted])
    except NotToBeHad:
        # pip also looks where only pip is configured to look.
        _run([sys.executable, "-m", "pip", "--python", *into, "install", "--quiet", *wanted])


def _npm(folder: Path, lock: Path) -> None:
    if shutil.which("npm") is None:
        raise NotToBeHad("Node.js with npm is not installed")
    shutil.copytree(lock, folder)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
    _run(["npm", "ci", *quiet, "--cache", str(PLACE / "npm")], cwd=folder)


def _run(command: Sequence[str], cwd: Path = ROOT) -> None:
    environ = {"UV_CACHE_DIR": str(ROOT / ".cache" / "uv"), "PIP_CACHE_DIR": str(ROOT / ".cache" / "pip")} | os.environ
    try:
        subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=True, timeout=MAKE_S)
    except FileNotFoundError as error:
        raise NotToBeHad(f"{command[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise NotToBeHad(f"{shlex.join(command)} took over {MAKE_S} s") from error
    except subprocess.CalledProcessError as error:
        raise NotToBeHad(f"{shlex.join(command)} failed: {error.stderr.strip()[-500:]}") from error
