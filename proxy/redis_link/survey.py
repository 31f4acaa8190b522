"""What an operator wants to know of a Redis before depending on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from proxy.redis_link.client import Reply
from proxy.redis_link.link import Link
from proxy.settings.redis_address import RedisAddress, RedisKind

OLDEST: Final = (7, 0)
"""Its streams count their entries, which is how a missed change is noticed."""

PINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. Bytes, milliseconds."""

    version: str
    policy: str
    used_bytes: int
    limit_bytes: int
    """`maxmemory`; 0 is none."""
    latency_ms: float
    """Median of a command's round trip."""
    modules: tuple[str, ...]
    has_engine: bool
    """The query engine that matching by meaning needs."""
    database: int

    @property
    def summary(self) -> str:
        """One line."""
        limit = f" of {_megabytes(self.limit_bytes)}" if self.limit_bytes else ", no maxmemory"
        modules = f", modules: {' '.join(self.modules)}" if self.modules else ""
        return (
            f"Redis {self.version}, {self.latency_ms:.2f} ms a command, {_megabytes(self.used_bytes)} used{limit}, "
            f"maxmemory-policy {self.policy}{modules}"
        )

    def failures(self) -> Iterator[str]:
        """What has to be changed."""
        if _numbers(self.version) < OLDEST:
            yield f"Redis {self.version} is too old: 7.0 or newer is needed"

    def warnings(self) -> Iterator[str]:
        """What should be changed, and why."""
        if self.policy == "noeviction":
            yield (
                "maxmemory-policy is noeviction: when Redis is full nothing more is stored; set allkeys-lfu on a Redis "
                "that is for this cache alone"
            )
        elif not self.policy.startswith("allkeys-"):
            yield f"maxmemory-policy is {self.policy}: keys are evicted by their lifetime; allkeys-lfu fits a cache"
        if not self.limit_bytes:
            yield "maxmemory is not set: Redis grows until the machine's memory ends; set it, with allkeys-lfu"
        if not self.has_engine:
            yield "no query engine: exact matches only; matching by meaning needs Redis 8 or Redis Stack"
        elif self.database:
            yield f"database {self.database}: matching by meaning needs database 0, the only one that can be indexed"


async def survey(link: Link, address: RedisAddress, key: str) -> Survey:
    """Ask. The link must be up; `key` is one that we may look at. Raises `LinkDown`. Of a Cluster one node is asked,
    and no index is looked for."""
    [info] = await link.run([("INFO",)])
    modules, engine = None, False
    if address.kind is not RedisKind.CLUSTER:
        modules, indexes = await link.run([("MODULE", "LIST"), ("FT._LIST",)])
        engine = not isinstance(indexes, ResponseError)
    fields = _fields(info)
    return Survey(
        version=fields.get("redis_version", "?"),
        policy=fields.get("maxmemory_policy", "?"),
        used_bytes=int(fields.get("used_memory", 0)),
        limit_bytes=int(fields.get("maxmemory", 0)),
        latency_ms=await _latency_ms(link, key),
        modules=tuple(sorted(_modules(modules))),
        has_engine=engine,
        database=address.database,
    )


async def _latency_ms(link: Link, key: str) -> float:
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        await link.run([("EXISTS", key)])
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def _fields(info: Reply) -> dict[str, str]:
    """INFO's text; nothing where Redis refuses to tell."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _modules(reply: Any) -> Iterator[str]:
    for module in reply if isinstance(reply, list) else ():
        fields = dict(zip(module[::2], module[1::2], strict=False))
        yield fields.get(b"name", b"?").decode("utf-8", "replace")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
