"""Prometheus' own programs, and what a real one saw of two proxies under load."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.production.dashboards.load import everything, loaded, redis_for
from tests.production.dashboards.promql import RULES, of_panels, recorded, whole
from tests.prometheus_server import Programs, PrometheusServer, Unavailable, obtain
from tests.redis_servers import free_port
from tests.redis_stack import Unavailable as NoRedis
from tests.redis_stack import obtain as obtain_redis

TURNS = 3
"""Of the rules after all has happened: of those that build on others the last is right then."""

SPAN = "5m"
"""A window that holds all of the load."""


@dataclass(frozen=True)
class Seen:
    """What came of it, as plain data: it is made once, for all test processes."""

    exposition: str
    """A replica's /metrics."""
    answers: dict[str, list[dict[str, Any]]]
    """The results of the dashboard's expressions, by expression."""
    recorded: dict[str, list[dict[str, Any]]]
    """The series of recording rules, by name."""
    groups: list[dict[str, Any]]
    """The rule groups, as Prometheus tells of them."""
    shared: dict[str, list[dict[str, Any]]]
    """A few figures of each replica, by metric."""
    hit_ratio: list[dict[str, Any]]
    """The dashboard's, over all that ever was."""
    stats: list[dict[str, Any]]
    """/admin/stats of each replica."""


LOOKED_AT = ("askonce_store_bytes", "askonce_store_entries", "askonce_requests_total")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first makes the load, which takes longer than a test may on a busy machine."""
    for item in items:
        if "seen" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def programs() -> Programs:
    try:
        return obtain()
    except Unavailable as why:
        pytest.skip(f"there is no Prometheus: {why}")


@pytest.fixture(scope="session")
def seen(programs: Programs, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Seen:
    """Two replicas, everything that can happen to them, and a Prometheus that scraped both each second."""
    try:
        stack = obtain_redis()
    except NoRedis as why:
        pytest.skip(f"there is no Redis: {why}")
    folder = tmp_path_factory.mktemp("load")
    if worker_id == "master":
        return _watch(programs, stack, folder)
    kept = tmp_path_factory.getbasetemp().parent / "seen-by-prometheus.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(asdict(_watch(programs, stack, folder))), encoding="utf-8")
    return Seen(**json.loads(kept.read_text(encoding="utf-8")))


def _watch(programs: Programs, stack: Path, folder: Path) -> Seen:
    ports = [free_port(), free_port()]
    for number in range(len(ports)):
        (folder / f"replica-{number}").mkdir()
    jobs = {"askonce": [f"127.0.0.1:{port}" for port in ports]}
    labels = {"namespace": "llm"}
    with (
        redis_for(stack, folder) as redis,
        PrometheusServer(programs, folder, jobs=jobs, rules=RULES, labels=labels) as prometheus,
    ):

        async def watched() -> Seen:
            async with loaded(redis, folder, ports) as proxies:
                # Twice: what a scrape finds for the first time has not grown yet, and a rate over it is 0.
                await everything(proxies, "spring")
                await _scraped(prometheus, len(ports))
                await everything(proxies, "autumn")
                stats = [(await each.http.get("/admin/stats")).json() for each in proxies.replicas]
                await _scraped(prometheus, len(ports))
                await _evaluated(prometheus)
                await _scraped(prometheus, len(ports))
                now = time.time()
                return Seen(
                    exposition=(await proxies.replicas[0].http.get("/metrics")).text,
                    answers={
                        asked.expr: prometheus.query(whole(asked.expr, interval=SPAN, span=SPAN), now)
                        for asked in of_panels()
                    },
                    recorded={name: prometheus.query(name, now) for name in recorded()},
                    groups=prometheus.groups(),
                    shared={name: prometheus.query(name, now) for name in LOOKED_AT},
                    hit_ratio=prometheus.query(_since_ever(_hit_ratio()), now),
                    stats=stats,
                )

        async def gone() -> Seen:
            there = await watched()
            await asyncio.sleep(0.1)  # connections that are closed are gone a moment later
            return there

        return asyncio.run(gone())


async def _evaluated(prometheus: PrometheusServer) -> None:
    """Until each group has been evaluated with all of that: rules that build on others follow a turn later."""
    began = max(group["lastEvaluation"] for group in prometheus.groups())
    turns = 0
    while turns < TURNS:
        await asyncio.sleep(0.2)
        last = min(group["lastEvaluation"] for group in prometheus.groups())
        if last > began:
            began, turns = max(group["lastEvaluation"] for group in prometheus.groups()), turns + 1


async def _scraped(prometheus: PrometheusServer, replicas: int) -> None:
    """Until all that is so now was seen: each replica is scraped once a second. One whose scrape failed, as can be on a
    busy machine, has no series until the next."""
    began, times = time.time(), list[float]()
    while len(times) < replicas or min(times) < began + 1:
        await asyncio.sleep(0.1)
        times = [float(each["value"][1]) for each in prometheus.query("timestamp(askonce_build_info)")]


def _hit_ratio() -> str:
    (expr,) = (asked.expr for asked in of_panels() if asked.where == "Hit ratio (A)")
    return expr


def _since_ever(expr: str) -> str:
    """Of counters what they are in place of how much they grew."""
    return whole(re.sub(r"increase\(([^()]+)\[\$__range]\)", r"\1", expr))
