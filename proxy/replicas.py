"""What replicas share through Redis, wired: the store, the leases, and who is told of what was heard.

Beside `app.py` the only module that knows which classes are real.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from proxy.edge.reception import Reception
from proxy.flights import Flights
from proxy.leases.base import Leases
from proxy.leases.messages import Seal
from proxy.leases.off import NoLeases
from proxy.leases.redis import RedisLeases
from proxy.redis_link.client import Access, connect
from proxy.redis_link.link import Link
from proxy.redis_link.writes import Writes
from proxy.settings import Settings
from proxy.stores.frame import FrameCodec
from proxy.stores.memory import MemoryStore
from proxy.stores.off import OffStore
from proxy.stores.redis import RedisStore
from proxy.stores.redis_pulse import Pulse
from proxy.stores.tiered import TieredStore
from proxy.telemetry.tasks import Tasks
from proxy.types import Beat


class Keyed(Protocol):
    """Something that works with the installation's secret."""

    def rekey(self, secret: bytes) -> None:
        """From now on with this one."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What this process shares with other replicas through Redis."""

    redis: RedisStore
    store: TieredStore
    leases: Leases
    link: Link
    writes: Writes
    secret: bytes
    keyed: list[Keyed]
    """What makes or checks something with the installation's secret, beside names and frames."""


def share(settings: Settings, secret: bytes, codec: FrameCodec, clock: Callable[[], float]) -> Shared:
    redis = settings.store.redis
    link, tasks, replica = link_to(settings), Tasks(), secrets.token_hex(8)
    writes = Writes(link, tasks, redis.write_backlog)
    store = RedisStore(
        link,
        codec,
        writes,
        Pulse(link, redis.prefix, replica),
        prefix=redis.prefix,
        tasks=tasks,
        at_once=redis.connections,
        poll_s=redis.poll,
        retry_s=redis.retry,
        max_silence_s=redis.max_silence,
        secret=b"" if settings.server.secret else secret,
        clock=clock,
    )
    tiered = TieredStore(front(settings, clock), store)
    store.heard.append(tiered.heard)
    store.unheard.append(tiered.unsure)
    seal = Seal(secret)
    leases = RedisLeases(
        link,
        writes,
        seal,
        prefix=redis.prefix,
        replica=replica,
        generation=lambda: store.generation,
        tasks=tasks,
        ttl_s=redis.lease_ttl,
        wait_s=redis.lease_wait,
        retry_s=redis.retry,
    )
    return Shared(store, tiered, leases if redis.coalesce else NoLeases(), link, writes, secret, [seal])


def link_to(settings: Settings) -> Link:
    redis, address = settings.store.redis, settings.store.redis_address
    access = Access(
        address,
        redis.connect_timeout,
        username=address.username,
        password=revealed(redis.password),
        sentinel_username=redis.sentinel_username,
        sentinel_password=revealed(redis.sentinel_password),
        ca_file=redis.ca_file,
        client_cert_file=redis.client_cert_file,
        client_key_file=redis.client_key_file,
    )
    return Link(
        connect(access),
        limit_s=redis.command_timeout,
        connections=redis.connections,
        breaker_failures=redis.breaker_failures,
        shown=str(address),
    )


class SharedSecret:
    """The secret that replicas agree on, handed to all that is keyed with it."""

    def __init__(self, secret: bytes, keyed: Sequence[Keyed], reception: Reception) -> None:
        self._secret = secret
        self._keyed = keyed
        self._reception = reception

    async def heard(self, beat: Beat) -> None:
        """Take over what was agreed on."""
        if not beat.secret or beat.secret == self._secret:
            return
        self._secret = beat.secret
        for keyed in self._keyed:
            keyed.rekey(beat.secret)
        self._reception.forget()


class SharedBoard:
    """Nobody joins a call that was made before something was deleted elsewhere."""

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self._generation = 0

    async def heard(self, beat: Beat) -> None:
        """What was deleted or replaced, or everything."""
        if beat.generation != self._generation or not beat.sure:
            self._generation = beat.generation
            self._flights.close()
        for name in beat.changes:
            self._flights.close(name)


def front(settings: Settings, clock: Callable[[], float]) -> MemoryStore | OffStore:
    return MemoryStore(settings.store.memory, clock=clock) if settings.store.memory else OffStore()


def revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
