"""An entry as bytes, for stores outside this process: versioned, tagged, compressed.

    offset  size  field
    0       2     magic, b"AO"
    2       2     format version, big-endian as all numbers
    4       4     bytes of header, unpacked
    8       4     bytes of body, unpacked
    12      16    tag: HMAC-SHA-256 (RFC 2104), truncated to half, over name + bytes 0..11 + what follows the tag
    28      ...   header and body, packed together (zstd with the dictionary of `dictionary.py`)

The header is a JSON object: all of the entry but its name, body and renderings.

A note (`base.ExactStore.note`) is framed without packing it, under another key and another magic, so that neither ever
passes for the other:

    0       2     magic, b"AN"
    2       2     format version
    4       16    tag: over the key's length and text + bytes 0..3 + the value
    20      ...   the value

Whoever can write to the store holds no key, so they can neither put words in a model's mouth, nor move an answer to
another question's name, nor bring back a purged one: generation and times are under the tag. Nothing behind the tag is
looked at before the tag is right. An older note of the same key they can bring back: a note is of use only where that
does no harm.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
from typing import Any, Final

import orjson
import zstandard

from proxy.errors import CacheFailure, Unreadable
from proxy.stores.base import NOTE_BYTES
from proxy.stores.dictionary import DICTIONARY
from proxy.types import Digest, Entry, Form, Usage

NOTE_VERSION: Final = 1
"""Belongs to the layout of a note."""

VERSION: Final = 2
"""Belongs to the layout and to the dictionary: change it with either."""

_MAGIC: Final = b"AO"
_FIELDS: Final = struct.Struct(">2sHII")
_NOTE_MAGIC: Final = b"AN"
_NOTE_FIELDS: Final = struct.Struct(">2sH")
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = _FIELDS.size + _TAG_BYTES
_MAX_HEADER: Final = 64 * 1024
"""Bytes. Far over any header; what claims more is not unpacked."""


class FrameCodec:
    """Entry to frame and back; safe to use from several threads.

    secret: the installation's; the key is derived from it for this purpose only.
    level: zstd's, 1 to 22; 3 is a good first value.
    max_body: bytes a body may have, unpacked; a larger one is refused by stores and unreadable when met.
    """

    def __init__(self, secret: bytes, level: int, max_body: int) -> None:
        self.max_body = max_body
        self._zstd = _Zstd(level)
        self.rekey(secret)

    def rekey(self, secret: bytes) -> None:
        """From now on tags are made and checked with this one."""
        key = hmac.digest(secret, b"askonce entry tag v1", "sha256").ljust(64, b"\0")
        # RFC 2104 section 4: both pads taken in beforehand. 6.6 us for a tag over 1 kB where `hmac.digest` needs 11.
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
        self._note_key = hmac.digest(secret, b"askonce note tag v1", "sha256")

    def encode(self, entry: Entry) -> bytes:
        """The frame. Raises CacheFailure for text that is not Unicode (a lone surrogate), which JSON cannot hold."""
        header = _header(entry)
        fields = _FIELDS.pack(_MAGIC, VERSION, len(header), len(entry.body))
        packed = self._zstd.pack.compress(header + entry.body)
        return fields + self._tag(entry.name, fields, packed) + packed

    def decode(self, name: Digest, frame: bytes) -> Entry:
        """The entry that was stored under this name. Raises Unreadable: `version`, `tag` or `torn`."""
        if len(frame) < _HEAD_BYTES:
            raise Unreadable("a frame ends within its head", code="torn")
        magic, version, header_bytes, body_bytes = _FIELDS.unpack_from(frame)
        if magic != _MAGIC:
            raise Unreadable("not a frame", code="torn")
        if version != VERSION:
            raise Unreadable(f"a frame of version {version}, this is {VERSION}", code="version")
        packed = frame[_HEAD_BYTES:]
        tag = self._tag(name, frame[: _FIELDS.size], packed)
        if not hmac.compare_digest(tag, frame[_FIELDS.size : _HEAD_BYTES]):
            raise Unreadable("a frame is cut, or its tag is not of this name and secret", code="tag")
        try:
            whole = self._unpack(packed, header_bytes, body_bytes)
            return _entry(name, orjson.loads(whole[:header_bytes]), whole[header_bytes:])
        except (KeyError, TypeError, ValueError, zstandard.ZstdError) as failure:
            raise Unreadable("a frame's tag is right and its content is not", code="torn") from failure

    def seal(self, key: str, value: bytes) -> bytes:
        """A note as it is stored. Raises CacheFailure for one over `base.NOTE_BYTES`."""
        if len(value) > NOTE_BYTES:
            raise CacheFailure(f"a note of {len(value)} bytes is over the limit of {NOTE_BYTES}", code="too_large")
        fields = _NOTE_FIELDS.pack(_NOTE_MAGIC, NOTE_VERSION)
        return fields + self._note_tag(key, fields, value) + value

    def unseal(self, key: str, sealed: bytes) -> bytes:
        """The value that was sealed under this key. Raises Unreadable: `version`, `tag` or `torn`."""
        head = _NOTE_FIELDS.size + _TAG_BYTES
        if not head <= len(sealed) <= head + NOTE_BYTES or not sealed.startswith(_NOTE_MAGIC):
            raise Unreadable("not a note", code="torn")
        fields, tag, value = sealed[: _NOTE_FIELDS.size], sealed[_NOTE_FIELDS.size : head], sealed[head:]
        _, version = _NOTE_FIELDS.unpack(fields)
        if version != NOTE_VERSION:
            raise Unreadable(f"a note of version {version}, this is {NOTE_VERSION}", code="version")
        if not hmac.compare_digest(tag, self._note_tag(key, fields, value)):
            raise Unreadable("a note is cut, or its tag is not of this key and secret", code="tag")
        return value

    def _note_tag(self, key: str, fields: bytes, value: bytes) -> bytes:
        name = key.encode()
        told = len(name).to_bytes(8, "big") + name + fields + value
        return hmac.digest(self._note_key, told, "sha256")[:_TAG_BYTES]

    def _tag(self, name: Digest, fields: bytes, rest: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(name + fields)
        inner.update(rest)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_TAG_BYTES]

    def _unpack(self, packed: bytes, header_bytes: int, body_bytes: int) -> bytes:
        size = header_bytes + body_bytes
        # zstandard allocates what the zstd frame itself declares, whatever `max_output_size` says: compare first.
        if header_bytes > _MAX_HEADER or body_bytes > self.max_body or zstandard.frame_content_size(packed) != size:
            raise ValueError("over the limit, or not what the head says")
        return self._zstd.unpack.decompress(packed, max_output_size=size, allow_extra_data=False)


class _Zstd(threading.local):
    """zstd's contexts are not thread-safe. One for each thread: making one for each call costs as much again as
    unpacking 1 kB with it (9 us for 5 us), and 1.5 times as much packing it."""

    def __init__(self, level: int) -> None:
        self.pack = zstandard.ZstdCompressor(level=level, dict_data=_DICTIONARY, write_dict_id=False)
        self.unpack = zstandard.ZstdDecompressor(dict_data=_DICTIONARY)


_DICTIONARY: Final = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _header(entry: Entry) -> bytes:
    usage = entry.usage
    members = {
        "endpoint": entry.endpoint,
        "model": entry.model,
        "form": entry.form,
        "finished_at": entry.finished_at,
        "fresh_s": entry.fresh_s,
        "kept_s": entry.kept_s,
        "generation": entry.generation,
        "id_prefix": entry.id_prefix,
        "echoes": entry.echoes,
        "usage": (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
        "lacks_usage": entry.lacks_usage,
        "cost_usd": entry.cost_usd,
        "upstream": entry.upstream,
        "upstream_request_id": entry.upstream_request_id,
        "upstream_s": entry.upstream_s,
        "tags": entry.tags,
    }
    if entry.warm_usd != entry.cost_usd:
        members["warm_usd"] = entry.warm_usd
    try:
        return orjson.dumps(members)
    except orjson.JSONEncodeError as failure:
        raise CacheFailure("an entry's header cannot be written as JSON") from failure


def _entry(name: Digest, members: dict[str, Any], body: bytes) -> Entry:
    return Entry(
        name=name,
        endpoint=members["endpoint"],
        model=members["model"],
        form=_FORMS[members["form"]],
        body=body,
        # JSON has no infinity: orjson writes null, which float() refuses here.
        finished_at=float(members["finished_at"]),
        fresh_s=float(members["fresh_s"]),
        kept_s=float(members["kept_s"]),
        generation=members["generation"],
        id_prefix=members["id_prefix"],
        echoes=tuple(members["echoes"]),
        usage=Usage(*members["usage"]),
        lacks_usage=members["lacks_usage"],
        cost_usd=members["cost_usd"],
        warm_usd=members.get("warm_usd", members["cost_usd"]),
        upstream=members["upstream"],
        upstream_request_id=members["upstream_request_id"],
        upstream_s=members["upstream_s"],
        tags=tuple(members["tags"]),
    )


_FORMS: Final = {form.value: form for form in Form}
