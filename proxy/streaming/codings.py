"""Content codings undone piece by piece, within bounds: gzip, deflate, br, zstd (RFC 9110 section 8.4.1). No I/O.

A kilobyte can decode to a megabyte, so nothing here ever asks a library for "all of it". Each library is asked for a
bounded piece at a time (zstd's binding cannot be, so it is fed a bounded piece at a time) and the sum is checked after
every piece: memory follows the limits, not what the sender claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli
import zstandard

from proxy.errors import BadRequest, BodyTooLarge, UnsupportedEncoding

PIECE_BYTES = 64 * 1024
"""Output asked of a library at once."""

ZSTD_INPUT_BYTES = 256
"""Input given to zstd at once. A block of four bytes decodes to 128 KiB at most, so this much to 8 MiB."""

ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 9659 section 3: what a sender of `Content-Encoding: zstd` may ask a receiver to hold."""

RATIO_GRACE_BYTES = 64 * 1024
"""Output up to here is never held against the ratio: small, repetitive texts compress a hundredfold in all honesty."""

MAX_STACKED = 2
"""Codings applied one over another. One is normal, two happen behind a misconfigured proxy, three are an attack."""

MAX_MEMBERS = 64
"""gzip members or zstd frames in one body. Each costs more than it decodes to when they are empty."""


class CodingError(ValueError):
    """The bytes are not what their coding says: corrupt, cut short, or with something behind the end."""


class UnknownCodingError(CodingError):
    """A coding we cannot undo, or too many stacked."""


class TooMuchOutputError(CodingError):
    """They decode to more than `max_bytes`, or to more than `max_ratio` times what came."""


class Decoder:
    """One body being decoded.

    `content_encoding` is the field's value: codings in the order they were applied, separated by commas. `max_bytes`
    bounds the output, `max_ratio` output against input, each for every coding of a stack.
    """

    def __init__(self, content_encoding: bytes, *, max_bytes: int, max_ratio: float) -> None:
        """Raises `UnknownCodingError`."""
        self._stages = [_Stage(make(), max_bytes, max_ratio) for make in reversed(_codings(content_encoding))]

    @property
    def transparent(self) -> bool:
        """Nothing to undo: what goes in comes out."""
        return not self._stages

    def decode(self, data: bytes) -> bytes:
        """What these bytes add to the output. Raises `CodingError`."""
        for stage in self._stages:
            data = stage.decode(data)
        return data

    def flush(self) -> None:
        """The input is over. Raises `CodingError` if it ended too early; an empty body has nothing to end."""
        for stage in self._stages:
            stage.flush()


def decode_all(encoding_header: bytes, body: bytes, *, max_bytes: int, max_ratio: float) -> bytes:
    """A request's body, decoded.

    Raises `errors.UnsupportedEncoding`, `errors.BodyTooLarge`, or `errors.BadRequest` where the bytes do not decode.
    """
    try:
        decoder = Decoder(encoding_header, max_bytes=max_bytes, max_ratio=max_ratio)
        decoded = decoder.decode(body)
        decoder.flush()
    except UnknownCodingError as error:
        raise UnsupportedEncoding(str(error)) from error
    except TooMuchOutputError as error:
        raise BodyTooLarge(f"the decoded request body is too large: {error}") from error
    except CodingError as error:
        message = f"the request body is not in its Content-Encoding: {error}"
        raise BadRequest(message, code="invalid_content_encoding") from error
    return decoded


class _Coding(Protocol):
    """One coding: bounded pieces out of whatever comes in."""

    @property
    def ended(self) -> bool: ...
    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class _Stage:
    """A coding and its limits."""

    def __init__(self, coding: _Coding, max_bytes: int, max_ratio: float) -> None:
        self._coding = coding
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._received = 0
        self._produced = 0

    def decode(self, data: bytes) -> bytes:
        self._received += len(data)
        output = []
        for piece in self._coding.pieces(data):
            self._produced += len(piece)
            self._check()
            output.append(piece)
        return b"".join(output)

    def _check(self) -> None:
        if self._produced > self._max_bytes:
            raise TooMuchOutputError(f"more than {self._max_bytes} bytes")
        if self._produced > self._received * self._max_ratio + RATIO_GRACE_BYTES:
            raise TooMuchOutputError(f"more than {self._max_ratio:g} times the {self._received} bytes that came")

    def flush(self) -> None:
        if self._received and not self._coding.ended:
            raise CodingError("it ends in the middle")


