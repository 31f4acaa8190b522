"""The upstreams of the configuration, wired: each with its endpoints, its kind and its way to choose among them.

Beside `app.py` the only module that knows which classes are real.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from proxy.errors import UpstreamError
from proxy.fingerprint import Namer
from proxy.probes import Probe
from proxy.replicas import revealed
from proxy.settings import Settings, Upstream
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing
from proxy.types import Call
from proxy.upstream import base
from proxy.upstream.balancing.base import Balancer
from proxy.upstream.balancing.least_loaded import LeastLoaded
from proxy.upstream.balancing.prefix import PrefixBalancer
from proxy.upstream.balancing.round_robin import RoundRobin
from proxy.upstream.epochs import Epochs, Notes
from proxy.upstream.fleet import Fleet, FleetLimits, Seen
from proxy.upstream.kinds.base import Kind
from proxy.upstream.kinds.openai import OpenAIKind
from proxy.upstream.kinds.vllm import VllmKind
from proxy.upstream.model_map import ModelMap
from proxy.upstream.openai_http import OpenAIHttp
from proxy.upstream.prompt_cache import PromptCacheKeys
from proxy.upstream.routes import Route, Routes

HTTP_ERROR = 400


class Changes:
    """Tells who remembers names that they are made otherwise from now on."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []

    def tell(self) -> None:
        """A model's name stands for something else than it did."""
        for listener in self.listeners:
            listener()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What upstreams are given by the rest of the house."""

    namer: Namer
    notes: Notes
    """Where it is kept what stands behind models' names."""
    seen: Seen
    changes: Changes
    tasks: Tasks
    clock: Callable[[], float]
    random: Callable[[], float]
    tracing: Tracing


def make_upstreams(settings: Settings, house: Surroundings) -> Routes:
    """All of them. Opens nothing."""
    made: dict[str, Fleet] = {}
    waiting = {each.name: each for each in settings.upstreams}
    while waiting:
        # Those that fall back on nobody who is still to be made; there is no circle, or it was refused.
        for each in [each for each in waiting.values() if each.fallback not in waiting]:
            made[each.name] = _fleet(settings, each, house, made.get(each.fallback or ""))
            del waiting[each.name]
    routes = [Route(made[each.name], each.models, ModelMap(each.model_map).names) for each in settings.upstreams]
    return Routes(routes, reads_bodies=_reads_bodies(settings))


async def probe_upstreams(settings: Settings) -> AsyncIterator[Probe]:
    """Try each endpoint with a call that costs nothing."""
    for each in settings.upstreams:
        kind = _kind(each, ModelMap({}), Namer(b""), time.time)  # nothing is named by looking
        for address in each.base_url:
            endpoint = _endpoint(settings, each, address)
            await endpoint.open()
            try:
                yield await _probed(each, endpoint, kind, alone=len(settings.upstreams) == 1)
            finally:
                await endpoint.close()


async def _probed(upstream: Upstream, endpoint: OpenAIHttp, kind: Kind, *, alone: bool) -> Probe:
    part, address = f"upstream {upstream.name}", endpoint.address
    try:
        condition = await kind.look(endpoint) if kind.watched else None
        reply = await endpoint.send(Call("GET", "/models", (), b""))
    except UpstreamError as error:
        return Probe(part, ok=False, detail=f"{address}: {endpoint.why(error)}")
    await reply.aclose()
    if reply.status in (401, 403) and upstream.sends(alone=alone) == "caller":
        return Probe(part, ok=True, detail=f"{address} answers, and wants the callers' own credential")
    if reply.status >= HTTP_ERROR:
        told = f"{address} answers {reply.status} to GET /models: check base_url and api_key"
        return Probe(part, ok=False, detail=told)
    if condition is None:
        return Probe(part, ok=True, detail=f"{address} answers")
    if not condition.well:
        return Probe(part, ok=False, detail=f"{address}: {condition.why}")
    identity = condition.identity
    if identity is None:
        return Probe(part, ok=True, detail=f"{address} answers; what it serves is not known", warns=True)
    told = f"{address} answers: version {identity.version}, serves {', '.join(identity.models)}"
    return Probe(part, ok=True, detail=told)


