"""OpenAIHttp on real sockets: what goes out, what comes back, what goes wrong."""

from __future__ import annotations

import asyncio
import gzip
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
from proxy.upstream.base import Upstream
from proxy.upstream.openai_http import Base, HttpReply, OpenAIHttp
from tests.upstream.conftest import DEFAULTS, opened
from tests.upstream.wire import CHUNKED, END, Peer, Wire, chunk, hangs_up, never, ok, resets, says, sized

SECRET = "sk-do-not-show"
ASK = Call("POST", "/chat/completions?key=hush", ((b"authorization", b"Bearer " + SECRET.encode()),), b"{}")


def ask(target: str = "/chat/completions", *headers: tuple[bytes, bytes], body: bytes = b"{}") -> Call:
    return Call("POST", target, headers, body)


async def read(reply: HttpReply) -> bytes:
    return b"".join([piece async for piece in reply])


async def failure(upstream: Upstream, call: Call = ASK) -> AskOnceError:
    """What sending and reading raises; it must keep its cause and let nothing slip."""
    with pytest.raises(AskOnceError) as caught:
        await read(await upstream.send(call))  # type: ignore[arg-type]
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


async def test_our_key_replaces_whatever_credential_came(wire: Wire) -> None:
    callers = ((b"authorization", b"Bearer theirs"), (b"x-api-key", b"theirs"))
    async with opened(wire.url, api_key="ours") as upstream:
        await read(await upstream.send(ask("/models", *callers)))
        await read(await upstream.send(ask("/openai/deployments/d/embeddings", *callers)))
    openai, azure = wire.asked
    assert (openai.field(b"authorization"), openai.field(b"x-api-key")) == (b"Bearer ours", None)
    assert (azure.field(b"authorization"), azure.field(b"api-key")) == (None, b"ours")


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
    assert reply.headers == ((b"x-two", b"1"), (b"x-two", b"2"))
    assert await read(reply) == b"late"


@pytest.mark.parametrize(("api_key", "shown"), [(None, True), ("ours", False)])
async def test_what_is_said_of_our_account_stays_here(wire: Wire, api_key: str | None, shown: bool) -> None:
    wire.then(says(sized(b"", b"X-RateLimit-Remaining-Tokens: 7", b"X-Request-Id: req_1")))
    async with opened(wire.url, api_key=api_key) as upstream:
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


# -- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_refused_connection_says_so() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with opened(f"http://127.0.0.1:{port}/v1") as upstream:
            error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert re.search(rf"127\.0\.0\.1:{port}.*refused.*base_url", str(error))
    assert error.__cause__ is not None


async def test_a_name_that_does_not_resolve_says_so() -> None:
    async with opened("http://nowhere.invalid/v1") as upstream:
        error = await failure(upstream)
    assert isinstance(error, UpstreamUnreachable)
    assert re.search(r"nowhere\.invalid:80.*does not resolve", str(error))


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
    assert "certificate does not verify" in str(error)


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
    assert f"within 0.05 s (upstreams.{setting})" in str(error)


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
