"""What can go wrong behind the proxy: the upstream, and the store.

Callers get an answer or a clear error; nothing bad is kept; what worked before works again afterwards.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import product
from pathlib import Path
from subprocess import run
from typing import Any

import httpx
import openai
import pytest
import trustme

from tests.path.faults import CANARY, CHAT, case, serves
from tests.provider import (
    DONE,
    SSE,
    Ending,
    Provider,
    Script,
    chunk,
    completion,
    dump,
    endless,
    event,
    gzipped,
    head,
    html,
    plain,
    reply,
    stream,
    truncated,
    with_length,
    words,
)
from tests.running import ALICE, Running, Start, cache_status, error, frames, question, said

MiB = 1024 * 1024
HURRIED = {
    "upstreams.0.connect_timeout": 0.2,
    "upstreams.0.first_byte_timeout": 0.2,
    "upstreams.0.idle_timeout": 0.2,
}
FORMS = pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])


def failed(answer: httpx.Response, status: int, code: str) -> str:
    """An error of the proxy's own about the upstream; gives its message."""
    assert (answer.status_code, error(answer)["type"], error(answer)["code"]) == (status, "upstream_error", code)
    assert answer.headers["content-type"] == "application/json"
    for secret in (ALICE, question()["messages"][0]["content"]):
        assert secret not in answer.text
    return str(error(answer)["message"])


async def not_kept(proxy: Running, provider: Provider, **members: Any) -> None:
    """The same question goes to the upstream again, and the next one is served and kept."""
    await proxy.landed()
    assert await proxy.metric("askonce_store_entries") == 0
    calls = provider.calls
    provider.always(provider.as_recorded)
    assert (await proxy.chat(**members)).headers["x-cache"] == "miss"
    assert provider.calls == calls + 1
    await serves(proxy, provider)


# --- no connection


