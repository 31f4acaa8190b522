"""Everything that is measured, started as a process of its own on a free port and stopped at the end of its row.

Each class says how one server is set up; `Bench.start` runs it. A server that cannot be had here (a missing program, an
environment that pip cannot make) raises `MissingError` with what to do about it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import load
import proc
import redis
import yaml

from proxy.errors import CacheFailure
from tests import embedding_model, redis_stack

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENTS = HERE / ".envs"
PRODUCT = ("-m", "proxy", "serve")


class MissingError(Exception):
    """Something that a row needs is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start. `workdir` is where it runs; `environment` is added to ours."""

    arguments: tuple[str, ...]
    workdir: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class Server(Protocol):
    """How one kind of server is started."""

    @property
    def kind(self) -> str:
        """Its name in files and messages."""

    def command(self, port: int, workdir: Path) -> Command:
        """Write what it reads into `workdir` and say how it is run. Raises `MissingError`."""


@dataclass(slots=True)
class Running:
    """A started server."""

    port: int
    process: subprocess.Popen[bytes]
    workdir: Path
    started: float
    """`time.perf_counter()` just before the process was made."""

    @property
    def target(self) -> load.Target:
        """Where to send load."""
        return load.Target(self.port, self.process.pid)

    def resident_mb(self) -> float:
        """Resident memory of the process and its children, in MB of 1,000,000 bytes."""
        return proc.resident_bytes(self.process.pid) / 1e6


class Bench:
    """Starts servers and stops them, newest first, when it is left. Files go to `scratch`."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.stack = contextlib.ExitStack()
        self.count = 0

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stack.close()

    def start(self, server: Server, *, wait: bool = True) -> Running:
        """Start it and, with `wait`, wait for its port. Raises `MissingError`, or `load.RunError` if it ends early."""
        self.count += 1
        workdir = self.scratch / f"{self.count}-{server.kind}"
        workdir.mkdir()
        port = free_port()
        command = server.command(port, workdir)
        running = self.stack.enter_context(run(command, port, workdir))
        if wait:
            wait_for_port(running, server.kind)
        return running

    def file(self, name: str, content: bytes) -> Path:
        """A file that lasts as long as the bench."""
        path = self.scratch / name
        path.write_bytes(content)
        return path


