"""Content codings: undone at every split, within bounds."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AskOnceError, BadRequest, BodyTooLarge, UnsupportedEncoding
from proxy.streaming.codings import (
    MAX_MEMBERS,
    CodingError,
    Decoder,
    TooMuchOutputError,
    UnknownCodingError,
    decode_all,
)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-Gzip", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "br": (b"br", brotli.compress),
    "zstd": (b"zstd", zstandard.compress),
}
PLAIN = os.urandom(3000) + b"and so on " * 20_000
MEGABYTE = 1024 * 1024

every_coding = pytest.mark.parametrize(("name", "encode"), ENCODERS.values(), ids=ENCODERS)


def decoder(name: bytes, max_bytes: int = MEGABYTE, max_ratio: float = 1000) -> Decoder:
    return Decoder(name, max_bytes=max_bytes, max_ratio=max_ratio)


@every_coding
@pytest.mark.parametrize("step", [1, 7, 1000, MEGABYTE])
def test_what_was_encoded_comes_back_however_it_is_cut(
    name: bytes, encode: Callable[[bytes], bytes], step: int
) -> None:
    encoded, decoding = encode(PLAIN), decoder(name)
    assert b"".join(decoding.decode(encoded[i : i + step]) for i in range(0, len(encoded), step)) == PLAIN
    decoding.flush()


@every_coding
@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_body_cut_short_does_not_pass_for_whole(name: bytes, encode: Callable[[bytes], bytes], kept: int) -> None:
    decoding = decoder(name)
    decoding.decode(encode(PLAIN)[:kept])
    with pytest.raises(CodingError, match="middle"):
        decoding.flush()


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"br", b"zstd"])
@given(data=st.binary(min_size=1, max_size=200))
def test_garbage_raises_one_kind_of_error(name: bytes, data: bytes) -> None:
    with contextlib.suppress(BadRequest):
        decode_all(name, data, max_bytes=MEGABYTE, max_ratio=1000)


def test_what_does_not_decode_is_the_callers_mistake() -> None:
    with pytest.raises(BadRequest) as caught:
        decode_all(b"gzip", b"not gzip", max_bytes=100, max_ratio=10)
    assert caught.value.reason == "invalid_content_encoding"


@pytest.mark.parametrize("coding", ["deflate", "br"])
def test_nothing_may_follow_the_end(coding: str) -> None:
    name, encode = ENCODERS[coding]
    with pytest.raises(CodingError):
        decoder(name).decode(encode(b"hello") + b"more")
    decoding = decoder(name)
    decoding.decode(encode(b"hello"))
    with pytest.raises(CodingError):
        decoding.decode(b"more")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_may_follow_each_other_up_to_a_bound(coding: str) -> None:
    name, encode = ENCODERS[coding]
    assert decoder(name).decode(encode(b"one ") + encode(b"two")) == b"one two"
    with pytest.raises(CodingError):
        decoder(name).decode(encode(b"") * (MAX_MEMBERS + 1))


def test_an_empty_body_is_whole() -> None:
    assert decode_all(b"gzip", b"", max_bytes=1, max_ratio=1) == b""


def test_codings_are_undone_in_reverse_order() -> None:
    twice = brotli.compress(gzip.compress(PLAIN))
    assert decode_all(b"gzip, BR", twice, max_bytes=MEGABYTE, max_ratio=1000) == PLAIN
    assert decoder(b"identity,").transparent
    assert decode_all(b"identity", b"as it is", max_bytes=100, max_ratio=1) == b"as it is"


@pytest.mark.parametrize("name", [b"compress", b"gzip, sdch", b"gzip, gzip, gzip"])
def test_a_coding_that_cannot_be_undone_is_named_as_such(name: bytes) -> None:
    with pytest.raises(UnknownCodingError):
        decoder(name)
    with pytest.raises(UnsupportedEncoding):
        decode_all(name, b"x", max_bytes=1, max_ratio=1)


def test_a_window_over_eight_megabytes_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(CodingError, match="window"):
        decoder(b"zstd").decode(compressor.compress(os.urandom(1000)) + compressor.flush())


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return bytes(100 * MEGABYTE)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_stopped_by_size_by_ratio_and_in_little_memory(zeros: bytes, coding: str) -> None:
    name, encode = ENCODERS[coding]
    bomb = brotli.compress(zeros, quality=1) if coding == "br" else encode(zeros)
    tracemalloc.start()
    with pytest.raises(BodyTooLarge, match="more than 4194304 bytes"):
        decode_all(name, bomb, max_bytes=4 * MEGABYTE, max_ratio=1e9)
    with pytest.raises(BodyTooLarge, match="more than 10 times"):
        decode_all(name, bomb, max_bytes=10**9, max_ratio=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # zstd's binding can only be fed in small pieces, of which one may hold 8 MiB.
    assert peak < 20 * MEGABYTE


def test_a_bomb_inside_a_coding_is_stopped_too(zeros: bytes) -> None:
    with pytest.raises(TooMuchOutputError):
        decoder(b"gzip, zstd", max_bytes=4 * MEGABYTE, max_ratio=50).decode(zstandard.compress(gzip.compress(zeros)))


def test_a_small_honest_text_may_compress_a_thousandfold() -> None:
    text = b"{}" * 20_000
    assert decode_all(b"br", brotli.compress(text), max_bytes=MEGABYTE, max_ratio=10) == text


def test_no_message_repeats_what_came() -> None:
    stream = io.BytesIO(b"my secret words")
    with pytest.raises(AskOnceError) as caught:
        decode_all(b"gzip", stream.read(), max_bytes=100, max_ratio=10)
    assert "secret" not in str(caught.value)
