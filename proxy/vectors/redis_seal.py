"""A stored question's words and vector as Redis holds them, under a tag: who can write to Redis can make up neither.

    words            16 bytes of tag, then JSON: all of a point but its name and vector
    seal_{identity}  16 bytes of tag over all of `words` and over the vector of that embedder

Tags are HMAC-SHA-256 (RFC 2104), truncated to half, over the name too: so a question cannot be moved to another answer,
its words cannot be put beside another vector, and no other shape, generation or lifetime can be given to it. `words`
has a tag of its own because it outlives embedders: another one is to make its vector of these words and no others.
"""

from __future__ import annotations

import hmac
from typing import Final

import numpy as np
import orjson

from proxy.errors import CacheFailure, Unreadable
from proxy.fingerprint import framed
from proxy.types import Digest, Scope
from proxy.vectors.base import Point

TAG_BYTES: Final = 16

NO_VECTOR: Final = np.empty(0, np.float32)
"""Of a point whose words are yet to be embedded."""


class PointSeal:
    """Seals points and opens them.

    secret: the installation's; the key is derived from it for this purpose only.
    identity: of the embedder and its index.
    """

    def __init__(self, secret: bytes, identity: str) -> None:
        self._identity = identity.encode()
        self.rekey(secret)

    def rekey(self, secret: bytes) -> None:
        """From now on tags are made and checked with this one."""
        self._key = hmac.digest(secret, b"askonce point tag v1", "sha256")

    def words(self, point: Point) -> bytes:
        """All but its name and vector. Raises CacheFailure for text that is not Unicode (a lone surrogate)."""
        members = (
            point.shape.hex(),
            point.scope.hex(),
            point.model,
            point.words,
            point.tags,
            point.generation,
            point.kept_until,
        )
        try:
            content = orjson.dumps(members)
        except orjson.JSONEncodeError as failure:
            raise CacheFailure("a question's words cannot be written as JSON", code="words") from failure
        return self._words_tag(point.name, content) + content

    def vector(self, name: Digest, words: bytes, vector: bytes) -> bytes:
        """The tag of a vector beside those sealed words."""
        return self._tag(b"vector", self._identity, name, words, vector)

    def opened(self, name: Digest, words: bytes, vector: bytes, seal: bytes) -> Point:
        """What was stored, its own `vector` left out. Raises Unreadable, `tag`, where words and vector are not those
        that were sealed for this name together."""
        if not hmac.compare_digest(self.vector(name, words, vector), seal):
            raise Unreadable("a question's words or vector are not those that were sealed", code="tag")
        return _point(name, words[TAG_BYTES:])

    def opened_words(self, name: Digest, words: bytes) -> Point:
        """The same of words alone."""
        content = words[TAG_BYTES:]
        if not hmac.compare_digest(self._words_tag(name, content), words[:TAG_BYTES]):
            raise Unreadable("a question's words are not those that were sealed", code="tag")
        return _point(name, content)

    def _words_tag(self, name: Digest, content: bytes) -> bytes:
        return self._tag(b"words", name, content)

    def _tag(self, *parts: bytes) -> bytes:
        return hmac.digest(self._key, framed(parts), "sha256")[:TAG_BYTES]


def _point(name: Digest, content: bytes) -> Point:
    # Ours: the tag was right. Of a later version of this file at worst, which has a key of its own.
    shape, scope, model, words, tags, generation, kept_until = orjson.loads(content)
    return Point(
        name,
        Digest(bytes.fromhex(shape)),
        Scope(bytes.fromhex(scope)),
        model,
        words,
        NO_VECTOR,
        tuple(tags),
        generation,
        kept_until,
    )