def described(settings: Settings) -> str:
    """Where questions go, for the first line of the log."""
    return ", ".join(address for each in settings.upstreams for address in each.base_url)


def _reads_bodies(settings: Settings) -> bool:
    """Several to choose from, or something to put in: neither can be done to a body that is still arriving."""
    return len(settings.upstreams) > 1 or any(
        each.kind == "vllm" or each.model_map or each.prompt_cache_key or len(each.base_url) > 1
        for each in settings.upstreams
    )


def _fleet(settings: Settings, upstream: Upstream, house: Surroundings, fallback: base.Upstream | None) -> Fleet:
    endpoints = [_endpoint(settings, upstream, address) for address in upstream.base_url]
    models = ModelMap(upstream.model_map)
    # Two upstreams may be called alike, one after the other: an answer belongs to the address it came from.
    epochs = Epochs(
        upstream=upstream.name,
        fixed=f"{upstream.base_url[0]} {upstream.epoch}",
        follow=upstream.kind == "vllm" and upstream.follow_model,
        notes=house.notes,
        changed=house.changes.tell,
        addresses=[endpoint.address for endpoint in endpoints],
    )
    return Fleet(
        upstream.name,
        endpoints,
        kind=_kind(upstream, models, house.namer, house.clock),
        balancer=_balancer(upstream),
        fallback=fallback,
        epochs=epochs,
        limits=FleetLimits(
            breaker_failures=upstream.breaker_failures,
            health_interval_s=upstream.health_interval,
            health_timeout_s=upstream.health_timeout,
            retry_after_s=upstream.retry_after,
        ),
        stream_usage=upstream.stream_usage,
        tasks=house.tasks,
        seen=house.seen,
        random=house.random,
        steady=time.monotonic,
        called_there=models.name_of,
        tracing=house.tracing,
        vouches=upstream.fallback_for == "known" and upstream.sends(alone=len(settings.upstreams) == 1) == "caller",
    )


def _endpoint(settings: Settings, upstream: Upstream, address: str) -> OpenAIHttp:
    return OpenAIHttp(
        upstream.name,
        address,
        credential=upstream.sends(alone=len(settings.upstreams) == 1),
        api_key=revealed(upstream.api_key),
        health_timeout_s=upstream.health_timeout,
        connect_timeout_s=upstream.connect_timeout,
        first_byte_timeout_s=upstream.first_byte_timeout,
        idle_timeout_s=upstream.idle_timeout,
        total_timeout_s=upstream.total_timeout,
        max_connections=upstream.max_connections,
        keepalive_expiry_s=upstream.keepalive_expiry,
        max_decompression_ratio=settings.server.max_decompression_ratio,
        max_decoded_bytes=settings.server.flight_max_bytes,
        ca_file=upstream.ca_file,
    )


def _kind(upstream: Upstream, models: ModelMap, namer: Namer, clock: Callable[[], float]) -> Kind:
    match upstream.kind:
        case "openai":
            keys = None
            if upstream.prompt_cache_key:
                keys = PromptCacheKeys(mac=namer.prompt_cache, clock=time.monotonic, prefix_bytes=upstream.prefix_bytes)
            return OpenAIKind(models=models, prompt_cache=keys)
        case "vllm":
            return VllmKind(models=models, salt=namer.salt, share=upstream.share_prefix_cache, clock=clock)


def _balancer(upstream: Upstream) -> Balancer:
    match upstream.balance or ("prefix" if upstream.kind == "vllm" else "least_loaded"):
        case "prefix":
            return PrefixBalancer(
                bound=upstream.balance_bound,
                slack=upstream.balance_slack,
                prefix_bytes=upstream.prefix_bytes,
                conversations=upstream.conversations,
                by_scope=not upstream.share_prefix_cache,
            )
        case "least_loaded":
            return LeastLoaded()
        case "round_robin":
            return RoundRobin()
