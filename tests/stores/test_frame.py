"""Frames: whole and authentic, or unreadable."""

from __future__ import annotations

import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CacheFailure, Unreadable
from proxy.stores.base import NOTE_BYTES
from proxy.stores.dictionary import DICTIONARY
from proxy.stores.frame import NOTE_VERSION, VERSION, FrameCodec, _header
from proxy.types import Form, Usage
from tests.stores import SECRET, codec, entry, full_entry, name_of

HEAD = struct.Struct(">2sHII")


def test_an_entry_comes_back_as_it_was():
    for stored in (entry(), full_entry()):
        assert codec().decode(stored.name, codec().encode(stored)) == stored


def test_no_member_is_forgotten():
    stored = full_entry(generation=3)
    for each in fields(stored):
        if each.name not in ("name", "renderings"):
            assert getattr(stored, each.name) != each.default, f"{each.name}: give it a value in full_entry"
    assert codec().decode(stored.name, codec().encode(stored)) == stored


@given(
    body=st.binary(max_size=5000),
    model=st.text(max_size=20),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    form=st.sampled_from(Form),
    cost=st.none() | st.floats(0, 100),
    usage=st.builds(Usage, *[st.integers(0, 10**9)] * 3),
    generation=st.integers(0, 10**9),
)
def test_any_entry_comes_back_as_it_was(body, model, tags, form, cost, usage, generation):
    stored = entry(body=body, model=model, tags=tags, form=form, cost_usd=cost, usage=usage, generation=generation)
    assert codec().decode(stored.name, codec().encode(stored)) == stored


def test_renderings_are_not_stored():
    stored = entry()
    stored.renderings.keep("plain", (b"x" * 10_000,))
    frame = codec().encode(stored)
    assert len(frame) < 1000
    assert not codec().decode(stored.name, frame).renderings


@pytest.mark.parametrize("stored", [entry(), full_entry()], ids=["small", "large"])
def test_no_byte_can_be_changed(stored):
    frame = codec().encode(stored)
    for place in range(len(frame)):
        for change in (0x01, 0xFF):
            forged = bytearray(frame)
            forged[place] ^= change
            with pytest.raises(Unreadable) as raised:
                codec().decode(stored.name, bytes(forged))
            assert raised.value.reason in ("version", "tag", "torn")


def test_a_frame_cut_anywhere_is_not_read():
    frame = codec().encode(full_entry())
    for length in range(len(frame)):
        with pytest.raises(Unreadable) as raised:
            codec().decode(name_of(0), frame[:length])
        assert raised.value.reason == ("torn" if length < 28 else "tag")


def test_a_frame_with_something_after_it_is_not_read():
    with pytest.raises(Unreadable) as raised:
        codec().decode(name_of(0), codec().encode(entry()) + b"x")
    assert raised.value.reason == "tag"


def test_a_frame_moved_to_another_name_does_not_verify():
    with pytest.raises(Unreadable) as raised:
        codec().decode(name_of(1), codec().encode(entry(0)))
    assert raised.value.reason == "tag"


def test_a_frame_of_another_secret_does_not_verify():
    other = FrameCodec(b"another secret", level=3, max_body=1 << 20)
    with pytest.raises(Unreadable) as raised:
        other.decode(name_of(0), codec().encode(entry()))
    assert raised.value.reason == "tag"


def test_a_frame_of_another_version_says_so():
    frame = bytearray(codec().encode(entry()))
    frame[3] = VERSION + 1
    with pytest.raises(Unreadable) as raised:
        codec().decode(name_of(0), bytes(frame))
    assert raised.value.reason == "version"


WORDS = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def pack(content: bytes) -> bytes:
    """As the codec packs."""
    return zstandard.ZstdCompressor(dict_data=WORDS, write_dict_id=False).compress(content)


def authentic(header_bytes: int, body_bytes: int, packed: bytes) -> bytes:
    """A frame whose tag is right, whatever is in it."""
    head = HEAD.pack(b"AO", VERSION, header_bytes, body_bytes)
    return head + codec()._tag(name_of(0), head, packed) + packed


def test_the_line_between_header_and_body_cannot_be_moved():
    frame = codec().encode(entry())
    magic, version, header_bytes, body_bytes = HEAD.unpack_from(frame)
    moved = HEAD.pack(magic, version, header_bytes - 1, body_bytes + 1) + frame[HEAD.size :]
    with pytest.raises(Unreadable) as raised:
        codec().decode(name_of(0), moved)
    assert raised.value.reason == "tag"


