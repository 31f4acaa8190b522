"""Receive, identify, read, judge: once for each distinct request.

All of that depends on nothing but a request's bytes, the configuration and what stands behind a model's name (`forget`
is called when that changes), so equal bytes may be considered once. The memo is keyed by the body's bytes and by every
header field that takes part (the caller's credential first of all), never by a digest: equal keys are equal requests.
It is what lets a repeated question be answered without parsing it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from proxy.case import Answer, Case, Request
from proxy.edge import directives
from proxy.edge.passing import deployment_of
from proxy.endpoints.base import Endpoint
from proxy.pipeline import Pipeline
from proxy.telemetry.tracing.w3c import Parent
from proxy.types import Pairs
from proxy.upstream.headers import to_upstream

CASE_BYTES = 1500
"""What a remembered case costs beside the bytes of its request: measured with sys.getsizeof, rounded up."""

FIELD_BYTES = 160
"""What a header field costs beside its bytes: a pair and two objects."""

CODINGS = frozenset({b"accept-encoding", b"content-encoding"})
"""The body goes upstream decoded, and the answer is folded: neither coding is the client's to choose here."""

K = TypeVar("K")
V = TypeVar("V")

HOW_IT_CAME = frozenset({b"connection", b"content-encoding", b"transfer-encoding", b"upgrade"})
"""Fields the edge looks at before it considers a request: one that differs in them did not come before."""

Key = tuple[str, Pairs, bytes]


@dataclass(frozen=True, slots=True)
class Considered:
    """A case, and the request it was made of when it had to be made."""

    case: Case
    request: Request | None


class Packet(NamedTuple):
    """A request that came in one piece: its case, and the client's own request id, empty where it gave none."""

    case: Case
    request_id: bytes
    parent: Parent | None = None
    """The span it said it comes from, where requests are traced."""


class Reception:
    """What both lanes of the edge do with a request to a cached endpoint."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        relevant: frozenset[bytes],
        memory: int,
    ) -> None:
        self._pipeline = pipeline
        self._relevant = relevant | directives.NAMES | HOW_IT_CAME
        self._memo = Memo[Key, Case](memory // 2, weigh_case)
        self._packets = Memo[bytes, Packet](memory // 2, weigh_packet)

    def remembered(self, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Case | None:
        """The case of a request that came before, byte for byte."""
        return self._memo.get(self._key(target, headers, body))

    def repeated(self, data: bytes) -> Packet | None:
        """What came before in these very bytes, head and body."""
        return self._packets.get(data)

    def remember(self, data: bytes, packet: Packet) -> None:
        """These bytes are exactly one request, and this is what it was."""
        if _is_current(packet.case):
            self._packets.put(data, packet)

    def forget(self) -> None:
        """Names are made otherwise from now on."""
        self._memo.clear()
        self._packets.clear()

    def recall(self, case: Case) -> Answer | None:
        """What memory can answer at once."""
        return self._pipeline.recall(case)

    async def look(self, case: Case) -> Answer | None:
        """What the store behind memory can answer as it is. Never fails: a store that does has nothing."""
        found = await self._pipeline.look(case)
        return self._pipeline.fit(case, found) if found is not None else None

    def consider(self, endpoint: Endpoint, target: str, headers: Pairs, body: bytes) -> Considered:
        """Raises `errors.RequestError`."""
        key = self._key(target, headers, body)
        case = self._memo.get(key)
        if case is not None:
            return Considered(case, None)
        request = self.request(endpoint, target, headers, body)
        case = self._pipeline.consider(request)
        if _is_current(case):
            self._memo.put(key, case)
        return Considered(case, request)

    def request(self, endpoint: Endpoint, target: str, headers: Pairs, body: bytes) -> Request:
        """The request as the path wants it: directives read, other gateways' controls taken out."""
        asked = directives.from_headers(headers)
        body, asked = directives.from_body(body, asked)
        plain = tuple(pair for pair in to_upstream(headers) if pair[0] not in CODINGS)
        return Request(endpoint, target, headers, plain, body, asked, deployment_of(target)[0])

    def _key(self, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Key:
        relevant = self._relevant
        return target, tuple([pair for pair in headers if pair[0] in relevant]), body


def _is_current(case: Case) -> bool:
    """A long body is read in a thread: since it was named, what stands behind the model's name may have changed, and
    all that was remembered been forgotten."""
    return case.upstream.epoch(case.model) == case.epoch


class Memo(Generic[K, V]):
    """Values by key, bounded in bytes by what `weigh` says of a pair.

    Two generations: when the young one has filled half the bound it becomes the old one and the old one goes, so that
    look-up and eviction cost one dictionary operation.
    """

    def __init__(self, limit_bytes: int, weigh: Callable[[K, V], int]) -> None:
        self._half = limit_bytes // 2
        self._weigh = weigh
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._bytes = 0

    def clear(self) -> None:
        self._young, self._old, self._bytes = {}, {}, 0

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """What alone would fill a good part of a generation is not remembered."""
        size = self._weigh(key, value)
        if size > self._half // 8:
            return
        if self._bytes + size > self._half:
            self._old, self._young, self._bytes = self._young, {}, 0
        self._young[key] = value
        self._bytes += size


def weigh_case(key: Key, case: Case) -> int:
    """Bytes. All that a caller chooses counts: a long header or query must not be remembered for nothing."""
    target, fields, body = key
    echoed = sum(map(len, case.echoes.values()))
    return CASE_BYTES + len(target) + len(body) + echoed + sum(FIELD_BYTES + len(n) + len(v) for n, v in fields)


def weigh_packet(data: bytes, packet: Packet) -> int:
    """Bytes. The case itself is most often shared with `weigh_case`'s; counted all the same."""
    return CASE_BYTES + len(data) + len(packet.request_id)
