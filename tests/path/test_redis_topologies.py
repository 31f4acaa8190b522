"""Redis as it is run in the field: over TLS with a user of few rights, behind Sentinel, and as a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy import app
from tests.path.faults import CANARY
from tests.path.redis_load import (
    answered,
    ask,
    breaker,
    connections,
    crowd,
    echo,
    errors,
    kept,
    keys,
    metric,
    our_tasks,
    readiness,
    until,
    until_degraded,
    until_gone,
    until_well,
    written,
)
from tests.provider import DONE, Provider, stream, words
from tests.redis_servers import ClusterSet, RedisServer, SentinelSet
from tests.running import Running, Start, cache_status

pytestmark = pytest.mark.timeout(90)

Own = Callable[..., RedisServer]

QUICK: dict[str, Any] = {"store.redis.retry": 0.05, "store.redis.poll": 0.05}
"""What is noticed is noticed soon."""

PATIENT = QUICK | {"store.redis.connect_timeout": 10, "store.redis.command_timeout": 10}
"""Where nothing fails: a slow machine must not look like a slow Redis."""

REDIS_ALONE = {"store.memory": 0}
"""Every hit is Redis' own."""

# --- the least rights: see README
#
# On a Redis of one's own `+@all` does no harm. On one that is shared these rules (ACL SETUSER askonce on >PASSWORD ...)
# keep AskOnce to its own keys and to what it does with them. The prefix is that of `store.redis.prefix`. It uses no
# channels. `client|setinfo` is how redis-py introduces itself: without it all works, and every connection leaves a line
# in ACL LOG. A database other than 0 needs `+select`.

KEYS = ("~askonce:*", "~{askonce}:*")

LOOKING = {"hget", "scan", "info"}
KEEPING = {"hset", "unlink", "pexpire"}
AGREEING = {"hmget", "exists", "xinfo|stream", "xrange", "xadd"}
LEASING = {"get", "set", "xread"}
SCRIPTS = {"evalsha", "eval"}
INTRODUCTION = {"client|setinfo"}

RIGHTS = LOOKING | KEEPING | AGREEING | LEASING | SCRIPTS | INTRODUCTION

CHECK_RIGHTS = {"module|list"}
"""For `askonce check` also this. It tries FT._LIST as well: refused, it takes it that there is no query engine."""

CLUSTER_RIGHTS = {"cluster|slots", "command"}
"""In a Cluster also these, on every node."""

SENTINEL_RIGHTS = {"sentinel|masters"} | INTRODUCTION
"""What the user of `store.redis.sentinel_username` needs on the Sentinels."""

PASSWORD = "of-the-tests-4711"

OF_THE_TESTS = {"acl|log", "config|resetstat", "script|flush", "auth", "pttl"}
"""What the tests themselves call."""


def rules(rights: set[str], keys: tuple[str, ...] = KEYS) -> str:
    """As ACL SETUSER takes them."""
    return " ".join(["on", f">{PASSWORD}", *keys, "-@all", *(f"+{right}" for right in sorted(rights))])


@pytest.fixture(autouse=True)
def _answers_that_tell(provider: Provider) -> None:
    provider.always(echo)


