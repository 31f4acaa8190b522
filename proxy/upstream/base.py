"""Ask the model.

    Upstreams    which of the configured upstreams a model's questions go to                 `routes.py`
    Upstream     one configured upstream: one or several endpoints that answer alike         `fleet.py`
    Kind         what answers there, and what it wants done differently                      `kinds/`
    Balancer     which of the endpoints is asked first                                       `balancing/`

A new kind or balancer is one new file in its folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import UpstreamError
from proxy.telemetry.tracing.off import NO_SPAN
from proxy.types import Call, CallSpan, Pairs, Patience, Reply, Scope


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """One endpoint of an upstream, as seen from here."""

    address: str
    """`host:port`: a metric label, and what operators read."""
    state: str
    """`well`, `failing` (left alone but for probes), or `unknown` before the first word from it."""
    detail: str = ""
    """What was wrong when it last failed."""
    in_flight: int = 0
    """Calls of this process that have not ended."""
    waiting: int = 0
    """Requests of anybody that the endpoint said wait there (`vllm:num_requests_waiting`); 0 where it does not say."""
    kv_usage: float = 0.0
    """Share of its KV cache in use, 0 to 1 (`vllm:kv_cache_usage_perc`); 0 where it does not say."""
    openings: int = 0
    """How often its breaker opened."""


@dataclass(frozen=True, slots=True)
class UpstreamReport:
    """What an upstream says of itself, for `/readyz`, `/admin/stats` and metrics."""

    name: str
    kind: str
    endpoints: tuple[EndpointReport, ...]

    @property
    def degraded(self) -> str | None:
        """What an operator should look at; None when all is well."""
        failing = [f"{each.address}: {each.detail}" for each in self.endpoints if each.state == "failing"]
        return "; ".join(failing) or None


class Upstream(Protocol):
    """One configured upstream: somewhere that answers OpenAI-compatible calls, at one address or at several that
    answer alike."""

    @property
    def name(self) -> str:
        """The configured name: in keys, metrics, logs and `X-Upstream`."""

    @property
    def fallback(self) -> Upstream | None:
        """The one to ask where this one cannot serve."""

    @property
    def stream_usage(self) -> bool:
        """Ask for token usage on streams, whoever wants it."""

    @property
    def harmless(self) -> frozenset[str]:
        """Members of a request that cannot change this kind of server's answer, beside those an endpoint knows."""

    def epoch(self, model: str) -> str:
        """What answers stand behind this model's name now; part of every answer's name, so that what an earlier one
        said is found no more. Without waiting; changes are told to whoever asked for it at construction."""

    async def open(self) -> None:
        """Get ready, and begin to watch the endpoints. Raises `errors.SettingsError`. An endpoint that is down is no
        error."""

    async def send(self, call: Call) -> Reply:
        """Send it and return at the response's header section.

        Within the call's budget, an endpoint that cannot serve it is left for another of the same upstream; never
        after a byte of the response came. Its headers hold `x-upstream`, this upstream's name. Follows no redirect.
        Raises `errors.UpstreamError` kinds for the last that was tried; every failed attempt is counted here.
        """

    def vouches_for(self, scope: Scope) -> bool:
        """Whether the fallback may be asked for this caller, where this one cannot."""

    def cannot_serve(self, reply: Reply) -> bool:
        """Whether this reply says that it cannot serve now: its fallback may. Statuses 502, 503 and 504, and a 429 that
        asks for a short pause (RFC 9110 section 15.6, RFC 6585 section 4)."""

    def answered(self, origin: str, model: str, fingerprint: str) -> None:
        """A whole answer came from this endpoint (`Reply.origin`) for the model as the caller named it, with this
        `system_fingerprint` (empty for none)."""

    def report(self) -> UpstreamReport:
        """How it is, without waiting."""

    async def close(self) -> None: ...


class Upstreams(Protocol):
    """All of them, and who serves whom."""

    @property
    def all(self) -> Sequence[Upstream]:
        """In the order of the configuration."""

    @property
    def reads_bodies(self) -> bool:
        """Where a request goes, or what is sent there, depends on its body, on paths that are not cached too."""

    def of(self, model: str) -> Upstream:
        """The first whose patterns match; for a model that none serves, and for "" (a request that names none), the
        first that takes any model, or else the first of all."""

    async def models(self, call: Call) -> Reply:
        """`GET /models` of all of them as one list. Raises `errors.UpstreamError` where all fail."""


TOLD_BYTES = 4 << 20
"""Largest answer that is read before it is passed on: a list of models, an error. Providers with the most models send a
quarter of this."""


class Told:
    """A `Reply` that was read in full."""

    def __init__(self, status: int, headers: Pairs, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.length: int | None = len(body)
        self.origin = ""
        self.span: CallSpan = NO_SPAN

    @classmethod
    async def of(cls, reply: Reply) -> Told:
        """Reads and closes it. Raises `errors.UpstreamError`; a body over `TOLD_BYTES` is one."""
        body = bytearray()
        try:
            async for piece in reply:
                body += piece
                if len(body) > TOLD_BYTES:
                    raise UpstreamError(f"an answer that is read in full has more than {TOLD_BYTES} bytes")
        finally:
            await reply.aclose()
        told = cls(reply.status, reply.headers, bytes(body))
        told.span = reply.span
        return told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body

    async def aclose(self) -> None:
        """Nothing is open."""


LAST_SHARE, LAST_S = 0.1, 0.25
"""Of a caller's patience: with less than this share of it left, or less than this many seconds, no other endpoint is
tried. Its answer would come when nobody waits for it any more."""


def worth_another(patience: Patience, spent_s: float) -> bool:
    """Whether somebody will still be there for another try, `spent_s` after the first began."""
    if patience.seconds is None:
        return True
    left_s = patience.seconds - spent_s
    return left_s >= LAST_S and left_s >= LAST_SHARE * patience.seconds
