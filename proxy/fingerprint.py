"""Names for questions: keyed, length-framed, versioned.

A name is HMAC-SHA-256 under the installation's secret, cut to 128 bits (RFC 2104 section 5 allows half), over parts
each preceded by its length. Framing makes `("ab", "c")` and `("a", "bc")` different; the version makes an entry of an
older scheme unreachable instead of wrong; the purpose (first part) keeps one kind of name from ever equalling another.
Nobody without the secret can tell from a name what was asked, or find two questions that share one.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from proxy.errors import BadRequest
from proxy.types import Digest, Pairs, Scope

VERSION = b"askonce-name-1"
"""Change it with anything that changes what a name is made of, the canonical form of a body included."""

SIZE = 16
"""Bytes in a name."""


def framed(parts: Iterable[bytes]) -> bytes:
    """Parts joined so that no two different sequences give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def name_of(key: str) -> Digest:
    """The name behind an `X-Cache-Key`. Raises `errors.BadRequest`."""
    try:
        name = bytes.fromhex(key)
    except ValueError:
        name = b""
    if len(name) != SIZE:
        raise BadRequest(
            f"{key[:64]!r} is not a key: copy the 32 hexadecimal digits of X-Cache-Key", code="invalid_key"
        )
    return Digest(name)


class Namer:
    """Makes every name of one installation."""

    def __init__(self, secret: bytes) -> None:
        self.rekey(secret)

    def rekey(self, secret: bytes) -> None:
        """From now on names are made with this one: replicas that share a store agree on it after they have begun."""
        # Keyed once and copied: half the cost of keying anew for each name.
        self._keyed = hmac.new(secret, digestmod="sha256")

    def exact(self, scope: Scope, *, upstream: str, epoch: str, endpoint: str, vary: Pairs, key: bytes) -> Digest:
        """The name of this very question: same caller, same upstream, same words, same everything."""
        headers = framed(part for pair in vary for part in pair)
        return Digest(
            self._mac(b"exact", scope, upstream.encode(), epoch.encode(), endpoint.encode(), headers, key),
        )

    def shape(self, scope: Scope, *, upstream: str, epoch: str, endpoint: str, vary: Pairs, key: bytes) -> Digest:
        """The name of all that stands round a question's words: as `exact`, with `Asking.shape` for the key."""
        headers = framed(part for pair in vary for part in pair)
        return Digest(
            self._mac(b"shape", scope, upstream.encode(), epoch.encode(), endpoint.encode(), headers, key),
        )

    def normalized(self, shape: Digest, folded: str) -> Digest:
        """The name of all questions of a shape whose words are these after folding."""
        return Digest(self._mac(b"normalized", shape, folded.encode("utf-8", "surrogatepass")))

    def pair(self, one: Digest, other: Digest) -> Digest:
        """Two questions by their normalised names, in an order of the caller's: what feedback refuses."""
        return Digest(self._mac(b"pair", one, other))

    def partition(self, scope: Scope, model: str, rule: str) -> Digest:
        """What learns together: one caller's questions to one model under one rule."""
        return Digest(self._mac(b"partition", scope, model.encode(), rule.encode()))

    def slot(self, name: Digest, turn: int) -> Digest:
        """The name of one of several answers kept for a question (`sampling: pool`)."""
        return Digest(self._mac(b"slot", name, turn.to_bytes(4, "big")))

    def scope(self, kind: bytes, *parts: bytes) -> Scope:
        """Who may share: `kind` says how the caller was told apart (`credential`, `single`, `namespace`)."""
        return Scope(self._mac(b"scope", kind, *parts))

    def salt(self, scope: Scope, given: str) -> str:
        """What keeps one caller's blocks in a vLLM's prefix cache from another's: 32 hexadecimal digits. `given` is the
        caller's own `cache_salt`, empty for none."""
        return self._mac(b"salt", scope, given.encode("utf-8", "surrogatepass")).hex()

    def prompt_cache(self, scope: Scope, digest: bytes, bucket: int) -> str:
        """What prompts of one caller that begin alike (`digest`) share as their `prompt_cache_key`: 32 hexadecimal
        digits. `bucket`, 0 or more, tells those apart that together are too many for one key."""
        return self._mac(b"prompt cache", scope, digest, bucket.to_bytes(4, "big")).hex()

    def _mac(self, *parts: bytes) -> bytes:
        mac = self._keyed.copy()
        mac.update(framed((VERSION, *parts)))
        return mac.digest()[:SIZE]
