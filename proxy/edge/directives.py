"""What a client asks of the cache: our headers, RFC 9111's, and those of other gateways, as one `Directives`.

Aliases are a table: a team that moves from another gateway changes its base address and nothing else. Whatever the
spelling, a directive may narrow what the cache does for this request and never widen it: an alias that chooses a cache
key becomes a namespace, and nothing switches on what the operator switched off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import orjson

from proxy.errors import BadRequest
from proxy.strict_json import object_of
from proxy.types import Directives, Pairs, Verdict

MAX_NAMESPACE = 128
MAX_TAGS = 16
MAX_TAG = 64
"""Characters and counts: enough for ids and versions, small enough to be kept with every entry."""

MAX_SECONDS = 1 << 31
"""RFC 9111 section 1.2.2: what a number of seconds too great to be represented is taken for."""

NO_READ = Verdict(read=False, reason="no-cache")
NO_WRITE = Verdict(write=False, reason="no-store")
OFF = frozenset({"false", "0", "off", "no"})
ON = frozenset({"true", "1", "on", "yes"})

_WORD = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # visible ASCII without the comma
_SECONDS = re.compile(r"0*([0-9]+)")


@dataclass(frozen=True, slots=True)
class Field:
    """One request field as it came: its own name is used in messages."""

    name: str
    value: str

    def refuse(self, wanted: str) -> BadRequest:
        """What was wrong, with the value, and what to send instead."""
        shown = self.value if len(self.value) <= 64 else self.value[:64] + "..."
        return BadRequest(f"{self.name}: {shown!r} cannot be used; send {wanted}", code="invalid_directive")


Narrow = Callable[[Directives, Field], Directives]


def _forbid(verdict: Verdict) -> Narrow:
    return lambda directives, _field: replace(directives, verdict=directives.verdict.narrow(verdict))


def _when(words: frozenset[str], then: Narrow) -> Narrow:
    """Act where the value is one of the words; other words of yes and no say nothing; anything else is a mistake."""

    def read(directives: Directives, field: Field) -> Directives:
        word = field.value.strip().lower()
        if word in words:
            return then(directives, field)
        if word in ON | OFF:
            return directives
        raise field.refuse("true or false")

    return read


def _bypass(directives: Directives, _field: Field) -> Directives:
    return replace(directives, verdict=directives.verdict.narrow(Verdict.bypass("client")), audited=True)


def _mode(directives: Directives, field: Field) -> Directives:
    match field.value.strip().lower():
        case "off":
            return replace(directives, verdict=directives.verdict.narrow(Verdict.bypass("mode")))
        case "exact" | "direct":
            return replace(directives, exact_only=True)
        case "semantic":
            return directives  # all tiers that the operator has switched on
        case _:
            raise field.refuse("exact, semantic or off")


def _threshold(directives: Directives, field: Field) -> Directives:
    try:
        threshold = float(field.value)
    except ValueError:
        raise field.refuse("a number from 0 to 1") from None
    if not 0 <= threshold <= 1:
        raise field.refuse("a number from 0 to 1")
    return replace(directives, threshold=max(directives.threshold, threshold))


def _ttl(directives: Directives, field: Field) -> Directives:
    ttl_s = _seconds(field, field.value.strip().removesuffix("s"))
    return replace(directives, ttl_s=_least(directives.ttl_s, ttl_s))


def _namespace(directives: Directives, field: Field) -> Directives:
    name = field.value.strip()
    if not 1 <= len(name) <= MAX_NAMESPACE or not name.isascii() or not name.isprintable():
        raise field.refuse(f"1 to {MAX_NAMESPACE} printable ASCII characters")
    # Two given namespaces narrow twice.
    joined = f"{directives.namespace}\n{name}" if directives.namespace else name
    return replace(directives, namespace=joined)


def _tags(directives: Directives, field: Field) -> Directives:
    given = (tag.strip() for tag in field.value.split(",") if tag.strip())
    tags = tuple(dict.fromkeys((*directives.tags, *given)))
    if len(tags) > MAX_TAGS or not all(len(tag) <= MAX_TAG and _WORD.fullmatch(tag) for tag in tags):
        raise field.refuse(f"up to {MAX_TAGS} labels of up to {MAX_TAG} visible ASCII characters, with commas between")
    return replace(directives, tags=tags)


def _no_cache(directives: Directives, _field: Field) -> Directives:
    return replace(directives, verdict=directives.verdict.narrow(NO_READ))


def _operation(directives: Directives, field: Field) -> Directives:
    match field.value.strip().lower():
        case "readwrite":
            return directives
        case "readonly":
            return _forbid(NO_WRITE)(directives, field)
        case "writeonly":
            return _no_cache(directives, field)
        case _:
            raise field.refuse("readWrite, readOnly or writeOnly")


def _ignored(directives: Directives, _field: Field) -> Directives:
    return directives


def _cache_control(directives: Directives, field: Field) -> Directives:
    """RFC 9111 section 5.2: unknown directives are ignored, known ones must make sense."""
    for item in field.value.split(","):
        name, _, argument = item.strip().partition("=")
        directive = CACHE_CONTROL.get(name.strip().lower())
        if directive is not None:
            directives = directive(directives, Field(f"{field.name}: {name}", argument.strip().strip('"')))
    return directives


def _pragma(directives: Directives, field: Field) -> Directives:
    return _no_cache(directives, field) if "no-cache" in field.value.lower() else directives


def _max_age(directives: Directives, field: Field) -> Directives:
    return replace(directives, max_age_s=_least(directives.max_age_s, _seconds(field, field.value)))


def _max_stale(directives: Directives, field: Field) -> Directives:
    stale_s = _seconds(field, field.value) if field.value else math.inf
    return replace(directives, max_stale_s=_least(directives.max_stale_s, stale_s))


def _min_fresh(directives: Directives, field: Field) -> Directives:
    return replace(directives, min_fresh_s=max(directives.min_fresh_s, _seconds(field, field.value)))


def _stale_if_error(directives: Directives, field: Field) -> Directives:
    return replace(directives, stale_if_error_s=_least(directives.stale_if_error_s, _seconds(field, field.value)))


def _least(before_s: float | None, given_s: float) -> float:
    """Said twice, the narrower counts: which came first does not matter."""
    return given_s if before_s is None else min(before_s, given_s)


CACHE_CONTROL: Mapping[str, Narrow] = {
    "no-cache": _no_cache,
    "no-store": _forbid(NO_WRITE),
    "only-if-cached": lambda directives, _field: replace(directives, only_if_cached=True),
    "no-transform": lambda directives, _field: replace(directives, no_transform=True),
    "max-age": _max_age,
    "max-stale": _max_stale,
    "min-fresh": _min_fresh,
    "stale-if-error": _stale_if_error,
}

HEADERS: Mapping[bytes, Narrow] = {
    # ours
    b"x-cache-bypass": _when(ON, _bypass),
    b"x-cache-mode": _mode,
    b"x-cache-threshold": _threshold,
    b"x-cache-ttl": _ttl,
    b"x-cache-namespace": _namespace,
    b"x-cache-tags": _tags,
    # RFC 9111; the second for SDKs that cannot set the first
    b"cache-control": _cache_control,
    b"x-cache-control": _cache_control,
    # Portkey
    b"x-portkey-cache-force-refresh": _when(ON, _no_cache),
    b"x-portkey-cache-namespace": _namespace,
    # Cloudflare AI Gateway
    b"cf-aig-skip-cache": _when(ON, _bypass),
    b"cf-aig-cache-ttl": _ttl,
    b"cf-aig-cache-key": _namespace,
    # Helicone
    b"helicone-cache-enabled": _when(OFF, _bypass),
    b"helicone-cache-seed": _namespace,
    b"helicone-cache-bucket-max-size": _ignored,  # how many answers are pooled is the operator's choice
    # OpenRouter
    b"x-openrouter-cache": _when(OFF, _bypass),
    b"x-openrouter-cache-ttl": _ttl,
    b"x-openrouter-cache-clear": _when(ON, _no_cache),
    # Bifrost
    b"x-bf-cache-key": _namespace,
    b"x-bf-cache-ttl": _ttl,
    b"x-bf-cache-threshold": _threshold,
    b"x-bf-cache-type": _mode,
    b"x-bf-cache-no-store": _when(ON, _forbid(NO_WRITE)),
    # vLLM Semantic Router, Higress, OmniRoute, FreeLLM, LunarGate, Orq and others
    b"x-vsr-cache-control": _cache_control,
    b"x-higress-skip-ai-cache": _when(ON, _bypass),
    b"x-omniroute-no-cache": _when(ON, _bypass),
    b"x-no-cache": _when(ON, _bypass),
    b"x-freellm-cache": _when(OFF, _bypass),
    b"x-lunargate-no-cache": _when(ON, _bypass),
    b"op-cache": _operation,
}

NAMES = frozenset(HEADERS) | {b"pragma"}
"""Every request field that says something to the cache. None is passed upstream."""

BODY_MARKS = (b'"cache"', b'"tensorzero::cache_options"', b'"skip_cache"', b'"cache_similarity_threshold"')
"""Members other gateways read from the body. Inside a JSON string a quote is escaped, so users' words hold none."""


