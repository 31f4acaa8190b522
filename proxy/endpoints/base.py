"""What one API endpoint knows of itself. One file in this folder for each endpoint that is cached.

No I/O: bytes in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.types import Asking, Form, Frame, Question, Usage


@dataclass(frozen=True, slots=True)
class Folded:
    """A whole answer in the form it is stored in (`types.Entry.body`)."""

    form: Form
    body: bytes
    model: str
    id_prefix: str
    usage: Usage
    echoes: tuple[str, ...] = ()
    fingerprint: str = ""
    """Its `system_fingerprint`: what the server says of its own make-up; empty for none."""
    finishes: tuple[str, ...] = ()
    """Why each choice ended (`finish_reason`)."""
    unstorable: str | None = None
    """Why it may be served to those who wait for it but not kept (`content_filter`, `empty`, ...); None if it may."""


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

    def read(self, body: bytes, harmless: frozenset[str] = frozenset(), *, deployment: str = "") -> Question:
        """`deployment`: Azure's name for the model, from the path, where the body need not name it. `harmless`: further
        members that cannot change the answer of the server that will be asked (`upstream.base.Upstream.harmless`); they
        are left out of the key. Raises `errors.BadRequest`."""

    def asking(self, body: bytes, harmless: frozenset[str] = frozenset()) -> Asking:
        """The question taken apart for matching by meaning. `body` has passed `read`; `harmless` as there."""

    def said(self, form: Form, body: bytes) -> str | None:
        """The text of a stored answer, for comparing what two answers say; None where there is more to it than text
        (tool calls, several choices) or none at all."""

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
