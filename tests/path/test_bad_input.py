"""What a caller can do wrong, by mistake or on purpose: a clear error in OpenAI's shape, and nothing comes of it.

Every refusal is followed by a look: nothing reached the provider, nothing is stored, and the next caller is served.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import brotli
import httpx
import openai
import pytest
import zstandard

from tests.path.faults import CANARY, CHAT, case, head, post, serves, untouched, wire
from tests.provider import Provider, completion, plain
from tests.running import ALICE, Running, Start, error, question, said

HELLO = [{"role": "user", "content": CANARY}]
KiB = 1024
MiB = 1024 * KiB


def chat(messages: object = HELLO, **members: object) -> bytes:
    return json.dumps({"model": "gpt-test", "messages": messages} | members).encode()


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """In OpenAI's shape, naming nothing of what the caller wrote, and not for anybody's cache."""
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    assert error(answer)["message"]
    assert error(answer)["type"] == "invalid_request_error"
    assert answer.headers["content-type"] == "application/json"
    assert "cache-status" not in answer.headers
    assert "x-cache" not in answer.headers
    for secret in (CANARY, ALICE):
        assert secret not in answer.text


# --- JSON

NESTED = b'{"model":"gpt-test","messages":[{"role":"user","content":"x"}],"deep":'
HUGE = b"9" * 100_000

TEXTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid_json"),
    "only blanks": (b" \r\n", "invalid_json"),
    "words": (CANARY.encode(), "invalid_json"),
    "a form": (b"model=gpt-test&messages=" + CANARY.encode(), "invalid_json"),
    "half of it": (chat()[:-10], "invalid_json"),
    "two texts": (chat() + chat(), "invalid_json"),
    "a trailing comma": (chat()[:-1] + b",}", "invalid_json"),
    "a comment": (b"/* " + CANARY.encode() + b" */" + chat(), "invalid_json"),
    "single quotes": (chat().replace(b'"', b"'"), "invalid_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + chat(), "invalid_json"),
    "UTF-16": (chat().decode().encode("utf-16"), "invalid_json"),
    "bad UTF-8": (chat().replace(b"grape", b"\xff\xfe"), "invalid_json"),
    "an overlong NUL": (chat().replace(b"grape", b"\xc0\x80"), "invalid_json"),
    "half a surrogate pair": (chat().replace(b"grape", rb"\ud800"), "invalid_json"),
    "a surrogate in UTF-8": (chat().replace(b"grape", b"\xed\xa0\x80"), "invalid_json"),
    "a control character": (chat().replace(b"grape", b"\n"), "invalid_json"),
    "a NUL": (chat().replace(b"grape", b"\0"), "invalid_json"),
    "NaN": (chat(seed=float("nan")), "invalid_json"),
    "Infinity": (chat(seed=float("inf")), "invalid_json"),
    "past a double": (chat(seed=0).replace(b'"seed": 0', b'"seed": 1e400'), "number_out_of_range"),
    "2^64": (chat(seed=2**64), "number_out_of_range"),
    "-2^63-1": (chat(seed=-(2**63) - 1), "number_out_of_range"),
    "an integer of 100,000 digits": (chat(seed=0).replace(b'"seed": 0', b'"seed": ' + HUGE), "number_out_of_range"),
    "an array": (b"[" + chat() + b"]", "not_an_object"),
    "a string": (json.dumps(CANARY).encode(), "not_an_object"),
    "a number": (b"1", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "a member twice": (chat()[:-1] + b',"model":"gpt-other"}', "duplicate_member"),
    "a member twice, escaped": (chat()[:-1] + rb',"\u006dodel":"gpt-other"}', "duplicate_member"),
    "a member twice, equal": (chat()[:-1] + b',"model":"gpt-test"}', "duplicate_member"),
    "a member twice, deep down": (chat(tools=[]).replace(b"[]", b'[{"a":{"b":1,"b":2}}]'), "duplicate_member"),
    "65 deep": (NESTED + b"[" * 64 + b"]" * 64 + b"}", "json_too_deep"),
    "65 deep in objects": (NESTED + b'{"a":' * 64 + b"1" + b"}" * 65, "json_too_deep"),
    "100,000 deep": (NESTED + b"[" * 99_999 + b"]" * 99_999 + b"}", "json_too_deep"),
    "100,000 deep and never closed": (b"[" * 100_000, "json_too_deep"),
    "100,000 deep in objects": (NESTED + b'{"a":' * 99_999 + b"1" + b"}" * 100_000, "json_too_deep"),
}


async def test_a_body_that_is_no_clear_json_object_is_refused(proxy: Running, provider: Provider) -> None:
    for name, (text, code) in TEXTS.items():
        with case(name):
            refused(await proxy.post(CHAT, text), 400, code)
    await untouched(proxy, provider)


async def test_the_deepest_allowed_body_is_served(proxy: Running) -> None:
    body = NESTED + b"[" * 63 + b"]" * 63 + b"}"
    assert [(await proxy.post(CHAT, body)).headers["x-cache"] for _ in range(2)] == ["miss", "hit"]


TYPES: dict[str, tuple[str, object]] = {
    "no messages": ("messages", ...),
    "null for messages": ("messages", None),
    "a text for messages": ("messages", CANARY),
    "an object for messages": ("messages", HELLO[0]),
    "a number for messages": ("messages", 1),
    "a text among messages": ("messages", [*HELLO, CANARY]),
    "null among messages": ("messages", [None]),
    "a list among messages": ("messages", [HELLO]),
    "no model": ("model", ...),
    "null for model": ("model", None),
    "a number for model": ("model", 4),
    "a list for model": ("model", ["gpt-test"]),
    "a text for stream": ("stream", "true"),
    "a number for stream": ("stream", 1),
    "an object for stream": ("stream", {}),
    "a text for n": ("n", "2"),
    "a fraction for n": ("n", 1.5),
    "true for n": ("n", True),
    "none wanted": ("n", 0),
    "less than none wanted": ("n", -1),
    "a list for stream_options": ("stream_options", [True]),
}


async def test_a_member_of_the_wrong_type_is_refused_by_name(proxy: Running, provider: Provider) -> None:
    for name, (member, value) in TYPES.items():
        whole = {"model": "gpt-test", "messages": HELLO, "stream": member == "stream_options", member: value}
        body = {name: value for name, value in whole.items() if value is not ...}
        with case(name):
            answer = await proxy.post(CHAT, json.dumps(body))
            refused(answer, 400, error(answer)["code"])
            assert member in f"{error(answer)['param']} {error(answer)['message']}"
    await untouched(proxy, provider)


async def test_the_sdk_raises_its_own_kind_of_error(proxy: Running, provider: Provider) -> None:
    async with proxy.sdk() as sdk:
        with pytest.raises(openai.BadRequestError) as raised:
            await sdk.chat.completions.create(model="gpt-test", messages=[], extra_body={"messages": CANARY})
    assert raised.value.type == "invalid_request_error"
    await untouched(proxy, provider)


async def test_another_method_is_the_upstreams_to_answer(proxy: Running, provider: Provider) -> None:
    """`GET /v1/chat/completions` lists stored completions: only POST asks a question."""
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = await proxy.http.request(method, CHAT, headers={"authorization": f"Bearer {ALICE}"})
        assert answer.headers["x-cache"] == "bypass"
        assert provider.last.method == method


# --- size


@pytest.fixture
async def small(askonce: Start, lane: dict[str, Any]) -> AsyncIterator[Running]:
    """A proxy that takes bodies up to 4 KiB."""
    async with askonce(lane | {"server.max_body": 4 * KiB}) as running:
        yield running


LARGE = chat(padding="a" * 4 * KiB)


@pytest.mark.parametrize("expects", [[], ["expect: 100-continue"]], ids=["as it is", "asking first"])
async def test_a_body_too_large_by_its_own_word_is_refused_before_it_is_read(
    small: Running, provider: Provider, expects: list[str]
) -> None:
    async with wire(small.url) as connection:
        connection.send(head(f"content-length: {4 * KiB + 1}", *expects))
        refused(await connection.answer(), 413, "body_too_large")
        assert await connection.rest() == b""
    await untouched(small, provider)


async def test_a_length_past_all_counting_is_refused(small: Running, provider: Provider) -> None:
    async with wire(small.url) as connection:
        connection.send(head(f"content-length: {2**64 - 1}"))
        refused(await connection.answer(), 413, "body_too_large")
        assert await connection.rest() == b""
    await untouched(small, provider)


async def test_a_client_that_sends_all_of_a_body_too_large_still_hears_why(small: Running, provider: Provider) -> None:
    refused(await small.post(CHAT, chat(padding="a" * 8 * MiB)), 413, "body_too_large")
    async with small.sdk() as sdk:
        with pytest.raises(openai.APIStatusError) as raised:
            await sdk.chat.completions.create(**question(user="a" * 8 * MiB))
    assert raised.value.status_code == 413
    await untouched(small, provider)


async def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(small: Running, provider: Provider) -> None:
    async with wire(small.url) as connection:
        connection.send(head("transfer-encoding: chunked"))
        connection.send(b"%x\r\n%b\r\n" % (len(LARGE), LARGE))
        refused(await connection.answer(), 413, "body_too_large")
        assert await connection.rest() == b""
    await untouched(small, provider)


async def test_a_body_at_the_limit_is_served(small: Running) -> None:
    body = chat(padding="")
    body = body.replace(b'"padding": ""', b'"padding": "%b"' % (b"a" * (4 * KiB - len(body))))
    assert len(body) == 4 * KiB
    assert (await small.post(CHAT, body)).status_code == 200


async def test_a_chunked_body_asks_the_same_as_one_with_a_length(proxy: Running, provider: Provider) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in chat():
            yield bytes([byte])

    miss = await proxy.http.post(CHAT, content=pieces(), headers={"authorization": f"Bearer {ALICE}"})
    assert miss.headers["x-cache"] == "miss"
    assert provider.last.json() == json.loads(chat())
    assert (await proxy.post(CHAT, chat())).headers["x-cache"] == "hit"


# --- content codings


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def raw_deflated(data: bytes) -> bytes:
    """What some call `deflate` is without zlib's wrapper."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "deflate": ("deflate", deflated),
    "deflate, bare": ("deflate", raw_deflated),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd),
    "identity": ("identity", bytes),
    "two, one over the other": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}


