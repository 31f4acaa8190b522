"""The same bytes again on the fast lane: a request that came before in one packet is answered without being parsed."""

from __future__ import annotations

import asyncio

import pytest

from tests.provider import Provider
from tests.running import ALICE, BOB, Running, question, request_bytes


class Wire:
    """One connection, a request in one write, an answer read by its length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> tuple[dict[str, str], bytes]:
        self._writer.write(request)
        section = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in section[1:-2])
        return fields, await self._reader.readexactly(int(fields["content-length"]))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.fixture
async def wire(default_proxy: Running):
    host, _, port = default_proxy.url.removeprefix("http://").partition(":")
    connection = Wire(*await asyncio.open_connection(host, int(port)))
    yield connection
    await connection.close()


REQUEST = request_bytes(question())


async def outcomes(wire: Wire, *requests: bytes) -> list[str]:
    return [(await wire.ask(request))[0]["x-cache"] for request in requests]


async def test_each_delivery_of_the_same_bytes_is_a_whole_hit_with_an_id_of_its_own(wire: Wire, provider: Provider):
    answers = [await wire.ask(REQUEST) for _ in range(5)]
    assert [fields["x-cache"] for fields, _ in answers] == ["miss", "hit", "hit", "hit", "hit"]
    assert len({fields["x-request-id"] for fields, _ in answers}) == 5
    assert len({body for _, body in answers}) == 5
    assert provider.calls == 1


async def test_the_same_bytes_are_not_parsed_again(wire: Wire, default_proxy: Running, monkeypatch: pytest.MonkeyPatch):
    reception = default_proxy.application.lane.reception
    looked: list[bytes] = []
    remembered = reception.remembered
    monkeypatch.setattr(
        type(reception), "remembered", lambda self, *parts: looked.append(parts[2]) or remembered(*parts)
    )
    assert await outcomes(wire, REQUEST, REQUEST, REQUEST, REQUEST) == ["miss", "hit", "hit", "hit"]
    assert len(looked) == 2  # the first, and the second, which is remembered as a whole


async def test_a_clients_own_request_id_comes_back_each_time(wire: Wire):
    request = request_bytes(question(), "x-request-id: mine")
    assert [(await wire.ask(request))[0]["x-request-id"] for _ in range(4)] == ["mine"] * 4


async def test_another_credential_is_another_packet(wire: Wire, provider: Provider):
    other = REQUEST.replace(ALICE.encode(), BOB.encode())
    assert await outcomes(wire, REQUEST, REQUEST, REQUEST, other) == ["miss", "hit", "hit", "miss"]
    assert provider.calls == 2


async def test_what_is_purged_is_asked_for_anew(wire: Wire, default_proxy: Running, provider: Provider):
    assert await outcomes(wire, REQUEST, REQUEST, REQUEST) == ["miss", "hit", "hit"]
    purged = await default_proxy.http.post("/admin/purge", json={"all": True})
    assert purged.json() == {"purged": 1}
    assert await outcomes(wire, REQUEST, REQUEST, REQUEST) == ["miss", "hit", "hit"]
    assert provider.calls == 2


async def test_two_requests_in_one_packet_are_both_answered_in_order(wire: Wire, provider: Provider):
    one, two = REQUEST, request_bytes(question(seed=1))
    assert await outcomes(wire, one, two, one, two) == ["miss", "miss", "hit", "hit"]
    for _ in range(3):
        first, _ = await wire.ask(one + two)
        second, _ = await wire.ask(b"")
        assert [first["x-cache"], second["x-cache"]] == ["hit", "hit"]
        assert first["x-cache-key"] != second["x-cache-key"]


async def test_hits_and_misses_take_turns_on_one_connection(wire: Wire):
    assert await outcomes(wire, REQUEST, request_bytes(question(seed=7)), REQUEST, REQUEST) == [
        "miss", "miss", "hit", "hit",
    ]  # fmt: skip
