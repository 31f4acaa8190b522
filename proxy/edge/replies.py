"""Answers as header fields and bytes: the same for both lanes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import orjson

from proxy.case import Answer, Case
from proxy.edge.cache_status import render
from proxy.errors import AskOnceError, UpstreamError, UpstreamInterrupted
from proxy.match import Match
from proxy.types import Digest, Entry, Outcome, Pairs

PRIVATE = (b"cache-control", b"private, no-store")
"""An answer to a POST belongs to its caller: no cache between us and it may keep it."""

BY_CALLER = (b"vary", b"authorization, api-key")
"""An answer to a GET may be kept behind us, where its upstream says so, and only for who asked."""

JSON = (b"content-type", b"application/json")
EVENTS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)

OUR_FIELDS = frozenset(
    {b"cache-control", b"x-cache", b"x-cache-key", b"x-cache-reason", b"x-cache-similarity", b"x-request-id", b"age"}
)
"""Fields of an upstream's answer that ours replace."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,128}")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def valid_request_id(value: bytes) -> bool:
    """A client's own id is kept when it can stand in a log line and a header."""
    return _REQUEST_ID.fullmatch(value) is not None


def entry_fields(entry: Entry, case: Case, outcome: Outcome, now: float) -> Pairs:
    """What is the same for every delivery of this entry in this form, until its prompt has left the upstream's prefix
    cache; made once for each."""
    variant = f"{outcome.value} {case.stream} {entry.warm(now)}"
    fields = entry.renderings.fields.get(variant)
    if fields is None:
        fields = entry.renderings.fields[variant] = _entry_fields(entry, case, outcome, entry.name, now)
    return fields


def matched_fields(entry: Entry, case: Case, outcome: Outcome, match: Match, now: float) -> Pairs:
    """The same for an answer to another question. The key is that of the question that was asked: what is said of it
    (feedback, removal) is said of this use of the answer, not of the answer."""
    return (*_entry_fields(entry, case, outcome, case.name, now), (b"x-cache-similarity", b"%.4f" % match.similarity))


def _entry_fields(entry: Entry, case: Case, outcome: Outcome, key: Digest, now: float) -> Pairs:
    fields = [*(EVENTS if case.stream else (JSON,)), PRIVATE]
    fields += [(b"x-cache", outcome.value.encode()), (b"x-cache-key", key.hex().encode())]
    if entry.upstream:
        fields.append((b"x-upstream", entry.upstream.encode()))
    tokens = entry.usage.prompt_tokens + entry.usage.completion_tokens
    if outcome is not Outcome.MISS and outcome is not Outcome.COLLAPSED:
        if tokens:
            fields.append((b"x-cache-saved-tokens", b"%d" % tokens))
        saved_usd = entry.saved_usd(now)
        if saved_usd is not None:
            fields.append((b"x-cache-saved-usd", f"{saved_usd:.8f}".encode()))
    return tuple(fields)


def answer_fields(answer: Answer, request_id: bytes, now: float) -> Pairs:
    """All fields of an answer but Content-Length. `now` is Unix seconds."""
    status = (b"cache-status", render(answer.cache_status))
    own_id = (b"x-request-id", request_id)
    entry = answer.entry
    if entry is None:
        return (*_live_fields(answer), status, own_id, *_reason(answer))
    if answer.match is None:
        fixed = entry_fields(entry, answer.case, answer.outcome, now)
    else:
        fixed = matched_fields(entry, answer.case, answer.outcome, answer.match, now)
    if answer.outcome is Outcome.HIT or answer.outcome is Outcome.SEMANTIC:
        return (*fixed, (b"age", b"%d" % entry.age_s(now)), status, own_id)
    age = ((b"age", b"%d" % entry.age_s(now)),) if answer.outcome is Outcome.STALE else ()
    return (*fixed, *age, status, own_id, *_reason(answer))


def _live_fields(answer: Answer) -> Pairs:
    """The upstream's own and ours."""
    fields = [*sendable(answer.headers)]
    fields += [PRIVATE, (b"x-cache", answer.outcome.value.encode())]
    if answer.outcome is not Outcome.BYPASS:
        fields.append((b"x-cache-key", answer.key.encode()))
    return tuple(fields)


