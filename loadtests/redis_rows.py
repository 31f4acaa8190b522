"""The rows about the shared store. Each has a Redis of its own, on the loopback by TCP, with nothing kept on disk."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import load
import redis
import servers
from measure import (
    Effort,
    Row,
    added,
    against_bare,
    all_hits,
    expect_kept,
    herd,
    hit,
    in_turns,
    misses_in_turns,
)
from report import Result, compared
from size import FEW, Filled, Way, filled, one_way

ENTRIES = "askonce:[0-9]*"
"""Keys of answers, as `proxy/stores/redis.py` lays them out; all others begin with a brace."""
EXACT = "exact hit, Redis (memory tier off), plain"
MANY = 1000
OF_MANY = f"the same, {MANY:,} questions in random order"
UNGATHERED = (str(servers.HERE / "ungathered.py"),)
OWN_TO_A_DELIVERY = re.compile(rb"ttl=\d+|chatcmpl-\w+|\"created\":\d+")
FIELDS_OWN_TO_A_DELIVERY = (b"age", b"date", b"x-request-id")


# -- hits ------------------------------------------------------------------------------------------------------------


def hit_redis(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit from Redis, memory tier off."""
    upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared, memory=0)
    from_redis(askonce, upstream)
    one = against_bare(bench, effort, "hit-redis", EXACT, 0.40, upstream, askonce)
    ask_many(askonce)
    yardstick = bench.start(servers.Bare(from_redis(askonce, upstream, load.numbered(0))))
    body = bench.file("numbered.json", load.NUMBERED)
    ours, other = (load.spread(side.target, body, MANY) for side in (askonce, yardstick))
    series = all_hits(upstream, lambda: in_turns(ours, other, effort))
    return [one, compared("hit-redis-many", OF_MANY, one.against, None, series, version(shared))]


def hit_redis_parsed(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit from Redis with nothing remembered of requests: each one's JSON is parsed and named anew."""
    upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared, memory=0, readings=0)
    from_redis(askonce, upstream)
    work = f"{EXACT}, `server.readings` off"
    return [against_bare(bench, effort, "hit-redis-parsed", work, None, upstream, askonce)]


def hit_redis_one_get(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit from Redis, against AskOnce that asks Redis once for every request with redis-py's client."""
    upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared, memory=0)
    reference = on_redis(bench, upstream, shared, memory=0, program=UNGATHERED)
    expect_equal(*(from_redis(side, upstream) for side in (askonce, reference)))
    ask_many(askonce)
    same, many = bench.file("same.json", load.SAME), bench.file("numbered.json", load.NUMBERED)
    one = tuple(load.same(side.target, same) for side in (askonce, reference))
    other = tuple(load.spread(side.target, many, MANY) for side in (askonce, reference))
    return [
        against_one_get("hit-redis-one-get", EXACT, one, upstream, shared, effort),
        against_one_get("hit-redis-one-get-many", OF_MANY, other, upstream, shared, effort),
    ]


def against_one_get(
    row: str,
    work: str,
    sides: tuple[load.Load, ...],
    upstream: servers.Running,
    shared: servers.Running,
    effort: Effort,
) -> Result:
    """Subject and reference in turns, and how often each of them asked Redis."""
    ours, reference = sides
    series = all_hits(upstream, lambda: in_turns(ours, reference, effort))
    asked = " / ".join(f"{look_ups(shared, side):.2f}" for side in sides)
    return compared(row, work, "one HGET of redis-py for each request", 1.3, series, f"HGETs for a hit: {asked}")


def look_ups(shared: servers.Running, one: load.Load, seconds: float = 1) -> float:
    """How often Redis is asked for an answer for one hit."""
    before = hgets(shared)
    run = load.wrk(one, seconds)
    return (hgets(shared) - before) / (run.rate * seconds)


def expect_equal(one: load.Recording, other: load.Recording) -> None:
    """Both are the same answer, but for what is made for each delivery."""
    if lasting(one) != lasting(other):
        raise load.RunError(f"the two give different hits: {lasting(one)} and {lasting(other)}")


def lasting(recording: load.Recording) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """A hit without what is made for each delivery."""
    fields = [
        (name, OWN_TO_A_DELIVERY.sub(b"", value))
        for name, value in recording.fields
        if name not in FIELDS_OWN_TO_A_DELIVERY
    ]
    return recording.status, fields, OWN_TO_A_DELIVERY.sub(b"", recording.body)


# -- misses ----------------------------------------------------------------------------------------------------------


