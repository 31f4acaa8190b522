"""A Prometheus for the tests: the one on PATH, or Debian's, unpacked below `.cache/` and not installed.

`promtool` comes with it. `python -m tests.prometheus_server` makes it before a test needs it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import yaml

from tests.redis_servers import free_port

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".cache" / "prometheus"
MADE = HOME / "debian"

ADVICE = "put prometheus and promtool on PATH (https://prometheus.io/download, on Debian: apt-get install prometheus)"
"""What helps where none could be had."""

OLDEST = (2, 42)
"""The first that knows `keep_firing_for`."""

START_S = 60
"""How long it may take to be ready. Only a broken one takes that long."""

_FAILED = HOME / "failed"
_RETRY_AFTER_S = 600


class Unavailable(Exception):
    """No Prometheus could be had; the message says why and what to do."""


class Programs(NamedTuple):
    """Where they are."""

    prometheus: Path
    promtool: Path

    def tool(self, *arguments: str | Path, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run promtool; `text` is what it reads."""
        return subprocess.run([self.promtool, *arguments], input=text, capture_output=True)


def obtain(*, again: bool = False) -> Programs:
    """The programs, made first where they are not there. Raises `Unavailable`. A failed download is tried again after
    ten minutes, or `again`."""
    found = _on_path()
    if found is not None:
        return found
    HOME.mkdir(parents=True, exist_ok=True)
    with _alone():
        if not MADE.is_dir():
            reason = None if again else _failed_lately()
            if reason is not None:
                raise Unavailable(reason)
            try:
                _make()
            except Unavailable as why:
                _FAILED.write_text(str(why), encoding="utf-8")
                raise
    return _in(MADE)


class PrometheusServer:
    """One Prometheus on a free port of the loopback, which keeps nothing over a stop.

    jobs: addresses (`host:port`) to scrape, by job; each also with the labels a cluster would add (`labels`).
    rules: files as operators have them; groups are evaluated each second, whatever interval they name.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        jobs: Mapping[str, Sequence[str]],
        rules: Sequence[Path] = (),
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._programs = programs
        self._folder = folder / "prometheus"
        self._folder.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None
        for rule in rules:
            groups = yaml.safe_load(rule.read_text(encoding="utf-8"))
            for group in groups["groups"]:
                group["interval"] = "1s"
            (self._folder / f"rules-{rule.name}").write_text(yaml.safe_dump(groups), encoding="utf-8")
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": list(targets), "labels": dict(labels or {})}]}
            for job, targets in jobs.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{self._folder}/rules-*"],
            "scrape_configs": scrapes,
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query, as its API gives it; `at` in Unix seconds. Fails on one it cannot take."""
        answer = httpx.get(
            f"{self.url}/api/v1/query", params={"query": expression} | ({"time": at} if at else {}), timeout=30
        ).json()
        assert answer["status"] == "success", f"{answer.get('error')}: {expression}"
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    def groups(self) -> list[dict[str, Any]]:
        """Its rule groups, as its API gives them."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return found

    def __enter__(self) -> Self:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs.prometheus,
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )
        try:
            self._ready(self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()  # Nothing is kept: a clean stop would only take longer.
        self._process.wait()

    def _ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if process.poll() is not None:
                raise Unavailable(f"Prometheus ended with {process.returncode}:\n{self.log}")
            try:
                if httpx.get(f"{self.url}/-/ready", timeout=5).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise Unavailable(f"Prometheus is not ready after {START_S} s:\n{self.log}")


def main() -> int:
    """Make it and say where it is."""
    try:
        programs = obtain(again=True)
    except Unavailable as why:
        print(f"No Prometheus for the tests: {why}", file=sys.stderr)
        return 1
    print(f"Prometheus {'.'.join(map(str, _version(programs.prometheus)))} for the tests: {programs.prometheus}")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Several test processes start at once; one makes it, the others wait."""
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _failed_lately() -> str | None:
    try:
        age_s = time.time() - _FAILED.stat().st_mtime
        return _FAILED.read_text(encoding="utf-8") if age_s < _RETRY_AFTER_S else None
    except FileNotFoundError:
        return None


def _on_path() -> Programs | None:
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus is None or promtool is None or _version(Path(prometheus)) < OLDEST:
        return None
    return Programs(Path(prometheus), Path(promtool))


def _in(folder: Path) -> Programs:
    return Programs(folder / "usr" / "bin" / "prometheus", folder / "usr" / "bin" / "promtool")


def _make() -> None:
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"there is no {missing[0]} on {platform.system()} here to fetch Debian's with; {ADVICE}")
    with tempfile.TemporaryDirectory(prefix="making-", dir=HOME) as folder:
        if os.geteuid() == 0:
            _run("apt-get", "update", "-qq", cwd=folder, may_fail=True)  # an older list may still do
        _run("apt-get", "download", "-qq", "prometheus", cwd=folder)
        (package,) = Path(folder).glob("prometheus_*.deb")
        unpacked = Path(folder, "unpacked")
        _run("dpkg", "-x", str(package), str(unpacked), cwd=folder)
        for program in _in(unpacked):
            if _version(program) < OLDEST:
                wanted = ".".join(map(str, OLDEST))
                raise Unavailable(f"Debian's {program.name} is older than {wanted} or does not run here; {ADVICE}")
        unpacked.rename(MADE)
    _FAILED.unlink(missing_ok=True)


def _run(*command: str, cwd: str, may_fail: bool = False) -> None:
    ran = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode and not may_fail:
        said = ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"]
        raise Unavailable(f"{' '.join(command[:2])} failed ({said[-1]}); {ADVICE}")


def _version(program: Path) -> tuple[int, ...]:
    """(0,) for one that does not run here."""
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True)
    except OSError:
        return (0,)
    words = ran.stdout.split()
    if "version" not in words[:-1]:
        return (0,)
    said = words[words.index("version") + 1].partition("+")[0]
    numbers = said.split(".")
    return tuple(int(number) for number in numbers) if all(each.isdecimal() for each in numbers) else (0,)


if __name__ == "__main__":
    sys.exit(main())