async def test_a_compressed_body_is_the_same_question(proxy: Running, provider: Provider) -> None:
    for seed, (name, (coding, encode)) in enumerate(CODINGS.items()):
        body = chat(seed=seed)
        with case(name):
            miss = await proxy.post(CHAT, encode(body), {"content-encoding": coding})
            assert (miss.status_code, miss.headers["x-cache"]) == (200, "miss")
            assert provider.last.body == body
            assert provider.last.header("content-encoding") is None
            assert provider.last.header("content-length") == str(len(body))
            assert (await proxy.post(CHAT, body)).headers["x-cache"] == "hit"
            assert (await proxy.post(CHAT, encode(body), {"content-encoding": coding})).headers["x-cache"] == "hit"


async def test_a_compressed_body_that_does_not_decode_is_refused(proxy: Running, provider: Provider) -> None:
    for name, (coding, encode) in CODINGS.items():
        code = "invalid_content_encoding" if coding != "identity" else "invalid_json"
        for broken in (encode(chat())[:-5], b"\xff" + encode(chat())):
            with case(name):
                refused(await proxy.post(CHAT, broken, {"content-encoding": coding}), 400, code)
    await untouched(proxy, provider)


async def test_an_unknown_coding_is_refused(proxy: Running, provider: Provider) -> None:
    for coding in ("compress", "snappy", "gzip, aes128gcm", "gzip, gzip, gzip", CANARY):
        with case(coding):
            refused(await proxy.post(CHAT, chat(), {"content-encoding": coding}), 415, "unsupported_content_encoding")
    await untouched(proxy, provider)


