"""A provider of language models on a real socket, with every way it can fail.

It stands for the one thing a test cannot reach, so it speaks HTTP/1.1 byte by byte itself: no library would let it send
a body shorter than its `Content-Length`, or a chunk and then a reset.

A `Script` is what it does with one request: bytes are one write each, an `asyncio.Event` waits (so a test decides what
happens between two frames), a function is called with the request, an `Ending` ends the connection. Scripts come from
`provider.then(...)` (one request each), then from `provider.answer` (a function of the request). By default that is
`as_recorded`: the recording the request's model or `provider.recording` names, plain or as a stream, with or without
usage as asked.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tests.recordings import RECORDINGS, Recording

Fields = Sequence[tuple[str, str]]


class Ending(Enum):
    """How a script ends when it does not end with a whole answer on a connection that stays open."""

    CLOSE = auto()
    """FIN: the connection is closed, whatever was promised."""
    RESET = auto()
    """RST: as a crashed process or a firewall does it (SO_LINGER of 0)."""
    NEVER = auto()
    """Nothing more, until the other side goes away."""


@dataclass(slots=True, eq=False)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    left: asyncio.Event = field(repr=False)
    """The connection it came on was closed by the other side."""

    def header(self, name: str) -> str | None:
        """A field's value; several are joined as RFC 9110 section 5.3 says. None: not there."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def streams(self) -> bool:
        return bool(self._members().get("stream"))

    @property
    def wants_usage(self) -> bool:
        return bool((self._members().get("stream_options") or {}).get("include_usage"))

    @property
    def model(self) -> str | None:
        return self._members().get("model")

    def _members(self) -> dict[str, Any]:
        try:
            members = json.loads(self.body)
        except ValueError:
            return {}
        return members if isinstance(members, dict) else {}


Move = bytes | asyncio.Event | Ending | Callable[[Asked], Any]
Script = Iterable[Move]

DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream; charset=utf-8"


# --- whole answers


def dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def head(status: int, headers: Fields) -> bytes:
    """A status line and a header section, exactly as given."""
    lines = [f"HTTP/1.1 {status} Because", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reply(body: bytes, status: int = 200, headers: Fields = (), content_type: str = "application/json") -> Script:
    """A whole body with its length."""
    fields = [("content-type", content_type), ("content-length", str(len(body))), *headers]
    return [head(status, fields) + body]


def plain(value: object, status: int = 200, headers: Fields = ()) -> Script:
    """A whole JSON body."""
    return reply(dump(value), status, headers)


def failure(status: int, message: str = "no", headers: Fields = (), **members: object) -> Script:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": "server_error", "param": None, "code": None} | members
    return plain({"error": error}, status, headers)


def gzipped(value: object) -> Script:
    """A plain answer in a content coding."""
    return reply(gzip.compress(dump(value)), headers=[("content-encoding", "gzip")])


def deepseek_plain(value: object) -> Script:
    """Blank lines before the JSON text, sent while the model works."""
    body = b"\n\n\n\n" + dump(value)
    return [head(200, [("content-type", "application/json"), ("content-length", str(len(body)))]), body[:2], body[2:]]


def truncated(value: object, by: int = 20) -> Script:
    """Half a JSON text with the `Content-Length` of that half: whole for HTTP, broken for JSON."""
    return reply(dump(value)[:-by])


def html() -> Script:
    """200 and a page, as a captive portal or a badly configured gateway answers."""
    return reply(b"<!doctype html><title>Sign in</title>", content_type="text/html")


# --- streams


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(moves: Script, *, headers: Fields = (), end: Move = b"0\r\n\r\n", content_type: str = SSE) -> Script:
    """Server-sent events, one chunk and one write for each piece of bytes; `end` is what follows the last.

    With `end=Ending.CLOSE` the chunked body lacks its terminator; with `Ending.RESET` the connection is reset.
    """
    yield head(200, [("content-type", content_type), ("transfer-encoding", "chunked"), *headers])
    for move in moves:
        yield chunk(move) if isinstance(move, bytes) else move
    yield end


def event(value: object) -> bytes:
    """One server-sent event of JSON."""
    return b"data: " + dump(value) + b"\n\n"


def endless(frame: bytes = event({"choices": [{"index": 0, "delta": {"content": "a" * 1000}}]})) -> Script:
    """A stream that never ends."""

    def frames() -> Script:
        while True:
            yield frame

    return stream(frames())


def with_length(moves: Script, length: int, *, content_type: str = "application/json") -> Script:
    """Raw writes under a `Content-Length` of one's own: a short body is `with_length([half, Ending.CLOSE], whole)`."""
    yield head(200, [("content-type", content_type), ("content-length", str(length))])
    yield from moves


# --- what a chat model answers


def completion(content: str, *, model: str = "gpt-test", **members: object) -> dict[str, Any]:
    """A small whole answer."""
    return {
        "id": "chatcmpl-of-the-provider",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    } | members


def delta(change: dict[str, object], *, finish: str | None = None, index: int = 0, **members: object) -> bytes:
    """One frame of a chat stream."""
    choice = {"index": index, "delta": change, "logprobs": None, "finish_reason": finish}
    return event(_chunk_of([choice]) | members)


def usage_frame(**members: object) -> bytes:
    """The last frame of a stream that was asked for usage."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return event(_chunk_of([]) | members | {"usage": usage})


def _chunk_of(choices: list[dict[str, object]]) -> dict[str, object]:
    return {
        "id": "chatcmpl-of-the-provider",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-test",
        "choices": choices,
    }


def words(*said: str, usage: bool = True, finish: str = "stop", model: str = "gpt-test") -> list[bytes]:
    """The frames of a whole chat stream that says these words, up to and with the end marker."""
    own: dict[str, object] = {"model": model} | ({"usage": None} if usage else {})
    frames = [delta({"role": "assistant", "content": ""}, **own)]
    frames += [delta({"content": word}, **own) for word in said]
    frames += [delta({}, finish=finish, **own)]
    return [*frames, *([usage_frame(model=model)] if usage else []), DONE]


def as_said(asked: Asked, *said: str) -> Script:
    """These words as the request wants them: plain or streamed, with or without usage."""
    model = asked.model or "gpt-test"
    if not asked.streams:
        return plain(completion("".join(said), model=model))
    return stream(words(*said, usage=asked.wants_usage, model=model))


def recorded(recording: Recording, asked: Asked) -> Script:
    """A recording as its provider sends it to this request."""
    if not asked.streams:
        return plain(recording.plain)
    return stream(recording.frames if asked.wants_usage else without_usage(recording))


def without_usage(recording: Recording) -> list[bytes]:
    """The same stream asked without `include_usage`: no usage frame, and no `"usage":null` in the others."""
    frames = [_cut_usage(frame) for frame in recording.frames]
    return [frame for frame in frames if frame]


def _cut_usage(frame: bytes) -> bytes:
    if b'"usage"' not in frame:
        return frame
    if b'"usage":null' in frame:
        return frame.replace(b',"usage":null', b"")
    return b"" if b'"choices":[]' in frame else frame


def by_name(name: str) -> Recording:
    return next(recording for recording in RECORDINGS if recording.name == name)


# --- the server


class _Connection(asyncio.StreamReader):
    """A reader that says at once that the other side has gone, also while nobody reads."""

    def __init__(self) -> None:
        super().__init__(limit=2**26)
        self.left = asyncio.Event()

    def feed_eof(self) -> None:
        self.left.set()
        super().feed_eof()

    def set_exception(self, exc: BaseException) -> None:
        self.left.set()
        super().set_exception(exc)


class Provider:
    """The server. `async with Provider() as provider:` listens on a free port of the loopback."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        """Every request, as it arrived whole."""
        self.connections = 0
        self.recording: Recording | None = None
        """What `as_recorded` answers whatever the model."""
        self.answer: Callable[[Asked], Script] = self.as_recorded
        self._queue: deque[Script] = deque()
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Provider:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse connections from now on, and drop those that are."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The base address to give a client or a proxy."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> int:
        return len(self.asked)

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    def then(self, *scripts: Script) -> None:
        """Answer the next requests with these, one each, before `answer` is asked again."""
        self._queue.extend(scripts)

    def always(self, answer: Callable[[Asked], Script]) -> None:
        """Answer every request by this function."""
        self.answer = answer

    async def arrived(self, count: int = 1) -> Asked:
        """Wait until that many requests have come; gives the last."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.asked) >= count)
        return self.asked[count - 1]

    def as_recorded(self, asked: Asked) -> Script:
        """What a provider answers. A chat without a recording says which request this is: answers can be told apart."""
        if asked.path.endswith("/chat/completions") and asked.method == "POST":
            recording = self.recording or next((r for r in RECORDINGS if r.name == asked.model), None)
            return recorded(recording, asked) if recording else as_said(asked, "Answer ", f"{self.calls}")
        if asked.path.endswith("/models"):
            model = {"id": "gpt-test", "object": "model", "created": 1, "owned_by": "us"}
            return plain({"object": "list", "data": [model]})
        return reply(asked.body, content_type=asked.header("content-type") or "application/octet-stream")

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = _Connection()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._connected(reader, writer))

    def _connected(self, reader: _Connection, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: _Connection, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The proxy went away: `left` says so.
        finally:
            writer.close()

    async def _one(self, reader: _Connection, writer: asyncio.StreamWriter) -> bool:
        """Read a request and play a script; True when the connection can take another."""
        asked = await _read(reader)
        async with self._arrived:
            self.asked.append(asked)
            self._arrived.notify_all()
        script = self._queue.popleft() if self._queue else self.answer(asked)
        for move in script:
            if not await _play(move, asked, writer):
                return False
        return True


async def _play(move: Move, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if isinstance(move, bytes):
        writer.write(move)
        await writer.drain()
        # A drain that need not wait gives up no turn: without this an endless script would be the only task to run.
        await asyncio.sleep(0)
        return not asked.left.is_set()
    if isinstance(move, asyncio.Event):
        await move.wait()
    elif isinstance(move, Ending):
        await _end(move, asked, writer)
        return False
    else:
        outcome = move(asked)
        if isinstance(outcome, Awaitable):
            await outcome
    return True


async def _end(ending: Ending, asked: Asked, writer: asyncio.StreamWriter) -> None:
    if ending is Ending.NEVER:
        await asked.left.wait()
    if ending is Ending.RESET:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


async def _read(reader: _Connection) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = tuple((name, value.strip()) for name, _, value in pairs)
    asked = Asked(method, target, headers, b"", reader.left)
    asked.body = await _body(reader, asked)
    return asked


async def _body(reader: _Connection, asked: Asked) -> bytes:
    if (asked.header("transfer-encoding") or "").lower() != "chunked":
        return await reader.readexactly(int(asked.header("content-length") or 0))
    pieces = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)
