"""The rows about several processes on one port: what a second one carries, and what a scrape of many costs."""

from __future__ import annotations

import asyncio
import statistics

import load
import redis_rows
import servers
from measure import Effort, Row, all_hits, hit, in_turns
from report import Result, compared

SCRAPED = 4
"""Workers whose figures one of them adds up."""

METRICS = "/metrics"


def hit_workers(bench: servers.Bench, effort: Effort) -> list[Result]:
    """Hits of two workers on one port against those of one, from memory and from Redis."""
    note = "the client has its share of the same cores"
    results = []
    for row, tier, memory in (("hit-workers", "memory", "256MiB"), ("hit-workers-redis", "Redis (memory tier off)", 0)):
        upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
        two, one = (bench.start(several(upstream, shared, workers, memory)) for workers in (2, 1))
        same = bench.file("same.json", load.SAME)
        for side in (two, one):
            hit(side, upstream)
        sides = load.same(two.target, same), load.same(one.target, same)
        series = all_hits(upstream, lambda sides=sides: in_turns(*sides, effort))
        results.append(compared(row, f"hits of 2 workers on one port from {tier}", "1 worker", None, series, note))
    return results


def scrape_workers(bench: servers.Bench, effort: Effort) -> list[Result]:
    """What one scrape takes when figures of four workers are added up, against one process' own."""
    upstream, shared = bench.start(servers.Upstream()), bench.start(servers.Redis())
    many, one = (bench.start(several(upstream, shared, workers)) for workers in (SCRAPED, 1))
    for side in (many, one):
        hit(side, upstream)
    asked = max(effort.requests // 10, 20)
    of_many, of_one = (asyncio.run(scrapes(side.port, asked)) for side in (many, one))
    figure, alone = (statistics.median(seconds) * 1000 for seconds in (of_many, of_one))
    work = f"median of a scrape, {SCRAPED} workers"
    worst = f"99th percentile {statistics.quantiles(of_many, n=100)[98] * 1000:.1f} ms"
    notes = (f"one process {alone:.1f} ms", worst, f"{asked} each, one at a time")
    return [Result("scrape-workers", work, "", None, at_least=False, figure=figure, unit=" ms", notes=notes)]


async def scrapes(port: int, count: int) -> list[float]:
    """Seconds of each, on one connection."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    for _ in range(count + 1):
        began = loop.time()
        writer.write(f"GET {METRICS} HTTP/1.1\r\nhost: askonce\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        load.expect_ok(head)
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        taken.append(loop.time() - began)
    writer.close()
    return taken[1:]


def several(
    upstream: servers.Running, shared: servers.Running, workers: int, memory: str | int = "256MiB"
) -> servers.AskOnce:
    store = redis_rows.url(shared)
    return servers.AskOnce(upstream.port, memory=memory, store=store, more={"server": {"workers": workers}})


ROWS: dict[str, Row] = {"hit-workers": hit_workers, "scrape-workers": scrape_workers}