def test_a_bomb_is_not_even_unpacked():
    bomb = authentic(100, 100, pack(bytes(1 << 28)))
    tracemalloc.start()
    with pytest.raises(Unreadable):
        codec().decode(name_of(0), bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


HEADER: dict[str, object] = orjson.loads(_header(entry()))


def with_header(header: object, body: bytes = b"x") -> bytes:
    """A frame with this header, authentic."""
    text = header if isinstance(header, bytes) else orjson.dumps(header)
    return authentic(len(text), len(body), pack(text + body))


@pytest.mark.parametrize(
    "frame",
    [
        authentic(10, 10, pack(bytes(1 << 24))),
        authentic(10, 1 << 30, pack(bytes(10))),
        authentic(1 << 20, 10, pack(bytes((1 << 20) + 10))),
        authentic(5, 5, pack(bytes(10)) + b"more"),
        authentic(5, 5, pack(bytes(10))[:-1]),
        authentic(5, 5, b"not zstd at all"),
        with_header(HEADER | {"form": "novel"}),
        with_header(HEADER | {"finished_at": None}),
        with_header(HEADER | {"usage": [1, 2, 3, 4]}),
        with_header({}),
        with_header([]),
        with_header(b"{"),
    ],
    ids=[
        "bomb", "body over the limit", "header over the limit", "more after it", "cut", "not zstd", "form", "no time",
        "usage", "members missing", "not an object", "not JSON",
    ],
)  # fmt: skip
def test_what_is_wrong_behind_a_right_tag_is_torn(frame):
    with pytest.raises(Unreadable) as raised:
        codec().decode(name_of(0), frame)
    assert raised.value.reason == "torn"


def test_a_body_is_packed_and_what_all_have_in_common_takes_hardly_any_room():
    words = b"the same words again and again " * 1000
    assert len(codec().encode(entry(body=words))) < len(words) / 10
    assert len(codec().encode(entry())) < 100 < len(_header(entry()))


def test_text_that_is_not_unicode_is_refused_and_not_repeated():
    with pytest.raises(CacheFailure) as raised:
        codec().encode(entry(model="\ud800secret words"))
    assert "secret" not in raised.value.message


def test_one_codec_serves_many_threads():
    shared = FrameCodec(SECRET, level=3, max_body=1 << 20)

    def there_and_back(number):
        stored = entry(number, body=f"body of {number} ".encode() * 500)
        return shared.decode(stored.name, shared.encode(stored)) == stored

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(400)))


# -- notes -----------------------------------------------------------------------------------------------------------


def reason_of(key: str, sealed: bytes, secret: bytes = SECRET) -> str:
    with pytest.raises(Unreadable) as raised:
        FrameCodec(secret, level=3, max_body=1).unseal(key, sealed)
    return raised.value.reason


@given(key=st.text(), value=st.binary(max_size=200))
def test_a_note_comes_back(key, value):
    assert codec().unseal(key, codec().seal(key, value)) == value


def test_a_note_holds_for_its_key_and_secret_only():
    sealed = codec().seal("epoch:a", b"value")
    assert reason_of("epoch:b", sealed) == "tag"
    assert reason_of("epoch:a", sealed, b"another secret") == "tag"
    rekeyed = codec()
    rekeyed.rekey(b"another secret")
    assert rekeyed.seal("epoch:a", b"value") != sealed


def test_the_line_between_a_notes_key_and_its_value_cannot_be_moved():
    for key, value, moved_key, moved in (("ab", b"c", "a", b"bc"), ("aAN\0\1", b"c", "a", b"AN\0\1c")):
        sealed = codec().seal(key, value)
        assert reason_of(moved_key, sealed[:20] + moved) == "tag"


def test_a_notes_form_is_pinned():
    """If this fails, notes of an older version are not read any more: change NOTE_VERSION if that is meant."""
    assert codec().seal("key", b"value").hex() == "414e000185d42189a5942c401e7746de8ceee21276616c7565"


@pytest.mark.parametrize("at", range(4 + 16 + 5))
def test_no_byte_of_a_note_can_be_changed(at):
    sealed = bytearray(codec().seal("key", b"value"))
    sealed[at] ^= 1
    assert reason_of("key", bytes(sealed)) in ("torn", "version", "tag")


@pytest.mark.parametrize("length", [0, 1, 19, 20, 24])
def test_a_note_that_is_cut_is_none(length):
    assert reason_of("key", codec().seal("key", b"value")[:length]) in ("torn", "tag")


def test_a_note_of_another_version_is_none():
    sealed = bytearray(codec().seal("key", b"value"))
    sealed[3] = NOTE_VERSION + 1
    assert reason_of("key", bytes(sealed)) == "version"


def test_an_entry_and_a_note_never_pass_for_each_other():
    name = name_of(0)
    frame = codec().encode(entry())
    assert reason_of(name.decode("latin-1"), frame) == "torn"
    with pytest.raises(Unreadable):
        codec().decode(name, codec().seal(name.decode("latin-1"), frame[20:]))


def test_a_note_over_the_limit_is_neither_written_nor_read():
    with pytest.raises(CacheFailure) as raised:
        codec().seal("key", bytes(NOTE_BYTES + 1))
    assert raised.value.reason == "too_large"
    assert codec().unseal("key", codec().seal("key", bytes(NOTE_BYTES))) == bytes(NOTE_BYTES)
    assert reason_of("key", codec().seal("key", b"") + bytes(NOTE_BYTES + 1)) == "torn"
