"""A vLLM of one's own: what it takes beside OpenAI's members, how it is asked how it is, and what its models are.

Facts are those of vLLM 0.32's sources; each is named where it is used.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

import orjson

from proxy import strict_json
from proxy.errors import BadRequest, UpstreamError
from proxy.types import Call, Scope
from proxy.upstream.amend import appended, with_members
from proxy.upstream.kinds.base import Condition, Identity, Wire
from proxy.upstream.kinds.renaming import object_in, renamed
from proxy.upstream.model_map import ModelMap

HARMLESS: Final[Mapping[str, str]] = {
    "priority": "when its turn comes (v1/core/sched); refused other than 0 by a server without priority scheduling",
    "request_id": "an id for logs; comes back in `id`, which is the delivery's own on hits",
    "session_id": "groups requests for KV events and connectors (v1/core/block_pool.py); sampling never sees it",
    "stream_interval": "how many tokens a streamed chunk has (v1/engine/output_processor.py)",
}
"""Members that cannot change what is answered, each with the reason."""

SALT: Final = "cache_salt"

SALTED: Final = frozenset(
    {
        "/chat/completions", "/chat/completions/batch", "/chat/completions/render", "/completions",
        "/completions/render", "/messages", "/messages/render", "/responses", "/responses/render", "/systemone",
        "/decisions", "/embeddings", "/classify", "/pooling", "/rerank", "/score",
    }
)  # fmt: skip
"""Paths below /v1 whose requests have a `cache_salt` (entrypoints/*/protocol.py). `/messages/count_tokens` has none and
computes nothing. `/decisions` is what `/systemone` becomes in 0.33."""

SALT_CHARS: Final = 128
SALT_FORBIDDEN: Final = frozenset("@/\\\0")
"""What vLLM refuses in a salt (entrypoints/generate/base/protocol.py); before 0.30 a bad one could end the engine."""

_SERVER_ERROR: Final = 500
_OK: Final = 200
_NOT_OFFERED: Final = frozenset({401, 403, 404, 405, 501})
"""Statuses that will be the same next time: there is nothing to be told here, or not to us."""


class VllmKind:
    """`Kind` for vLLM.

    models: what callers' names are called there.
    salt: makes the salt of a scope and of the caller's own salt ("" for none): at most `SALT_CHARS` characters, none
    forbidden. It is asked every time, as its key may change while running.
    share: scopes may share KV blocks: no salt is put in, and the caller's own goes as it is.
    clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        models: ModelMap,
        salt: Callable[[Scope, str], str],
        share: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._salt = salt
        self._share = share
        self._clock = clock

    @property
    def name(self) -> str:
        return "vllm"

    @property
    def harmless(self) -> frozenset[str]:
        return _HARMLESS

    @property
    def watched(self) -> bool:
        return True

    # --- calls

    def prepare(self, call: Call) -> Call:
        """With the model's name there, and with a salt by which nobody of another scope can find out, by the time it
        takes, whether a prompt began like one of theirs. Who was not told apart is one scope of its own."""
        return renamed(self._salted(call), self._models)

    def _salted(self, call: Call) -> Call:
        body = call.body
        if call.method != "POST" or not isinstance(body, bytes) or not body or not _takes_salt(call.target):
            return call
        members = object_in(body)
        if members is None:
            # Python's parser, which vLLM has, reads more than ours (NaN, other encodings). What it could read and we
            # cannot must not go without a salt; what it refuses too is refused here in the same way.
            if not self._share:
                strict_json.loads(body)
            return call
        given = _checked_salt(members.get(SALT))
        if self._share:
            return call
        salt = {SALT: self._salt(call.scope, given)}
        # Where there is none the body need not be parsed again.
        return replace(
            call, body=with_members(body, salt) if SALT in members else appended(body, salt, empty=not members)
        )

    # --- looks

    async def look(self, wire: Wire) -> Condition:
        """Four questions at once. Only `/health` and sleep say that it is not well; what a server, or a proxy before
        it, does not offer is left out. Raises what asking `/health` raises."""
        health, metrics, version, models = await asyncio.gather(
            _asked(wire, "/health", beside=True),
            _asked(wire, "/metrics", beside=True),
            _asked(wire, "/version", beside=True),
            _asked(wire, "/models"),
        )
        if isinstance(health, UpstreamError):
            raise health
        gauges = Gauges.read(metrics.body) if isinstance(metrics, _Told) and metrics.status == _OK else Gauges()
        why = _why_ill(health, gauges)
        return Condition(
            well=not why,
            why=why,
            certain=bool(why),
            waiting=gauges.waiting,
            running=gauges.running,
            kv_usage=gauges.kv_usage,
            identity=_identity(version, models, self._clock() if gauges.discarded else 0.0),
        )


_HARMLESS: Final = frozenset(HARMLESS)


def _takes_salt(target: str) -> bool:
    # vLLM's router decodes before it compares.
    path = unquote(target.partition("?")[0])
    return (_AZURE.sub("", path, count=1) if path.startswith("/openai/") else path) in SALTED


_AZURE: Final = re.compile(r"/openai/(?:deployments/[^/]+|v1)")
"""Azure's ways to write a path: whoever serves vLLM below one of them has the same behind it."""


def _checked_salt(salt: object) -> str:
    """The caller's own; "" for none, which is what null means there."""
    if salt is None:
        return ""
    if not isinstance(salt, str) or not salt:
        raise BadRequest("`cache_salt` must be a string that is not empty", code="invalid_type", param=SALT)
    if len(salt) > SALT_CHARS or not SALT_FORBIDDEN.isdisjoint(salt):
        raise BadRequest(
            f"`cache_salt` must have at most {SALT_CHARS} characters, none of them `@`, `/`, `\\` or NUL",
            code="invalid_value",
            param=SALT,
        )
    return salt


@dataclass(frozen=True, slots=True)
class _Told:
    status: int
    body: bytes


async def _asked(wire: Wire, path: str, *, beside: bool = False) -> _Told | UpstreamError:
    """Given and not raised, so that no question goes on after the others are over."""
    try:
        return _Told(*await wire.get(path, beside=beside))
    except UpstreamError as failure:
        return failure


def _why_ill(health: _Told, gauges: Gauges) -> str:
    if health.status >= _SERVER_ERROR:
        return f"GET /health answered {health.status}: its engine does not run"
    if gauges.asleep:
        level = 2 if gauges.discarded else 1
        return f"it sleeps (level {level}): wake it with POST /wake_up"
    return ""


@dataclass(slots=True)
class Gauges:
    """Of `/metrics`, what is of use here: over all engines (data-parallel ranks) of the server."""

    waiting: int = 0
    """Requests in all queues."""
    running: int = 0
    kv_usage: float = 0.0
    """Of the fullest, 0 to 1."""
    asleep: bool = False
    """Any of them."""
    discarded: bool = False
    """Asleep with the weights given up (level 2)."""

    @classmethod
    def read(cls, text: bytes) -> Gauges:
        """From the Prometheus text format. Of some hundred lines those of four metrics are looked into."""
        gauges = cls()
        for name, labels, value in _samples(text):
            if name == b"num_requests_waiting":
                gauges.waiting += int(value)
            elif name == b"num_requests_running":
                gauges.running += int(value)
            elif name == b"kv_cache_usage_perc":
                gauges.kv_usage = max(gauges.kv_usage, value)
            elif b'sleep_state="awake"' in labels:
                gauges.asleep = gauges.asleep or value == 0
            elif b'sleep_state="discard_all"' in labels:
                gauges.discarded = gauges.discarded or value > 0
        return gauges


_PREFIX: Final = b"\nvllm:"
_WANTED: Final = (b"num_requests_waiting", b"num_requests_running", b"kv_cache_usage_perc", b"engine_sleep_state")


def _samples(text: bytes) -> Iterator[tuple[bytes, bytes, float]]:
    """Name without `vllm:`, labels as they stand, value; what cannot be read is left out."""
    text = b"\n" + text
    for name in _WANTED:
        for start in (_PREFIX + name + b"{", _PREFIX + name + b" "):
            at = text.find(start)
            while at >= 0:
                line = text[at + len(_PREFIX) + len(name) : _end_of_line(text, at + 1)]
                labels, _, sample = line.rpartition(b"}")
                value = _number(sample)
                if value is not None:
                    yield name, labels, value
                at = text.find(start, at + 1)


def _end_of_line(text: bytes, at: int) -> int:
    end = text.find(b"\n", at)
    return len(text) if end < 0 else end


def _number(sample: bytes) -> float | None:
    """The value of a sample, which a time may follow; None for what is none, or is not finite and above zero."""
    words = sample.split()
    try:
        value = float(words[0]) if words else -1.0
    except ValueError:
        return None
    return value if 0 <= value < _INFINITE else None


_INFINITE: Final = float("inf")


def _identity(version: _Told | UpstreamError, models: _Told | UpstreamError, discarded_at: float) -> Identity | None:
    """None where either could not be told this time: what stands behind the names has not changed by that."""
    name, cards = _version(version), _cards(models)
    return None if name is None or cards is None else Identity(name, cards, discarded_at)


def _version(told: _Told | UpstreamError) -> str | None:
    members = _json_object(told)
    if members is None:
        return None
    version = members.get("version", "")
    return version if isinstance(version, str) else None


def _cards(told: _Told | UpstreamError) -> dict[str, str] | None:
    """By name: where its weights came from, how long a text it takes, and the same of what it is an adapter of."""
    members = _json_object(told)
    if members is None:
        return None
    data = members.get("data", [])
    if not isinstance(data, list):
        return None
    cards = {card["id"]: card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)}
    return {name: _card_text(card, cards) for name, card in cards.items()}


def _card_text(card: Mapping[str, object], cards: Mapping[str, Mapping[str, object]]) -> str:
    # `created` is the time of asking, and permissions have random ids.
    parent = card.get("parent")
    above = cards.get(parent) if isinstance(parent, str) else None
    told = [[each.get("root"), each.get("max_model_len")] for each in (card, above) if each is not None]
    return orjson.dumps([parent, *told]).decode()


def _json_object(told: _Told | UpstreamError) -> dict[str, object] | None:
    """{} where it is not offered; None where it could not be told."""
    if isinstance(told, UpstreamError):
        return None
    if told.status in _NOT_OFFERED:
        return {}
    return object_in(told.body) if told.status == _OK else None