def _zeros(compress: Callable[[bytes], bytes], end: Callable[[], bytes]) -> bytes:
    """256 MiB of blanks in a few hundred KiB or less."""
    blanks = b" " * MiB
    return b"".join(compress(blanks) for _ in range(256)) + end()


def _gzip_bomb() -> bytes:
    compressor = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS)
    return _zeros(compressor.compress, compressor.flush)


def _deflate_bomb() -> bytes:
    compressor = zlib.compressobj(1)
    return _zeros(compressor.compress, compressor.flush)


def _brotli_bomb() -> bytes:
    compressor = brotli.Compressor(quality=1)
    return _zeros(compressor.process, compressor.finish)


def _zstd_bomb() -> bytes:
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    return _zeros(compressor.compress, compressor.flush)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", _gzip_bomb),
    "deflate": ("deflate", _deflate_bomb),
    "br": ("br", _brotli_bomb),
    "zstd": ("zstd", _zstd_bomb),
    "gzip in gzip": ("gzip, gzip", lambda: gzip.compress(_gzip_bomb(), 1)),
}


@pytest.mark.parametrize("limit", [{}, {"server.max_decompression_ratio": 1e9}], ids=["ratio", "size"])
async def test_a_bomb_is_refused(askonce: Start, provider: Provider, limit: dict[str, Any]) -> None:
    async with askonce({"server.max_body": 4 * MiB} | limit) as proxy:
        for name, (coding, bomb) in BOMBS.items():
            with case(name):
                refused(await proxy.post(CHAT, bomb(), {"content-encoding": coding}), 413, "body_too_large")
        await untouched(proxy, provider)


