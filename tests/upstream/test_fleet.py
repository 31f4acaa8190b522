"""Fleet on real sockets: who is asked, when another is, and what is left when nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress

import pytest

from proxy.errors import (
    BadRequest,
    BodyTooLarge,
    SettingsError,
    UpstreamInterrupted,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.types import Call, Patience, Reply
from proxy.upstream.fleet import GivenUp
from proxy.upstream.openai_http import HttpReply
from tests.upstream.fleets import ILL, WELL, InOrder, Scripted, ScriptedKind, scripted, until
from tests.upstream.wire import CHUNKED, Answer, Peer, Wire, chunk, hangs_up, never, ok, says

ASK = Call("POST", "/chat/completions", (), b"{}", model="m", repeatable=True, portable=True)
ONCE = Call("POST", "/files", (), b"{}")


def status(code: int, *fields: bytes, body: bytes = b"no") -> Answer:
    lines = b"".join(b"%b\r\n" % line for line in fields)
    return says(b"HTTP/1.1 %d Such\r\nContent-Length: %d\r\n%b\r\n%b" % (code, len(body), lines, body))


async def read(reply: Reply) -> bytes:
    return b"".join([piece async for piece in reply])


@pytest.fixture
async def wires() -> AsyncIterator[list[Wire]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Wire()) for _ in range(3)]


@pytest.fixture
async def three(wires: list[Wire]) -> AsyncIterator[Scripted]:
    """One fleet of three."""
    async with scripted(*(wire.url for wire in wires)) as fleet:
        yield fleet


@pytest.fixture
async def gone() -> str:
    """The address of nobody."""
    async with Wire() as wire:
        return wire.url


def asked(wires: list[Wire]) -> list[int]:
    return [len(wire.asked) for wire in wires]


class Spare:
    """Another upstream to ask. That it is there is all that matters here."""


# --- who is asked


async def test_the_balancer_says_who_is_asked_first(wires: list[Wire], three: Scripted) -> None:
    three.balancer.first = 1
    reply = await three.fleet.send(ASK)
    assert asked(wires) == [0, 1, 0]
    assert reply.origin == f"127.0.0.1:{wires[1].port}"
    assert dict(reply.headers)[b"x-upstream"] == b"local"
    assert await read(reply) == b"{}"
    assert three.balancer.served_at == [wires[1].url]
    assert three.counts.errors == three.counts.retried == []


async def test_the_balancer_is_shown_who_is_well_and_what_is_under_way_there(
    wires: list[Wire], three: Scripted
) -> None:
    first = await three.fleet.send(ASK)
    await three.kind.tells(wires[1].url, ILL, ILL, ILL)
    second = await three.fleet.send(ASK)
    shown = [[(load.address, load.in_flight) for load in loads] for loads in three.balancer.shown]
    assert shown == [[(wire.url, 0) for wire in wires], [(wires[0].url, 1), (wires[2].url, 0)]]
    for reply in (first, second):
        await reply.aclose()


async def test_with_one_that_is_well_there_is_nothing_to_choose(wires: list[Wire], three: Scripted) -> None:
    for wire in wires[:2]:
        await three.kind.tells(wire.url, ILL, ILL, ILL)
    await read(await three.fleet.send(ASK))
    assert (asked(wires), three.balancer.shown) == ([0, 0, 1], [])


async def test_a_single_endpoint_is_never_chosen_nor_looked_at(wires: list[Wire]) -> None:
    async with scripted(wires[0].url) as one:
        await read(await one.fleet.send(ASK))
        await asyncio.sleep(0.01)
        assert (one.balancer.shown, one.kind.looks) == ([], {})
        assert one.states == ["well"]


async def test_none_was_heard_of_before_the_first_word(three: Scripted) -> None:
    assert three.states == ["unknown"] * 3
    await read(await three.fleet.send(ASK))
    assert three.states == ["well", "unknown", "unknown"]


async def test_a_call_is_prepared_once_wherever_it_goes(wires: list[Wire], three: Scripted) -> None:
    wires[0].then(status(503))
    await read(await three.fleet.send(ASK))
    assert three.kind.prepared == [ASK]
    assert [wire.asked[0].field(b"x-prepared") for wire in wires[:2]] == [b"1", b"1"]


async def test_what_its_kind_would_choke_on_is_the_callers_mistake(wires: list[Wire]) -> None:
    class Choking(ScriptedKind):
        def prepare(self, call: Call) -> Call:
            raise BadRequest("cache_salt is empty")

    async with scripted(wires[0].url, wires[1].url, kind=Choking()) as two:
        with pytest.raises(BadRequest):
            await two.fleet.send(ASK)
    assert (asked(wires), two.counts.errors) == ([0, 0, 0], [])


async def test_an_answer_of_failure_is_nothing_to_remember_an_endpoint_for(wires: list[Wire], three: Scripted) -> None:
    wires[0].then(status(400))
    assert (await three.fleet.send(ASK)).status == 400
    assert three.balancer.served_at == []
    assert three.counts.errors == [("local", "status_4xx")]


async def test_who_served_after_another_is_remembered(wires: list[Wire], three: Scripted) -> None:
    wires[0].then(status(502))
    await read(await three.fleet.send(ASK))
    assert three.balancer.served_at == [wires[1].url]


# --- a call that never arrived


async def test_a_call_nobody_has_seen_goes_on_as_long_as_there_is_somebody(wires: list[Wire], gone: str) -> None:
    wires[0].stop_listening()
    wires[1].stop_listening()
    async with scripted(gone, *(wire.url for wire in wires)) as four:
        assert await read(await four.fleet.send(ONCE)) == b"{}"
    assert asked(wires) == [0, 0, 1]
    assert four.counts.errors == [("local", "upstream_unreachable")] * 3
    assert four.counts.retried == [("local", "connect")] * 3


async def test_a_body_that_still_arrives_goes_on_too_if_nothing_of_it_was_sent(wires: list[Wire], gone: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with scripted(gone, wires[0].url) as two:
        await read(await two.fleet.send(Call("POST", "/files", (), pieces())))
    assert wires[0].asked[0].body == b"one two"


async def test_a_call_that_got_no_connection_in_time_goes_on(wires: list[Wire]) -> None:
    wires[0].then(never)
    options = {"max_connections": 1, "connect_timeout_s": 0.05}
    async with scripted(wires[0].url, wires[1].url, options=options) as two:
        waits = asyncio.create_task(two.fleet.send(ONCE))
        await until(lambda: bool(wires[0].asked))
        assert await read(await two.fleet.send(ONCE)) == b"{}"
        assert two.counts.retried == [("local", "connect")]
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)


async def test_where_nobody_is_there_the_last_error_is_the_result(gone: str) -> None:
    async with Wire() as wire:
        other = wire.url
    async with scripted(gone, other) as two:
        with pytest.raises(UpstreamUnreachable, match=r"upstream local: .*refused"):
            await two.fleet.send(ASK)
        assert two.in_flight == [0, 0]
    assert two.counts.errors == [("local", "upstream_unreachable")] * 2
    assert two.counts.retried == [("local", "connect")]


# --- a call that may have arrived


async def test_a_repeatable_call_goes_to_one_more_when_its_connection_breaks(
    wires: list[Wire], three: Scripted
) -> None:
    wires[0].then(hangs_up)
    assert await read(await three.fleet.send(ASK)) == b"{}"
    assert asked(wires) == [1, 1, 0]
    assert three.counts.errors == [("local", "upstream_interrupted")]
    assert three.counts.retried == [("local", "interrupted")]


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_a_repeatable_call_goes_to_one_more_when_one_cannot_serve(
    wires: list[Wire], three: Scripted, code: int
) -> None:
    wires[0].then(status(code))
    assert (await three.fleet.send(ASK)).status == 200
    assert three.counts.errors == [("local", "status_5xx")]
    assert three.counts.retried == [("local", "status")]


@pytest.mark.parametrize("second", [status(503, body=b"second"), hangs_up], ids=["status", "break"])
async def test_it_goes_to_one_more_only_and_the_last_is_the_answer(
    wires: list[Wire], three: Scripted, second: Answer
) -> None:
    wires[0].then(status(502, body=b"first"))
    wires[1].then(second)
    if second is hangs_up:
        with pytest.raises(UpstreamInterrupted):
            await three.fleet.send(ASK)
    else:
        reply = await three.fleet.send(ASK)
        assert (reply.status, await read(reply)) == (503, b"second")
    assert asked(wires) == [1, 1, 0]
    assert len(three.counts.errors) == 2
    assert three.in_flight == [0, 0, 0]


async def test_its_repetition_too_goes_past_those_that_are_not_there(wires: list[Wire], gone: str) -> None:
    wires[0].then(status(503))
    wires[1].then(status(503, body=b"last"))
    async with scripted(wires[0].url, gone, wires[1].url, wires[2].url) as four:
        reply = await four.fleet.send(ASK)
        assert (reply.status, await read(reply)) == (503, b"last")
    assert asked(wires) == [1, 1, 0]
    assert [why for _, why in four.counts.retried] == ["status", "connect"]


@pytest.mark.parametrize(
    "call",
    [ONCE, Call("POST", "/x", (), b"{}", repeatable=False)],
    ids=["pass-through", "chat"],
)
async def test_a_call_that_must_not_be_repeated_is_not(wires: list[Wire], three: Scripted, call: Call) -> None:
    wires[0].then(status(503, body=b"as it came"))
    reply = await three.fleet.send(call)
    assert (reply.status, await read(reply)) == (503, b"as it came")
    wires[0].then(hangs_up, hangs_up)
    with pytest.raises(UpstreamInterrupted):
        # Twice: the connection was used before, and the server may have closed it while it was idle.
        await three.fleet.send(call)
    assert asked(wires)[1:] == [0, 0]
    assert three.counts.retried == []


async def test_a_body_that_is_gone_cannot_be_repeated(wires: list[Wire], three: Scripted) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"once"

    wires[0].then(status(503))
    assert (await three.fleet.send(Call("POST", "/files", (), pieces(), repeatable=True))).status == 503
    assert asked(wires) == [1, 0, 0]


PAUSES = {
    b"Retry-After: 2": True,
    b"Retry-After: 0": True,
    b"Retry-After: 3": False,
    b"retry-after-ms: 1500": True,
    b"retry-after-ms: 2500": False,
    b"Retry-After: 0\r\nretry-after-ms: 9000": False,
    b"Retry-After: -1": False,
    b"Retry-After: nan": False,
    b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT": False,
    b"X-Nothing: 1": False,
}


@pytest.mark.parametrize(("field", "goes_on"), PAUSES.items(), ids=str)
async def test_a_429_goes_on_if_the_pause_it_asks_for_is_short(
    wires: list[Wire], three: Scripted, field: bytes, goes_on: bool
) -> None:
    wires[0].then(status(429, field))
    reply = await three.fleet.send(ASK)
    assert reply.status == (200 if goes_on else 429)
    assert three.fleet.cannot_serve(reply) is False
    assert three.counts.errors == [("local", "status_4xx")]
    assert three.counts.retried == ([("local", "rate_limited")] if goes_on else [])
    assert three.states[0] == "well"


@pytest.mark.parametrize("answer", [status(500), status(400), status(404), status(501)])
async def test_other_failures_are_answers(wires: list[Wire], three: Scripted, answer: Answer) -> None:
    wires[0].then(answer)
    assert (await three.fleet.send(ASK)).status >= 400
    assert asked(wires) == [1, 0, 0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(never, UpstreamTimeout), (says(b"SSH-2.0\r\n\r\n"), UpstreamProtocolError)],
    ids=["slow", "ssh"],
)
async def test_other_errors_are_errors(wires: list[Wire], answer: Answer, kind: type[Exception]) -> None:
    wires[0].then(answer)
    async with scripted(*(wire.url for wire in wires), options={"first_byte_timeout_s": 0.05}) as three:
        with pytest.raises(kind):
            await three.fleet.send(ASK)
    assert asked(wires) == [1, 0, 0]


async def test_a_reply_that_is_passed_over_is_closed(wires: list[Wire], three: Scripted) -> None:
    closed = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.say(CHUNKED.replace(b"200 OK", b"503 No"), chunk(b"one"))
        await peer.gone()
        closed.set()

    wires[0].then(endless)
    reply = await three.fleet.send(ASK)
    await closed.wait()
    assert three.in_flight == [0, 1, 0]
    await reply.aclose()


async def test_nothing_goes_on_after_a_byte_of_a_reply(wires: list[Wire], three: Scripted) -> None:
    async def cut(peer: Peer) -> None:
        await peer.say(CHUNKED)
        await peer.hang_up()

    wires[0].then(cut)
    reply = await three.fleet.send(ASK)
    with pytest.raises(UpstreamInterrupted):
        await read(reply)
    assert asked(wires) == [1, 0, 0]
    assert three.counts.errors == []  # whoever reads the body counts that


async def test_a_single_endpoint_is_asked_once(wires: list[Wire]) -> None:
    wires[0].then(hangs_up, status(503, b"Retry-After: 0"), status(429, b"Retry-After: 0"))
    async with scripted(wires[0].url) as one:
        with pytest.raises(UpstreamInterrupted):
            await one.fleet.send(ASK)
        assert [(await one.fleet.send(ASK)).status for _ in range(2)] == [503, 429]
    assert asked(wires) == [3, 0, 0]
    assert one.counts.retried == []


async def test_a_failing_body_of_the_callers_own_is_no_failure_of_the_upstream(
    wires: list[Wire], three: Scripted
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise BodyTooLarge("too much")

    for _ in range(3):
        with pytest.raises(BodyTooLarge):
            await three.fleet.send(Call("POST", "/files", (), pieces()))
    assert three.in_flight == [0, 0, 0]
    assert three.counts.errors == []
    assert three.states[0] == "unknown"


# --- the caller's patience

BUDGETS = {(20.0, 17.9): True, (20.0, 18.1): False, (1.0, 0.74): True, (1.0, 0.76): False}


@pytest.mark.parametrize(("patience", "goes_on"), BUDGETS.items(), ids=str)
@pytest.mark.parametrize("way", ["connect", "status"])
async def test_nothing_is_begun_for_a_caller_who_will_be_gone(
    wires: list[Wire], gone: str, patience: tuple[float, float], goes_on: bool, way: str
) -> None:
    budget_s, spent_s = patience
    balancer = InOrder()
    async with scripted(gone if way == "connect" else wires[0].url, wires[1].url, balancer=balancer) as two:
        wires[0].then(status(503))
        moments: Iterator[float] = iter([0.0, 0.0])  # the call begins, its way begins; then all is spent
        two.fleet._steady = lambda: next(moments, spent_s)
        try:
            answer = (
                await two.fleet.send(Call("POST", "/x", (), b"{}", repeatable=True, patience=Patience(budget_s)))
            ).status
        except UpstreamUnreachable:
            answer = 502
    assert (answer == 200, len(wires[1].asked) == 1) == (goes_on, goes_on)


# --- endpoints that fail


async def test_one_that_keeps_failing_is_left_alone_until_a_look_finds_it_well(
    wires: list[Wire], three: Scripted
) -> None:
    # One that says that it cannot serve is still asked: what it says may be about that one question.
    wires[0].then(*[status(503)] * 3)
    for _ in range(3):
        await read(await three.fleet.send(ASK))
    assert (asked(wires), three.states[0]) == ([3, 3, 0], "well")
    await three.kind.tells(wires[0].url, ILL, ILL, ILL)
    await read(await three.fleet.send(ASK))
    assert (asked(wires), three.states[0]) == ([3, 4, 0], "failing")
    report = three.fleet.report()
    assert report.degraded == f"127.0.0.1:{wires[0].port}: {ILL.why}"
    await three.kind.tells(wires[0].url, WELL)
    await read(await three.fleet.send(ASK))
    assert (asked(wires), three.states[0]) == ([4, 4, 0], "well")


async def test_with_none_well_the_one_that_failed_longest_ago_is_tried_first(
    wires: list[Wire], three: Scripted
) -> None:
    for place in (1, 2, 0):
        three.time.now += 1
        await three.kind.tells(wires[place].url, ILL, ILL, ILL)
    assert three.states == ["failing"] * 3
    wires[1].stop_listening()
    assert (await three.fleet.send(ASK)).status == 200
    assert (asked(wires), three.counts.retried) == ([0, 0, 1], [("local", "connect")])
    assert three.balancer.shown == []


async def test_a_connection_refused_leads_to_one_that_is_left_alone_if_there_is_nobody_else(
    wires: list[Wire], gone: str
) -> None:
    async with scripted(gone, wires[0].url) as two:
        await two.kind.tells(wires[0].url, ILL, ILL, ILL)
        assert (await two.fleet.send(ASK)).status == 200


async def test_an_answer_of_failure_does_not(wires: list[Wire], three: Scripted) -> None:
    for wire in wires[1:]:
        await three.kind.tells(wire.url, ILL, ILL, ILL)
    wires[0].then(status(503))
    assert (await three.fleet.send(ASK)).status == 503
    assert asked(wires) == [1, 0, 0]


async def test_with_none_well_and_another_upstream_that_one_is_left_to_it(wires: list[Wire]) -> None:
    async with scripted(wires[0].url, fallback=Spare()) as one:
        await one.kind.tells(wires[0].url, ILL, ILL, ILL)
        with pytest.raises(UpstreamUnreachable, match="left alone"):
            await one.fleet.send(ASK)
        assert (asked(wires), one.counts.errors) == ([0, 0, 0], [])
        # Nobody takes these to another upstream.
        late = Call("POST", "/x", (), b"{}", repeatable=True, patience=Patience(0.1))
        assert [(await one.fleet.send(call)).status for call in (ONCE, late)] == [200, 200]


async def test_a_single_endpoint_without_another_upstream_is_always_tried(wires: list[Wire]) -> None:
    wires[0].stop_listening()
    async with scripted(wires[0].url) as one:
        for _ in range(4):
            with pytest.raises(UpstreamUnreachable):
                await one.fleet.send(ASK)
        assert one.states == ["failing"]
        assert one.counts.errors == [("local", "upstream_unreachable")] * 4


# --- waiting for somebody who is gone


async def waiting(fleet: Scripted, wire: Wire, call: Call = ASK) -> asyncio.Task[HttpReply]:
    """A call that has arrived there and waits for its head."""
    before = len(wire.asked)
    wire.then(never)
    task = asyncio.create_task(fleet.fleet.send(call))
    await until(lambda: len(wire.asked) > before)
    return task


async def test_a_call_that_waits_where_looks_fail_goes_elsewhere(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    await three.kind.tells(wires[0].url, ILL, ILL)
    assert (three.in_flight, three.counts.retried) == ([1, 0, 0], [])
    await three.kind.tells(wires[0].url, ILL)
    assert await read(await task) == b"{}"
    assert three.counts.errors == [("local", "upstream_timeout")]
    assert three.counts.retried == [("local", "failing")]
    assert three.in_flight == [0, 0, 0]


async def test_that_is_not_the_one_repetition(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    wires[1].then(status(503))
    await three.kind.tells(wires[0].url, ILL, ILL, ILL)
    assert (await task).status == 200
    assert [why for _, why in three.counts.retried] == ["failing", "status"]


@pytest.mark.parametrize("call", [ONCE, Call("POST", "/x", (), b"{}", repeatable=True, patience=Patience(0.2))])
async def test_a_call_that_can_go_nowhere_stays(wires: list[Wire], three: Scripted, call: Call) -> None:
    task = await waiting(three, wires[0], call)
    await three.kind.tells(wires[0].url, *[ILL] * 5)
    assert not task.done()
    assert three.in_flight == [1, 0, 0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert three.in_flight == [0, 0, 0]


async def test_a_call_stays_as_long_as_nobody_is_well_and_then_goes(wires: list[Wire], three: Scripted) -> None:
    for wire in wires[1:]:
        await three.kind.tells(wire.url, ILL, ILL, ILL)
    task = await waiting(three, wires[0])
    await three.kind.tells(wires[0].url, *[ILL] * 4)
    assert not task.done()
    await three.kind.tells(wires[2].url, WELL)
    await three.kind.tells(wires[0].url, ILL)
    await read(await task)
    assert asked(wires) == [1, 0, 1]


async def test_looks_that_fail_in_a_row_are_what_counts(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    await three.kind.tells(wires[0].url, ILL, ILL, WELL, ILL, ILL)
    assert not task.done()
    await three.kind.tells(wires[0].url, ILL)
    await read(await task)


async def test_where_another_upstream_is_there_it_is_left_to_that(wires: list[Wire]) -> None:
    async with scripted(wires[0].url, fallback=Spare()) as one:
        task = await waiting(one, wires[0])
        await one.kind.tells(wires[0].url, ILL, ILL, ILL)
        with pytest.raises(GivenUp, match="upstream local: it stopped answering"):
            await task
        assert one.counts.errors == [("local", "upstream_timeout")]


async def test_a_caller_who_goes_away_takes_the_call_along(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await three.kind.tells(wires[0].url, ILL, ILL, ILL)
    assert (asked(wires), three.in_flight, three.counts.retried) == ([1, 0, 0], [0, 0, 0], [])


async def test_a_caller_who_goes_away_in_the_same_moment_is_gone(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    member = three.fleet._members[0]
    for _ in range(3):
        member.looked(ILL)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert three.in_flight == [0, 0, 0]


async def test_one_more_failed_look_in_the_moment_of_leaving_is_no_trouble(wires: list[Wire], three: Scripted) -> None:
    task = await waiting(three, wires[0])
    member, looked = three.fleet._members[0], []
    for _ in range(3):
        member.looked(ILL)
    # Comes when the call was told to leave, and has not yet heard it.
    asyncio.get_running_loop().call_soon(lambda: looked.append(member.looked(ILL)))
    assert await read(await task) == b"{}"
    assert looked == [None]


# --- what is under way


async def test_a_call_is_in_flight_until_its_body_is_over(wires: list[Wire], three: Scripted) -> None:
    async def cut(peer: Peer) -> None:
        await peer.say(CHUNKED, chunk(b"one"))
        await peer.hang_up()

    wires[0].then(ok, ok, cut)
    for end in (read, HttpReply.aclose, read):
        reply = await three.fleet.send(ASK)
        assert three.in_flight == [1, 0, 0]
        with suppress(UpstreamInterrupted):
            await end(reply)
        assert three.in_flight == [0, 0, 0]
        await reply.aclose()
        assert three.in_flight == [0, 0, 0]


# --- the rest of an upstream


async def test_names_of_models_are_those_they_have_there(wires: list[Wire]) -> None:
    async with scripted(wires[0].url, called_there={"gpt-4o": "llama"}.__getitem__) as one:
        assert one.fleet.epoch("gpt-4o") == "epoch of llama"
        one.fleet.answered("h:1", "gpt-4o", "fp")
        assert one.epochs.said == [("h:1", "llama", "fp")]
        assert one.epochs.opened


async def test_it_says_what_it_is(wires: list[Wire], three: Scripted) -> None:
    assert (three.fleet.name, three.fleet.harmless, three.fleet.stream_usage) == ("local", {"rid"}, True)
    assert three.fleet.fallback is None
    report = three.fleet.report()
    assert (report.name, report.kind, report.degraded) == ("local", "scripted", None)
    assert [each.address for each in report.endpoints] == [f"127.0.0.1:{wire.port}" for wire in wires]


@pytest.mark.parametrize(
    ("answer", "cannot"),
    [
        (status(502), True),
        (status(503), True),
        (status(504), True),
        (status(429, b"Retry-After: 1"), True),
        (status(429), False),
        (status(500), False),
        (ok, False),
    ],
)
async def test_it_tells_which_replies_another_upstream_may_better(
    wires: list[Wire], answer: Answer, cannot: bool
) -> None:
    wires[0].then(answer)
    async with scripted(wires[0].url) as one:
        reply = await one.fleet.send(ASK)
        assert one.fleet.cannot_serve(reply) is cannot
        await reply.aclose()


async def test_what_cannot_be_opened_is_closed_again(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"upstreams\.ca_file"):
        async with scripted("http://127.0.0.1:9/v1", "https://127.0.0.1:9/v1", options={"ca_file": tmp_path / "no"}):
            pass


async def test_closing_twice_is_harmless(three: Scripted) -> None:
    await three.fleet.close()
    await three.fleet.close()