@FORMS
async def test_an_upstream_that_refuses_connections_is_said_to_be_unreachable(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    await provider.stop()
    message = failed(await proxy.chat(stream=streams), 502, "upstream_unreachable")
    assert "refused" in message
    assert await proxy.metric("askonce_upstream_errors_total", kind="upstream_unreachable") == 1
    async with provider:
        await not_kept(proxy, provider, stream=streams)


@FORMS
async def test_a_name_that_does_not_resolve_is_said_to_be_unreachable_and_not_told_to_callers(
    askonce: Start, streams: bool
) -> None:
    async with askonce(environ={"ASKONCE_UPSTREAM": "http://nobody.invalid/v1"}) as proxy:
        message = failed(await proxy.chat(stream=streams), 502, "upstream_unreachable")
        assert message.startswith("upstream openai: the host name does not resolve")
        assert "nobody.invalid" not in message
        await proxy.landed()
        assert await proxy.metric("askonce_store_entries") == 0
        assert (await proxy.http.get("/readyz")).json()["status"] == "ready"


class TlsProvider(Provider):
    """The same behind TLS."""

    def __init__(self, authority: trustme.CA, host: str = "localhost") -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(self._context)

    async def __aenter__(self) -> TlsProvider:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/v1"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def ca_file(authority: trustme.CA, folder: Path) -> str:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@FORMS
async def test_a_certificate_nobody_vouches_for_is_refused(
    askonce: Start, authority: trustme.CA, streams: bool
) -> None:
    async with TlsProvider(authority) as upstream, askonce(environ={"ASKONCE_UPSTREAM": upstream.url}) as proxy:
        assert "ca_file" in failed(await proxy.chat(stream=streams), 502, "upstream_unreachable")
        assert upstream.calls == 0


async def test_an_authority_of_ones_own_is_trusted_by_setting(
    askonce: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    trusted = {"upstreams.0.ca_file": ca_file(authority, tmp_path)}
    async with TlsProvider(authority) as upstream, askonce(trusted, {"ASKONCE_UPSTREAM": upstream.url}) as proxy:
        await serves(proxy, upstream)


async def test_a_certificate_of_another_host_is_refused(askonce: Start, authority: trustme.CA, tmp_path: Path) -> None:
    trusted = {"upstreams.0.ca_file": ca_file(authority, tmp_path)}
    elsewhere = TlsProvider(authority, "elsewhere.example")
    async with elsewhere as upstream, askonce(trusted, {"ASKONCE_UPSTREAM": upstream.url}) as proxy:
        failed(await proxy.chat(), 502, "upstream_unreachable")
        assert upstream.calls == 0


@pytest.mark.parametrize(
    ("says", "status", "code", "hint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 502, "upstream_unreachable", "http://"),
        (b"", 504, "upstream_timeout", "connect_timeout"),
    ],
    ids=["speaks plain HTTP", "says nothing"],
)
async def test_a_port_that_does_not_speak_tls_is_said_to_be_that(
    askonce: Start, says: bytes, status: int, code: str, hint: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(says)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        async with askonce(HURRIED, {"ASKONCE_UPSTREAM": url}) as proxy:
            assert hint in failed(await proxy.chat(), status, code)


# --- no answer, or half of one

HALF = dump(completion("never whole"))[:100]
CHUNKED = head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")])

BROKEN: dict[str, tuple[Callable[[], Script], str]] = {
    "silence": (lambda: [Ending.NEVER], "upstream_timeout"),
    "silence after half a head": (lambda: [b"HTTP/1.1 200 OK\r\ncontent-type: ", Ending.NEVER], "upstream_timeout"),
    "silence after the head": (lambda: with_length([Ending.NEVER], 300), "upstream_timeout"),
    "silence in the middle": (lambda: with_length([HALF, Ending.NEVER], 300), "upstream_timeout"),
    "closed at once": (lambda: [Ending.CLOSE], "upstream_interrupted"),
    "reset at once": (lambda: [Ending.RESET], "upstream_interrupted"),
    "closed in the head": (lambda: [b"HTTP/1.1 200 OK\r\ncontent-", Ending.CLOSE], "upstream_interrupted"),
    "closed in the middle": (lambda: with_length([HALF, Ending.CLOSE], 300), "upstream_interrupted"),
    "reset in the middle": (lambda: with_length([HALF, Ending.RESET], 300), "upstream_interrupted"),
    "closed in a chunk": (lambda: [CHUNKED + b"80\r\n" + HALF[:10], Ending.CLOSE], "upstream_interrupted"),
    "closed between chunks": (lambda: [CHUNKED + chunk(HALF), Ending.CLOSE], "upstream_interrupted"),
    "reset between chunks": (lambda: [CHUNKED + chunk(HALF), Ending.RESET], "upstream_interrupted"),
    "a chunk of no size": (lambda: [CHUNKED + chunk(HALF), b"zz\r\n"], "upstream_protocol_error"),
    "not HTTP": (lambda: [b"SSH-2.0-OpenSSH_9.2\r\n", Ending.CLOSE], "upstream_protocol_error"),
    "no status": (lambda: [b"HTTP/1.1 OK\r\n\r\n", Ending.CLOSE], "upstream_protocol_error"),
    "a length of words": (lambda: [head(200, [("content-length", "long")])], "upstream_protocol_error"),
    "a head without end": (lambda: [b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * MiB, Ending.NEVER], "upstream_protocol_error"),
}


@FORMS
async def test_an_answer_that_does_not_come_whole_is_an_error_and_not_kept(
    askonce: Start, provider: Provider, streams: bool
) -> None:
    async with askonce(HURRIED) as proxy:
        for name, (broken, code) in BROKEN.items():
            provider.always(lambda _, broken=broken: broken())
            before = await proxy.metric("askonce_upstream_errors_total", kind=code)
            with case(name):
                answer = await proxy.chat(seed=len(name), stream=streams)
                failed(answer, 504 if code == "upstream_timeout" else 502, code)
                assert await proxy.metric("askonce_upstream_errors_total", kind=code) == before + 1
                assert await proxy.metric("askonce_store_entries") == 0
        await not_kept(proxy, provider, stream=streams)


async def test_what_times_out_is_closed(askonce: Start, provider: Provider) -> None:
    provider.then([Ending.NEVER])
    async with askonce(HURRIED) as proxy:
        await proxy.chat()
        await provider.last.left.wait()


BEGUN = words("one ", "two ", usage=False)[:2]

CUT: dict[str, tuple[Callable[[], Script], str]] = {
    "reset": (lambda: stream(BEGUN, end=Ending.RESET), "stream_interrupted"),
    "closed": (lambda: stream(BEGUN, end=Ending.CLOSE), "stream_interrupted"),
    "closed inside an event": (lambda: stream([*BEGUN, b'data: {"choi'], end=Ending.CLOSE), "stream_interrupted"),
    "silent": (lambda: stream(BEGUN, end=Ending.NEVER), "upstream_timeout"),
    "garbled": (lambda: stream(BEGUN, end=b"zz\r\n"), "upstream_protocol_error"),
}


async def test_a_stream_that_breaks_off_ends_with_an_error_event_and_no_end_marker(
    askonce: Start, provider: Provider
) -> None:
    async with askonce(HURRIED) as proxy:
        for name, (cut, code) in CUT.items():
            provider.always(lambda _, cut=cut: cut())
            with case(name):
                answer = await proxy.chat(stream=True)
                assert answer.status_code == 200
                assert b'"one "' in answer.content
                assert DONE.strip() not in answer.content
                last = json.loads(answer.content.rstrip().rpartition(b"data: ")[2])["error"]
                assert set(last) == {"message", "type", "param", "code"}
                assert (last["type"], last["code"]) == ("upstream_error", code)
                async with proxy.sdk() as sdk:
                    assert await raised(sdk) == code
        await not_kept(proxy, provider, stream=True)


async def raised(sdk: openai.AsyncOpenAI) -> str | None:
    """The code of what the SDK raises while it reads the stream; None where it does not."""
    try:
        async for _ in await sdk.chat.completions.create(**question(), stream=True):
            pass
    except openai.APIError as failure:
        return failure.code
    return None


async def test_a_stream_past_its_total_time_is_ended(askonce: Start, provider: Provider) -> None:
    async with askonce({"upstreams.0.total_timeout": 0.3}) as proxy:
        provider.always(lambda _: endless())
        answer = await proxy.chat(stream=True)
        assert frames(answer.content)[-1]["error"]["code"] == "upstream_timeout"
        await provider.last.left.wait()
        await not_kept(proxy, provider, stream=True)


ENDLESS: dict[str, Callable[[], Script]] = {
    "events": endless,
    "comments": lambda: endless(b": keep-alive\n\n" * 100),
    "one line": lambda: endless(b"data: " + b"a" * 1000),
    "one event": lambda: endless(b"data: " + b"a" * 1000 + b"\n"),
    "one body": lambda: stream(endless_body(), content_type="application/json"),
}


def endless_body() -> Script:
    while True:
        yield b"a" * 1000


async def test_an_endless_answer_is_passed_on_and_ends_when_its_caller_leaves(
    askonce: Start, provider: Provider
) -> None:
    async with askonce({"server.flight_max_bytes": 64 * 1024}) as proxy:
        for name, unending in ENDLESS.items():
            provider.always(lambda _, unending=unending: unending())
            with case(name):
                async with proxy.reading() as reading:
                    received = 0
                    while received < MiB:
                        received += len(await anext(reading.pieces))
                await provider.last.left.wait()
        await not_kept(proxy, provider, stream=True)


async def test_an_endless_answer_does_not_fill_memory(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]], provider: Provider
) -> None:
    provider.always(lambda _: endless(event({"choices": [{"index": 0, "delta": {"content": "a" * 100_000}}]})))
    async with askonce_process() as process:
        headers = {"authorization": f"Bearer {ALICE}"}
        async with process.http.stream("POST", CHAT, json=question(stream=True), headers=headers) as answer:
            received = 0
            async for piece in answer.aiter_raw():
                received += len(piece)
                if received > 200 * MiB:
                    break
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        # 16 MiB for the answer's head (server.flight_max_bytes), as it came and as it is folded.
        assert peak * 1024 < 250 * MiB


# --- 200 and no answer

HOLLOW: dict[str, Callable[[], Script]] = {
    "an error": lambda: plain({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}),
    "an error as a text": lambda: plain({"error": "Unauthorized"}),
    "HTML": html,
    "half a JSON text": lambda: truncated(completion("cut")),
    "another JSON text": lambda: plain([1, 2, 3]),
    "an object of another kind": lambda: plain({"object": "list", "data": []}),
    "nothing": lambda: reply(b""),
    "no choice": lambda: plain(completion("") | {"choices": []}),
    "JSON with a member twice": lambda: reply(dump(completion("x"))[:-1] + b',"model":"other"}'),
    "bad UTF-8": lambda: reply(dump(completion("x")).replace(b'"x"', b'"\xff"')),
    "plain text": lambda: reply(CANARY.encode(), content_type="text/plain"),
    "no type": lambda: [head(200, [("content-length", "2")]) + b"ok"],
}


@FORMS
async def test_a_200_that_is_no_answer_passes_byte_for_byte_and_is_not_kept(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    for name, hollow in HOLLOW.items():
        sent = b"".join(move for move in hollow() if isinstance(move, bytes)).partition(b"\r\n\r\n")[2]
        provider.always(lambda _, hollow=hollow: hollow())
        for _ in range(2):
            with case(name):
                answer = await proxy.chat(stream=streams, seed=len(name))
                assert (answer.status_code, answer.headers["x-cache"], answer.content) == (200, "miss", sent)
    assert provider.calls == 2 * len(HOLLOW)
    await not_kept(proxy, provider, stream=streams)


HOLLOW_STREAMS: dict[str, list[bytes]] = {
    "an error event": [*BEGUN, event({"error": {"message": "no", "code": 500}})],
    "an error event and an end marker": [*BEGUN, event({"error": {"message": "no", "code": 500}}), DONE],
    "an error by the event's name": [*BEGUN, b'event: error\ndata: {"message":"no"}\n\n', DONE],
    "no end marker": words("one", usage=False)[:-1],
    "no finish": [*words("one", usage=False)[:-2], DONE],
    "only an end marker": [DONE],
    "nothing at all": [],
    "no JSON": [b"data: one\n\n", b"data: two\n\n", DONE],
}


async def test_a_stream_that_is_no_whole_answer_passes_as_it_came_and_is_not_kept(
    proxy: Running, provider: Provider
) -> None:
    for name, moves in HOLLOW_STREAMS.items():
        provider.always(lambda _, moves=moves: stream(moves))
        for _ in range(2):
            with case(name):
                answer = await proxy.chat(stream=True, seed=len(name))
                assert (answer.status_code, answer.content) == (200, b"".join(moves))
                await proxy.landed()
    assert provider.calls == 2 * len(HOLLOW_STREAMS)
    await not_kept(proxy, provider, stream=True)


@FORMS
async def test_an_answer_in_the_other_form_than_asked_for_is_passed_as_it_came(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    sent = b"".join(words("one")) if not streams else dump(completion("one"))
    provider.always(lambda _: stream(words("one")) if not streams else plain(completion("one")))
    answer = await proxy.chat(stream=streams)
    assert (answer.status_code, answer.content) == (200, sent)
    await proxy.landed()
    provider.always(provider.as_recorded)
    assert said(await proxy.chat(stream=streams)) in ("one", "Answer 2")
    await serves(proxy, provider)


# --- the upstream says no

BODIES: dict[str, tuple[bytes, str]] = {
    "OpenAI's": (dump({"error": {"message": "no", "type": "t", "param": None, "code": "c"}}), "application/json"),
    "vLLM's": (dump({"error": "Unauthorized"}), "application/json"),
    "a page": (b"<html><h1>502 Bad Gateway</h1></html>", "text/html"),
    "bytes": (bytes(range(256)), "application/octet-stream"),
    "empty": (b"", "application/json"),
}
STATUSES = [400, 401, 402, 403, 404, 408, 409, 422, 429, 451, 500, 501, 502, 503, 504, 529, 599]


@FORMS
async def test_an_upstreams_error_passes_byte_for_byte(proxy: Running, provider: Provider, streams: bool) -> None:
    for status, (name, (body, kind)) in product(STATUSES, BODIES.items()):
        provider.then(reply(body, status, content_type=kind))
        with case(f"{status}, {name}"):
            answer = await proxy.chat(stream=streams)
            assert (answer.status_code, answer.content) == (status, body)
            assert answer.headers["content-type"] == kind
    assert provider.calls == len(STATUSES) * len(BODIES)
    await not_kept(proxy, provider, stream=streams)


@FORMS
async def test_a_limit_passes_with_all_it_says_about_when_to_come_again(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    said_so = [
        ("retry-after", "7"),
        ("retry-after-ms", "7123"),
        ("x-should-retry", "true"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "7s"),
    ]
    provider.then(plain({"error": {"message": "slow down"}}, 429, said_so))
    answer = await proxy.chat(stream=streams)
    assert answer.status_code == 429
    assert {name: answer.headers[name] for name, _ in said_so} == dict(said_so)
    assert provider.calls == 1
    await not_kept(proxy, provider, stream=streams)


async def test_a_redirect_is_not_followed(proxy: Running, provider: Provider) -> None:
    statuses = [300, 301, 302, 303, 307, 308]
    for status in statuses:
        provider.then(reply(b"elsewhere", status, [("location", f"{provider.url}/models")], "text/plain"))
        answer = await proxy.chat()
        assert (answer.status_code, answer.content) == (status, b"elsewhere")
    assert provider.calls == len(statuses)
    await not_kept(proxy, provider)


@FORMS
async def test_a_cookie_is_neither_kept_nor_shown_nor_sent_back(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    cookie = [("set-cookie", f"session={CANARY}; Path=/"), ("set-cookie", "b=2")]
    script = stream(words("one"), headers=cookie) if streams else plain(completion("one"), headers=cookie)
    provider.then(script)
    for cache in ("miss", "hit", "hit"):
        answer = await proxy.chat(stream=streams)
        assert answer.headers["x-cache"] == cache
        assert "set-cookie" not in answer.headers
        assert CANARY not in str(answer.headers)
    await proxy.chat(seed=1)
    assert provider.last.header("cookie") is None


# --- content codings nobody asked for


async def test_a_compressed_answer_is_decoded_and_kept(proxy: Running, provider: Provider) -> None:
    provider.then(gzipped(completion("pressed")))
    for cache in ("miss", "hit"):
        answer = await proxy.chat()
        assert (answer.headers["x-cache"], said(answer)) == (cache, "pressed")
        assert "content-encoding" not in answer.headers
    assert provider.last.header("accept-encoding") == "identity"
    assert provider.calls == 1


async def test_a_compressed_stream_is_decoded_and_kept(proxy: Running, provider: Provider) -> None:
    whole = b"".join(words("one ", "two"))
    provider.then(reply(gzip.compress(whole), headers=[("content-encoding", "gzip")], content_type=SSE))
    answers = [await proxy.chat(stream=True) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit"]
    assert [said(answer) for answer in answers] == ["one two", "one two"]


PRESSED = gzip.compress(dump(completion("pressed")))
CODED: dict[str, tuple[bytes, str]] = {
    "half of it": (PRESSED[:-10], "gzip"),
    "something else": (b"\x00" * 100, "gzip"),
    "something behind its end": (PRESSED + b"more", "gzip"),
    "another coding": (PRESSED, "br"),
    "an unknown coding": (PRESSED, "aes128gcm"),
    "a bomb": (gzip.compress(b" " * 64 * MiB, 1), "gzip"),
}


@FORMS
async def test_a_coded_answer_that_does_not_decode_is_an_error(
    askonce: Start, provider: Provider, streams: bool
) -> None:
    async with askonce({"server.flight_max_bytes": MiB}) as proxy:
        for name, (body, coding) in CODED.items():
            provider.then(reply(body, headers=[("content-encoding", coding)]))
            with case(name):
                failed(await proxy.chat(stream=streams), 502, "upstream_protocol_error")
        await not_kept(proxy, provider, stream=streams)


# --- what is odd and allowed


async def test_interim_responses_are_skipped(proxy: Running, provider: Provider) -> None:
    early = head(100, []) + head(103, [("link", "</x>; rel=preload")])
    provider.then([early, *plain(completion("final"))])
    assert said(await proxy.chat()) == "final"
    assert (await proxy.chat()).headers["x-cache"] == "hit"


@FORMS
async def test_an_odd_header_field_of_the_upstreams_spoils_nothing(
    proxy: Running, provider: Provider, streams: bool
) -> None:
    body = dump(completion("odd"))
    opening = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    odd = [b"x-a: 1\x012", b"x(a): 1", b"x-a: \x7f", b"x-a: 1\r\n 2", b"x-a: caf\xe9", b"x-a: \xe2\x82\xac", b"x-a:"]
    for seed, field in enumerate(odd):
        provider.then([opening + field + b"\r\n\r\n" + body])
        with case(repr(field)):
            answer = await proxy.chat(stream=streams, seed=seed)
            if answer.status_code == 200:
                assert answer.content == body
            else:
                failed(answer, 502, "upstream_protocol_error")
    await serves(proxy, provider)


async def test_a_connection_the_upstream_closed_while_idle_costs_no_caller_an_error(
    proxy: Running, provider: Provider
) -> None:
    """A request on a reused connection may meet its closing; asked again on a new one, as RFC 9112 section 9.3.1 has it
    for what was certainly not begun."""
    for seed in range(10):
        provider.then([*plain(completion("once")), Ending.CLOSE])
        assert said(await proxy.chat(seed=seed)) == "once"


async def test_a_crowd_meets_a_failing_upstream_and_all_hear_of_it(proxy: Running, provider: Provider) -> None:
    provider.always(lambda _: [Ending.RESET])
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(proxy.chat(seed=seed)) for seed in range(50) for _ in range(2)]
    assert {task.result().status_code for task in asking} == {502}
    await not_kept(proxy, provider)


# --- the store


@pytest.fixture(params=[{}, {"store.memory": 0}], ids=["memory in front", "disk alone"])
def tiers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """With the memory tier, and without."""
    flags: dict[str, Any] = request.param
    return flags


async def readiness(http: httpx.AsyncClient) -> dict[str, Any]:
    """What `/readyz` says, with 200 in any case."""
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def serves_without_storing(proxy: Running, provider: Provider) -> str:
    """Every form is answered; the answer is not said to be stored; `/readyz` says why. Gives the reason."""
    for streams in (False, True):
        answer = await proxy.chat(seed=int(streams), stream=streams)
        assert (answer.status_code, answer.headers["x-cache"]) == (200, "miss")
        assert "stored" not in cache_status(answer)
        if not streams:
            assert answer.headers["x-cache-reason"] == "store"
    await proxy.landed()
    ready = await readiness(proxy.http)
    assert (ready["status"], ready["store"]["status"]) == ("degraded", "degraded")
    assert await proxy.metric("askonce_store_errors_total") > 0
    assert await proxy.metric("askonce_store_skipped_total", reason="store") == 2
    # In front of a broken disk the memory tier goes on; without one, each question goes upstream.
    cache = "hit" if proxy.settings.store.memory else "miss"
    assert (await proxy.chat(seed=0)).headers["x-cache"] == cache
    stats = await proxy.http.get("/admin/stats")
    assert stats.json()["store"]["degraded"] == ready["store"]["detail"]
    return str(ready["store"]["detail"])


async def test_a_data_directory_that_is_a_file_is_lived_without(
    askonce: Start, provider: Provider, tiers: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("not a directory")
    async with askonce(tiers) as proxy:
        assert str(tmp_path / "data") in await serves_without_storing(proxy, provider)
    assert (tmp_path / "data").read_text() == "not a directory"


async def test_a_directory_in_the_databases_place_is_lived_without(
    askonce: Start, provider: Provider, tiers: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "data" / "cache.db").mkdir(parents=True)
    async with askonce(tiers) as proxy:
        assert "cache.db" in await serves_without_storing(proxy, provider)


async def test_another_proxys_data_directory_is_left_to_it(askonce: Start, provider: Provider) -> None:
    async with askonce() as first, askonce() as second:
        assert "another AskOnce" in await serves_without_storing(second, provider)
        assert (await readiness(first.http))["status"] == "ready"
        await first.chat(seed=9)
        assert (await first.chat(seed=9)).headers["x-cache"] == "hit"


FOREIGN: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("my diary " * 1000),
    "another program's database": lambda path: _foreign(path, "CREATE TABLE diary (day)"),
    "a newer version's database": lambda path: _foreign(
        path, f"PRAGMA application_id = {int.from_bytes(b'AsOn', 'big')}; PRAGMA user_version = 999"
    ),
}


def _foreign(path: Path, script: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_that_is_not_ours_is_left_alone(
    askonce: Start, provider: Provider, tiers: dict[str, Any], tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "data" / "cache.db"
    path.parent.mkdir()
    make(path)
    before = path.read_bytes()
    async with askonce(tiers) as proxy:
        assert "cache.db" in await serves_without_storing(proxy, provider)
    assert path.read_bytes() == before


async def fill(askonce: Start, flags: dict[str, Any], count: int) -> None:
    """Store so many answers, and stop."""
    async with askonce(flags) as proxy:
        for seed in range(count):
            await proxy.chat(seed=seed)


def _torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _scribbled(path: Path) -> None:
    """Every page but the first."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def _beheaded(path: Path) -> None:
    """The tables of the schema page, its header left whole."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(3996))


@pytest.mark.parametrize("damage", [_torn, _scribbled, _beheaded])
async def test_a_damaged_database_is_put_aside_and_a_new_one_begun(
    askonce: Start, provider: Provider, tiers: dict[str, Any], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await fill(askonce, tiers, 50)
    damage(tmp_path / "data" / "cache.db")
    async with askonce(tiers) as proxy:
        answers = [await proxy.chat(seed=seed) for seed in range(50)]
        # What can still be read may be served: its tag vouches for it. What cannot is asked again.
        for seed, answer in enumerate(answers):
            assert answer.status_code == 200
            expected = {"hit": f"Answer {seed + 1}"}.get(answer.headers["x-cache"])
            assert expected is None or said(answer) == expected
        assert "miss" in {answer.headers["x-cache"] for answer in answers}
    async with askonce(tiers) as proxy:
        # Found damaged or not while it ran: no later than now it is whole again.
        assert (await readiness(proxy.http))["status"] == "ready"
        await serves(proxy, provider)


def _alter_frames(path: Path, change: Callable[[bytes], bytes]) -> None:
    database = sqlite3.connect(path)
    for row, frame in database.execute("SELECT rowid, frame FROM entries").fetchall():
        database.execute("UPDATE entries SET frame = ? WHERE rowid = ?", (change(frame), row))
    database.commit()
    database.close()


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the body": lambda frame: frame[:-40] + bytes([frame[-40] ^ 1]) + frame[-39:],
    "a bit of the tag": lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
    "a bit of the head": lambda frame: frame[:8] + bytes([frame[8] ^ 1]) + frame[9:],
    "half of it": lambda frame: frame[: len(frame) // 2],
    "nothing left": lambda _: b"",
    "a version nobody knows": lambda frame: b"\xff" + frame[1:],
}


async def test_an_altered_entry_is_a_miss_that_is_counted(
    askonce: Start, tiers: dict[str, Any], tmp_path: Path
) -> None:
    await fill(askonce, tiers, len(ALTERED))
    database = sqlite3.connect(tmp_path / "data" / "cache.db")
    found = database.execute("SELECT rowid, frame FROM entries ORDER BY rowid").fetchall()
    for change, (row, frame) in zip(ALTERED.values(), found, strict=True):
        database.execute("UPDATE entries SET frame = ? WHERE rowid = ?", (change(frame), row))
    database.commit()
    database.close()
    async with askonce(tiers) as proxy:
        for cache in ("miss", "hit"):
            for seed, name in enumerate(ALTERED):
                with case(name):
                    assert (await proxy.chat(seed=seed)).headers["x-cache"] == cache
        assert await proxy.metric("askonce_store_errors_total") == len(ALTERED)
        assert (await readiness(proxy.http))["status"] == "ready"


async def test_an_entry_moved_to_another_question_is_not_served(
    askonce: Start, tiers: dict[str, Any], tmp_path: Path
) -> None:
    """Who can write to the store cannot put one answer's words under another question: the tag binds the name."""
    await fill(askonce, tiers, 2)
    database = sqlite3.connect(tmp_path / "data" / "cache.db")
    (_, one), (second, two) = database.execute("SELECT rowid, frame FROM entries ORDER BY rowid").fetchall()
    assert one != two
    database.execute("UPDATE entries SET frame = ? WHERE rowid = ?", (one, second))
    database.commit()
    database.close()
    async with askonce(tiers) as proxy:
        assert said(await proxy.chat(seed=0)) == "Answer 1"
        answer = await proxy.chat(seed=1)
        assert (answer.headers["x-cache"], said(answer)) == ("miss", "Answer 3")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Call it with a number of pages: every database opened afterwards gets no more than that, and then SQLite itself
    says SQLITE_FULL, as it does when the disk is."""
    connect = sqlite3.connect

    def limit(pages: int) -> None:
        def limited(*arguments: Any, **named: Any) -> sqlite3.Connection:
            database = connect(*arguments, **named)
            database.execute(f"PRAGMA max_page_count = {pages}")
            return database

        monkeypatch.setattr(sqlite3, "connect", limited)

    return limit


async def test_a_disk_that_fills_up_stops_storing_and_nothing_else(
    askonce: Start, provider: Provider, tiers: dict[str, Any], full_disk: Callable[[int], None]
) -> None:
    full_disk(30)
    incompressible = [os.urandom(20_000).hex() for _ in range(10)]
    provider.then(*(plain(completion(words)) for words in incompressible))
    async with askonce(tiers) as proxy:
        answers = [await proxy.chat(seed=seed) for seed in range(10)]
        assert [said(answer) for answer in answers] == incompressible
        stored = [bool(cache_status(answer).get("stored")) for answer in answers]
        assert True in stored
        assert False in stored
        ready = await readiness(proxy.http)
        assert (ready["status"], ready["store"]["status"]) == ("degraded", "degraded")
        assert "full" in ready["store"]["detail"]
        assert await proxy.metric("askonce_store_errors_total", operation="put") > 0
        again = [await proxy.chat(seed=seed) for seed in range(10)]
        hits = [answer.headers["x-cache"] == "hit" for answer in again]
        assert all(hit for hit, was_stored in zip(hits, stored, strict=True) if was_stored)
        assert [said(answer) for answer in again if answer.headers["x-cache"] == "hit"] == [
            words for words, hit in zip(incompressible, hits, strict=True) if hit
        ]


# --- the store on a real file system that refuses: needs a mount of one's own


def _may_mount() -> bool:
    return run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


def python_after(folder: Path, commands: str) -> str:
    """An interpreter that first does this, in a mount name space of its own."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec unshare -rm sh -ec \'{commands}\nexec "$@"\' sh {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


async def ask(process: Any, seed: int) -> httpx.Response:
    answer: httpx.Response = await process.http.post(
        CHAT, json=question(seed=seed), headers={"authorization": f"Bearer {ALICE}"}
    )
    return answer


@pytest.fixture
async def small_disk(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """A proxy whose data directory is a file system of 512 KiB."""
    if not _may_mount():
        pytest.skip("no file system can be mounted here")
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setattr(sys, "executable", python_after(tmp_path, f"mount -t tmpfs -o size=512k none {data}"))
    async with askonce_process(environ={"ASKONCE_STORE__MEMORY": "0"}) as process:
        yield process


async def test_a_file_system_without_room_stops_storing_and_nothing_else(small_disk: Any, provider: Provider) -> None:
    texts = [os.urandom(20_000).hex() for _ in range(30)]
    provider.then(*(plain(completion(text)) for text in texts))
    answers = [await ask(small_disk, seed) for seed in range(30)]
    assert [said(answer) for answer in answers] == texts
    assert "stored" not in cache_status(answers[-1])
    ready = await readiness(small_disk.http)
    assert ready["status"] == "degraded"
    assert ready["store"]["detail"]
    kept = [seed for seed, answer in enumerate(answers) if cache_status(answer).get("stored")]
    assert kept
    for seed in kept:
        answer = await ask(small_disk, seed)
        assert (answer.headers["x-cache"], said(answer)) == ("hit", texts[seed])
    assert await small_disk.stop() == 0
    assert "Traceback" not in small_disk.stderr + small_disk.stdout


async def test_a_read_only_data_directory_is_lived_without(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]],
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not _may_mount():
        pytest.skip("no file system can be mounted here")
    async with askonce_process() as process:
        await ask(process, 0)
        assert await process.stop() == 0
    data = tmp_path / "data"
    read_only = f"mount --bind {data} {data}\nmount -o remount,bind,ro {data}"
    monkeypatch.setattr(sys, "executable", python_after(tmp_path, read_only))
    async with askonce_process() as process:
        for _ in range(2):
            answer = await ask(process, 1)
            assert answer.status_code == 200
        ready = await readiness(process.http)
        assert (ready["status"], ready["store"]["status"]) == ("degraded", "degraded")
        assert str(data) in ready["store"]["detail"]
        assert await process.stop() == 0
        assert "degraded" in process.stderr + process.stdout
        assert "Traceback" not in process.stderr + process.stdout


async def test_files_that_may_not_grow_stop_storing_and_nothing_else(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]],
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ulimit -f`: the write fails with EFBIG, as a quota's would."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nulimit -f 400\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    texts = [os.urandom(20_000).hex() for _ in range(30)]
    provider.then(*(plain(completion(text)) for text in texts))
    async with askonce_process() as process:
        answers = [await ask(process, seed) for seed in range(30)]
        assert [said(answer) for answer in answers] == texts
        assert (await readiness(process.http))["status"] == "degraded"
        assert await process.stop() == 0