def sendable(headers: Pairs) -> Iterator[tuple[bytes, bytes]]:
    """An upstream's fields that may stand beside ours. One that breaks RFC 9110 section 5.5 is left out: our server
    would refuse to send it, and with it the whole answer."""
    return (
        (name, value)
        for name, value in headers
        if name not in OUR_FIELDS and _NAME.fullmatch(name) and not _CONTROL.search(value)
    )


def _reason(answer: Answer) -> Pairs:
    return ((b"x-cache-reason", answer.reason.encode()),) if answer.reason else ()


def entry_body(entry: Entry, case: Case, token: bytes, now: float) -> bytes:
    """The entry in the form this caller asked for, with an id and a time of its own."""
    stamp = b'"id":"%b%b","created":%d' % (entry.id_prefix.encode(), token, now)
    if case.stream:
        return stamp.join(stream_pieces(entry, case))
    if entry.echoes:
        stamp += b"".join(b',"%b":%b' % (name.encode(), case.echoes.get(name, b"null")) for name in entry.echoes)
    return stamp.join(plain_pieces(entry, case))


def hit_on_wire(answer: Answer, entry: Entry, request_id: bytes, token: bytes, now: float) -> tuple[bytes, int]:
    """A hit from its first field to its last byte, as HTTP/1.1, and how long its body is. `token` makes its id fresh.

    The same fields as `answer_fields`; what is the same for every delivery was joined once.
    """
    case = answer.case
    body = entry_body(entry, case, token, now)
    framing = chunked if case.stream else sized
    changing = b"age: %d\r\ncache-status: %b\r\nx-request-id: %b\r\n" % (
        entry.age_s(now),
        render(answer.cache_status),
        request_id,
    )
    if answer.match is None:
        fixed = _fixed_lines(entry, case, answer.outcome, now)
    else:
        fixed = lines(matched_fields(entry, case, answer.outcome, answer.match, now))
    return b"".join((fixed, changing, framing(body))), len(body)


def _fixed_lines(entry: Entry, case: Case, outcome: Outcome, now: float) -> bytes:
    variant = _LINES[case.stream, entry.warm(now)]
    pieces = entry.renderings.get(variant)
    if pieces is None:
        pieces = entry.renderings.keep(variant, (lines(entry_fields(entry, case, outcome, now)),))
    return pieces[0]


_LINES = {
    (False, False): "lines", (False, True): "warm lines",
    (True, False): "lines of stream", (True, True): "warm lines of stream",
}  # fmt: skip


def lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Fields as they stand on the wire."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def sized(body: bytes) -> bytes:
    """The last field, the end of the fields, and the body."""
    return b"content-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    """A stream has no length; it is whole when its last chunk came (RFC 9112 section 7.1)."""
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def plain_pieces(entry: Entry, case: Case) -> tuple[bytes, ...]:
    """The JSON answer, ready but for its stamp."""
    pieces = entry.renderings.get("plain")
    return pieces if pieces is not None else entry.renderings.keep("plain", case.endpoint.plain(entry.body))


def stream_pieces(entry: Entry, case: Case) -> tuple[bytes, ...]:
    """The answer as server-sent events, ready but for their stamps; rendered once."""
    variant = "stream+usage" if case.include_usage else "stream"
    pieces = entry.renderings.get(variant)
    if pieces is not None:
        return pieces
    replayed = case.endpoint.replay(entry.form, entry.body, include_usage=case.include_usage)
    return entry.renderings.keep(variant, replayed)


def error_body(error: AskOnceError, code: str | None = None) -> bytes:
    """OpenAI's error object; `code` where it is not the error's own."""
    detail = {"message": error.message, "type": error.type, "param": error.param, "code": code or error.reason}
    return orjson.dumps({"error": detail})


def error_event(error: AskOnceError) -> bytes:
    """The same, as the event that ends a broken stream: OpenAI's SDKs raise on it, and take silence for success."""
    code = "stream_interrupted" if isinstance(error, UpstreamInterrupted) else None
    return b"data: " + error_body(error, code) + b"\n\n"


def refusal_event(status: int, body: bytes) -> bytes:
    """What an upstream answered in place of a stream, for a caller whose stream has begun already: its own error where
    that is what it sent."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict) and "error" in said:
        return b"data: " + orjson.dumps(said) + b"\n\n"
    return error_event(UpstreamError(f"the upstream answered {status} and no stream"))
