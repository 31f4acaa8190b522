"""What walks the path: a request, what was considered of it, what was found for it, and its answer.

Plain values, and what can be said of them without asking any room.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from proxy.endpoints.base import Endpoint
from proxy.flights import Seat
from proxy.match import Match
from proxy.settings import Rule
from proxy.types import CacheStatus, Call, Digest, Directives, Entry, Form, Outcome, Pairs, Reply, Scope, Verdict
from proxy.upstream.base import Upstream

OK = 200

KEPT_AS = b":key"
"""A field of our own among an answer's, where it is kept under another name than the question's (a fallback's answer).
No upstream can send one of that name (RFC 9110 section 5.1), and none is sent on."""

POOLED_QUESTIONS = 4096
"""Questions whose turn is remembered; a forgotten one starts with its first answer again."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a cached endpoint, as the edge read it: body decoded, directives parsed."""

    endpoint: Endpoint
    target: str
    """Path below the upstream's base address, with its query."""
    headers: Pairs
    """As they came, for telling callers apart and for `vary`."""
    onward: Pairs
    """What may be passed upstream."""
    body: bytes
    directives: Directives
    deployment: str = ""
    """Azure's name for the model, where the path says it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request, considered: all that is needed to look for its answer and to judge one that is found.

    Depends on nothing but the request's bytes, the configuration and the upstreams' epochs, so equal requests may share
    one until an epoch changes.
    """

    endpoint: Endpoint
    scope: Scope
    upstream: Upstream
    """Who is asked, and in whose name the answer is kept."""
    name: Digest
    epoch: str
    """What stood behind the model's name when the question was named (`Upstream.epoch`)."""
    model: str
    stream: bool
    include_usage: bool
    asks_usage: bool
    """Usage is asked for on its stream whether or not this caller wants it."""
    choices: int
    echoes: Mapping[str, bytes]
    verdict: Verdict
    directives: Directives
    rule: Rule


Later = Callable[[], Awaitable["Answer"]]


@dataclass(slots=True)
class Answer:
    """What the edge sends: a stored `entry`, or an upstream's answer as it comes, on a `seat` or as a `reply`."""

    outcome: Outcome
    cache_status: CacheStatus
    case: Case
    entry: Entry | None = None
    seat: Seat | None = None
    reply: Reply | None = None
    tier: str = ""
    reason: str = ""
    whole: bool = False
    """A seat whose answer is all there already: no need to send it piece by piece."""
    quiet: bool = False
    """The stream's usage was asked for by us, not by this caller: send it without."""
    match: Match | None = None
    """The entry answers another question, which this one was matched with."""
    later: Later | None = None
    """A stream's caller waits for somebody else's call, and has waited as long as a silent connection may: say that it
    is a stream, keep it open, and await this for the answer itself."""

    @property
    def status(self) -> int:
        """HTTP status."""
        source = self.seat or self.reply
        return source.status if source is not None else 200

    @property
    def headers(self) -> Pairs:
        """The upstream's end-to-end fields; none for an entry."""
        source = self.seat or self.reply
        return source.headers if source is not None else ()

    @property
    def key(self) -> str:
        """What removal and feedback know this answer by (`X-Cache-Key`): the name it is kept under, or for a match the
        name of the question that it was matched with."""
        if self.entry is not None and self.match is None:
            return self.entry.name.hex()
        return header(self.headers, KEPT_AS) or self.case.name.hex()

    async def aclose(self) -> None:
        """The caller is served, or gone. More than once is harmless."""
        if self.seat is not None:
            self.seat.leave()
        if self.reply is not None:
            await self.reply.aclose()


class Found(NamedTuple):
    """An entry, the tier it was found in, and how this question came to it where it is the answer to another."""

    entry: Entry
    tier: str
    match: Match | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """When a question went upstream: the store's generation (a purge since then forbids keeping) and Unix seconds."""

    generation: int
    at: float


class Turns:
    """Whose turn it is among the several answers of a pooled question. Bounded; what is forgotten starts anew."""

    def __init__(self) -> None:
        self._turns: OrderedDict[Digest, int] = OrderedDict()

    def next(self, name: Digest, size: int) -> int:
        """0, 1, ... size - 1, 0, ..."""
        turn = self._turns.get(name, 0)
        self._turns[name] = (turn + 1) % size
        self._turns.move_to_end(name)
        if len(self._turns) > POOLED_QUESTIONS:
            self._turns.popitem(last=False)
        return turn % size


def serves(entry: Entry, case: Case) -> bool:
    """Whether this entry can be turned into the form this caller wants without losing anything."""
    if entry.form is Form.ALIAS or (entry.form is Form.FRAMES and not case.stream):
        return False
    return not entry.lacks_usage or (case.stream and not case.include_usage)


def is_event_stream(headers: Pairs) -> bool:
    """Whether a response is server-sent events."""
    return header(headers, b"content-type").lower().startswith("text/event-stream")


def hit(case: Case, found: Found, now: float) -> Answer:
    entry, tier, match = found
    status = CacheStatus(ttl=int(entry.ttl_s(now)), detail=tier if match is None else "alias")
    return Answer(Outcome.HIT, status, case, entry=entry, tier=tier, match=match)


def semantic(case: Case, entry: Entry, match: Match, now: float) -> Answer:
    detail = "semantic" if match.kind == "meaning" else match.kind
    status = CacheStatus(ttl=int(entry.ttl_s(now)), detail=detail)
    return Answer(Outcome.SEMANTIC, status, case, entry=entry, tier=match.kind, match=match)


def stale(case: Case, found: Found, now: float, detail: str) -> Answer:
    status = CacheStatus(ttl=int(found.entry.ttl_s(now)), detail=detail)
    return Answer(Outcome.STALE, status, case, entry=found.entry, tier=found.tier)


def why_forward(case: Case, found: Found | None) -> str:
    """RFC 9211 section 2.2, the most specific that is known."""
    if not case.verdict.read:
        return "request"
    if found is None:
        return "uri-miss"
    return "stale" if serves(found.entry, case) else "vary-miss"


def call_for(case: Case, request: Request) -> Call:
    return Call(
        "POST",
        request.target,
        request.onward,
        request.body,
        streaming=case.stream,
        model=case.model,
        scope=case.scope,
        repeatable=True,
        portable=True,
    )


def patience_s(headers: Pairs) -> float | None:
    """How long the caller waits for a byte, as OpenAI's SDKs say it; None where nothing useful is said."""
    said = header(headers, b"x-stainless-read-timeout")
    return float(said) if _SECONDS.fullmatch(said) and float(said) > 0 else None


_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def header(headers: Pairs, name: bytes) -> str:
    return next((value.decode("latin-1") for field, value in headers if field == name), "")