async def every_path(one: Running, other: Running, provider: Provider, redis: Sequence[RedisServer]) -> None:
    """All that two replicas do with a Redis."""
    for server in redis:
        server.raw("SCRIPT", "FLUSH")
    await kept(one.http, "asked once")
    await written(1, *redis)
    assert cache_status(await answered(other.http, "asked once"))["detail"] == "redis"
    await shared_stream(one, other, provider, redis)
    key = (await answered(one.http, "asked once")).headers["x-cache-key"]
    assert (await one.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
    await until_gone(other.http, "asked once")
    await kept(one.http, "asked once")
    assert (await one.http.post("/admin/purge", json={"all": True})).json()["purged"] >= 1
    await until_gone(other.http, "asked once")
    for proxy in (one, other):
        await until_well(proxy.http)


async def shared_stream(leader: Running, follower: Running, provider: Provider, redis: Sequence[RedisServer]) -> None:
    """One call of the upstream, held until its lease is renewed, is read in both places as it comes."""
    go_on = asyncio.Event()
    calls = provider.calls
    provider.then(stream([*words("slow ")[:2], go_on, *words("slow ", "end")[2:]]))
    async with leader.reading() as led, follower.reading() as followed:
        await led.until(b"slow ")
        await followed.until(b"slow ")
        await renewed(redis)
        go_on.set()
        for reading in (led, followed):
            assert (await reading.rest()).endswith(DONE)
    assert provider.calls == calls + 1
    assert cache_status(followed.response)["collapsed"] is True


async def renewed(redis: Sequence[RedisServer]) -> None:
    """Until a lease has more time left than it had: its holder has said that it still asks."""
    left: dict[bytes, int] = {}
    while True:
        leases = [(server, key) for server in redis for key in keys(server, "{askonce}:1:lease:*")]
        now = {key: server.raw("PTTL", key) for server, key in leases if len(server.raw("GET", key) or b"") > 1}
        if any(now[key] > left.get(key, now[key]) for key in now):
            return
        left = now
        await asyncio.sleep(0.02)


# --- TLS and few rights


async def test_over_tls_a_user_with_the_least_rights_can_do_all_that_is_done(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    server = own_redis(search=False, tls=True, users={"default": "off", "askonce": rules(RIGHTS)})
    flags = PATIENT | {"store.redis.ca_file": str(server.ca_file)}
    environ = {"ASKONCE_STORE": server.url_as("askonce", PASSWORD)}
    server.raw("CONFIG", "RESETSTAT")
    async with askonce(flags, environ) as one, askonce(flags, environ) as other:
        for proxy in (one, other):
            await until_well(proxy.http)
        await every_path(one, other, provider, [server])
    assert server.raw("ACL", "LOG") == []
    assert used(server) == RIGHTS


def used(server: RedisServer) -> set[str]:
    """Commands that were called, by name, since CONFIG RESETSTAT; without those of the tests, and logging in."""
    stats = server.raw("INFO", "commandstats")
    return {name.removeprefix("cmdstat_") for name, each in stats.items() if each["calls"]} - OF_THE_TESTS


async def test_a_check_keeps_to_our_keys_and_needs_one_right_more(
    askonce: Start, own_redis: Own, provider: Provider
) -> None:
    provider.always(provider.as_recorded)
    server = own_redis(search=False, users={"askonce": rules(RIGHTS | CHECK_RIGHTS)})
    async with askonce(PATIENT, {"ASKONCE_STORE": server.url_as("askonce", PASSWORD)}) as proxy:
        probes = [probe async for probe in app.probe(proxy.settings)]
    assert all(probe.ok for probe in probes), probes
    assert {paired(entry)[b"object"] for entry in server.raw("ACL", "LOG")} <= {b"ft._list"}


async def test_a_right_that_is_missing_is_said(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False, users={"askonce": rules(RIGHTS - {"xrange"})})
    async with askonce(PATIENT | REDIS_ALONE, {"ASKONCE_STORE": server.url_as("askonce", PASSWORD)}) as proxy:
        server.raw("XADD", "{askonce}:changes", "*", "name", "of", "by", "another")
        assert "xrange" in await until_degraded(proxy.http)
        assert await ask(proxy.http, "one") == "miss"
        server.raw("ACL", "SETUSER", "askonce", *rules(RIGHTS).split())
        await until_well(proxy.http)
        await kept(proxy.http, "one")


async def test_that_nothing_may_be_looked_up_is_said(askonce: Start, own_redis: Own) -> None:
    server = own_redis(search=False, users={"askonce": rules(RIGHTS - {"hget"})})
    async with askonce(PATIENT | REDIS_ALONE, {"ASKONCE_STORE": server.url_as("askonce", PASSWORD)}) as proxy:
        for _ in range(5):
            assert await ask(proxy.http, "one") == "miss"
            await until_gone(proxy.http, "one")  # a write that waits may be read: it is not looked up in Redis
        assert "hget" in (await readiness(proxy.http))["store"].get("detail", "")


async def test_a_certificate_nobody_vouches_for_is_refused_and_that_is_said(
    askonce: Start, own_redis: Own, tmp_path: Path
) -> None:
    server = own_redis(search=False, tls=True)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    for trusted in ({"store.redis.ca_file": str(stranger)}, {}):
        async with askonce(PATIENT | trusted, {"ASKONCE_STORE": server.url}) as proxy:
            assert "CERTIFICATE_VERIFY_FAILED" in await until_degraded(proxy.http)
            assert await errors(proxy.http, "unreachable") >= 1
            assert await breaker(proxy.http) in {"open", "half_open"}
            assert await ask(proxy.http, "one") == "miss"
        await until(lambda: connections(server) == 0)
    trusted = {"store.redis.ca_file": str(server.ca_file)}
    async with askonce(PATIENT | trusted, {"ASKONCE_STORE": server.url}) as proxy:
        await kept(proxy.http, "one")


async def test_a_certificate_of_our_own_is_shown_to_a_redis_that_asks_for_one(
    askonce: Start, own_redis: Own, tmp_path: Path
) -> None:
    server = own_redis(search=False, tls=True)
    assert server.ca_file is not None
    authority = trustme.CA()
    issued = authority.issue_cert("askonce.example")
    both, certificate, key = (tmp_path / name for name in ("both.pem", "certificate.pem", "key.pem"))
    both.write_bytes(server.ca_file.read_bytes() + authority.cert_pem.bytes())
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    server.raw("CONFIG", "SET", "tls-ca-cert-file", str(both), "tls-auth-clients", "yes")
    trusted = PATIENT | {"store.redis.ca_file": str(server.ca_file)}
    shown = {"store.redis.client_cert_file": str(certificate), "store.redis.client_key_file": str(key)}
    async with askonce(trusted, {"ASKONCE_STORE": server.url}) as proxy:
        await until_degraded(proxy.http, "certificate|CERTIFICATE|closed|lost")
        assert await ask(proxy.http, "one") == "miss"
    async with askonce(trusted | shown, {"ASKONCE_STORE": server.url}) as proxy:
        await until_well(proxy.http)
        await kept(proxy.http, "one")


# --- Sentinel


def generation(server: RedisServer) -> int:
    """What all agree on, as this server has it."""
    return int(server.raw("HGET", "{askonce}:control", "generation"))


async def kept_in_redis(proxy: Running, words: str, *servers: RedisServer) -> None:
    """Until each of these has it."""
    key = (await answered(proxy.http, words)).headers["x-cache-key"].encode()
    while not all(any(key in each for each in keys(server)) for server in servers):
        await asyncio.sleep(0.01)
        await ask(proxy.http, words)


async def test_a_failover_costs_no_request_and_no_answer(
    askonce: Start, provider: Provider, sentinels: SentinelSet
) -> None:
    environ = {"ASKONCE_STORE": sentinels.url}
    async with (
        askonce(QUICK | REDIS_ALONE, environ) as one,
        askonce(QUICK | REDIS_ALONE, environ) as other,
    ):
        for proxy in (one, other):
            await until_well(proxy.http)
        await kept_in_redis(one, "before", *sentinels.servers)
        at_rest = our_tasks()
        agreed = generation(sentinels.master())
        async with crowd(one.http, other.http) as callers:
            await callers.get("hit")
            sentinels.kill_master()
            failover = asyncio.create_task(asyncio.to_thread(sentinels.wait_for_failover))
            for proxy in (one, other):
                await until_degraded(proxy.http)
            await callers.serves(50)
            master = await failover
            for proxy in (one, other):
                await until_well(proxy.http)
            await callers.serves(50)
            await callers.get("hit")
        for proxy in (one, other):
            assert cache_status(await answered(proxy.http, "before"))["detail"] == "redis"
        await kept_in_redis(one, "after", master)
        assert cache_status(await answered(other.http, "after"))["detail"] == "redis"
        assert generation(master) == agreed
        await until(lambda: our_tasks() <= at_rest)


async def test_what_was_purged_does_not_come_back_with_a_replica_that_had_not_heard_of_it(
    askonce: Start, sentinels: SentinelSet
) -> None:
    environ = {"ASKONCE_STORE": sentinels.url}
    async with askonce(QUICK, environ) as one, askonce(QUICK, environ) as other:
        await kept_in_redis(one, "purged", *sentinels.servers)
        master, replica = sentinels.servers
        await lose_its_master(replica)
        assert (await one.http.post("/admin/purge", json={"all": True})).json() == {"purged": 1}
        await until_gone(other.http, "purged")
        agreed = generation(master)
        assert generation(replica) < agreed
        assert keys(replica) != []
        sentinels.kill_master()
        assert await asyncio.to_thread(sentinels.wait_for_failover) is replica
        await until(lambda: generation(replica) >= agreed)
        for proxy in (one, other):
            await until_well(proxy.http)
            await until_gone(proxy.http, "purged")
        await kept(one.http, "purged")


async def test_what_was_deleted_does_not_come_back_with_a_replica_that_had_not_heard_of_it(
    askonce: Start, sentinels: SentinelSet
) -> None:
    environ = {"ASKONCE_STORE": sentinels.url}
    async with askonce(QUICK | REDIS_ALONE, environ) as proxy:
        await kept_in_redis(proxy, "deleted", *sentinels.servers)
        _, replica = sentinels.servers
        await lose_its_master(replica)
        key = (await answered(proxy.http, "deleted")).headers["x-cache-key"]
        assert (await proxy.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
        await until_gone(proxy.http, "deleted")
        sentinels.kill_master()
        await asyncio.to_thread(sentinels.wait_for_failover)
        await until_well(proxy.http)
        assert await ask(proxy.http, "deleted") == "miss"


async def lose_its_master(replica: RedisServer) -> None:
    """It hears no more of its master, though that goes on."""
    replica.config("masterauth", "not what it wants")
    replica.raw("CLIENT", "KILL", "TYPE", "master")
    await until(lambda: replica.raw("INFO", "replication")["master_link_status"] == "down")


async def test_a_sentinel_that_is_gone_is_passed_over(askonce: Start, sentinels: SentinelSet) -> None:
    sentinels.sentinels[0].kill()
    async with askonce(QUICK, {"ASKONCE_STORE": sentinels.url}) as proxy:
        await until_well(proxy.http)


async def test_no_connection_to_a_sentinel_outlives_the_proxy(askonce: Start, sentinels: SentinelSet) -> None:
    def ours() -> int:
        every = [client for sentinel in sentinels.sentinels for client in clients(sentinel)]
        # The Sentinels' own do not introduce themselves; those that ask here are not over yet.
        return sum(bool(client["lib-name"]) for client in every) - len(sentinels.sentinels)

    async with askonce(QUICK, {"ASKONCE_STORE": sentinels.url}) as proxy:
        await until_well(proxy.http)
        assert ours() >= 1
    await until(lambda: ours() == 0)


async def test_users_with_the_least_rights_are_enough_behind_sentinel(askonce: Start, sentinels: SentinelSet) -> None:
    for server in sentinels.servers:
        server.raw("ACL", "SETUSER", "askonce", *rules(RIGHTS).split())
    for sentinel in sentinels.sentinels:
        sentinel.raw("ACL", "SETUSER", "finder", *rules(SENTINEL_RIGHTS, keys=()).split())
    users = {"store.redis.username": "askonce", "store.redis.sentinel_username": "finder"}
    environ = {
        "ASKONCE_STORE": sentinels.url,
        "ASKONCE_STORE__REDIS__PASSWORD": PASSWORD,
        "ASKONCE_STORE__REDIS__SENTINEL_PASSWORD": PASSWORD,
    }
    async with askonce(PATIENT | users, environ) as proxy:
        await until_well(proxy.http)
        await kept(proxy.http, "one")
        assert [client for client in clients(sentinels.master()) if client["user"] == "askonce"]
        asked = [
            client for sentinel in sentinels.sentinels for client in clients(sentinel) if client["user"] == "finder"
        ]
        assert {client["cmd"] for client in asked} <= SENTINEL_RIGHTS
    for server in [*sentinels.servers, *sentinels.sentinels]:
        assert server.raw("ACL", "LOG") == []


def paired(reply: Sequence[Any]) -> dict[Any, Any]:
    """A flat list of names and values."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def clients(server: RedisServer) -> list[dict[str, str]]:
    """Who is connected, with the user and the last command of each."""
    lines = server.raw("CLIENT", "LIST").decode().splitlines()
    return [dict(pair.split("=", 1) for pair in line.split(" ")) for line in lines]


# --- Cluster


@pytest.fixture(scope="module")
def lasting_cluster(redis_stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSet]:
    """A cluster that no test of this file breaks."""
    with ClusterSet(redis_stack, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def nodes(lasting_cluster: ClusterSet) -> list[RedisServer]:
    """Its nodes, emptied."""
    for node in lasting_cluster.nodes:
        node.raw("FLUSHALL")
    return lasting_cluster.nodes


@pytest.fixture
async def replicas(
    askonce: Start, lasting_cluster: ClusterSet, nodes: list[RedisServer]
) -> AsyncIterator[tuple[Running, Running]]:
    """Two proxies that share it."""
    environ = {"ASKONCE_STORE": lasting_cluster.url}
    async with askonce(PATIENT, environ) as one, askonce(PATIENT, environ) as other:
        for proxy in (one, other):
            await until_well(proxy.http)
        yield one, other


async def test_answers_are_kept_on_all_nodes_of_a_cluster_and_found_there(
    replicas: tuple[Running, Running], nodes: list[RedisServer], provider: Provider
) -> None:
    one, other = replicas
    asked = [f"question {number}" for number in range(60)]
    await asyncio.gather(*(kept(one.http, each) for each in asked))
    await written(len(asked), *nodes)
    assert all(keys(node) for node in nodes)
    answers = await asyncio.gather(*(answered(other.http, each) for each in asked))
    assert {cache_status(answer)["detail"] for answer in answers} == {"redis"}
    assert provider.calls == len(asked)


async def test_a_purge_counts_and_empties_all_nodes_of_a_cluster(
    replicas: tuple[Running, Running], nodes: list[RedisServer]
) -> None:
    one, other = replicas
    asked = [f"question {number}" for number in range(60)]
    await asyncio.gather(*(kept(one.http, each) for each in asked))
    await written(len(asked), *nodes)
    # This one has nothing in memory: what it counts is what it finds.
    tried = await other.http.post("/admin/purge", json={"all": True, "dry_run": True})
    assert tried.json() == {"purged": len(asked)}
    done = await other.http.post("/admin/purge", json={"all": True})
    assert (done.status_code, done.json()) == (200, {"purged": len(asked)})
    assert [keys(node) for node in nodes] == [[], [], []]
    for each in asked[:3]:
        await until_gone(one.http, each)


async def test_a_deleted_answer_is_gone_from_a_cluster_and_from_the_memory_of_all(
    replicas: tuple[Running, Running], nodes: list[RedisServer]
) -> None:
    one, other = replicas
    for number in range(6):  # on more nodes than one
        await kept(one.http, f"question {number}")
        await written(1, *nodes)
        await kept(other.http, f"question {number}")
        key = (await answered(other.http, f"question {number}")).headers["x-cache-key"]
        assert (await other.http.delete(f"/admin/entries/{key}")).json() == {"purged": 1}
        await until_gone(one.http, f"question {number}")
        await until_gone(other.http, f"question {number}")
    assert [keys(node) for node in nodes] == [[], [], []]


async def test_one_call_is_shared_by_replicas_on_a_cluster(
    replicas: tuple[Running, Running], nodes: list[RedisServer], provider: Provider
) -> None:
    await shared_stream(*replicas, provider, nodes)
    calls = provider.calls
    crowded = [ask(each.http, f"question {number % 5}") for each in replicas for number in range(50)]
    await asyncio.gather(*crowded)
    assert provider.calls == calls + 5


async def test_the_sizes_of_a_cluster_are_shown(
    askonce: Start, lasting_cluster: ClusterSet, nodes: list[RedisServer]
) -> None:
    environ = {"ASKONCE_STORE": lasting_cluster.url}
    async with askonce(PATIENT, environ) as proxy:
        for number in range(20):
            await kept(proxy.http, f"question {number}")
        await written(20, *nodes)
    async with askonce(PATIENT, environ) as proxy:
        # Looked at right after the start, and then now and again.
        while await metric(proxy.http, "askonce_store_entries", tier="redis") < 20:
            await asyncio.sleep(0.01)
        assert await metric(proxy.http, "askonce_store_bytes", tier="redis") > 0


async def test_a_user_with_the_least_rights_is_enough_on_a_cluster(
    askonce: Start, lasting_cluster: ClusterSet, nodes: list[RedisServer], provider: Provider
) -> None:
    for node in nodes:
        node.raw("ACL", "SETUSER", "askonce", *rules(RIGHTS | CLUSTER_RIGHTS).split())
        node.raw("ACL", "LOG", "RESET")
        node.raw("CONFIG", "RESETSTAT")
    environ = {"ASKONCE_STORE": lasting_cluster.url.replace("//", f"//askonce:{PASSWORD}@")}
    async with askonce(PATIENT, environ) as one, askonce(PATIENT, environ) as other:
        for proxy in (one, other):
            await until_well(proxy.http)
        await kept(one.http, "one")
        await shared_stream(one, other, provider, nodes)
    assert [node.raw("ACL", "LOG") for node in nodes] == [[], [], []]
    assert set.union(*(used(node) for node in nodes)) >= CLUSTER_RIGHTS


async def test_a_cluster_that_lost_a_node_is_done_without_until_it_is_whole(
    askonce: Start, cluster: ClusterSet
) -> None:
    lost = next(node for node in cluster.nodes if not holds_the_agreement(node))
    async with askonce(QUICK | REDIS_ALONE, {"ASKONCE_STORE": cluster.url}) as proxy:
        await until_well(proxy.http)
        at_rest = our_tasks()
        async with crowd(proxy.http, topic=CANARY) as callers:
            await callers.get("hit")
            lost.kill()
            detail = await until_degraded(proxy.http)
            assert CANARY not in detail
            assert await errors(proxy.http, "unreachable") + await errors(proxy.http, "timeout") >= 1
            # The others notice after their own time, and then take no part of the questions any more.
            await until(lambda: all(is_down(node) for node in cluster.nodes if node is not lost))
            await until_degraded(proxy.http)
            await callers.serves(50)
            assert await breaker(proxy.http) in {"open", "half_open"}
            lost.start()
            await until_well(proxy.http)
            await kept(proxy.http, "one")
        await until(lambda: our_tasks() <= at_rest)
    await until(lambda: sum(connections(node) for node in cluster.nodes) == 0)


def holds_the_agreement(node: RedisServer) -> bool:
    slot = node.raw("CLUSTER", "KEYSLOT", "{askonce}:control")
    mine = [line for line in node.raw("CLUSTER", "NODES").decode().splitlines() if "myself" in line]
    first, _, last = mine[0].split()[-1].partition("-")
    return int(first) <= slot <= int(last)


def is_down(node: RedisServer) -> bool:
    return b"cluster_state:fail" in node.raw("CLUSTER", "INFO")
