"""The composition root: settings → objects → one ASGI application and its server.

The only module that knows which classes are real. Read `build` from top to bottom to see what the product is made of.
"""

from __future__ import annotations

import gc
import logging
import random as random_module
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version as distribution_version
from math import ceil
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from prometheus_client.core import Metric
from starlette.types import Receive, Scope, Send

from proxy.admin.access import Access
from proxy.admin.operations import Operations
from proxy.admin.routes import add_error_handlers, routes
from proxy.drain import Drain, Signals
from proxy.edge.asgi import Edge, EdgeSettings
from proxy.edge.exchange import Limits
from proxy.edge.guard import Patience
from proxy.edge.lane import Lane, LaneProtocol, LaneSettings
from proxy.edge.observer import Observer
from proxy.edge.paths import Paths
from proxy.edge.reception import Reception
from proxy.endpoints.base import Endpoint
from proxy.endpoints.chat_completions import ChatCompletions
from proxy.errors import CacheFailure
from proxy.feedback import Feedback, Recent, nowhere
from proxy.fingerprint import Namer
from proxy.flights import Bounds, Flights
from proxy.leases.off import NoLeases
from proxy.meaning.base import Meaning
from proxy.pipeline import ALWAYS_VARY, PathSettings, Pipeline
from proxy.policies.base import Policy
from proxy.policies.live_data import hosted_tools, live_data, upstream_cache
from proxy.policies.modality import modality
from proxy.policies.opt_out import opt_out
from proxy.policies.sampling import sampling
from proxy.policies.server_state import server_state
from proxy.probes import Probe
from proxy.redis_link.survey import survey
from proxy.replicas import SharedBoard, SharedSecret, front, link_to, revealed, share
from proxy.secret import installation_secret
from proxy.semantic import House, match_by_meaning, mode_of, probe_semantic
from proxy.settings import Settings
from proxy.stores.base import ExactStore
from proxy.stores.frame import FrameCodec
from proxy.stores.off import OffStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.tiered import TieredStore
from proxy.telemetry import logs
from proxy.telemetry.audit import Audit
from proxy.telemetry.figures import Figures, OwnFigures
from proxy.telemetry.ids import Ids
from proxy.telemetry.logs import AccessLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.prices import Price, Prices
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing, TracingSettings
from proxy.telemetry.tracing.make import make_tracing
from proxy.tenancy.base import Tenancy
from proxy.tenancy.credential import CredentialTenancy
from proxy.tenancy.single import SingleTenancy
from proxy.upstream.gauges import EndpointGauges
from proxy.upstreams import Changes, Surroundings, described, make_upstreams, probe_upstreams
from proxy.workers.deliveries import QUESTION as DELIVERY
from proxy.workers.deliveries import Deliveries, teller
from proxy.workers.group import Group
from proxy.workers.siblings import Siblings
from proxy.workers.supervisor import Made, WorkerConfig, supervise
from proxy.workers.supervisor import signals as worker_signals

logger = logging.getLogger("askonce")

VERSION = distribution_version("askonce")

LANDING_S = 5.0
"""After the last caller is served, how long flights may still take to land and be kept."""

TERMINATOR_S = 2.0
"""How long after a stream's end marker the HTTP message may take to end before the answer is not kept."""

POLICIES: tuple[Policy, ...] = (opt_out, server_state, modality, live_data, hosted_tools, upstream_cache, sampling)


