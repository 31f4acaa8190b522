"""OpenAIHttp on real sockets: what goes out, what comes back, what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import os
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import brotli
import pytest
import trustme
import uvloop
import zstandard

from proxy.errors import (
    AskOnceError,
    BadRequest,
    BodyTooLarge,
    NotFound,
    SettingsError,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.types import Call, Pairs
from proxy.upstream.faults import never_left
from proxy.upstream.openai_http import LOOK_BYTES, Base, HttpReply, OpenAIHttp
from tests.upstream.conftest import DEFAULTS, opened
from tests.upstream.wire import CHUNKED, END, Peer, Wire, chunk, hangs_up, never, ok, resets, says, sized

SECRET = "sk-do-not-show"
ASK = Call("POST", "/chat/completions?key=hush", ((b"authorization", b"Bearer " + SECRET.encode()),), b"{}")


def ask(target: str = "/chat/completions", *headers: tuple[bytes, bytes], body: bytes = b"{}") -> Call:
    return Call("POST", target, headers, body, repeatable=True)


async def read(reply: HttpReply) -> bytes:
    return b"".join([piece async for piece in reply])


async def failure(upstream: OpenAIHttp, call: Call = ASK) -> AskOnceError:
    """What sending and reading raises; it must keep its cause and let nothing slip, to whom it goes is said nowhere."""
    with pytest.raises(AskOnceError) as caught:
        await read(await upstream.send(call))
    host, _, port = upstream.origin.rpartition(":")
    assert host not in str(caught.value)
    assert port not in re.findall(r"\d+", str(caught.value))
    assert SECRET not in str(caught.value)
    assert "hush" not in str(caught.value)
    return caught.value


# -- what goes out ---------------------------------------------------------------------------------------------------


async def test_a_request_goes_out_as_given_with_nothing_added_but_framing(wire: Wire, upstream: OpenAIHttp) -> None:
    fields: Pairs = ((b"authorization", b"Bearer k"), (b"accept-encoding", b"gzip"), (b"x-note", "grüß".encode()))
    await read(await upstream.send(ask("/chat/completions?x=1", *fields, body=b'{"a":1}')))
    asked = wire.asked[0]
    assert asked.line == b"POST /v1/chat/completions?x=1 HTTP/1.1"
    assert asked.body == b'{"a":1}'
    assert [(name.lower(), value) for name, value in asked.fields] == [
        (b"host", f"127.0.0.1:{wire.port}".encode()),
        *fields,
        (b"content-length", b"7"),
    ]


@pytest.mark.parametrize(
    "target",
    [
        "/files/a%2Fb",
        "/models/a%20b?q=%41+%2B&r=ü".replace("ü", "%FC"),
        "/models/x%C3%A4?",
        "/a//b/",
        "/v1beta/{x}|y?q='[]'",
    ],
)
async def test_a_target_is_not_encoded_anew(wire: Wire, upstream: OpenAIHttp, target: str) -> None:
    await read(await upstream.send(Call("GET", target, (), b"")))
    sent = wire.asked[0].line.split(b" ")[1].decode()
    assert sent == "/v1" + target.removesuffix("?")
    assert wire.asked[0].field(b"content-length") is None


@pytest.mark.parametrize(
    "target",
    [
        "/../admin",
        "/a/../../admin",
        "/%2e%2e/admin",
        "/a/..%2f..%2fadmin",
        "/a/..%5c..%5cadmin",
        "/..;x/admin",
        "/a\\..\\b",
        "/./a",
        "/a#b",
        "/a b",
        "/ä",
        "admin",
        "@elsewhere/",
        "/a\r\nx: y",
    ],
)
async def test_a_target_that_may_leave_the_base_address_is_refused(
    wire: Wire, upstream: OpenAIHttp, target: str
) -> None:
    with pytest.raises(NotFound):
        await upstream.send(ask(target))
    assert not wire.asked


@pytest.mark.parametrize(
    ("base_url", "target", "sent"),
    [
        ("http://h/v1", "/models", "/v1/models"),
        ("http://h/v1/", "/models", "/v1/models"),
        ("http://h", "/models", "/models"),
        (
            "http://h/v1",
            "/openai/deployments/d/embeddings?api-version=1",
            "/openai/deployments/d/embeddings?api-version=1",
        ),
        ("http://h/openai/v1", "/openai/deployments/d/x", "/openai/deployments/d/x"),
        ("http://h/openai", "/openai/deployments/d/x", "/openai/deployments/d/x"),
        ("http://h/gate/v1", "/openai/deployments/d/x", "/gate/openai/deployments/d/x"),
        ("http://h/v1", "/models/gpt-4.1..x", "/v1/models/gpt-4.1..x"),
    ],
)
def test_targets_are_joined_to_the_base_address(base_url: str, target: str, sent: str) -> None:
    assert Base.parse(base_url).target(target) == sent


@pytest.mark.parametrize("base_url", ["ftp://h/v1", "h/v1", "http://u:p@h/v1", "http://h/v1?x=1", "http://[::1/v1"])
def test_a_base_address_that_cannot_be_used_is_refused(base_url: str) -> None:
    with pytest.raises(SettingsError, match=r"upstreams\.base_url"):
        Base.parse(base_url)


async def test_identity_is_asked_for_only_where_the_client_named_no_coding(wire: Wire, upstream: OpenAIHttp) -> None:
    await read(await upstream.send(ask()))
    await read(await upstream.send(ask("/files", (b"accept-encoding", b"br"))))
    assert [asked.field(b"accept-encoding") for asked in wire.asked] == [b"identity", b"br"]


CALLERS: Pairs = (
    (b"authorization", b"Bearer theirs"),
    (b"x-api-key", b"theirs"),
    (b"api-key", b"theirs"),
    (b"openai-organization", b"theirs"),
    (b"openai-project", b"theirs"),
)


async def test_our_key_replaces_whatever_credential_came(wire: Wire) -> None:
    async with opened(wire.url, credential="own", api_key="ours") as upstream:
        await read(await upstream.send(ask("/models", *CALLERS)))
        await read(await upstream.send(ask("/openai/deployments/d/embeddings", *CALLERS)))
    openai, azure = wire.asked
    assert [pair for pair in openai.fields if pair[0].lower() in dict(CALLERS)] == [(b"authorization", b"Bearer ours")]
    assert [pair for pair in azure.fields if pair[0].lower() in dict(CALLERS)] == [(b"api-key", b"ours")]


async def test_a_key_goes_where_it_is_wanted_behind_a_gateways_path_too(wire: Wire) -> None:
    async with opened(wire.url.replace("/v1", "/openai/v1"), credential="own", api_key="ours") as upstream:
        await read(await upstream.send(ask()))
    assert wire.asked[0].line.split()[1] == b"/openai/v1/chat/completions"
    assert wire.asked[0].field(b"authorization") == b"Bearer ours"


async def test_nobodys_credential_goes_where_none_should(wire: Wire) -> None:
    async with opened(wire.url, credential="none", api_key="ours") as upstream:
        await read(await upstream.send(ask("/models", *CALLERS)))
    assert [pair for pair in wire.asked[0].fields if pair[0].lower() in dict(CALLERS)] == []


async def test_the_callers_credential_goes_on_where_it_should(wire: Wire) -> None:
    async with opened(wire.url, credential="caller", api_key="ours") as upstream:
        await read(await upstream.send(ask("/models", *CALLERS)))
    assert [pair for pair in wire.asked[0].fields if pair[0].lower() in dict(CALLERS)] == list(CALLERS)


def test_an_own_credential_without_a_key_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="api_key"):
        OpenAIHttp("test", "http://h/v1", **DEFAULTS | {"credential": "own"})


async def test_a_header_that_cannot_be_sent_is_the_callers_mistake(wire: Wire, upstream: OpenAIHttp) -> None:
    with pytest.raises(BadRequest):
        await upstream.send(ask("/models", (b"x-note", b"\xff\xfe")))
    assert not wire.asked


async def test_a_streamed_upload_arrives_whole(wire: Wire, upstream: OpenAIHttp) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    await read(await upstream.send(Call("POST", "/files", (), pieces())))
    assert (wire.asked[0].body, wire.asked[0].field(b"transfer-encoding")) == (b"one two", b"chunked")


async def test_a_large_body_arrives_whole(wire: Wire, upstream: OpenAIHttp) -> None:
    body = b"x" * (3 * 1024 * 1024)
    await read(await upstream.send(ask(body=body)))
    assert wire.asked[0].body == body
    assert wire.asked[0].field(b"content-length") == str(len(body)).encode()


async def test_a_failing_upload_comes_back_as_the_failure_it_was(wire: Wire, upstream: OpenAIHttp) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise BodyTooLarge("too much")

    with pytest.raises(BodyTooLarge):
        await upstream.send(Call("POST", "/files", (), pieces()))


# -- what comes back -------------------------------------------------------------------------------------------------


async def test_status_headers_and_body_come_back_unchanged(wire: Wire, upstream: OpenAIHttp) -> None:
    fields = b"X-Two: 1\r\nX-Two: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 4\r\n"
    wire.then(says(b"HTTP/1.1 429 Slow Down\r\n" + fields + b"\r\nlate"))
    reply = await upstream.send(ask())
    assert reply.status == 429
    assert reply.headers == ((b"x-two", b"1"), (b"x-two", b"2"), (b"x-upstream", b"test"))
    assert await read(reply) == b"late"


async def test_a_reply_says_which_upstream_it_is_from_and_nobody_elses_word_for_it(
    wire: Wire, upstream: OpenAIHttp
) -> None:
    wire.then(says(sized(b"", b"X-Upstream: theirs")))
    reply = await upstream.send(ask())
    assert [value for name, value in reply.headers if name == b"x-upstream"] == [b"test"]
    assert reply.origin == upstream.origin == f"127.0.0.1:{wire.port}"
    await reply.aclose()


@pytest.mark.parametrize(
    ("base_url", "address", "origin"),
    [
        ("http://h/v1/", "http://h/v1", "h:80"),
        ("https://h/v1", "https://h/v1", "h:443"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "[::1]:8000"),
    ],
)
def test_an_endpoint_knows_its_address_and_its_origin(base_url: str, address: str, origin: str) -> None:
    endpoint = OpenAIHttp("test", base_url, **DEFAULTS)
    assert (endpoint.address, endpoint.origin) == (address, origin)


@pytest.mark.parametrize("end", ["read", "closed", "cut", "left"])
async def test_whoever_asks_is_told_once_when_a_reply_is_over(wire: Wire, upstream: OpenAIHttp, end: str) -> None:
    over = []

    async def in_part(peer: Peer) -> None:
        await peer.say(CHUNKED, chunk(b"one"))
        await (peer.hang_up() if end == "cut" else peer.say(END) if end == "read" else peer.gone())

    wire.then(in_part)
    reply = await upstream.send(ask())
    reply.when_over(lambda: over.append(end))
    pieces = aiter(reply)
    if end != "closed":
        await anext(pieces)
        assert over == []
    if end == "read":
        assert [piece async for piece in pieces] == []
    elif end == "cut":
        with pytest.raises(UpstreamInterrupted):
            await anext(pieces)
    elif end == "left":
        await pieces.aclose()  # type: ignore[attr-defined]
    await reply.aclose()
    await reply.aclose()
    assert over == [end]


@pytest.mark.parametrize(("credential", "shown"), [("caller", True), ("own", False), ("none", False)])
async def test_what_is_said_of_our_account_stays_here(wire: Wire, credential: str, shown: bool) -> None:
    wire.then(says(sized(b"", b"X-RateLimit-Remaining-Tokens: 7", b"X-Request-Id: req_1")))
    async with opened(wire.url, credential=credential, api_key="ours") as upstream:
        headers = dict((await upstream.send(ask())).headers)
    assert (b"x-ratelimit-remaining-tokens" in headers) == shown
    assert headers[b"x-upstream-request-id"] == b"req_1"


async def test_a_piece_is_given_as_soon_as_it_is_there(wire: Wire, upstream: OpenAIHttp) -> None:
    seen = asyncio.Event()

    async def in_two(peer: Peer) -> None:
        await peer.say(CHUNKED, chunk(b"first"))
        await seen.wait()
        await peer.say(chunk(b"second"), END)

    wire.then(in_two)
    pieces = []
    async for piece in await upstream.send(ask()):
        pieces.append(piece)
        seen.set()
    assert pieces == [b"first", b"second"]


async def test_a_redirect_is_an_answer_not_an_instruction(wire: Wire, upstream: OpenAIHttp) -> None:
    wire.then(says(b"HTTP/1.1 307 Elsewhere\r\nLocation: /v1/other\r\nContent-Length: 0\r\n\r\n"))
    reply = await upstream.send(ask())
    assert (reply.status, await read(reply), len(wire.asked)) == (307, b"", 1)


async def test_cookies_are_never_sent_back(wire: Wire) -> None:
    wire.then(says(sized(b"", b"Set-Cookie: session=1; Path=/")))
    # By name: no jar keeps the cookies of a bare address.
    async with opened(wire.url.replace("127.0.0.1", "localhost")) as upstream:
        await read(await upstream.send(ask()))
        await read(await upstream.send(ask()))
    assert wire.asked[1].field(b"cookie") is None


async def test_the_environment_has_no_say(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with opened(wire.url) as upstream:
        assert await read(await upstream.send(ask())) == b"{}"


async def test_a_body_that_ends_with_its_connection_is_whole(wire: Wire, upstream: OpenAIHttp) -> None:
    async def until_close(peer: Peer) -> None:
        await peer.say(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        await peer.hang_up()

    wire.then(until_close)
    assert await read(await upstream.send(ask())) == b"all of it"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_answer_without_a_body_is_whole(wire: Wire, upstream: OpenAIHttp, method: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"
    wire.then(says(head if method == "HEAD" else b"HTTP/1.1 204 None\r\nContent-Encoding: gzip\r\n\r\n"))
    assert await read(await upstream.send(Call(method, "/models", (), b""))) == b""


# -- codings ---------------------------------------------------------------------------------------------------------

ENCODERS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("coding", ENCODERS)
async def test_a_coding_nobody_asked_for_is_undone_as_it_comes(wire: Wire, upstream: OpenAIHttp, coding: str) -> None:
    plain = b'{"answer":"' + b"yes " * 300 + b'"}'
    packed = ENCODERS[coding](plain)
    wire.then(
        says(
            CHUNKED[:-2] + b"Content-Encoding: %b\r\n\r\n" % coding.encode(), *map(chunk, (packed[:9], packed[9:])), END
        )
    )
    reply = await upstream.send(ask())
    assert b"content-encoding" not in dict(reply.headers)
    assert await read(reply) == plain


async def test_a_coding_the_client_asked_for_goes_through_untouched(wire: Wire, upstream: OpenAIHttp) -> None:
    packed = gzip.compress(b"hello", mtime=0)
    wire.then(says(sized(packed, b"Content-Encoding: gzip")))
    reply = await upstream.send(ask("/files", (b"accept-encoding", b"gzip")))
    assert dict(reply.headers)[b"content-encoding"] == b"gzip"
    assert await read(reply) == packed


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(bytes(50_000_000))),
        (b"gzip", gzip.compress(b"hello", mtime=0)[:-3]),
        (b"gzip", b"not gzip"),
        (b"compress", b"?"),
        (b"gzip, gzip, gzip", b"?"),
    ],
)
async def test_what_does_not_decode_within_bounds_is_an_upstream_failure(
    wire: Wire, upstream: OpenAIHttp, coding: bytes, body: bytes
) -> None:
    wire.then(says(sized(body, b"Content-Encoding: " + coding)))
    assert isinstance(await failure(upstream), UpstreamProtocolError)


# -- connections -----------------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_after_an_answer_read_to_its_end(wire: Wire, upstream: OpenAIHttp) -> None:
    for _ in range(3):
        reply = await upstream.send(ask())
        await read(reply)
        await reply.aclose()
    assert wire.connections == 1


async def test_letting_go_of_a_body_closes_its_connection_at_once(wire: Wire, upstream: OpenAIHttp) -> None:
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.say(CHUNKED, chunk(b"one"))
        await peer.gone()
        gone.set()

    wire.then(endless)
    reply = await upstream.send(ask())
    assert await anext(aiter(reply)) == b"one"
    await reply.aclose()
    await reply.aclose()
    await gone.wait()
    await read(await upstream.send(ask()))
    assert wire.connections == 2


async def test_a_caller_that_is_cancelled_while_waiting_closes_the_connection(wire: Wire, upstream: OpenAIHttp) -> None:
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def silent(peer: Peer) -> None:
        waiting.set()
        await peer.gone()
        gone.set()

    wire.then(silent)
    task = asyncio.create_task(upstream.send(ask()))
    await waiting.wait()
    task.cancel()
    await gone.wait()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


@pytest.mark.parametrize("ending", [hangs_up, resets])
async def test_a_reused_connection_that_was_closed_is_tried_once_more(wire: Wire, upstream: OpenAIHttp, ending) -> None:
    wire.then(ok, ending, ok)
    await read(await upstream.send(ask()))
    assert await read(await upstream.send(ask())) == b"{}"
    assert [asked.connection for asked in wire.asked] == [1, 1, 2]


@pytest.mark.parametrize("ending", [hangs_up, resets])
async def test_a_fresh_connection_that_is_closed_is_not_tried_again(wire: Wire, upstream: OpenAIHttp, ending) -> None:
    wire.then(ending)
    error = await failure(upstream)
    assert isinstance(error, UpstreamInterrupted)
    assert len(wire.asked) == 1


async def test_nothing_is_tried_again_after_a_byte_of_an_answer(wire: Wire, upstream: OpenAIHttp) -> None:
    async def begins(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-")
        await peer.hang_up()

    wire.then(ok, begins)
    await read(await upstream.send(ask()))
    assert isinstance(await failure(upstream), UpstreamInterrupted)
    assert len(wire.asked) == 2


async def test_an_upload_that_cannot_be_repeated_is_not_tried_again(wire: Wire, upstream: OpenAIHttp) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"once"

    wire.then(ok, hangs_up)
    await read(await upstream.send(ask()))
    assert isinstance(await failure(upstream, Call("POST", "/files", (), pieces())), UpstreamInterrupted)
    assert len(wire.asked) == 2


async def test_a_refused_connection_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(*_: object, **__: object) -> socket.socket:
        tries.append(1)
        raise ConnectionRefusedError(111, "Connection refused")

    async with opened("http://127.0.0.1:9/v1") as upstream:
        monkeypatch.setattr(socket, "socket", refuse)
        assert isinstance(await failure(upstream), UpstreamUnreachable)
    assert len(tries) == 2


async def test_a_server_that_went_away_with_a_call_may_have_seen_it(wire: Wire, upstream: OpenAIHttp) -> None:
    """Its listening socket is closed when the connection in use ends: the second try is refused."""

    async def goes_away(peer: Peer) -> None:
        wire.stop_listening()
        await peer.hang_up()

    wire.then(ok, goes_away)
    await read(await upstream.send(ask()))
    error = await failure(upstream)
    assert isinstance(error, UpstreamInterrupted)
    assert not never_left(error)


async def test_the_log_has_host_and_port_and_nothing_of_the_call(
    caplog: pytest.LogCaptureFixture, wire: Wire, upstream: OpenAIHttp
) -> None:
    wire.then(hangs_up)
    with caplog.at_level(logging.DEBUG, logger="askonce.upstream"):
        await failure(upstream)
    assert [record.getMessage() for record in caplog.records] == [
        f"127.0.0.1:{wire.port}: upstream test: the connection was closed before the answer was complete"
    ]


# -- looks -----------------------------------------------------------------------------------------------------------


async def test_a_look_asks_below_or_beside_the_base_address_with_our_key_only(wire: Wire) -> None:
    async with opened(wire.url, credential="own", api_key="ours") as upstream:
        assert await upstream.get("/models") == (200, b"{}")
        assert await upstream.get("/health", beside=True) == (200, b"{}")
    assert [asked.line for asked in wire.asked] == [b"GET /v1/models HTTP/1.1", b"GET /health HTTP/1.1"]
    assert [asked.field(b"authorization") for asked in wire.asked] == [b"Bearer ours"] * 2


@pytest.mark.parametrize("credential", ["caller", "none"])
async def test_a_look_has_no_credential_where_we_have_none(wire: Wire, credential: str) -> None:
    async with opened(wire.url, credential=credential) as upstream:
        await upstream.get("/models")
    assert {name.lower() for name, _ in wire.asked[0].fields} == {b"host", b"accept-encoding"}


async def test_a_look_gives_whatever_status_there_is(wire: Wire, upstream: OpenAIHttp) -> None:
    wire.then(says(b"HTTP/1.1 401 Who\r\nContent-Length: 2\r\n\r\nno"))
    assert await upstream.get("/models") == (401, b"no")


async def test_a_look_takes_no_more_than_its_own_time(wire: Wire) -> None:
    wire.then(begins_and_stops)
    async with opened(wire.url, health_timeout_s=0.05) as upstream:
        with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s \(upstreams\.health_timeout\)"):
            await upstream.get("/metrics", beside=True)


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_look_reads_no_more_than_its_bound(wire: Wire, upstream: OpenAIHttp, framing: str) -> None:
    most = bytes(LOOK_BYTES)
    wire.then(
        says(sized(most)), says(*((sized(most + b"1"),) if framing == "length" else (CHUNKED, chunk(most + b"1"))))
    )
    assert await upstream.get("/metrics", beside=True) == (200, most)
    with pytest.raises(UpstreamProtocolError, match=str(LOOK_BYTES)):
        await upstream.get("/metrics", beside=True)


async def test_a_look_does_not_wait_behind_calls(wire: Wire) -> None:
    wire.then(never)
    async with opened(wire.url, max_connections=1) as upstream:
        call = asyncio.create_task(upstream.send(ask()))
        while not wire.asked:
            await asyncio.sleep(0)
        assert await upstream.get("/models") == (200, b"{}")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_a_look_at_nobody_is_unreachable() -> None:
    async with Wire() as wire:
        url = wire.url
    async with opened(url) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await upstream.get("/models")


# -- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_refused_connection_says_so() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with opened(f"http://127.0.0.1:{port}/v1") as upstream:
            error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert re.fullmatch(r"upstream test: .*refused.*base_url", str(error))
    assert never_left(error)
    assert error.__cause__ is not None


async def test_a_name_that_does_not_resolve_says_so() -> None:
    async with opened("http://nowhere.invalid/v1") as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert re.search(r"upstream test: .*does not resolve", str(error))


async def test_what_the_system_says_of_a_connection_is_said_without_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EHOSTUNREACH, "Connect call failed ('127.0.0.1', 9)")

    async with opened("http://127.0.0.1:9/v1") as upstream:
        monkeypatch.setattr(socket, "socket", unreachable)
        error = await failure(upstream)
    assert str(error).startswith(f"upstream test: no connection ({os.strerror(errno.EHOSTUNREACH)})")


async def test_a_certificate_nobody_vouches_for_says_so_and_is_not_tried_again(authority: trustme.CA) -> None:
    async with Wire(tls=_server_side(authority)) as wire, opened(wire.url) as upstream:
        error = await failure(upstream)
        assert wire.connections == 0
    assert isinstance(error, UpstreamUnreachable)
    assert "certificate does not verify" in str(error)
    assert "upstreams.ca_file" in str(error)


async def test_a_certificate_for_another_host_says_so(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        Wire(tls=_server_side(authority, "elsewhere.test")) as wire,
        opened(wire.url, ca_file=ca_file) as upstream,
    ):
        error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert "certificate does not verify (it is for another host)" in str(error)


async def test_a_private_authority_is_trusted_when_named(authority: trustme.CA, ca_file: Path) -> None:
    async with Wire(tls=_server_side(authority)) as wire, opened(wire.url, ca_file=ca_file) as upstream:
        assert await read(await upstream.send(ask())) == b"{}"
        assert await read(await upstream.send(ask())) == b"{}"
        assert wire.connections == 1


async def test_tls_to_a_server_that_speaks_none_says_so() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, opened(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1") as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert "TLS failed (WRONG_VERSION_NUMBER)" in str(error)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_authority_file_that_cannot_be_used_is_a_settings_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"upstreams\.ca_file"):
        async with opened("https://127.0.0.1/v1", ca_file=file):
            pass


CUT = {
    "chunked body without its last chunk": (CHUNKED, chunk(b"some")),
    "chunk shorter than it says": (CHUNKED, b"10\r\nsome"),
    "less than Content-Length": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome",),
    "nothing of Content-Length": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",),
}


@pytest.mark.parametrize("pieces", CUT.values(), ids=CUT)
@pytest.mark.parametrize("end", [Peer.hang_up, Peer.reset])
async def test_a_body_that_ends_too_early_is_interrupted(wire: Wire, upstream: OpenAIHttp, pieces, end) -> None:
    async def cut(peer: Peer) -> None:
        await peer.say(*pieces)
        await end(peer)

    wire.then(cut)
    assert isinstance(await failure(upstream), UpstreamInterrupted)


GARBLED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
    "bad field": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "bad chunk size": CHUNKED + b"zz\r\nsome\r\n",
    "endless field": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", GARBLED.values(), ids=GARBLED)
async def test_what_is_not_http_is_a_protocol_error(wire: Wire, upstream: OpenAIHttp, answer: bytes) -> None:
    wire.then(says(answer))
    error = await failure(upstream)
    assert isinstance(error, UpstreamProtocolError)
    assert "not HTTP/1.1" in str(error)


async def begins_and_stops(peer: Peer) -> None:
    await peer.say(CHUNKED, chunk(b"one"))
    await peer.gone()


async def only_headers(peer: Peer) -> None:
    await peer.say(CHUNKED)
    await peer.gone()


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (never, "first_byte_timeout"),
        (only_headers, "first_byte_timeout"),
        (begins_and_stops, "idle_timeout"),
        (never, "total_timeout"),
        (begins_and_stops, "total_timeout"),
    ],
)
async def test_a_time_limit_says_which_it_was_and_how_long(wire: Wire, answer, setting: str) -> None:
    wire.then(answer)
    async with opened(wire.url, **{f"{setting}_s": 0.05}) as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamTimeout)
    assert "upstream test: " in str(error)
    assert f"within 0.05 s (upstreams.{setting})" in str(error)
    assert not never_left(error)


async def test_no_free_connection_is_a_connect_timeout(wire: Wire) -> None:
    wire.then(never)
    async with opened(wire.url, connect_timeout_s=0.05, max_connections=1) as upstream:
        first = asyncio.create_task(upstream.send(ask()))
        while not wire.asked:
            await asyncio.sleep(0)
        error = await failure(upstream)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert isinstance(error, UpstreamTimeout)
    assert isinstance(error, UpstreamTimeout)
    assert never_left(error)
    assert "(upstreams.connect_timeout)" in str(error)


async def test_a_reader_that_takes_its_time_is_not_an_idle_upstream(wire: Wire) -> None:
    async def long(peer: Peer) -> None:
        await peer.say(CHUNKED, *[chunk(bytes(65536))] * 64, END)

    wire.then(long)
    async with opened(wire.url, idle_timeout_s=0.05, first_byte_timeout_s=0.05) as upstream:
        pieces = aiter(await upstream.send(ask()))
        first = await anext(pieces)
        # Longer than either limit, while the upstream has more to say than the buffers hold.
        await asyncio.sleep(0.2)
        assert len(first) + len(b"".join([piece async for piece in pieces])) == 64 * 65536


async def test_sending_before_opening_is_a_mistake_that_says_so() -> None:
    with pytest.raises(RuntimeError, match="open"):
        await OpenAIHttp("test", "http://127.0.0.1:9/v1", **DEFAULTS).send(ASK)


def test_faults_read_the_same_on_uvloop(authority: trustme.CA, ca_file: Path) -> None:
    """It reports failed connections and TLS by paths of its own."""

    async def ends(end: Callable[[Peer], Awaitable[None]]) -> None:
        async with Wire() as wire, opened(wire.url) as upstream:
            await test_a_body_that_ends_too_early_is_interrupted(wire, upstream, (CHUNKED, chunk(b"some")), end)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_refused_connection_says_so())
        runner.run(test_a_name_that_does_not_resolve_says_so())
        runner.run(test_tls_to_a_server_that_speaks_none_says_so())
        runner.run(test_a_certificate_nobody_vouches_for_says_so_and_is_not_tried_again(authority))
        runner.run(test_a_certificate_for_another_host_says_so(authority, ca_file))
        runner.run(ends(Peer.hang_up))
        runner.run(ends(Peer.reset))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


def _server_side(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context