@contextlib.contextmanager
def run(command: Command, port: int, workdir: Path) -> Iterator[Running]:
    """The process, in a group of its own, its output in a file; ended with the block, children included."""
    with (workdir / "output.log").open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.arguments,
            cwd=command.workdir,
            env={**surroundings(), **command.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield Running(port, process, workdir, started)
        finally:
            end(process)


def surroundings() -> dict[str, str]:
    """Our environment without what would change the settings of what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ASKONCE_", "CACHELLM_"))}


def end(process: subprocess.Popen[bytes], patience_s: float = 15) -> None:
    """SIGTERM, then SIGKILL for the whole group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_port(running: Running, kind: str, patience_s: float = 120) -> None:
    """Return when the port accepts connections."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if running.process.poll() is not None:
            raise load.RunError(f"{kind} ended at its start: {last_line(running)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", running.port), timeout=1):
            return
        time.sleep(0.02)
    raise load.RunError(f"{kind} did not open its port within {patience_s:g} s")


def last_line(running: Running) -> str:
    lines = (running.workdir / "output.log").read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tool(name: str) -> str:
    """A program of the system. Debian keeps some where only root looks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed (apt install {name})")
    return found


@dataclass(frozen=True, slots=True)
class Upstream:
    """The fake upstream of upstream.py. `varied`: every question has an answer of its own. `stamped`: each frame of a
    stream says when it was written."""

    characters: int = 800
    delay_ms: float = 0
    gap_ms: float = 0
    varied: bool = False
    stamped: bool = False
    kind: str = "upstream"

    def command(self, port: int, workdir: Path) -> Command:
        size = ("--characters", str(self.characters))
        pace = ("--delay-ms", str(self.delay_ms), "--gap-ms", str(self.gap_ms))
        flags = ("--varied",) * self.varied + ("--stamped",) * self.stamped
        return Command((sys.executable, str(HERE / "upstream.py"), "--port", str(port), *size, *pace, *flags), workdir)


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider of provider.py, which behaves like one. `flags` are its options, without the port."""

    flags: tuple[str, ...] = ()
    kind: str = "provider"

    def command(self, port: int, workdir: Path) -> Command:
        script = (sys.executable, str(HERE / "provider.py"), "--port", str(port), *self.flags)
        return Command(script, workdir)


@dataclass(frozen=True, slots=True)
class Bare:
    """The yardstick of bare.py, sending what was recorded."""

    recording: load.Recording
    access_log: bool = False
    read_body: bool = False
    kind: str = "bare"

    def command(self, port: int, workdir: Path) -> Command:
        kept = workdir / "recording.json"
        self.recording.save(kept)
        flags = ("--access-log",) * self.access_log + ("--read-body",) * self.read_body
        script = (sys.executable, str(HERE / "bare.py"), "--port", str(port), "--recording", str(kept))
        return Command((*script, *flags), workdir)


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay of relay.py: plain httpx, or with `aiohttp` the bare one on AskOnce's own transport."""

    upstream_port: int
    aiohttp: bool = False
    kind: str = "relay"

    def command(self, port: int, workdir: Path) -> Command:
        base = f"http://127.0.0.1:{self.upstream_port}"
        script = (sys.executable, str(HERE / "relay.py"), "--port", str(port), "--base", base)
        return Command((*script, *("--aiohttp",) * self.aiohttp), workdir)


@dataclass(frozen=True, slots=True)
class AskOnce:
    """The product, by its own command, with its access log written to a file.

    `memory` is `store.memory`, `readings` is `server.readings`, `store` is `store.url`; `data_dir` is where its
    embedded store is, a folder of this run when None. `program` is what Python runs. `semantic` is the part of that
    name: off but where a row is about it. Where it is on the data directory has the model already converted. `more`
    are other settings, by section.
    """

    upstream_port: int
    fast_lane: bool = True
    memory: str | int = "256MiB"
    readings: str | int = "32MiB"
    data_dir: Path | None = None
    store: str | None = None
    access_log: bool = True
    program: tuple[str, ...] = PRODUCT
    semantic: Mapping[str, object] = field(default_factory=lambda: {"mode": "off"})
    more: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    kind: str = "askonce"

    def command(self, port: int, workdir: Path) -> Command:
        config, data_dir = workdir / "askonce.yaml", self.data_dir or workdir / "data"
        config.write_text(yaml.safe_dump(self.settings(port, data_dir)))
        if self.semantic["mode"] != "off":
            lend_model(data_dir)
        serve = (sys.executable, *self.program, "--config", str(config))
        return Command(serve, workdir, {"PYTHONPATH": str(ROOT)})

    def settings(self, port: int, data_dir: Path) -> dict[str, object]:
        store: dict[str, object] = {"data_dir": str(data_dir), "memory": self.memory}
        server = {"host": "127.0.0.1", "port": port, "fast_lane": self.fast_lane, "readings": self.readings}
        parts: dict[str, dict[str, object]] = {
            "server": server,
            "store": store if self.store is None else {**store, "url": self.store},
            "telemetry": {"access_log": self.access_log},
            "semantic": dict(self.semantic),
        }
        upstreams = [{"name": "fake", "base_url": f"http://127.0.0.1:{self.upstream_port}/v1"}]
        more = {name: {**parts.get(name, {}), **section} for name, section in self.more.items()}
        return {"upstreams": upstreams, **parts, **more}


def lend_model(data_dir: Path) -> None:
    """The default embedding model, converted, for a data directory. Raises `MissingError`."""
    if (data_dir / "models").exists():
        return
    try:
        embedding_model.lend(data_dir)
    except CacheFailure as why:
        raise MissingError(f"there is no embedding model: {why.message}") from why


@dataclass(frozen=True, slots=True)
class Redis:
    """The Redis that the tests use, over TCP. It keeps nothing on disk. `search`: with its query engine."""

    search: bool = False
    kind: str = "redis"

    def command(self, port: int, workdir: Path) -> Command:
        try:
            stack = redis_stack.obtain()
        except redis_stack.Unavailable as why:
            raise MissingError(f"there is no Redis: {why}") from why
        place = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(workdir))
        program = (str(stack / "bin" / "redis-server"), *place, "--save", "", "--appendonly", "no")
        return Command((*program, *self.modules(stack)), workdir, redis_stack.environment(stack))

    def modules(self, stack: Path) -> tuple[str, ...]:
        module = stack / "lib" / "redisearch.so"
        if self.search and not module.exists():
            raise MissingError("this Redis has no query engine")
        return ("--loadmodule", str(module)) if self.search else ()


