"""The rows of the table, one function each: start what is needed, check that it is what the row says, measure."""

from __future__ import annotations

import re
import statistics
import time

import load
import proc
import redis_rows
import routing_rows
import semantic_rows
import servers
import stream_rows
import worker_rows
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
    sizes,
)
from report import Result, compared
from size import size


def bare(bench: servers.Bench, effort: Effort) -> list[Result]:
    """The yardstick itself: what reading the body and uvicorn's own access log would cost it."""
    upstream = bench.start(servers.Upstream())
    recording = hit(bench.start(servers.AskOnce(upstream.port)), upstream)
    body = bench.file("same.json", load.SAME)
    plain = bench.start(servers.Bare(recording))
    reading = bench.start(servers.Bare(recording, read_body=True))
    logging = bench.start(servers.Bare(recording, access_log=True))
    yardstick = load.same(plain.target, body)
    return [
        compared(
            "bare-reading",
            "bare callable that reads the request's body",
            "bare",
            None,
            in_turns(load.same(reading.target, body), yardstick, effort),
            sizes(recording),
        ),
        compared(
            "bare-logging",
            "bare callable with uvicorn's access log on",
            "bare",
            None,
            in_turns(load.same(logging.target, body), yardstick, effort),
        ),
    ]


def hit_bare(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit from memory through the fast lane."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port))
    return [against_bare(bench, effort, "hit-bare", "exact hit, memory, plain, fast lane", 1.1, upstream, askonce)]


def hit_parsed(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Through the fast lane, with nothing remembered of requests: each one's JSON is parsed and named anew."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port, readings=0))
    work = "exact hit, memory, plain, fast lane, `server.readings` off"
    return [against_bare(bench, effort, "hit-parsed", work, None, upstream, askonce)]


def hit_no_fast_lane(bench: servers.Bench, effort: Effort) -> list[Result]:
    """The same through plain ASGI."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port, fast_lane=False))
    work = "exact hit, memory, plain, without the fast lane"
    return [against_bare(bench, effort, "hit-no-fast-lane", work, 0.70, upstream, askonce)]


def hit_stream(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit from memory, asked for as a stream."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port))
    work = "exact hit, memory, as a stream"
    return [against_bare(bench, effort, "hit-stream", work, 0.6, upstream, askonce, load.SAME_STREAM)]


def hit_sqlite(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Exact hit with the memory tier off."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port, memory=0))
    work = "exact hit, SQLite (memory tier off), plain"
    return [against_bare(bench, effort, "hit-sqlite", work, 0.35, upstream, askonce)]


def hit_nginx(bench: servers.Bench, effort: Effort) -> list[Result]:
    """nginx as a cache keyed by the request's body."""
    upstream = bench.start(servers.Upstream())
    peer = bench.start(servers.Nginx(upstream.port))
    return [against_peer(bench, effort, "hit-nginx", "nginx proxy_cache", 0.6, upstream, peer)]


def hit_litellm(bench: servers.Bench, effort: Effort) -> list[Result]:
    """LiteLLM's proxy, cache in memory."""
    upstream = bench.start(servers.Upstream())
    peer = bench.start(servers.LiteLLM(upstream.port))
    name = f"LiteLLM {servers.version_in('litellm', 'litellm')}, cache in memory"
    return [against_peer(bench, effort, "hit-litellm", name, 200, upstream, peer)]


def hit_cachellm(bench: servers.Bench, effort: Effort) -> list[Result]:
    """CacheLLM, store in memory."""
    upstream = bench.start(servers.Upstream())
    peer = bench.start(servers.CacheLLM(upstream.port))
    name = f"CacheLLM {servers.version_in('cachellm', 'cachellm-proxy')}, store in memory"
    return [against_peer(bench, effort, "hit-cachellm", name, 12, upstream, peer)]


def against_peer(
    bench: servers.Bench,
    effort: Effort,
    row: str,
    peer_name: str,
    bar: float,
    upstream: servers.Running,
    peer: servers.Running,
) -> Result:
    """Our hit from memory against another cache's, both checked to be hits."""
    expect_peer_hits(peer, upstream, peer_name)
    askonce = bench.start(servers.AskOnce(upstream.port))
    hit(askonce, upstream)
    same = bench.file("same.json", load.SAME)
    series = all_hits(upstream, lambda: in_turns(load.same(askonce.target, same), load.same(peer.target, same), effort))
    return compared(row, "exact hit, memory, plain, fast lane", peer_name, bar, series)


def expect_peer_hits(peer: servers.Running, upstream: servers.Running, peer_name: str, patience_s: float = 30) -> None:
    """Return when a repeated question no longer reaches the upstream. Some store after they have answered."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        before = load.calls(upstream.port)
        answer = load.ask(peer.port, load.SAME)
        if answer.status != 200:
            raise load.RunError(f"{peer_name} answered {answer.status}")
        if load.calls(upstream.port) == before:
            return
        time.sleep(0.5)
    raise load.RunError(f"{peer_name} never answered from its cache")


def miss(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Every question a new one: relayed and stored, against the relay one would write first, which stores nothing."""
    upstream, other_upstream = bench.start(servers.Upstream()), bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port))
    relay = bench.start(servers.Relay(other_upstream.port))
    series = misses_in_turns(bench, askonce, relay, effort)
    kept = expect_kept(upstream, lambda: stored(askonce))
    return [compared("miss", "miss, relayed and stored, instant upstream", "relay on plain httpx", 3, series, kept)]