def from_headers(headers: Pairs) -> Directives:
    """Raises `errors.BadRequest` (`invalid_directive`) for a value that makes no sense."""
    directives = Directives()
    plain = True
    for name, value in headers:
        narrow = HEADERS.get(name)
        if narrow is not None:
            plain = plain and narrow is not _cache_control
            directives = narrow(directives, Field(name.decode("latin-1"), value.decode("latin-1")))
    if plain:  # RFC 9111 section 5.4: Pragma counts only where there is no Cache-Control
        for name, value in headers:
            if name == b"pragma":
                directives = _pragma(directives, Field("pragma", value.decode("latin-1")))
    return _tidy(directives)


def from_body(body: bytes, directives: Directives) -> tuple[bytes, Directives]:
    """Cache controls of other gateways that travel in the body: taken out of it and narrowed by."""
    if not any(mark in body for mark in BODY_MARKS):
        return body, directives
    members = object_of(body)
    taken = False
    for name, fields in _body_fields(members):
        if name in members:
            taken = True
            del members[name]
            for field, narrow in fields:
                directives = narrow(directives, field)
    return (orjson.dumps(members), _tidy(directives)) if taken else (body, directives)


def _body_fields(members: Mapping[str, object]) -> list[tuple[str, list[tuple[Field, Narrow]]]]:
    return [
        ("cache", _in_object(members, "cache", LITELLM)),  # and Orq
        ("tensorzero::cache_options", _in_object(members, "tensorzero::cache_options", TENSORZERO)),
        ("skip_cache", _alone(members, "skip_cache", _when(ON, _bypass))),  # vLLM production-stack
        ("cache_similarity_threshold", _alone(members, "cache_similarity_threshold", _threshold)),
    ]