def miss_redis(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Every question a new one, relayed and stored in Redis, against the relay that stores nothing."""
    upstream, other_upstream = bench.start(servers.Upstream()), bench.start(servers.Upstream())
    shared = bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared)
    relay = bench.start(servers.Relay(other_upstream.port))
    series = misses_in_turns(bench, askonce, relay, effort)
    kept = expect_kept(upstream, lambda: len(keys(shared)))
    work = "miss, relayed and stored in Redis, instant upstream"
    return [compared("miss-redis", work, "relay on plain httpx", None, series, kept)]


def miss_latency_redis(bench: servers.Bench, effort: Effort) -> list[Result]:
    """What Redis adds to a miss, one question at a time."""
    upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared)
    alone = bench.start(servers.AskOnce(upstream.port, store="memory://"))
    work, against = "median that Redis adds to a miss, one connection", "AskOnce on `memory://`"
    # The pause: an answer is stored after it was given.
    result = added("miss-latency-redis", work, 0.5, askonce, alone, effort, against, pause_s=0.002)
    expect_kept(upstream, lambda: 2 * len(keys(shared)))  # both asked the upstream all questions
    return [result]


# -- size ------------------------------------------------------------------------------------------------------------


def size_redis(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Hits on all that is stored in Redis, memory tier off: many answers against a thousand."""
    way = Way("size-redis", "hits on all that Redis has, memory tier off, readings off", 0.9, 0, 0, spread=True)
    upstream = bench.start(servers.Upstream())
    few, many = (in_redis(bench, upstream, count) for count in (FEW, effort.entries))
    with said_by(many.shared) as client:
        note = f"{client.info('memory')['used_memory'] / 1e6:,.0f} MB in Redis"
    return [one_way(way, bench, upstream, few.filled, many.filled, effort, note)]


@dataclass(frozen=True, slots=True)
class FilledRedis:
    """A Redis with answers."""

    shared: servers.Running
    filled: Filled


def in_redis(bench: servers.Bench, upstream: servers.Running, count: int) -> FilledRedis:
    """A Redis of its own for so many answers."""
    shared = bench.start(servers.Redis())
    store = filled(bench, servers.AskOnce(upstream.port, memory=0, store=url(shared)), count)
    there = len(keys(shared))
    if there != count:
        raise load.RunError(f"Redis holds {there:,} answers, not {count:,}")
    return FilledRedis(shared, store)


def redis_bytes(bench: servers.Bench, _effort: Effort, characters: int = 1000, answers: int = 200) -> list[Result]:
    """Bytes in Redis for an answer."""
    upstream = bench.start(servers.Upstream(characters=characters, varied=True))
    shared = bench.start(servers.Redis())
    askonce = on_redis(bench, upstream, shared)
    bodies = [load.ask(askonce.port, load.numbered(number)).body for number in range(answers)]
    expect_kept(upstream, lambda: len(keys(shared)))
    with said_by(shared) as client:
        sizes = [client.memory_usage(key, samples=0) or 0 for key in keys(shared)]
        frames = [client.hstrlen(key, "frame") for key in keys(shared)]
    notes = (
        f"{min(sizes):,} to {max(sizes):,} in {len(sizes)} answers",
        f"of it {statistics.median(frames):,.0f} B frame",
        f"{statistics.median(map(len, bodies)):,.0f} B on the wire, in OpenAI's shape with ids of OpenAI's length",
        "the text is English prose, no sentence of it twice in an answer; no two answers are alike",
    )
    work = f"bytes in Redis of an answer of {characters:,} characters, no vector (MEMORY USAGE of its key)"
    return [Result("redis-bytes", work, "", 1200, False, statistics.median(sizes), " B", notes=notes)]


# -- replicas --------------------------------------------------------------------------------------------------------


def herd_replicas(bench: servers.Bench, _effort: Effort, replicas: int = 8, callers: int = 50) -> list[Result]:
    """Equal streamed questions at the same time at several replicas, from an upstream that takes a second to begin."""
    upstream, shared = bench.start(servers.Upstream(delay_ms=1000, gap_ms=5)), bench.start(servers.Redis())
    proxies = [on_redis(bench, upstream, shared) for _ in range(replicas)]
    work = f"{callers} equal streamed requests at each of {replicas} processes on one Redis, all at once"
    return [herd("herd-replicas", work, proxies, callers, upstream)]


# -- parts -----------------------------------------------------------------------------------------------------------


def url(shared: servers.Running) -> str:
    return f"redis://127.0.0.1:{shared.port}/0"


def on_redis(
    bench: servers.Bench,
    upstream: servers.Running,
    shared: servers.Running,
    *,
    memory: str | int = "256MiB",
    readings: str | int = "32MiB",
    program: Sequence[str] = servers.PRODUCT,
) -> servers.Running:
    """AskOnce on this Redis, once it has heard of it."""
    settings = servers.AskOnce(
        upstream.port, memory=memory, readings=readings, store=url(shared), program=tuple(program)
    )
    askonce = bench.start(settings)
    found = json.loads(load.ask(askonce.port, path="/readyz").body)["store"]
    if found["status"] != "ok":
        raise load.RunError(f"AskOnce does not get on with its Redis: {found}")
    return askonce


def from_redis(askonce: servers.Running, upstream: servers.Running, body: bytes = load.SAME) -> load.Recording:
    """A hit that is checked to come from Redis."""
    recording = hit(askonce, upstream, body)
    if "detail=redis" not in recording.field("cache-status"):
        raise load.RunError(f"the second question was answered with cache-status {recording.field('cache-status')!r}")
    return recording


def ask_many(askonce: servers.Running) -> None:
    """Have the answers to questions 0 .. MANY - 1 stored."""
    for number in range(MANY):
        load.ask(askonce.port, load.numbered(number))


def said_by(shared: servers.Running) -> redis.Redis:
    """A client to ask Redis itself."""
    return redis.Redis("127.0.0.1", shared.port, protocol=2)


def keys(shared: servers.Running) -> set[bytes]:
    """Of all answers."""
    with said_by(shared) as client:
        return set(client.scan_iter(ENTRIES, count=10_000))


def hgets(shared: servers.Running) -> int:
    """How often Redis was asked for an answer since its start."""
    with said_by(shared) as client:
        return int(client.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"])


def version(shared: servers.Running) -> str:
    with said_by(shared) as client:
        return f"Redis {client.info('server')['redis_version']}"


ROWS: dict[str, Row] = {
    "hit-redis": hit_redis,
    "hit-redis-one-get": hit_redis_one_get,
    "hit-redis-parsed": hit_redis_parsed,
    "miss-redis": miss_redis,
    "miss-latency-redis": miss_latency_redis,
    "size-redis": size_redis,
    "redis-bytes": redis_bytes,
    "herd-replicas": herd_replicas,
}