def peak_memory(pid: int) -> int:
    """The most a process ever held, in bytes (`VmHWM` of proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * KiB


async def test_memory_stays_flat_under_bombs(
    askonce_process: Callable[..., AbstractAsyncContextManager[Any]], provider: Provider
) -> None:
    """Protocol 8, test 15: a gigabyte out of a few kilobytes, 100,000 levels, 100,000 fields."""
    headers = {"authorization": f"Bearer {ALICE}"}
    async with askonce_process(environ={"ASKONCE_SERVER__MAX_BODY": "4MiB"}) as process:
        await process.http.post(CHAT, content=chat(), headers=headers)
        before = peak_memory(process.pid)
        for coding, bomb in BOMBS.values():
            answer = await process.http.post(CHAT, content=bomb(), headers=headers | {"content-encoding": coding})
            assert answer.status_code == 413
        answer = await process.http.post(CHAT, content=b"[" * 4_000_000, headers=headers)
        assert answer.status_code == 400
        async with wire(process.url) as connection:
            connection.send(head(*["a: 1"] * 100_000))
            await connection.rest()
        assert peak_memory(process.pid) - before < 64 * MiB
        assert (await process.http.post(CHAT, content=chat(), headers=headers)).headers["x-cache"] == "hit"
    assert provider.calls == 1


# --- HTTP

BODY = chat()
LENGTH = f"content-length: {len(BODY)}"

MALFORMED: dict[str, bytes] = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello \r\n\r\n",
    "no version": b"POST /v1/chat/completions\r\n\r\n",
    "another protocol": b"POST /v1/chat/completions SMTP/1.0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a bare CR in a field": head(LENGTH, "x-a: one\rx-b: two") + BODY,
    "a bare LF in a field": head(LENGTH, "x-a: one\nx-b: two") + BODY,
    "a NUL in a field": head(LENGTH, "x-a: one\0two") + BODY,
    "a field without a name": head(LENGTH, ": one") + BODY,
    "a space in a field's name": head(LENGTH, "x a: one") + BODY,
    "a space before the colon": head("content-length : 5") + BODY,
    "a folded field": head(LENGTH, "x-a: one", " two") + BODY,
    "a length and a transfer coding": head(LENGTH, "transfer-encoding: chunked") + BODY,
    "a transfer coding and a length": head("transfer-encoding: chunked", LENGTH) + BODY,
    "two lengths": head("content-length: 5", LENGTH) + BODY,
    "two lengths in one": head("content-length: 5, 5") + BODY,
    "a length with a sign": head("content-length: +5") + BODY,
    "a negative length": head("content-length: -5") + BODY,
    "a length in hex": head("content-length: 0x5") + BODY,
    "a length past 64 bits": head("content-length: 99999999999999999999999") + BODY,
    "an unknown transfer coding": head("transfer-encoding: gzip") + BODY,
    "chunked not last": head("transfer-encoding: chunked, identity") + BODY,
    "a chunk of no size": head("transfer-encoding: chunked") + b"zz\r\n\r\n",
    "a chunk that is too long": head("transfer-encoding: chunked") + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk size past 64 bits": head("transfer-encoding: chunked") + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
}


async def test_what_is_not_clear_http_is_refused_and_the_connection_closed(proxy: Running, provider: Provider) -> None:
    for name, malformed in MALFORMED.items():
        with case(name):
            async with wire(proxy.url) as connection:
                connection.send(malformed)
                answer = await connection.answer()
                refused(answer, 400, error(answer)["code"])
                assert await connection.rest() == b""
    await untouched(proxy, provider)


async def test_a_stored_answer_does_not_make_a_malformed_request_a_good_one(proxy: Running, provider: Provider) -> None:
    await proxy.post(CHAT, BODY)
    for field in ("x-a: one\rx-b: two", "x-a: one\0two", "transfer-encoding: chunked"):
        async with wire(proxy.url) as connection:
            connection.send(post(BODY, field))
            assert (await connection.answer()).status_code == 400
    assert provider.calls == 1


SMUGGLED = chat([{"role": "user", "content": "smuggled"}])


async def test_no_second_question_hides_in_a_request_that_frames_its_body_twice(
    proxy: Running, provider: Provider
) -> None:
    """RFC 9112 section 6.3: two readers that differ on where a body ends differ on what the next request is."""
    await proxy.post(CHAT, SMUGGLED)
    body = b"0\r\n\r\n" + post(SMUGGLED)
    async with wire(proxy.url) as connection:
        connection.send(head("transfer-encoding: chunked", f"content-length: {len(body)}") + body)
        assert (await connection.answer()).status_code == 400
        assert await connection.rest() == b""
    assert provider.calls == 1


@pytest.fixture
async def narrow(askonce: Start, lane: dict[str, Any]) -> AsyncIterator[Running]:
    """A proxy that takes header sections up to 4 KiB."""
    async with askonce(lane | {"server.max_header_bytes": 4 * KiB}) as running:
        yield running


HEADERS: dict[str, list[str]] = {
    "one long field": ["x-a: " + "a" * 4 * KiB],
    "one very long field": ["x-a: " + "a" * MiB],
    "many fields": [f"x-{number}: 1" for number in range(300)],
    "very many fields": ["a: 1"] * 100_000,
}


async def test_a_header_section_too_large_is_refused(narrow: Running, provider: Provider) -> None:
    for name, fields in HEADERS.items():
        with case(name):
            async with wire(narrow.url) as connection:
                connection.send(head(LENGTH, *fields) + BODY)
                refused(await connection.answer(), 431, "headers_too_large")
                assert await connection.rest() == b""
    await untouched(narrow, provider)


async def test_a_header_section_that_grows_too_large_bit_by_bit_is_refused(narrow: Running, provider: Provider) -> None:
    async with wire(narrow.url) as connection:
        connection.send(head(LENGTH)[:-2])
        assert (await connection.drip(b"x-a: " + b"a" * 500 + b"\r\n", pause=0)).startswith(b"HTTP/1.1 431 ")
    await untouched(narrow, provider)


async def test_too_many_fields_are_refused_however_short(proxy: Running, provider: Provider) -> None:
    async with wire(proxy.url) as connection:
        connection.send(head(LENGTH, *["a: 1"] * 300) + BODY)
        refused(await connection.answer(), 431, "headers_too_large")
    await untouched(proxy, provider)


async def test_a_target_too_long_is_refused(narrow: Running, provider: Provider) -> None:
    async with wire(narrow.url) as connection:
        connection.send(post(BODY, line=f"POST {CHAT}?{'a' * 5 * KiB} HTTP/1.1"))
        refused(await connection.answer(), 431, "headers_too_large")
    await untouched(narrow, provider)


async def test_a_header_section_too_large_is_refused_where_a_stored_answer_waits(
    narrow: Running, provider: Provider
) -> None:
    await narrow.post(CHAT, BODY)
    async with wire(narrow.url) as connection:
        connection.send(post(BODY))
        assert (await connection.answer()).headers["x-cache"] == "hit"
        connection.send(post(BODY, "x-a: " + "a" * 4 * KiB))
        refused(await connection.answer(), 431, "headers_too_large")
        assert await connection.rest() == b""
    assert provider.calls == 1


async def test_a_body_does_not_count_as_header_section(narrow: Running) -> None:
    """A body, and the beginning of the next request behind it, may arrive in one piece."""
    large, small = post(chat(padding="a" * 6 * KiB)), post(BODY)
    async with wire(narrow.url) as connection:
        for _ in range(2):
            connection.send(large + small[:20])
            assert (await connection.answer()).status_code == 200
            connection.send(small[20:])
            assert (await connection.answer()).status_code == 200


async def test_a_field_we_decide_by_cannot_be_declared_hop_by_hop(proxy: Running, provider: Provider) -> None:
    for named in ("authorization", "close, Authorization", "content-length", "cache-control", "x-cache-bypass"):
        with case(named):
            async with wire(proxy.url) as connection:
                connection.send(post(BODY, f"connection: {named}"))
                refused(await connection.answer(), 400, "invalid_header")
    await untouched(proxy, provider)


async def test_nor_where_a_stored_answer_waits(proxy: Running, provider: Provider) -> None:
    await proxy.post(CHAT, BODY)
    async with wire(proxy.url) as connection:
        connection.send(post(BODY, "connection: authorization"))
        refused(await connection.answer(), 400, "invalid_header")
    assert provider.calls == 1


async def test_an_upgrade_to_http2_is_answered_and_not_left_hanging(proxy: Running, provider: Provider) -> None:
    async with wire(proxy.url) as connection:
        connection.send(post(BODY, "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAAB"))
        assert (await connection.answer()).status_code in (200, 501)
    assert provider.calls <= 1


# --- slowness


@pytest.fixture
async def hasty(askonce: Start, lane: dict[str, Any]) -> AsyncIterator[Running]:
    """A proxy that waits a tenth of a second for a header section, and as long for a body."""
    async with askonce(lane | {"server.header_timeout": 0.1, "server.body_timeout": 0.1}) as running:
        yield running


async def test_a_connection_that_never_asks_is_closed(hasty: Running, provider: Provider) -> None:
    async with wire(hasty.url) as connection:
        assert await connection.rest() == b""
    await untouched(hasty, provider)


async def test_a_header_section_that_never_ends_is_given_up(hasty: Running, provider: Provider) -> None:
    async with wire(hasty.url) as connection:
        connection.send(head(LENGTH)[:-2])
        refused(await connection.answer(), 408, "request_timeout")
        assert await connection.rest() == b""
    await untouched(hasty, provider)


async def test_a_header_section_that_drips_is_given_up(hasty: Running, provider: Provider) -> None:
    async with wire(hasty.url) as connection:
        connection.send(head(LENGTH)[:-2])
        assert (await connection.drip(b"x-a: 1\r\n")).startswith(b"HTTP/1.1 408 ")
    await untouched(hasty, provider)


async def test_so_is_one_after_a_served_request(hasty: Running, provider: Provider) -> None:
    async with wire(hasty.url) as connection:
        for cache in ("miss", "hit"):
            connection.send(post(BODY))
            assert (await connection.answer()).headers["x-cache"] == cache
            connection.send(b"")
        connection.send(head(LENGTH)[:-2])
        assert (await connection.drip(b"x-a: 1\r\n")).startswith(b"HTTP/1.1 408 ")
    assert provider.calls == 1


async def test_a_body_that_never_comes_is_given_up(hasty: Running, provider: Provider) -> None:
    for framing in (LENGTH, "transfer-encoding: chunked"):
        async with wire(hasty.url) as connection:
            connection.send(head(framing))
            refused(await connection.answer(), 408, "request_timeout")
            assert await connection.rest() == b""
    await untouched(hasty, provider)


async def test_a_body_that_drips_is_given_up(hasty: Running, provider: Provider) -> None:
    async with wire(hasty.url) as connection:
        connection.send(head("content-length: 1000000"))
        assert (await connection.drip(b" ")).startswith(b"HTTP/1.1 408 ")
    await untouched(hasty, provider)


async def test_slow_callers_hold_nobody_up(askonce: Start, lane: dict[str, Any], provider: Provider) -> None:
    async with askonce(lane) as proxy, AsyncExitStack() as stack:
        for _ in range(100):
            connection = await stack.enter_async_context(wire(proxy.url))
            connection.send(head(LENGTH) + BODY[:5])
        await serves(proxy, provider)


async def test_a_caller_who_leaves_half_way_through_a_request_leaves_nothing(
    proxy: Running, provider: Provider
) -> None:
    for sent in (head(LENGTH)[:-10], head(LENGTH), head(LENGTH) + BODY[:20]):
        async with wire(proxy.url) as connection:
            connection.send(sent)
        async with wire(proxy.url) as connection:
            connection.send(sent)
            await connection.reset()
    await untouched(proxy, provider)


# --- unusual and allowed


async def test_a_client_that_asks_before_sending_its_body_is_told_to_go_on(proxy: Running) -> None:
    for cache in ("miss", "hit"):
        async with wire(proxy.url) as connection:
            connection.send(head(LENGTH, "expect: 100-continue"))
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(BODY)
            assert (await connection.answer()).headers["x-cache"] == cache


async def test_a_client_that_does_not_wait_to_be_told_is_served(proxy: Running) -> None:
    for cache in ("miss", "hit"):
        async with wire(proxy.url) as connection:
            connection.send(head(LENGTH, "expect: 100-continue") + BODY)
            answer = await connection.answer()
            if answer.status_code == 100:
                answer = await connection.answer()
            assert answer.headers["x-cache"] == cache


async def test_an_http_1_0_client_is_served_and_its_connection_closed(proxy: Running) -> None:
    for stream, cache in ((False, "miss"), (False, "hit"), (True, "hit")):
        async with wire(proxy.url) as connection:
            connection.send(post(chat(stream=stream), line=f"POST {CHAT} HTTP/1.0"))
            # uvicorn frames what has no length in chunks here too; the clients that still speak 1.0 understand it.
            answer = await connection.answer()
            assert (answer.headers["x-cache"], said(answer)) == (cache, "Answer 1")
            assert await connection.rest() == b""


async def test_pipelined_requests_are_answered_in_order(proxy: Running, provider: Provider) -> None:
    """Hits and misses, plain and streamed, an error among them, all sent before the first answer."""
    await proxy.chat(seed=0)
    asked = [
        post(question(seed=0)),
        post(question(seed=1)),
        post(question(seed=0, stream=True)),
        post(question(seed=0)),
        post(b"no JSON"),
        post(question(seed=2, stream=True)),
        post(question(seed=1)),
        post(question(seed=0)),
    ]
    async with wire(proxy.url) as connection:
        connection.send(b"".join(asked))
        answers = [await connection.answer() for _ in asked]
    spoken = [said(answer) if answer.status_code == 200 else answer.status_code for answer in answers]
    assert spoken == ["Answer 1", "Answer 2", "Answer 1", "Answer 1", 400, "Answer 3", "Answer 2", "Answer 1"]
    caches = [answer.headers.get("x-cache") for answer in answers]
    assert caches == ["hit", "miss", "hit", "hit", None, "miss", "hit", "hit"]
    assert provider.calls == 3


async def test_pipelined_requests_in_single_bytes_are_answered_in_order(proxy: Running) -> None:
    await proxy.chat(seed=0)
    async with wire(proxy.url) as connection:
        for byte in post(question(seed=0)) + post(question(seed=1)) + post(question(seed=0)):
            connection.send(bytes([byte]))
            await asyncio.sleep(0)
        assert [said(await connection.answer()) for _ in range(3)] == ["Answer 1", "Answer 2", "Answer 1"]


async def test_a_pipelined_question_waits_for_a_slow_one_before_it(proxy: Running, provider: Provider) -> None:
    gate = asyncio.Event()
    await proxy.chat(seed=0)
    provider.then([gate, *plain(completion("slow"))])
    async with wire(proxy.url) as connection:
        connection.send(post(question(seed=1)) + post(question(seed=0)))
        await provider.arrived(2)
        gate.set()
        assert [said(await connection.answer()) for _ in range(2)] == ["slow", "Answer 1"]


async def test_what_follows_a_refused_request_is_not_served(proxy: Running, provider: Provider) -> None:
    async with wire(proxy.url) as connection:
        connection.send(head(LENGTH, "x-a: one\0two") + BODY + post(BODY))
        assert (await connection.answer()).status_code == 400
        assert await connection.rest() == b""
    await untouched(proxy, provider)


async def test_what_breaks_behind_a_question_in_the_air_does_not_spoil_its_answer(
    proxy: Running, provider: Provider
) -> None:
    """Garbage behind a whole request: the request was good, but nothing after it can be read."""
    gate = asyncio.Event()
    provider.then([gate, *plain(completion("good"))])
    async with wire(proxy.url) as connection:
        connection.send(post(BODY))
        await provider.arrived()
        connection.send(b"\0garbage\r\n\r\n")
        gate.set()
        rest = await connection.rest()
    assert rest == b"" or b'"good"' in rest
    await proxy.landed()
    assert (await proxy.post(CHAT, BODY)).headers["x-cache"] == "hit"


async def test_blank_lines_before_a_request_are_forgiven(proxy: Running) -> None:
    """RFC 9112 section 2.2: a server should ignore at least one empty line before the request line."""
    async with wire(proxy.url) as connection:
        connection.send(b"\r\n" + post(BODY))
        assert (await connection.answer()).status_code == 200


async def test_a_target_in_absolute_form_is_the_same_path(proxy: Running, provider: Provider) -> None:
    """RFC 9112 section 3.2.2: a server must accept it; what it names does not decide where requests go."""
    async with wire(proxy.url) as connection:
        connection.send(post(BODY, line=f"POST http://elsewhere.example{CHAT} HTTP/1.1"))
        answer = await connection.answer()
    assert answer.status_code in (200, 404)
    assert all(asked.header("host") == f"127.0.0.1:{provider.port}" for asked in provider.asked)


async def test_random_bytes_never_hang_or_break_the_server(proxy: Running, provider: Provider) -> None:
    for _ in range(50):
        async with wire(proxy.url) as connection:
            connection.send(os.urandom(200) + b"\r\n\r\n")
            await connection.rest()
    await untouched(proxy, provider)
