"""The end of one process: it says so first, every connection closes with an answer, and nothing that came is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from tests.path.faults import CHAT, Wire, case, post, wire
from tests.path.test_restart import refusing
from tests.provider import DONE, Provider, completion, delta, plain, stream, words
from tests.running import Running, Start, question, said

Processes = Callable[..., AbstractAsyncContextManager[Any]]

DELAYED = {"server.shutdown_delay": 3600}
"""The delay does not end by itself while a test runs."""


def closes(answer: httpx.Response) -> bool:
    return answer.headers.get("connection") == "close"


async def ended(connection: Wire) -> bool:
    """The server closes, and says nothing more."""
    return await connection.rest() == b""


REQUESTS: dict[str, bytes] = {
    "a hit": post(question(seed=1)),
    "a hit as a stream": post(question(seed=1, stream=True)),
    "a miss": post(question(seed=2)),
    "a miss as a stream": post(question(seed=3, stream=True)),
    "a bypass": post(question(seed=1), "x-cache-bypass: true"),
    "a refusal": post(b"no JSON"),
    "what is passed on": b"GET /v1/models HTTP/1.1\r\nhost: askonce\r\nauthorization: Bearer sk-alice\r\n\r\n",
    "figures": b"GET /metrics HTTP/1.1\r\nhost: askonce\r\n\r\n",
    "what is nowhere": b"GET /nowhere HTTP/1.1\r\nhost: askonce\r\n\r\n",
}


async def test_until_it_is_asked_to_stop_connections_stay(askonce: Start, lane: dict[str, Any]) -> None:
    async with askonce(lane | DELAYED) as proxy, wire(proxy.url) as connection:
        for name, request in REQUESTS.items():
            with case(name):
                connection.send(request)
                assert not closes(await connection.answer())
        assert (await proxy.http.get("/readyz")).json()["status"] == "ready"


async def test_from_then_on_every_answer_is_its_connections_last(askonce: Start, lane: dict[str, Any]) -> None:
    """On connections that were there before, and on new ones; asked before with the same bytes, or not."""
    async with askonce(lane | DELAYED) as proxy:
        for _ in range(3):
            await proxy.chat(seed=1)
        before = {name: await _connected(proxy) for name in REQUESTS}
        proxy.application.drain.begin()
        for name, request in REQUESTS.items():
            with case(name):
                for connection in (before[name], await _connected(proxy)):
                    connection.send(request)
                    assert closes(await connection.answer())
                    assert await ended(connection)
                    await connection.close()


async def _connected(proxy: Running) -> Wire:
    """One that has been asked before, with the bytes of a hit."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    connection = Wire(*await asyncio.open_connection(host, int(port)))
    if not proxy.application.drain.closing:
        connection.send(REQUESTS["a hit"])
        assert not closes(await connection.answer())
    return connection


async def test_it_says_that_it_is_draining_and_lives(askonce: Start) -> None:
    async with askonce(DELAYED) as proxy:
        proxy.application.drain.begin()
        ready = await proxy.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        assert (await proxy.http.get("/livez")).status_code == 200
        assert said(await proxy.chat())


async def test_one_that_is_replaced_beside_others_says_nothing_and_closes_all_the_same(askonce: Start) -> None:
    async with askonce(DELAYED) as proxy:
        proxy.application.drain.begin(alone=True)
        assert (await proxy.http.get("/readyz")).status_code == 200
        assert closes(await proxy.chat())
        assert proxy.application.drain.linger_s == 3600


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_what_waits_for_the_upstream_meanwhile_says_it_too(
    askonce: Start, provider: Provider, lane: dict[str, Any], streams: bool
) -> None:
    gate = asyncio.Event()
    provider.always(lambda _: [gate, *(stream(words("late")) if streams else plain(completion("late")))])
    async with askonce(lane | DELAYED) as proxy, wire(proxy.url) as connection:
        connection.ask(stream=streams or None)
        await provider.arrived()
        proxy.application.drain.begin()
        gate.set()
        answer = await connection.answer()
        assert (said(answer), closes(answer)) == ("late", True)
        assert await ended(connection)


