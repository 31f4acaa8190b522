"""What two parsers could read differently is refused, exactly."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors, strict_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
NAMES = st.text(st.sampled_from('ab":\\ {[\u2028é'), max_size=3)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=20)


def reason(raw: bytes, **limits: int) -> str:
    with pytest.raises(errors.BadRequest) as caught:
        strict_json.loads(raw, **limits)
    return caught.value.reason


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_clean_is_read_as_any_parser_reads_it(value, indent, ascii_only):
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert strict_json.loads(raw) == value == strict_json.loads(orjson.dumps(value))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a" : 1 , "a" : 2}',
        b'{"x":[{"y":{"a":1,"b":2,"a":3}}]}',
        b'{":":1,":":2}',
        b'{"a\\\\":1,"a\\\\":2}',
        b'{"":0,"":0}',
        # Hidden below a member that is itself replaced.
        b'{"a":{"b":1,"b":2},"a":{}}',
        # Colons in strings must not make up for the member that is lost.
        b'{"a":"x:","a":":y","b":"::"}',
        '{"\u00e9":1,"\\u00e9":2}'.encode(),
    ],
)
def test_a_duplicate_member_is_refused_however_it_is_spelled(raw):
    assert reason(raw) == "duplicate_member"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"a","b":"a"}',
        b'[{"a":1},{"a":2}]',
        b'{"a":{"a":{"a":1}}}',
        b'{"a:":1,"a":":"}',
        '{"\u00e9":1,"e\u0301":2}'.encode(),  # equal only after Unicode normalising: two members
        b' {"a" : "\\"a\\":1, \\"a\\":2" } ',
    ],
)
def test_what_only_looks_like_a_duplicate_is_accepted(raw):
    assert strict_json.loads(raw) == orjson.loads(raw)


def test_a_duplicate_is_named_shortly():
    with pytest.raises(errors.BadRequest, match="'model' is there twice") as caught:
        strict_json.loads(b'{"model":"gpt","model":"secret words"}')
    assert "secret" not in caught.value.message
    with pytest.raises(errors.BadRequest) as caught:
        strict_json.loads(b'{"%(n)s":1,"%(n)s":1}' % {b"n": b"n" * 500})
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b" [ ", b" ] ")])
def test_depth_is_counted_exactly(opening, closing):
    levels = opening.count(b"[") + opening.count(b"{")

    def nested(depth: int) -> bytes:
        return opening * (depth // levels) + b'"[[[{{{"' + closing * (depth // levels)

    assert strict_json.loads(nested(64)) is not None
    assert reason(nested(64 + levels)) == "json_too_deep"
    assert reason(nested(8 + levels), max_depth=8) == "json_too_deep"


def test_many_brackets_side_by_side_are_not_deep():
    raw = b"[" + b",".join([b"[[]]"] * 1000) + b"]"
    assert len(strict_json.loads(raw)) == 1000
    assert strict_json.loads(b'"' + b"[" * 1000 + b'"') == "[" * 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 1_000 + b"]" * 1_000,
        b"[" * 65 + b"]" * 65,
        # Deeper than the standard library recurses, below a member that is replaced.
        b'{"a":' + b"[" * 1_000 + b"]" * 1_000 + b',"a":1}',
    ],
)
def test_deep_nesting_is_refused_without_recursing(raw):
    assert reason(raw) == "json_too_deep"


@pytest.mark.parametrize(
    "number",
    [
        b"18446744073709551616",
        b"-9223372036854775809",
        b"-18446744073709551616",
        b"99999999999999999999",
        b"1" * 5_000,
        b"1e400",
        b"-1e999",
    ],
)
@pytest.mark.parametrize("around", [b"%s", b'{"seed":%s}', b'[1, "2", [%s ]]'])
def test_numbers_that_a_parser_would_change_are_refused(number, around):
    assert reason(around % number) == "number_out_of_range"


@pytest.mark.parametrize(
    "number",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b"0.12345678901234567890123456789",
        b"12345678901234567890.5",
        b"18446744073709551616.0",
        b"1e0000000000000000000000001",
        b"1e-00000000000000000000001",
        b"-0",
        b"5e-324",
    ],
)
def test_numbers_within_range_pass(number):
    assert strict_json.loads(b"[ %s]" % number) == [json.loads(number)]


def test_digits_in_a_string_are_no_number():
    assert strict_json.loads(b'{ "id": "123456789012345678901234567890"}')["id"][-1] == "0"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[NaN]", b"\xef\xbb\xbf{}", b'"\\ud800"', b'"\xff"', b"{'a':1}", b"[1,]", b"<html>", b"[01]"]
)
def test_what_is_not_json_is_refused_without_repeating_it(raw):
    assert reason(raw) == "invalid_json"
    with pytest.raises(errors.BadRequest) as caught:
        strict_json.loads(b'{"words": private words}')
    assert "private" not in caught.value.message


@pytest.mark.parametrize("raw", [b"[]", b'"a"', b"1", b"null"])
def test_a_body_must_be_an_object(raw):
    with pytest.raises(errors.BadRequest) as caught:
        strict_json.object_of(raw)
    assert caught.value.reason == "not_an_object"


@given(st.dictionaries(NAMES, VALUES), st.sampled_from([None, 2]))
def test_member_texts_are_the_members(members, indent):
    texts = strict_json.member_texts(json.dumps(members, indent=indent).encode())
    assert {name: orjson.loads(text) for name, text in texts.items()} == members


def test_member_texts_are_cut_as_they_were_written():
    raw = b' { "a" : 1.50e-07 ,"b":{"x": "\\u0041"} , "c\\n":[1, 2 ]}\n'
    assert strict_json.member_texts(raw) == {"a": b"1.50e-07", "b": b'{"x": "\\u0041"}', "c\n": b"[1, 2 ]"}
    assert strict_json.member_texts(b"{}") == {}
