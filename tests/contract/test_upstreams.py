"""What every way to reach a model must do. Run on each implementation of `upstream.base.Upstream`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.errors import UpstreamError, UpstreamInterrupted, UpstreamUnreachable
from proxy.types import Call
from proxy.upstream.base import Upstream
from tests.upstream.fleets import alone
from tests.upstream.wire import CHUNKED, END, Peer, Wire, chunk, hangs_up, says

IMPLEMENTATIONS = {"fleet": alone}
"""Name -> `async with open(base_url) as upstream`."""

ASK = Call("POST", "/chat/completions", ((b"content-type", b"application/json"),), b'{"model":"m"}')


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire() as listening:
        yield listening


@pytest.fixture(params=IMPLEMENTATIONS)
async def upstream(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Upstream]:
    async with IMPLEMENTATIONS[request.param](wire.url) as ready:
        yield ready


async def test_the_question_arrives_and_the_answer_comes_back(wire: Wire, upstream: Upstream) -> None:
    reply = await upstream.send(ASK)
    assert (reply.status, b"".join([piece async for piece in reply])) == (200, b"{}")
    assert (wire.asked[0].line, wire.asked[0].body) == (b"POST /v1/chat/completions HTTP/1.1", b'{"model":"m"}')
    assert upstream.name


async def test_headers_are_lower_case_and_end_to_end(wire: Wire, upstream: Upstream) -> None:
    wire.then(says(CHUNKED.replace(b"Content-Type", b"X-Thing: 1\r\nCONTENT-Type"), END))
    reply = await upstream.send(ASK)
    served_by = (b"x-upstream", upstream.name.encode())
    assert reply.headers == ((b"x-thing", b"1"), (b"content-type", b"text/event-stream"), served_by)
    await reply.aclose()


async def test_the_header_section_does_not_wait_for_the_body(wire: Wire, upstream: Upstream) -> None:
    async def only_headers(peer: Peer) -> None:
        await peer.say(CHUNKED)
        await peer.gone()

    wire.then(only_headers)
    reply = await upstream.send(ASK)
    assert reply.status == 200
    await reply.aclose()


async def test_an_error_status_is_an_answer(wire: Wire, upstream: Upstream) -> None:
    wire.then(says(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"))
    reply = await upstream.send(ASK)
    assert (reply.status, b"".join([piece async for piece in reply])) == (503, b"busy")
    assert len(wire.asked) == 1


async def test_a_cut_answer_never_ends_like_a_whole_one(wire: Wire, upstream: Upstream) -> None:
    async def cut(peer: Peer) -> None:
        await peer.say(CHUNKED, chunk(b"one"))
        await peer.hang_up()

    wire.then(cut)
    reply = await upstream.send(ASK)
    with pytest.raises(UpstreamInterrupted) as caught:
        async for _ in reply:
            pass
    assert caught.value.__cause__ is not None
    assert len(wire.asked) == 1


async def test_a_connection_closed_without_an_answer_is_our_kind_of_error(wire: Wire, upstream: Upstream) -> None:
    wire.then(hangs_up, hangs_up)
    with pytest.raises(UpstreamError):
        await upstream.send(ASK)


async def test_a_reply_may_be_closed_at_any_time_and_more_than_once(wire: Wire, upstream: Upstream) -> None:
    reply = await upstream.send(ASK)
    await reply.aclose()
    await reply.aclose()
    whole = await upstream.send(ASK)
    assert b"".join([piece async for piece in whole]) == b"{}"
    await whole.aclose()


async def test_closing_twice_is_harmless(upstream: Upstream) -> None:
    await upstream.close()
    await upstream.close()


@pytest.mark.parametrize("start", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
async def test_an_upstream_that_is_not_there_is_unreachable(start) -> None:
    async with Wire() as wire:
        url = wire.url
    async with start(url) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await upstream.send(ASK)
