"""Fixtures: a Redis that every test of a process shares, and such as a test may break."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.redis_servers import ClusterSet, RedisServer, SentinelSet
from tests.redis_stack import ROOT, Unavailable, obtain

FOREIGN = "ASKONCE_TEST_REDIS_URL"
"""The variable with the address of a Redis to use in place of one's own, for tests that only talk to it."""


class ForeignRedis:
    """A Redis that somebody else runs. All test processes share its one database, so they take turns."""

    def __init__(self, url: str) -> None:
        self.url = url

    def raw(self, *args: str | bytes | int | float) -> Any:
        """Send one command over a connection of its own; gives the reply as redis-py reads it."""
        with redis.Redis.from_url(self.url, protocol=2, decode_responses=False) as client:
            return client.execute_command(*args)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """It is ours alone meanwhile, and empty before and after. Fails where keys of somebody else would be lost."""
        lock = ROOT / ".cache" / "redis-in-turn"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if keys := self.raw("DBSIZE"):
                found = f"{FOREIGN} names a database that is in use (keys in it: {keys})"
                pytest.fail(f"{found}, and the tests would delete all of it: name an empty one.", pytrace=False)
            try:
                yield
            finally:
                self.raw("FLUSHDB")


@pytest.fixture(scope="session")
def redis_stack() -> Path:
    """The folder to run Redis from; skips where none can be had."""
    try:
        return obtain()
    except Unavailable as why:
        pytest.skip(f"there is no Redis: {why}")


@pytest.fixture(scope="session")
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer | ForeignRedis]:
    """A Redis for all tests of this process: talk to it, do not stop it or change its settings."""
    if url := os.environ.get(FOREIGN):
        yield ForeignRedis(url)
        return
    stack = request.getfixturevalue("redis_stack")
    with RedisServer(stack, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer | ForeignRedis) -> Iterator[str]:
    """The address of the shared Redis, emptied."""
    if isinstance(redis_server, RedisServer):
        redis_server.raw("FLUSHALL")
        yield redis_server.url
        return
    with redis_server.turn():
        yield redis_server.url


@pytest.fixture
def own_redis(redis_stack: Path, tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """`own_redis(maxmemory="2mb")`: a Redis that this test may break; the options are those of `RedisServer`."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(RedisServer(redis_stack, tmp_path, **options))


@pytest.fixture
def sentinels(redis_stack: Path, tmp_path: Path) -> Iterator[SentinelSet]:
    """A master, a replica and three sentinels."""
    with SentinelSet(redis_stack, tmp_path) as running:
        yield running


@pytest.fixture
def cluster(redis_stack: Path, tmp_path: Path) -> Iterator[ClusterSet]:
    """Three masters that share the slots."""
    with ClusterSet(redis_stack, tmp_path) as running:
        yield running
