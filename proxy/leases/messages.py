"""What a leader tells its followers: sealed messages in order, the body's bytes among them.

    head    {"status", "headers", "streaming"}      once, first
    data    bytes of the body                       any number
    end     {"stored", "reason"}                    last, when the call ended well
    error   {"kind", "message", "reason"}           last, when it failed
    gone    nothing                                 last: this replica knows nothing of such a call, or stops
    alive   nothing                                 between the others, while there is nothing to say

Each carries a tag: HMAC-SHA-256 (RFC 2104), truncated to half, over the question that is asked, whose call it is, the
message's number, its kind and its content. So whoever can write to Redis without the installation's secret can put no
words in a model's mouth, leave none out, not change their order, and not pass one question's answer off as another's.

`alive` takes no number of its own: one that was lost is not missed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from proxy.errors import AskOnceError, Overloaded, Unreadable, UpstreamError
from proxy.fingerprint import framed
from proxy.types import Pairs

_TAG_BYTES: Final = 16


class Kind(StrEnum):
    """What a message is."""

    HEAD = "head"
    DATA = "data"
    END = "end"
    ERROR = "error"
    GONE = "gone"
    ALIVE = "alive"


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `content` is the body's bytes or JSON."""

    kind: Kind
    content: bytes = b""


class Seal:
    """Tags messages and checks tags. `about` says which question a run answers, and whose call it is."""

    def __init__(self, secret: bytes) -> None:
        self.rekey(secret)

    def rekey(self, secret: bytes) -> None:
        """From now on this secret."""
        self._key = hmac.digest(secret, b"askonce run tag v1", "sha256")

    def fields(self, about: str, number: int, message: Message) -> tuple[bytes, ...]:
        """The message as a stream entry's fields and values."""
        kind = message.kind.encode()
        return (b"kind", kind, b"content", message.content, b"tag", self._tag(about, number, kind, message.content))

    def opened(self, about: str, number: int, pairs: list[bytes]) -> Message:
        """The message of an entry. Raises `errors.Unreadable` where it is not of this secret, run and place."""
        fields = dict(zip(pairs[::2], pairs[1::2], strict=False))
        kind, content = fields.get(b"kind", b""), fields.get(b"content", b"")
        if not hmac.compare_digest(self._tag(about, number, kind, content), fields.get(b"tag", b"")):
            raise Unreadable("a message's tag is not of this run and secret", code="tag")
        try:
            return Message(Kind(kind.decode()), content)
        except ValueError as unknown:  # of a newer version
            raise Unreadable(f"a message of an unknown kind {kind!r}", code="version") from unknown

    def _tag(self, about: str, number: int, kind: bytes, content: bytes) -> bytes:
        sealed = framed((about.encode(), number.to_bytes(8, "big"), kind, content))
        return hmac.digest(self._key, sealed, "sha256")[:_TAG_BYTES]


def head(status: int, headers: Pairs, *, streaming: bool) -> Message:
    """The response's head."""
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return Message(Kind.HEAD, orjson.dumps({"status": status, "headers": fields, "streaming": streaming}))


def read_head(message: Message) -> tuple[int, Pairs, bool]:
    """Status, headers, whether it streams."""
    members: dict[str, Any] = orjson.loads(message.content)
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in members["headers"])
    return members["status"], headers, members["streaming"]


def end(*, stored: bool, reason: str) -> Message:
    """It ended well."""
    return Message(Kind.END, orjson.dumps({"stored": stored, "reason": reason}))


def read_end(message: Message) -> tuple[bool, str]:
    """Stored, and why not."""
    members: dict[str, Any] = orjson.loads(message.content)
    return members["stored"], members["reason"]


def failure(error: AskOnceError) -> Message:
    """It failed."""
    members = {"kind": type(error).__name__, "message": error.message, "reason": error.reason}
    return Message(Kind.ERROR, orjson.dumps(members))


def read_failure(message: Message) -> AskOnceError:
    """The error again, of its own class where that is one of an upstream's."""
    members: dict[str, Any] = orjson.loads(message.content)
    kind = _KINDS.get(members["kind"], UpstreamError)
    return kind(members["message"], code=members["reason"])


_KINDS: Final[dict[str, type[AskOnceError]]] = {
    kind.__name__: kind for kind in (*UpstreamError.__subclasses__(), Overloaded)
}
