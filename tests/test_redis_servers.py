"""The Redis of the tests does what its harness says: else no test that leans on it means anything."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel

from tests import redis_servers
from tests import redis_stack as making
from tests.redis_fixtures import ForeignRedis
from tests.redis_servers import ClusterSet, RedisServer, SentinelSet

Own = Callable[..., RedisServer]


# --- one


@pytest.mark.parametrize("time_of_asking", ["first", "second"])
async def test_every_test_finds_the_shared_redis_empty(redis_url: str, time_of_asking: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("left behind", time_of_asking)


def test_the_search_module_is_loaded_unless_it_is_not_wanted(redis_stack: Path, own_redis: Own) -> None:
    if not (redis_stack / "lib" / "redisearch.so").exists():
        pytest.skip("the Redis on PATH has no search module")
    assert own_redis().raw("FT._LIST") == []
    with pytest.raises(redis.ResponseError, match="unknown command"):
        own_redis(search=False).raw("FT._LIST")


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
def test_after_its_end_it_starts_again_on_its_port_and_is_empty(own_redis: Own, end: Callable[..., None]) -> None:
    server = own_redis()
    url = server.url
    server.raw("SET", "key", "value")
    end(server)
    with pytest.raises(redis.ConnectionError):
        server.raw("PING")
    server.start()
    assert server.url == url
    assert server.raw("DBSIZE") == 0


def test_a_paused_server_lets_a_command_wait(own_redis: Own) -> None:
    server = own_redis()
    began = time.monotonic()
    server.pause(300)
    server.raw("PING")
    assert time.monotonic() - began >= 0.3


def test_a_full_server_refuses_a_write_or_evicts(own_redis: Own) -> None:
    server = own_redis(search=False, maxmemory="4mb", policy="noeviction")
    with pytest.raises(redis.OutOfMemoryError):
        _fill(server)
    server.config("maxmemory-policy", "allkeys-lru")
    server.raw("SET", "one more", bytes(100_000))
    assert server.raw("INFO", "stats")["evicted_keys"] > 0


def _fill(server: RedisServer) -> None:
    for number in range(100):
        server.raw("SET", number, bytes(100_000))


async def test_a_server_takes_no_more_clients_than_it_may(own_redis: Own) -> None:
    server = own_redis(maxclients=2)
    async with redis.asyncio.Redis.from_url(server.url) as first, redis.asyncio.Redis.from_url(server.url) as second:
        await first.ping()
        await second.ping()
        with pytest.raises(redis.ConnectionError, match="max number of clients"):
            server.raw("PING")


async def test_with_tls_and_users_only_who_may_gets_in(own_redis: Own) -> None:
    users = {"default": "off", "app": "on >its-password ~app:* +@all"}
    server = own_redis(tls=True, users=users)
    trust = {"ssl_ca_certs": str(server.ca_file)}
    async with redis.asyncio.Redis.from_url(server.url_as("app", "its-password"), **trust) as app:
        await app.set("app:key", "value")
        with pytest.raises(redis.exceptions.NoPermissionError):
            await app.set("other", "value")
    async with redis.asyncio.Redis.from_url(server.url, **trust) as nobody:
        with pytest.raises(redis.AuthenticationError):
            await nobody.ping()
    async with redis.asyncio.Redis.from_url(server.url_as("app", "its-password")) as trustless:
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await trustless.ping()


async def test_a_password_stands_in_the_address(own_redis: Own) -> None:
    server = own_redis(password='a "b"/@:c')
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.ping()
    async with redis.asyncio.Redis(port=server.port, retry=None) as nobody:
        with pytest.raises(redis.AuthenticationError):
            await nobody.ping()


def test_a_start_that_fails_shows_the_log(own_redis: Own) -> None:
    with pytest.raises(RuntimeError, match="no-such-setting"):
        own_redis(arguments=("--no-such-setting", 1))


def test_a_start_that_takes_too_long_leaves_no_process(own_redis: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "START_S", 0.5)
    with pytest.raises(TimeoutError) as late:
        own_redis(arguments=("--port", redis_servers.free_port()))
    pid = re.search(r"pid=(\d+)", str(late.value))
    assert pid
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid[1]), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_server_dies_with_the_tests(redis_stack: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.redis_servers import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1]), Path(sys.argv[2])); server.start()\n"
        "print(server.raw('INFO', 'server')['process_id'], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(redis_stack), str(tmp_path)]
    with subprocess.Popen(command, cwd=making.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        os.kill(pid, 0)
        tests.send_signal(signal.SIGKILL)
    while _lives(pid):
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    """A process that nobody has waited for is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- several


async def test_a_replica_takes_the_place_of_a_dead_master(sentinels: SentinelSet) -> None:
    sentinel = Sentinel([("127.0.0.1", each.port) for each in sentinels.sentinels])
    dead = sentinels.kill_master()
    master = sentinels.wait_for_failover()
    assert master is not dead
    assert master is sentinels.master()
    assert await sentinel.discover_master(sentinels.service) == ("127.0.0.1", master.port)
    async with sentinel.master_for(sentinels.service) as client:
        await client.set("key", "value")
    assert master.raw("GET", "key") == b"value"
    for each in sentinel.sentinels:
        await each.aclose()


async def test_the_nodes_of_a_cluster_share_all_slots(cluster: ClusterSet) -> None:
    async with RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        for number in range(100):
            await client.set(f"key {number}", "value")
    held = [node.raw("DBSIZE") for node in cluster.nodes]
    assert sum(held) == 100
    assert all(held)


# --- one that somebody else runs


def test_a_foreign_database_is_emptied_after_each_turn(own_redis: Own) -> None:
    foreign = ForeignRedis(own_redis().url)
    with foreign.turn():
        foreign.raw("SET", "key", "value")
    assert foreign.raw("DBSIZE") == 0


def test_a_foreign_database_that_is_in_use_is_left_alone(own_redis: Own) -> None:
    foreign = ForeignRedis(own_redis().url)
    foreign.raw("SET", "of somebody else", "value")
    with pytest.raises(pytest.fail.Exception, match="name an empty one"), foreign.turn():
        pass
    assert foreign.raw("DBSIZE") == 1


# --- where it comes from


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a Redis, and without an index to get one from; gives a folder on its PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(programs))
    monkeypatch.setattr(making, "HOME", tmp_path)
    monkeypatch.setattr(making, "MADE", tmp_path / "stack")
    monkeypatch.setattr(making, "_FAILED", tmp_path / "failed")
    return programs


def _install(programs: Path, version: str) -> None:
    program = programs / "redis-server"
    program.write_text(f"#!/bin/sh\necho Redis server v={version} sha=00000000:0 malloc=libc bits=64\n")
    program.chmod(0o755)


def test_where_nothing_can_be_had_it_is_said_what_to_do(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert making.ensure() is None
    assert making.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("No Redis for the tests: ")
    assert said.endswith(f"; {making.ADVICE}\n")
    assert said.count("\n") == 1


def test_an_installed_redis_takes_the_place_of_the_wheel(elsewhere: Path) -> None:
    _install(elsewhere, "7.0.15")
    stack = making.ensure()
    assert stack is not None
    assert (stack / "bin" / "redis-server").readlink() == elsewhere / "redis-server"


def test_an_installed_redis_that_is_too_old_does_not(elsewhere: Path) -> None:
    _install(elsewhere, "6.2.14")
    with pytest.raises(making.Unavailable, match=r"is version 6\.2\.14"):
        making.obtain()