def redis_command(port: int, *command: str) -> object:
    """Send one command over a connection of its own; gives the reply."""
    with redis.Redis(port=port) as client:
        reply: object = client.execute_command(*command)
        return reply


NGINX = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 768; }}
http {{
  sendfile on;
  tcp_nopush on;
  access_log access.log;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_body_buffer_size 64k;
  proxy_cache_path cache keys_zone=answers:16m inactive=1d;
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000000;
    location / {{
      proxy_pass http://127.0.0.1:{upstream_port};
      proxy_cache answers;
      proxy_cache_methods POST;
      proxy_cache_key "$http_authorization$request_uri$request_body";
      proxy_cache_valid 200 1d;
      add_header X-Cache-Status $upstream_cache_status;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """Debian's nginx as a cache: one worker, its access log on, and Debian's own `sendfile` and `tcp_nopush`."""

    upstream_port: int
    kind: str = "nginx"

    def command(self, port: int, workdir: Path) -> Command:
        program = tool("nginx")
        user = "user root;" if os.geteuid() == 0 else ""  # its worker could not enter our folder as nobody
        config = workdir / "nginx.conf"
        config.write_text(NGINX.format(port=port, upstream_port=self.upstream_port, user=user))
        paths = ("-p", str(workdir), "-c", str(config), "-e", "error.log")
        return Command((program, *paths), workdir)


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """LiteLLM's proxy with its in-memory cache, one worker, from PyPI in an environment of its own."""

    upstream_port: int
    kind: str = "litellm"

    def command(self, port: int, workdir: Path) -> Command:
        bin_dir = environment("litellm", "litellm[proxy]")
        config = workdir / "config.yaml"
        config.write_text(yaml.safe_dump(self.settings()))
        serve = (str(bin_dir / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
        return Command((*serve, "--num_workers", "1", "--telemetry", "False"), workdir, quiet)

    def settings(self) -> dict[str, object]:
        model = {
            "model": "openai/gpt-4o-mini",
            "api_base": f"http://127.0.0.1:{self.upstream_port}/v1",
            "api_key": "sk-bench",
        }
        return {
            "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": model}],
            "litellm_settings": {"cache": True, "cache_params": {"type": "local"}},
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},  # no key check: the faster way
        }


@dataclass(frozen=True, slots=True)
class CacheLLM:
    """CacheLLM with its in-process store, from PyPI in an environment of its own.

    Its embedder is the one that needs no download: an exact hit does not use it.
    """

    upstream_port: int
    kind: str = "cachellm"

    def command(self, port: int, workdir: Path) -> Command:
        bin_dir = environment("cachellm", "cachellm-proxy")
        serve = (str(bin_dir / "cachellm"), "serve", "--host", "127.0.0.1", "--port", str(port))
        settings = {
            "CACHELLM_BACKEND": "memory",
            "CACHELLM_EMBEDDING_BACKEND": "hash",
            "CACHELLM_OPENAI_BASE_URL": f"http://127.0.0.1:{self.upstream_port}/v1",
            "CACHELLM_OPENAI_API_KEY": "sk-bench",
        }
        return Command(serve, workdir, settings)


def tools() -> Path:
    """The `bin` with the load testers of requirements.txt. Raises `MissingError`."""
    return environment("tools", "-r", str(HERE / "requirements.txt"))


def environment(name: str, *requirements: str) -> Path:
    """The `bin` of an environment that has the packages, made when it is not there yet. Raises `MissingError`."""
    bin_dir = ENVIRONMENTS / name / "bin"
    ready = ENVIRONMENTS / f"{name}.ready"
    if ready.exists():
        return bin_dir
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(bin_dir.parent)], check=True, capture_output=True)
    said = ""
    for install in installers(bin_dir):
        done = subprocess.run([*install, *requirements], capture_output=True, text=True)
        if done.returncode == 0:
            ready.touch()
            return bin_dir
        said = done.stderr.strip()[-300:]
    raise MissingError(f"{' '.join(requirements)} could not be installed: {said}")


def installers(bin_dir: Path) -> Iterator[list[str]]:
    """uv where there is one, for pip takes minutes over some of these trees; pip where uv does not reach an index."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv:
        yield [uv, "pip", "install", "--python", str(bin_dir / "python")]
    yield [str(bin_dir / "python"), "-m", "pip", "install"]


def version_in(name: str, package: str) -> str:
    """The version of a package installed in one of our environments."""
    asked = f"import importlib.metadata as m; print(m.version('{package}'))"
    python = ENVIRONMENTS / name / "bin" / "python"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
