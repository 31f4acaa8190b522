"""Redis as it runs in the field, on free ports of the loopback: alone, under Sentinel and as a cluster.

Nothing is kept over a stop. All of it is plain and blocking: in an asynchronous test that has something else to do
meanwhile, wait in a thread (`await asyncio.to_thread(sentinels.wait_for_failover)`). But start in the test's own
thread: a server dies with the thread that started it, so that none is left when the tests are killed.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.redis_stack import environment

START_S = 30
"""How long a server, or a set of them, may take to be ready. Only a broken one takes that long."""


class RedisServer:
    """One Redis. `with RedisServer(stack, tmp_path) as server:` it runs; after `kill`, `start` takes the same port.

    `users` are rules by name (`{"app": "on >secret ~app:* +@all"}`, and `"default": "off"` to close the door), `policy`
    is what to evict at `maxmemory` (`"allkeys-lru"`), `arguments` go to the command line (`("--databases", "1")`).
    """

    def __init__(
        self,
        stack: Path,
        folder: Path,
        *,
        search: bool = True,
        password: str | None = None,
        users: Mapping[str, str] | None = None,
        maxmemory: int | str | None = None,
        policy: str | None = None,
        maxclients: int | None = None,
        tls: bool = False,
        arguments: Sequence[str | int] = (),
    ) -> None:
        self.port = free_port()
        self.folder = folder / f"redis-{self.port}"
        self.folder.mkdir(parents=True)
        self.password = password
        self.ca_file: Path | None = _issue(self.folder) if tls else None
        """The authority to trust when the server speaks TLS."""
        self._stack = stack
        self._arguments = [str(argument) for argument in arguments]
        self._own_password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        module = stack / "lib" / "redisearch.so"
        directives = [
            *self._basics(),
            *([("loadmodule", module)] if search and module.exists() else []),
            *([("requirepass", password)] if password else []),
            *(("user", name, *rules.split()) for name, rules in (users or {}).items()),
            *([("maxmemory", maxmemory)] if maxmemory is not None else []),
            *([("maxmemory-policy", policy)] if policy else []),
            *([("maxclients", maxclients)] if maxclients is not None else []),
            *self._role(),
        ]
        self._write(directives)

    @property
    def url(self) -> str:
        """Its address, with the password where there is one; `rediss:` where it speaks TLS."""
        return self.url_as("", self.password) if self.password else self._url("")

    def url_as(self, user: str, password: str) -> str:
        """Its address for one of its users."""
        return self._url(f"{quote(user, safe='')}:{quote(password, safe='')}@")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said since it was first started."""
        return self._log_file.read_text(encoding="utf-8", errors="replace") if self._log_file.exists() else ""

    def start(self) -> None:
        """Start it, empty, on its port; returns when it answers."""
        assert not self.running, f"the Redis at port {self.port} runs already"
        try:
            self._launch()
            self._answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Let it end by itself (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again on the same port."""
        self.stop()
        self.start()

    def pause(self, ms: int) -> None:
        """Let every command wait that long. `raw` waits too."""
        self.raw("CLIENT", "PAUSE", ms, "ALL")

    def config(self, name: str, value: str | int) -> None:
        """Change a setting until it is stopped."""
        self.raw("CONFIG", "SET", name, value)

    def raw(self, *args: str | bytes | int | float) -> Any:
        """Send one command over a connection of its own, with every right; gives the reply as redis-py reads it."""
        with self._client() as client:
            return client.execute_command(*args)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # Nothing is kept: a clean stop would only take longer.

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.port} {'running' if self.running else 'stopped'}>"

    # --- its settings

    def _basics(self) -> list[tuple[object, ...]]:
        doors: list[tuple[object, ...]] = [("port", self.port)]
        if self.ca_file is not None:
            doors = [
                ("port", 0),
                ("tls-port", self.port),
                ("tls-auth-clients", "no"),
                ("tls-ca-cert-file", self.ca_file),
            ]
            doors += [(f"tls-{part}-file", self.folder / f"{part}.pem") for part in ("cert", "key")]
        return [
            *doors,
            ("bind", "127.0.0.1"),
            ("dir", self.folder),
            ("save", ""),
            ("appendonly", "no"),
            ("shutdown-timeout", 0),
            ("repl-diskless-sync-delay", 0),
            # Whatever the test does to the default user, the test itself gets in.
            ("user", _TESTS, "on", f">{self._own_password}", "~*", "&*", "+@all"),
        ]

    def _role(self) -> list[tuple[object, ...]]:
        return []

    def _write(self, directives: list[tuple[object, ...]]) -> None:
        lines = [" ".join(_quoted(str(part)) for part in directive) for directive in directives]
        self._config_file.write_text("\n".join([*lines, ""]), encoding="utf-8")

    @property
    def _config_file(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def _log_file(self) -> Path:
        return self.folder / "log"

    def _url(self, credentials: str) -> str:
        return f"{'rediss' if self.ca_file else 'redis'}://{credentials}127.0.0.1:{self.port}/0"

    # --- its process

    def _launch(self) -> None:
        program = self._stack / "bin" / "redis-server"
        more = [f"{name}={value}" for name, value in environment(self._stack).items()]
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(len(more)), *more]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, str(program), str(self._config_file), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def _answers(self) -> None:
        def answers() -> bool:
            if not self.running:
                raise RuntimeError(f"the Redis at port {self.port} ended at its start:\n{self.log[-2000:]}")
            try:
                with self._client(timeout_s=START_S) as client:
                    return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

        try:
            _until(answers, f"the Redis at port {self.port} answers", START_S)
        except TimeoutError as late:
            raise TimeoutError(f"{late}:\n{self.log[-2000:]}") from late

    def _client(self, timeout_s: float | None = None) -> redis.Redis:
        tls = {"ssl": True, "ssl_ca_certs": str(self.ca_file)} if self.ca_file else {}
        return redis.Redis(
            "127.0.0.1",
            self.port,
            username=_TESTS,
            password=self._own_password,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            **tls,
        )

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class SentinelSet:
    """A master, its replica and three sentinels that put the replica in its place when it is gone for a second."""

    service = "askonce-test"

    def __init__(self, stack: Path, folder: Path, *, search: bool = True) -> None:
        self.servers = [RedisServer(stack, folder, search=search) for _ in range(2)]
        self.sentinels = [_Sentinel(stack, folder, self.service, self.servers[0].port) for _ in range(3)]
        self._master_port = self.servers[0].port
        self._running = ExitStack()

    @property
    def url(self) -> str:
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{self.service}/0"

    def start(self) -> None:
        """Start all; returns when every sentinel knows all others and a failover could begin."""
        with _started([*self.servers, *self.sentinels]) as running:
            for sentinel in self.sentinels:
                sentinel.hurry()
            first, second = self.servers
            second.raw("REPLICAOF", "127.0.0.1", first.port)
            _until(
                lambda: second.raw("INFO", "replication")["master_link_status"] == "up", "the replica follows", START_S
            )
            _until(
                lambda: all(sentinel.ready() for sentinel in self.sentinels), "the sentinels know each other", START_S
            )
            self._running = running.pop_all()

    def stop(self) -> None:
        self._running.close()

    def master(self) -> RedisServer:
        """The server that is master now, by the word of the sentinels."""
        port = next(sentinel.master_port() for sentinel in self.sentinels if sentinel.running)
        return next(server for server in self.servers if server.port == port)

    def kill_master(self) -> RedisServer:
        """End the master as a crash does; gives what is left of it, to be started again as a replica."""
        master = self.master()
        self._master_port = master.port
        master.kill()
        return master

    def wait_for_failover(self, seconds: float = 60) -> RedisServer:
        """Wait until all sentinels name another master and it takes writes; gives the new master."""

        def failed_over() -> bool:
            ports = {sentinel.master_port() for sentinel in self.sentinels if sentinel.running}
            return len(ports) == 1 and self._master_port not in ports and _writable(self.master())

        _until(failed_over, "a replica takes the place of the master", seconds)
        master = self.master()
        self._master_port = master.port
        return master

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ClusterSet:
    """Three masters that share the slots, without replicas: when one is gone, so is its third."""

    def __init__(self, stack: Path, folder: Path) -> None:
        self._bus_ports = [free_port() for _ in range(3)]
        self.nodes = [RedisServer(stack, folder, search=False, arguments=_member(port)) for port in self._bus_ports]
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all; returns when every node says that all is well."""
        with _started(self.nodes) as running:
            bounds = [0, 5461, 10923, 16384]
            for number, node in enumerate(self.nodes):
                node.raw("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                node.raw("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for node, (other, bus_port) in itertools.product(self.nodes, zip(self.nodes, self._bus_ports, strict=True)):
                if node is not other:
                    node.raw("CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)
            _until(lambda: all(_well(node) for node in self.nodes), "the cluster is well", START_S)
            self._running = running.pop_all()

    def stop(self) -> None:
        self._running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A port of the loopback that is free and stays so: no other test process takes it, nor does a client's own end.

    Below those that systems give out by themselves: a client that calls a dead one of these may reach itself.
    """
    for port in itertools.islice(_ports, _PORTS_EACH):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise RuntimeError("no free port")


# --- parts


_TESTS = "tests"

_PORTS_EACH = 600
_WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_FIRST_PORT = 20_000 + _WORKER % 16 * _PORTS_EACH
_ports = itertools.cycle(
    _FIRST_PORT + (os.getpid() + offset) % _PORTS_EACH
    for offset in range(_PORTS_EACH)  # Two runs at once start apart.
)

_LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
parent, count, *rest = sys.argv[1:]
environment, command = rest[:int(count)], rest[int(count):]
if os.getppid() == int(parent):
    os.execve(command[0], command, os.environ | dict(pair.split("=", 1) for pair in environment))
"""
"""Becomes Redis, after it has asked to die with its parent. A `preexec_fn` is not safe where there are threads."""


class _Sentinel(RedisServer):
    """A Redis that only watches others. It writes what it learns into its own settings."""

    def __init__(self, stack: Path, folder: Path, service: str, master_port: int) -> None:
        self._service = service
        self._watched_port = master_port
        super().__init__(stack, folder, search=False, arguments=("--sentinel",))

    def _role(self) -> list[tuple[object, ...]]:
        return [
            ("sentinel", "monitor", self._service, "127.0.0.1", self._watched_port, 2),
            ("sentinel", "down-after-milliseconds", self._service, 1000),
            ("sentinel", "failover-timeout", self._service, 3000),
        ]

    def hurry(self) -> None:
        """Look around twice in a second; by default it takes ten seconds until the others are known."""
        self.raw("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)

    def master_port(self) -> int:
        _, port = self.raw("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        return int(port)

    def ready(self) -> bool:
        """Whether it sees a master, a replica that follows it, and the two others."""
        master = _pairs(self.raw("SENTINEL", "MASTER", self._service))
        replicas = [_pairs(each) for each in self.raw("SENTINEL", "REPLICAS", self._service)]
        return (
            (master["flags"], master["num-other-sentinels"]) == ("master", "2")
            and [(each["flags"], each["master-link-status"]) for each in replicas] == [("slave", "ok")]
        )  # fmt: skip


def _pairs(reply: Sequence[bytes]) -> dict[str, str]:
    """A flat list of names and values."""
    words = [word.decode() for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def _writable(server: RedisServer) -> bool:
    try:
        server.raw("DEL", "no such key")  # A write that leaves no trace.
    except redis.RedisError:
        return False
    return True


def _member(bus_port: int) -> list[str | int]:
    # The bus has a port of its own choice: ten thousand above may be taken.
    return ["--cluster-enabled", "yes", "--cluster-port", bus_port, "--cluster-node-timeout", 2000]


def _well(node: RedisServer) -> bool:
    said = node.raw("CLUSTER", "INFO").split()
    return {b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_known_nodes:3"} <= set(said)


@contextmanager
def _started(servers: Sequence[RedisServer]) -> Iterator[ExitStack]:
    """All of them, running; stopped unless the stack is taken over."""
    with ExitStack() as running:
        for server in servers:
            running.enter_context(server)
        yield running


def _until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Other processes cannot be awaited, only asked."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _quoted(word: str) -> str:
    """A word as Redis' settings spell it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _issue(folder: Path) -> Path:
    """An authority and a certificate by it, as files."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder / "ca.pem"