def _match_type(directives: Directives, field: Field) -> Directives:
    """Orq's `exact_match`; LiteLLM names a store by it, which is not the caller's to choose here."""
    return replace(directives, exact_only=True) if field.value == "exact_match" else directives


def _enabled(directives: Directives, field: Field) -> Directives:
    match field.value:
        case "off":
            return _bypass(directives, field)
        case "read_only":
            return _forbid(NO_WRITE)(directives, field)
        case "write_only":
            return _no_cache(directives, field)
        case "on":
            return directives
        case _:
            raise field.refuse("on, off, read_only or write_only")


LITELLM: Mapping[str, Narrow] = {
    "no-cache": _when(ON, _no_cache),
    "no-store": _when(ON, _forbid(NO_WRITE)),
    "use-cache": _when(OFF, _bypass),
    "ttl": _ttl,
    "s-maxage": CACHE_CONTROL["max-age"],
    "namespace": _namespace,
    "type": _match_type,
}

TENSORZERO: Mapping[str, Narrow] = {"enabled": _enabled, "max_age_s": CACHE_CONTROL["max-age"]}


def _in_object(members: Mapping[str, object], name: str, table: Mapping[str, Narrow]) -> list[tuple[Field, Narrow]]:
    value = members.get(name)
    if not isinstance(value, dict):
        return []
    return [
        (_field(f"{name}.{member}", value[member]), narrow)
        for member, narrow in table.items()
        if value.get(member) is not None
    ]


def _alone(members: Mapping[str, object], name: str, narrow: Narrow) -> list[tuple[Field, Narrow]]:
    value = members.get(name)
    return [] if value is None else [(_field(name, value), narrow)]


def _field(name: str, value: object) -> Field:
    return Field(name, value if isinstance(value, str) else orjson.dumps(value).decode())


def _seconds(field: Field, text: str) -> float:
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise field.refuse("a whole number of seconds")
    # The length first: converting a header full of digits is quadratic, and refused by Python.
    return float(min(int(match[1][:11]), MAX_SECONDS))


def _tidy(directives: Directives) -> Directives:
    """`no-cache, no-store` is a full bypass by another name."""
    verdict = directives.verdict
    if verdict.read or verdict.write or verdict.reason not in ("no-cache", "no-store"):
        return directives
    return replace(directives, verdict=Verdict.bypass("client"))
