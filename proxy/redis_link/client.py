"""Commands out, replies in: redis-py's connections, used at the level that lets a whole batch be one write.

The one thing this file must never get wrong: a reply belongs to the command it answers. A connection whose batch did
not come to its end (cancelled, timed out, broken) still has replies on their way; it is closed, never used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redis_link.deadline import Deadline
from proxy.redis_link.script import Command, key_of
from proxy.settings.redis_address import RedisAddress, RedisKind

Reply = Any
"""What redis-py makes of a reply: bytes, int, None, a list of replies, or a ResponseError (not raised)."""

CLUSTER_AT_ONCE = 32
"""Commands that are under way in a Cluster at once: each takes a connection of its own there."""

NODE_CONNECTIONS = 4 * CLUSTER_AT_ONCE
"""The most that redis-py opens to one of its nodes: those that are being closed count too."""

SCANNED_AT_ONCE = 1000
"""Keys looked at by one SCAN: a fraction of a millisecond of Redis' time."""

CLOSED = "the way to Redis is closed"

ENDED = "the connection has ended"
"""What uvloop says with a RuntimeError when something is to be written to a connection that is closed already."""

START = b"0"
"""The cursor a scan begins and ends with."""


class Client(Protocol):
    """Runs batches."""

    async def run(self, commands: Sequence[Command], limit_s: float) -> list[Reply]:
        """Replies in the order of the commands, error replies among them as values.

        Raises TimeoutError, OSError and redis-py's `RedisError` kinds where there were no replies.
        """

    def scan(self, pattern: str, limit_s: float) -> AsyncIterator[list[bytes]]:
        """Keys of every node that match, some at a time (SCAN: each at least once). Raises as `run`."""

    async def close(self) -> None:
        """Let go of every connection, and make no more. More than one call is harmless."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in. Seconds; files are PEM."""

    address: RedisAddress
    connect_timeout_s: float
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None

    def common(self) -> dict[str, Any]:
        """What every kind of connection is given. Limits of time are ours, for a whole batch."""
        given: dict[str, Any] = {
            "username": self.username or self.address.username,
            "password": self.password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": self.connect_timeout_s,
            "socket_keepalive": True,
        }
        return given | (self.tls() if self.address.tls else {})

    def tls(self) -> dict[str, Any]:
        """Certificates are always checked."""
        return {
            "ssl_ca_certs": str(self.ca_file) if self.ca_file else ssl.get_default_verify_paths().cafile,
            "ssl_certfile": str(self.client_cert_file) if self.client_cert_file else None,
            "ssl_keyfile": str(self.client_key_file) if self.client_key_file else None,
        }


def connect(access: Access) -> Client:
    """The client for an address. Connects when it is first used."""
    match access.address.kind:
        case RedisKind.SINGLE:
            return NodeClient(_pool(access), access.connect_timeout_s)
        case RedisKind.SENTINEL:
            sentinel = _sentinel(access)
            return NodeClient(_sentinel_pool(access, sentinel), access.connect_timeout_s, sentinel.sentinels)
        case RedisKind.CLUSTER:
            return ClusterClient(access)


