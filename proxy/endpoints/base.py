"""What one API endpoint knows of itself. One file in this folder for each endpoint that is cached.

No I/O: bytes in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.types import Form, Usage


@dataclass(frozen=True, slots=True)
class Question:
    """A request's body, read.

    `key` is the canonical form of all that may change the answer (protocol: everything in the body but the short list
    that cannot), length-framed, so that two bodies share it only if they ask the same.
    """

    endpoint: str
    model: str
    stream: bool
    include_usage: bool
    """`stream_options.include_usage`: the caller wants the usage frame."""
    choices: int
    """How many choices a whole answer has (`n`)."""
    members: Mapping[str, object]
    """The parsed top level, for policies."""
    key: bytes
    echoes: Mapping[str, bytes]
    """Members an answer may repeat from the request (e.g. `metadata`), as JSON text; `null` where the request has none."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A whole answer in the form it is stored in (`types.Entry.body`)."""

    form: Form
    body: bytes
    model: str
    id_prefix: str
    usage: Usage
    echoes: tuple[str, ...] = ()
    unstorable: str | None = None
    """Why it may be served to those who wait for it but not kept (`content_filter`, `empty`, ...); None if it may."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of bytes of a live stream, cut at event boundaries.

    `raw` is what came. `quiet` is the same for a caller who did not ask for usage, where we asked the upstream for it:
    usage frame gone, `"usage":null` members gone; it is `raw` itself wherever nothing had to be taken out.
    """

    raw: bytes
    quiet: bytes
    terminal: bool = False
    """The end marker (`data: [DONE]`) and what follows it."""


class Fold(Protocol):
    """One stream being folded into one answer while it is passed on."""

    @property
    def done(self) -> bool:
        """The terminal marker was seen."""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Bytes as the upstream sent them, cut anywhere; gives the frames they complete. Never raises: what cannot be
        parsed is passed on and makes `finish` refuse."""

    def abandon(self) -> None:
        """Nothing will be stored: go on cutting frames, keep no more of the answer in memory."""

    def flush(self) -> list[Frame]:
        """At the end of the stream: what is left without a closing blank line, as it came."""

    def finish(self) -> Folded:
        """The answer. Raises `errors.Unstorable` when the stream is not a whole, successful one (its reason says
        which of the seven conditions failed)."""


class Endpoint(Protocol):
    """One cached path."""

    @property
    def path(self) -> str:
        """The path clients call, e.g. `/v1/chat/completions`."""

    def read(self, body: bytes) -> Question:
        """Raises `errors.BadRequest`."""

    def ask_usage(self, body: bytes) -> bytes:
        """The body to send upstream for a streamed question whose caller did not ask for usage: the same, with
        `stream_options.include_usage` true, so that usage can be stored."""

    def whole(self, body: bytes, choices: int) -> Folded:
        """A plain 200 answer's body, decoded. Raises `errors.Unstorable` for what is no whole answer."""

    def fold(self, choices: int) -> Fold: ...

    def plain(self, body: bytes) -> tuple[bytes, ...]:
        """A WHOLE body ready to send, in pieces: `stamp.join(pieces)` is the JSON text, `stamp` being the members of
        this delivery without braces or outer commas (`"id":"...","created":1`)."""

    def replay(self, form: Form, body: bytes, *, include_usage: bool) -> tuple[bytes, ...]:
        """Either form as server-sent events up to and with the end marker, in pieces: `stamp.join(pieces)` as above;
        the stamp stands at the head of every frame's object."""