class Application(FastAPI):
    """FastAPI serves what people and scrapers call; `/v1` and `/openai` go to the edge before its routing."""

    edge: Edge
    lane: Lane
    pipeline: Pipeline
    metrics: Metrics
    store: ExactStore
    flights: Flights
    drain: Drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/v1/", "/openai/")):
            await self.edge(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def build(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    random: Callable[[], float] = random_module.random,
    signals: Signals | None = None,
    group: Group | None = None,
) -> Application:
    """Everything, wired. Opens nothing but the secret's file; the application's lifespan opens and closes the rest.

    signals: what they mean while it serves; None: whoever runs the loop ends it. group: the workers that it is one of.
    """
    server = settings.server
    secret = group.secret if group else _secret(settings)
    namer = Namer(secret)
    tasks = Tasks()
    ids = Ids()
    codec = FrameCodec(secret, level=settings.store.compression_level, max_body=settings.store.max_entry)
    shared = share(settings, secret, codec, clock) if settings.store.kind == "redis" else None
    store = shared.store if shared else _store(settings, codec, clock)
    leases = shared.leases if shared else NoLeases()
    tenancy = _tenancy(settings, namer)
    endpoints: dict[bytes, Endpoint] = {endpoint.path.encode(): endpoint for endpoint in (ChatCompletions(),)}
    bounds = Bounds(
        server.flight_max_bytes, server.flight_max_age, server.flight_max_listeners, server.unstorable_memory
    )
    flights = Flights(bounds, tasks, clock)
    metrics = Metrics(
        version=VERSION,
        models=frozenset(settings.telemetry.models),
        store_report=store.report,
        flights=lambda: flights.count,
    )
    recent = Recent()
    siblings = Siblings(group, metrics.families, {DELIVERY: teller(recent)}, tasks=Tasks()) if group else None
    figures: Figures = siblings or OwnFigures(metrics)
    drain = Drain(server.shutdown_delay)
    tracing = _tracing(settings, metrics.show)
    changes = Changes()
    # Tasks of their own: flights are waited for at the end, those who watch endpoints are not.
    upstreams = make_upstreams(settings, Surroundings(namer, store, metrics, changes, Tasks(), clock, random, tracing))
    metrics.show(EndpointGauges(upstreams.all).exported)
    meaning = match_by_meaning(settings, House(store, shared, namer, endpoints, metrics, clock, random, tracing))
    elsewhere = Deliveries(siblings.ask).elsewhere if siblings else nowhere
    feedback = Feedback(store, meaning, recent, elsewhere)
    access_log = AccessLog(_write_out, settings.telemetry.log_format)
    observer = Observer(metrics, access_log if settings.telemetry.access_log else None, Audit(access_log), recent)
    pipeline = Pipeline(
        namer=namer,
        tenancy=tenancy,
        policies=POLICIES,
        rule_for=settings.rule_for,
        store=store,
        flights=flights,
        leases=leases,
        meaning=meaning,
        upstreams=upstreams,
        settings=_path_settings(settings),
        metrics=metrics,
        prices=_prices(settings),
        clock=clock,
        random=random,
        tracing=tracing,
    )
    reception = Reception(
        pipeline,
        relevant=tenancy.headers | ALWAYS_VARY | _vary_names(settings),
        memory=server.readings,
    )
    changes.listeners.append(reception.forget)
    edge = Edge(
        pipeline=pipeline,
        reception=reception,
        tenancy=tenancy,
        feedback=feedback,
        endpoints=endpoints,
        upstreams=upstreams,
        observer=observer,
        ids=ids,
        tasks=tasks,
        settings=_edge_settings(settings, endpoints),
        clock=clock,
        tracing=tracing,
    )
    lane = Lane(reception, observer, ids, tasks, _lane_settings(settings, endpoints), clock, drain, tracing=tracing)
    operations = Operations(
        version=VERSION,
        store=store,
        flights=flights,
        leases=leases,
        meaning=meaning,
        upstreams=upstreams,
        figures=figures,
        drain=drain,
        clock=clock,
        began=group.began if group else clock(),
    )
    if shared is not None:
        # First of all that hear of it: what is named and tagged from now on is what all replicas can read.
        shared.redis.heard.insert(0, SharedSecret(secret, (namer, codec, *shared.keyed), reception).heard)
        shared.redis.heard.append(SharedBoard(flights).heard)

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        tracing.open()
        access_log.open()
        await store.open()
        await leases.open()
        for upstream in upstreams.all:
            await upstream.open()
        await meaning.open()
        await figures.open()
        if signals is not None:
            drain.on_signals(signals)
        if group is not None:
            group.when_orphaned(drain.begin)
        if group is None or group.first():
            _announce(settings, store, meaning)
        try:
            yield
        finally:
            # In this order: what is in the air lands, what has landed is kept, then everything is let go of.
            await flights.drain(LANDING_S)
            await meaning.close()
            await leases.close()
            for upstream in upstreams.all:
                await upstream.close()
            await store.close()
            await tracing.close()
            await figures.close()
            access_log.close()

    application = Application(
        title="AskOnce",
        version=VERSION,
        docs_url="/admin/docs",
        redoc_url=None,
        openapi_url="/admin/openapi.json",
        lifespan=lifespan,
    )
    application.edge, application.lane, application.pipeline = edge, lane, pipeline
    application.metrics, application.store, application.flights = metrics, store, flights
    application.drain = drain
    application.include_router(routes(operations, feedback, figures, Access(revealed(settings.admin.token))))
    add_error_handlers(application)
    return application


def server(application: Application, settings: Settings) -> uvicorn.Server:
    """uvicorn with the fast lane as its HTTP protocol."""
    return uvicorn.Server(uvicorn.Config(application, http=_protocol(application), **_options(settings)))


def run(settings: Settings) -> None:
    """Serve until stopped (SIGTERM, SIGINT)."""
    if settings.server.workers > 1:
        _run_workers(settings)
        return
    _prepare(settings)
    serving = server(build(settings, signals=Signals()), settings)
    _settle()
    serving.run()


def _run_workers(settings: Settings) -> None:
    """The parent of several. Each of them makes everything anew, with the secret that is made here."""
    logs.setup(settings.telemetry.log_level, settings.telemetry.log_format)
    mode_of(settings)  # what cannot be had is said once, before any of them begins
    _tracing(settings, lambda _shown: None)
    server = settings.server

    def config(group: Group, port: int) -> WorkerConfig:
        # The real port: it is announced.
        told = settings.model_copy(update={"server": server.model_copy(update={"port": port})})
        return WorkerConfig(
            partial(_prepare, told), partial(_make_worker, told, group), workers=server.workers, **_options(told)
        )

    supervise(config, host=server.host, port=server.port, secret=_secret(settings), clock=time.time)


def _make_worker(settings: Settings, group: Group) -> Made:
    application = build(settings, signals=worker_signals(group), group=group)
    _settle()
    return application, _protocol(application)


def _prepare(settings: Settings) -> None:
    """A process that is going to serve."""
    logs.setup(settings.telemetry.log_level, settings.telemetry.log_format)
    for stop in (signal.SIGINT, signal.SIGTERM):
        # uvicorn shuts down in order and then raises the signal again, for whoever handled it before: a clean stop is
        # exit code 0.
        signal.signal(stop, lambda *_: sys.exit(0))


def _settle() -> None:
    """What was imported and built stays: the collector need not look at it again. And a request leaves hardly any
    cycles, so looking after every 700 objects, as is Python's default, is a tenth of a hit's cost for nothing."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


def _protocol(application: Application) -> type[LaneProtocol]:
    # uvicorn calls it like the class it asks for.
    return cast("type[LaneProtocol]", partial(LaneProtocol, application.lane))


def _options(settings: Settings) -> dict[str, Any]:
    """Of uvicorn."""
    return {
        "host": settings.server.host,
        "port": settings.server.port,
        "ws": "none",
        "loop": "uvloop" if sys.platform != "win32" else "asyncio",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Who called is taken from the socket: a header anybody can send decides nothing.
        "proxy_headers": False,
        "timeout_keep_alive": ceil(settings.server.keep_alive),
        "timeout_graceful_shutdown": ceil(settings.server.drain_timeout),
    }


async def probe(settings: Settings) -> AsyncIterator[Probe]:
    """Try every part: the store, matching by meaning, and each upstream with a call that costs nothing."""
    application = build(settings)
    await application.store.open()
    try:
        report = application.store.report()
        yield Probe("store", report.degraded is None, report.degraded or _described_store(settings))
        if settings.store.kind == "redis" and report.degraded is None:
            async for said in _probe_redis(settings):
                yield said
    finally:
        await application.store.close()
    async for said in probe_semantic(settings):
        yield said
    async for said in probe_upstreams(settings):
        yield said


async def _probe_redis(settings: Settings) -> AsyncIterator[Probe]:
    link, key = link_to(settings), f"{settings.store.redis.prefix}:check"
    try:
        await link.run([("EXISTS", key)], probe=True)
        found = await survey(link, settings.store.redis_address, key)
    except CacheFailure as failure:
        yield Probe("redis", ok=False, detail=failure.message)
    else:
        yield Probe("redis", ok=True, detail=found.summary)
        for failure_said in found.failures():
            yield Probe("redis", ok=False, detail=failure_said)
        for warning in found.warnings():
            yield Probe("redis", ok=True, detail=warning, warns=True)
    finally:
        await link.close()


# -- parts -----------------------------------------------------------------------------------------------------------


def _secret(settings: Settings) -> bytes:
    # With Redis and none configured this one is for as long as Redis has not told which one all replicas use.
    return installation_secret(
        revealed(settings.server.secret), settings.store.data_dir if settings.store.kind == "sqlite" else None
    )


def _store(settings: Settings, codec: FrameCodec, clock: Callable[[], float]) -> ExactStore:
    store = settings.store
    if store.kind == "off":
        return OffStore()
    memory = front(settings, clock)
    if store.kind == "memory":
        return memory
    sqlite = SqliteStore(
        store.database, codec, max_bytes=store.max_bytes, read_timeout_s=store.read_timeout, clock=clock
    )
    return TieredStore(memory, sqlite)


def _tenancy(settings: Settings, namer: Namer) -> Tenancy:
    match settings.tenants.mode:
        case "credential":
            return CredentialTenancy(namer)
        case "single":
            return SingleTenancy(namer)


def _tracing(settings: Settings, show: Callable[[Callable[[], Iterator[Metric]]], None]) -> Tracing:
    chosen = settings.telemetry.tracing
    return make_tracing(
        TracingSettings(
            enabled=chosen.enabled,
            version=VERSION,
            endpoint=chosen.endpoint,
            sample=chosen.sample,
            service_name=chosen.service_name,
            queue=chosen.queue,
            timeout_s=chosen.timeout,
            flush_s=chosen.flush,
        ),
        show,
    )


def _prices(settings: Settings) -> Prices:
    return Prices(
        {
            glob: Price(price.input, price.output, price.cached_input)
            for glob, price in settings.telemetry.prices.items()
        }
    )


def _path_settings(settings: Settings) -> PathSettings:
    return PathSettings(
        max_entry=settings.store.max_entry,
        write_timeout_s=settings.store.write_timeout,
        terminator_timeout_s=TERMINATOR_S,
        stream_keep_alive_s=settings.server.stream_keep_alive,
        store_tier=settings.store.kind,
    )


def _edge_settings(settings: Settings, endpoints: Mapping[bytes, Endpoint]) -> EdgeSettings:
    limits = Limits(settings.server.max_body, settings.server.max_decompression_ratio)
    return EdgeSettings(
        limits,
        Paths(settings.server.allow_paths, endpoints),
        stream_keep_alive_s=settings.server.stream_keep_alive,
    )


def _lane_settings(settings: Settings, endpoints: Mapping[bytes, Endpoint]) -> LaneSettings:
    server = settings.server
    return LaneSettings(
        enabled=server.fast_lane,
        paths=frozenset(endpoints),
        patience=Patience(server.max_header_bytes, server.header_timeout, server.body_timeout, server.keep_alive),
        looks=settings.store.kind in ("sqlite", "redis"),
    )


def _vary_names(settings: Settings) -> frozenset[bytes]:
    return frozenset(name.encode() for rule in settings.rules for name in rule.vary)


def _described_store(settings: Settings) -> str:
    match settings.store.kind:
        case "sqlite":
            return str(settings.store.database)
        case "redis":
            return str(settings.store.redis_address)
        case kind:
            return kind


def _announce(settings: Settings, store: ExactStore, meaning: Meaning) -> None:
    """What a person who started it wants to read first."""
    address = f"http://{settings.server.host}:{settings.server.port}"
    logger.info(
        "AskOnce %s serves %s at %s/v1 (store: %s)",
        VERSION,
        described(settings),
        address,
        _described_store(settings),
    )
    semantic = meaning.report()
    detail = f" ({semantic['detail']})" if "detail" in semantic else ""
    logger.info("matching by meaning: %s%s", semantic["mode"], detail)
    degraded = store.report().degraded
    if degraded:
        logger.warning("the store is degraded, requests go on to the upstream: %s", degraded)
    if settings.admin.token is None and settings.server.host not in ("127.0.0.1", "localhost", "::1"):
        logger.warning("no ASKONCE_ADMIN_TOKEN is set: /admin answers only to this machine")


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