class NodeClient:
    """One server, or the one that Sentinels name. A batch is one write and one row of replies."""

    def __init__(self, pool: ConnectionPool, connect_timeout_s: float, sentinels: Sequence[Redis] = ()) -> None:
        self._pool = pool
        self._connect_timeout_s = connect_timeout_s
        self._sentinels = sentinels
        self._idle: list[AbstractConnection] = []
        self._closed = False

    async def run(self, commands: Sequence[Command], limit_s: float) -> list[Reply]:
        """As `Client.run`. A connection that was closed while it was idle is noticed by using it: then once more on a
        new one, as no command of ours does harm when it is done twice."""
        if self._closed:
            raise RedisConnectionError(CLOSED)
        if self._idle:
            try:
                return await self._run_on(self._idle.pop(), commands, limit_s)
            except (RedisConnectionError, OSError) as broken:
                if isinstance(broken, TimeoutError):
                    raise
                await self._close_idle(wait=False)  # they are of the same age
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return await self._run_on(connection, commands, limit_s)

    async def _run_on(self, connection: AbstractConnection, commands: Sequence[Command], limit_s: float) -> list[Reply]:
        try:
            if not connection.is_connected:
                async with Deadline(self._connect_timeout_s):
                    await connection.connect()  # type: ignore[no-untyped-call]
            async with Deadline(limit_s):
                replies = await _talk(connection, commands)
        except BaseException as failure:
            await connection.disconnect(nowait=True)
            if isinstance(failure, RuntimeError):
                raise RedisConnectionError(ENDED) from failure
            raise
        self._idle.append(connection)
        if self._closed:  # meanwhile
            await self._close_idle(wait=True)
        return replies

    async def scan(self, pattern: str, limit_s: float) -> AsyncIterator[list[bytes]]:
        """As `Client.scan`."""
        cursor = START
        while True:
            [reply] = await self.run([("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED_AT_ONCE)], limit_s)
            if isinstance(reply, ResponseError):
                raise reply
            cursor, keys = reply
            yield keys
            if cursor == START:
                return

    async def close(self) -> None:
        """As `Client.close`."""
        self._closed = True
        await self._close_idle(wait=True)
        for sentinel in self._sentinels:
            await sentinel.aclose()

    async def _close_idle(self, *, wait: bool) -> None:
        """`wait`: until they are closed, over TLS with a last word to the server, or as long as connecting may take."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(each.disconnect(nowait=not wait) for each in idle), return_exceptions=True)


async def _talk(connection: AbstractConnection, commands: Sequence[Command]) -> list[Reply]:
    # hiredis packs in an eighth of the time that redis-py takes: 2 us for 8 look-ups instead of 17.
    packed = b"".join(map(pack_command, commands))  # type: ignore[arg-type]  # its stub knows tuples of one
    await connection.send_packed_command(packed, check_health=False)
    replies: list[Reply] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as refusal:
            replies.append(refusal)
    return replies


class ClusterClient:
    """A Cluster: every command goes to the node that has its key, and follows redirections (redis-py does both)."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._cluster: RedisCluster | None = None
        self._closed = False
        self._room = asyncio.Semaphore(CLUSTER_AT_ONCE)

    async def run(self, commands: Sequence[Command], limit_s: float) -> list[Reply]:
        """As `Client.run`. Commands on one key run in their order, those on different keys side by side. INFO is that
        of every node."""
        cluster = await self._connected()
        replies: list[Reply] = [None] * len(commands)
        by_key: dict[object, list[int]] = {}
        for at, command in enumerate(commands):
            by_key.setdefault(key_of(command), []).append(at)
        async with Deadline(limit_s):
            rows = (self._in_order(cluster, commands, some, replies) for some in by_key.values())
            # Waits for all: what of a batch were sent after it has failed could undo what comes after it.
            for failure in await asyncio.gather(*rows, return_exceptions=True):
                if failure is not None:
                    raise failure
        return replies

    async def _in_order(
        self, cluster: RedisCluster, commands: Sequence[Command], which: list[int], replies: list[Reply]
    ) -> None:
        for at in which:
            replies[at] = await self._one(cluster, commands[at])

    async def _one(self, cluster: RedisCluster, command: Command) -> Reply:
        async with self._room:
            try:
                if command[0] != "INFO":
                    return await _sent(cluster, command)
                return b"\n".join([await _sent(cluster, command, node) for node in cluster.get_primaries()])
            except ResponseError as refusal:
                return refusal

    async def scan(self, pattern: str, limit_s: float) -> AsyncIterator[list[bytes]]:
        """As `Client.scan`, of one node after the other."""
        cluster = await self._connected()
        for node in cluster.get_primaries():
            cursor = None
            while cursor != 0:
                async with Deadline(limit_s):
                    cursors, keys = await _sent(
                        cluster, ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", SCANNED_AT_ONCE), node
                    )
                [cursor] = cursors.values()
                yield keys

    async def _connected(self) -> RedisCluster:
        """Knows which node has which key. redis-py finds out by itself too, but asks random nodes meanwhile, and when
        five of them have sent it on it closes every connection, other callers' included."""
        if self._closed:
            raise RedisConnectionError(CLOSED)
        if self._cluster is None:
            self._cluster = self._made()
        if self._cluster.get_default_node() is None:
            async with Deadline(self._access.connect_timeout_s):
                await self._cluster.initialize()
        return self._cluster

    def _made(self) -> RedisCluster:
        given = self._access.common() | ({"ssl": True} if self._access.address.tls else {})
        nodes = [ClusterNode(host, port) for host, port in self._access.address.hosts]
        cluster = RedisCluster(startup_nodes=nodes, max_connections=NODE_CONNECTIONS, **given)
        # Replies as Redis sends them, as from a single server; but what it asks for itself the client must understand.
        for command in list(cluster.response_callbacks):
            if not command.startswith(("CLUSTER", "COMMAND")):
                del cluster.response_callbacks[command]
        return cluster

    async def close(self) -> None:
        """As `Client.close`."""
        self._closed = True
        if self._cluster is not None:
            await self._cluster.aclose()


async def _sent(cluster: RedisCluster, command: Command, node: ClusterNode | None = None) -> Reply:
    for _ in range(NODE_CONNECTIONS):
        try:
            return await cluster.execute_command(*command, target_nodes=node)
        except RuntimeError:
            # ENDED: nothing was sent, redis-py has thrown that connection away and would take the next of the same age.
            await asyncio.sleep(0)
    raise RedisConnectionError(ENDED)


def _pool(access: Access) -> ConnectionPool:
    [(host, port)] = access.address.hosts
    kind = SSLConnection if access.address.tls else Connection
    return ConnectionPool(connection_class=kind, host=host, port=port, db=access.address.database, **access.common())


def _sentinel(access: Access) -> Sentinel:
    # One that is dead or hangs must leave time for the others, and for the master: no second try, a share each.
    share_s = access.connect_timeout_s / (len(access.address.hosts) + 1)
    given = {
        "username": access.sentinel_username,
        "password": access.sentinel_password,
        "protocol": 2,
        "socket_timeout": share_s,
        "socket_connect_timeout": share_s,
        "retry": Retry(NoBackoff(), 0),
    }
    tls = {"ssl": True, **access.tls()} if access.address.tls else {}
    return Sentinel(access.address.hosts, sentinel_kwargs=given | tls)  # type: ignore[no-untyped-call]


def _sentinel_pool(access: Access, sentinel: Sentinel) -> ConnectionPool:
    kind = SentinelManagedSSLConnection if access.address.tls else SentinelManagedConnection
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        access.address.service, sentinel, connection_class=kind, db=access.address.database, **access.common()
    )