class _Zlib:
    """zlib's formats, told apart by `window_bits` (see zlib.decompressobj). `members`: more may follow the first."""

    def __init__(self, window_bits: int, *, members: bool) -> None:
        self._window_bits = window_bits
        self._members_left = MAX_MEMBERS if members else 1
        self._inflater = zlib.decompressobj(window_bits)

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            yield from self._inflate(data)
        except zlib.error as error:
            raise CodingError("it is corrupt") from error

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflater.eof:
                self._begin_next()
            piece = self._inflater.decompress(data, PIECE_BYTES)
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            yield piece
        # zlib may have taken all input and still hold output for which the last piece had no room.
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", PIECE_BYTES)):
            yield piece

    def _begin_next(self) -> None:
        # RFC 1952 section 2.2: a gzip file is a series of members.
        self._members_left -= 1
        if not self._members_left:
            raise CodingError("something follows its end")
        self._inflater = zlib.decompressobj(self._window_bits)


class _Deflate:
    """`deflate` is zlib's format (RFC 9110 section 8.4.1.2), yet "some non-conformant implementations send the
    'deflate' compressed data without the zlib wrapper": the first two bytes tell.
    """

    def __init__(self) -> None:
        self._head = b""
        self._zlib: _Zlib | None = None

    @property
    def ended(self) -> bool:
        return self._zlib is not None and self._zlib.ended

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._zlib is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            # RFC 1950 section 2.2: method 8, and the two bytes as a number are a multiple of 31.
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._zlib = _Zlib(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS, members=False)
        yield from self._zlib.pieces(data)


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._decompressor.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self.ended and data:
            raise CodingError("something follows its end")
        try:
            yield self._decompressor.process(data, output_buffer_limit=PIECE_BYTES)
            # `can_accept_more_data` tells of input only: output may be waiting when it says yes.
            while piece := self._decompressor.process(b"", output_buffer_limit=PIECE_BYTES):
                yield piece
        except brotli.error as error:
            raise CodingError("it is corrupt") from error


class _Zstandard:
    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
        self._frame = self._context.decompressobj(write_size=PIECE_BYTES)
        self._frames_left = MAX_MEMBERS

    @property
    def ended(self) -> bool:
        return self._frame.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), ZSTD_INPUT_BYTES):
            rest = data[start : start + ZSTD_INPUT_BYTES]
            while rest:
                if self._frame.eof:
                    self._begin_next()
                try:
                    yield self._frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise CodingError("it is corrupt, or wants a window over 8 MiB") from error
                rest = self._frame.unused_data if self._frame.eof else b""

    def _begin_next(self) -> None:
        # RFC 8878 section 3: frames may follow each other.
        self._frames_left -= 1
        if not self._frames_left:
            raise CodingError("something follows its end")
        self._frame = self._context.decompressobj(write_size=PIECE_BYTES)


def _gzip() -> _Zlib:
    return _Zlib(16 + zlib.MAX_WBITS, members=True)


_KNOWN: dict[bytes, Callable[[], _Coding]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,  # RFC 9110 section 8.4.1.3: equivalent
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstandard,
}


def _codings(content_encoding: bytes) -> list[Callable[[], _Coding]]:
    names = [name for part in content_encoding.split(b",") if (name := part.strip().lower()) not in (b"", b"identity")]
    if len(names) > MAX_STACKED:
        raise UnknownCodingError(
            f"{len(names)} codings are stacked in Content-Encoding; at most {MAX_STACKED} are undone"
        )
    if any(name not in _KNOWN for name in names):
        raise UnknownCodingError("Content-Encoding must be one of gzip, deflate, br, zstd, identity")
    return [_KNOWN[name] for name in names]