async def test_a_stream_that_has_begun_goes_on_and_its_connection_ends_with_it(
    askonce: Start, provider: Provider, lane: dict[str, Any]
) -> None:
    gate = asyncio.Event()
    provider.always(lambda _: stream([delta({"content": "begun"}), gate, *words("done")]))
    async with askonce(lane | DELAYED) as proxy, wire(proxy.url) as connection:
        connection.ask(stream=True)
        head = await connection.reader.readuntil(b"begun")
        assert b"connection:" not in head.lower()
        proxy.application.drain.begin()
        gate.set()
        assert (await connection.rest()).endswith(b"\r\n" + DONE + b"\r\n0\r\n\r\n")


async def test_a_look_up_that_is_under_way_is_answered_as_the_last(askonce: Start) -> None:
    """In the fast lane, before ASGI has heard of it."""
    async with askonce({"store.memory": 0} | DELAYED) as proxy, wire(proxy.url) as connection:
        await proxy.chat()
        connection.ask()
        assert (await connection.answer()).headers["x-cache"] == "hit"
        [protocol] = [each for each in proxy.server.server_state.connections if each.client == _name(connection)]
        connection.ask()
        while protocol._looking is None:
            await asyncio.sleep(0)
        proxy.application.drain.begin()
        answer = await connection.answer()
        assert (answer.headers["x-cache"], closes(answer)) == ("hit", True)
        assert await ended(connection)


def _name(connection: Wire) -> Any:
    return connection._writer.get_extra_info("sockname")


@pytest.mark.parametrize("at", [10, -10], ids=["within the head", "within the body"])
async def test_a_request_that_has_half_come_when_nothing_listens_any_more_is_answered(
    askonce: Start, lane: dict[str, Any], at: int
) -> None:
    request = post(question())
    async with askonce(lane | {"server.drain_timeout": 60}) as proxy, wire(proxy.url) as connection:
        connection.send(REQUESTS["figures"])
        await connection.answer()
        connection.send(request[:at])
        await _read(proxy, connection)
        stopping = asyncio.create_task(proxy.server.shutdown())
        await refused(proxy)
        connection.send(request[at:])
        answer = await connection.answer()
        assert (said(answer), closes(answer)) == ("Answer 1", True)
        await stopping


async def test_a_request_that_arrived_and_was_not_read_when_it_stops_is_answered(
    askonce: Start, lane: dict[str, Any]
) -> None:
    async with askonce(lane | {"server.drain_timeout": 60}) as proxy, wire(proxy.url) as connection:
        connection.send(REQUESTS["figures"])
        await connection.answer()
        connection.send(post(question()))  # It is in the server's buffer, and the loop that would read it is ours.
        await proxy.server.shutdown()
        answer = await connection.answer()
        assert (said(answer), closes(answer)) == ("Answer 1", True)


async def test_an_idle_connection_is_closed_when_it_stops(askonce: Start) -> None:
    async with askonce({"server.drain_timeout": 3600}) as proxy, wire(proxy.url) as connection:
        connection.send(REQUESTS["figures"])
        await connection.answer()
        await proxy.server.shutdown()
        assert await ended(connection)


async def _read(proxy: Running, connection: Wire) -> None:
    """Until the server has begun to read the message."""
    from proxy.edge.guard import Phase

    [protocol] = [each for each in proxy.server.server_state.connections if each.client == _name(connection)]
    while protocol._phase is Phase.QUIET:
        await asyncio.sleep(0)


async def refused(proxy: Running) -> None:
    """Until nothing listens there."""
    while True:
        try:
            async with wire(proxy.url):
                pass
        except ConnectionError:
            return


# --- signals, which only a process of its own can be sent


async def draining(process: Any) -> None:
    while (await process.http.get("/readyz")).status_code != 503:
        await asyncio.sleep(0.01)


async def test_a_process_asked_to_stop_serves_for_the_delay_and_then_ends_well(askonce_process: Processes) -> None:
    async with askonce_process(environ={"ASKONCE_SERVER__SHUTDOWN_DELAY": "1s"}) as process:
        os.kill(process.pid, signal.SIGTERM)
        await draining(process)
        answer = await process.http.post(CHAT, json=question())
        assert (answer.status_code, closes(answer)) == (200, True)
        await refusing(process)
        assert await process.ended() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_wait(
    askonce_process: Processes, first: signal.Signals, second: signal.Signals
) -> None:
    async with askonce_process(environ={"ASKONCE_SERVER__SHUTDOWN_DELAY": "1h"}) as process:
        os.kill(process.pid, first)
        await draining(process)
        assert await process.stop(second) == 0


async def test_without_a_delay_it_stops_at_once(askonce_process: Processes) -> None:
    async with askonce_process() as process:
        assert await process.stop() == 0