def stored(askonce: servers.Running) -> int:
    """What `/metrics` says of entries on disk."""
    text = load.ask(askonce.port, path="/metrics").body.decode()
    found = re.search(r'^askonce_store_entries\{tier="sqlite"\} (\S+)', text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def miss_latency(bench: servers.Bench, effort: Effort) -> list[Result]:
    """What a caller waits longer than without us, one question at a time."""
    upstream = bench.start(servers.Upstream())
    askonce = bench.start(servers.AskOnce(upstream.port))
    relay = bench.start(servers.Relay(upstream.port))
    work = "median added to a miss, one connection"
    other = "the same for the relay on plain httpx, which stores nothing"
    return [
        added("miss-latency", work, 1.0, askonce, upstream, effort),
        added("relay-latency", other, None, relay, upstream, effort),
    ]


def herd_of_one(bench: servers.Bench, _effort: Effort, callers: int = 1000) -> list[Result]:
    """Equal streamed questions at the same time, from an upstream that takes a second to begin."""
    upstream = bench.start(servers.Upstream(delay_ms=1000, gap_ms=5))
    askonce = bench.start(servers.AskOnce(upstream.port))
    return [herd("herd", f"{callers:,} equal streamed requests at once", [askonce], callers, upstream)]


def start(bench: servers.Bench, effort: Effort) -> list[Result]:
    """From the start of the process to the first whole answer, and what the process holds when idle after it."""
    upstream = bench.start(servers.Upstream())
    taken, worked, resident = [], [], []
    for number in range(effort.starts + 1):  # the first start may have to compile modules
        askonce = bench.start(servers.AskOnce(upstream.port), wait=False)
        taken.append(first_answer(askonce, load.numbered(number)))
        worked.append(proc.cpu_seconds(askonce.process.pid))
        time.sleep(1)
        resident.append(askonce.resident_mb())
        servers.end(askonce.process)
    seconds, megabytes = statistics.median(taken[1:]), statistics.median(resident[1:])
    span = f"{min(taken[1:]):.2f} to {max(taken[1:]):.2f} s in {effort.starts} starts"
    cpu = f"of it {statistics.median(worked[1:]):.2f} s processor time"
    return [
        Result("start", "start of the process to the first answer", "", 1.5, False, seconds, " s", notes=(span, cpu)),
        Result("memory", "idle resident memory, without the semantic part", "", 90, False, megabytes, " MB"),
    ]


def first_answer(askonce: servers.Running, body: bytes, patience_s: float = 60) -> float:
    """Seconds from the start of the process to a 200."""
    while time.perf_counter() - askonce.started < patience_s:
        try:
            answer = load.ask(askonce.port, body)
        except OSError:
            time.sleep(0.002)
            continue
        if answer.status != 200:
            raise load.RunError(f"the first answer was {answer.status}")
        return time.perf_counter() - askonce.started
    raise load.RunError(f"no answer within {patience_s:g} s: {servers.last_line(askonce)}")


ROWS: dict[str, Row] = {
    "bare": bare,
    "hit-bare": hit_bare,
    "hit-parsed": hit_parsed,
    "hit-nginx": hit_nginx,
    "hit-litellm": hit_litellm,
    "hit-cachellm": hit_cachellm,
    "hit-no-fast-lane": hit_no_fast_lane,
    "hit-stream": hit_stream,
    "hit-sqlite": hit_sqlite,
    "miss": miss,
    "miss-latency": miss_latency,
    "herd": herd_of_one,
    "start": start,
    "size": size,
    **redis_rows.ROWS,
    **semantic_rows.ROWS,
    **routing_rows.ROWS,
    **stream_rows.ROWS,
    **worker_rows.ROWS,
}
