"""Members put into a body: what they are to a parser, and that all else is the caller's own text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.upstream.amend import with_member, with_members

# Names that look like structure, and few enough that what is put in is often there already.
NAMES = st.text(st.sampled_from('ab":\\ {}[,\u2028é'), max_size=2)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["}", "{", "},", '"}'])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
WRITTEN = st.builds(
    lambda value, indent, ascii_only, around: (
        around + json.dumps(value, indent=indent, ensure_ascii=ascii_only) + around
    ),
    OBJECTS,
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["", " ", "\r\n\t "]),
)


@given(WRITTEN, OBJECTS)
def test_a_parser_reads_the_old_members_and_the_new_ones(text, members):
    amended = with_members(text.encode(), members)
    assert json.loads(amended) == json.loads(text) | members
    assert list(json.loads(amended)) == list(json.loads(text) | members)


@given(WRITTEN, OBJECTS)
def test_no_name_is_there_twice(text, members):
    pairs = json.loads(with_members(text.encode(), members), object_pairs_hook=list)
    assert len(pairs) == len(dict(pairs))


@given(WRITTEN, VALUES)
def test_a_new_member_moves_no_byte_of_the_others(text, value):
    amended = with_member(text.encode(), "new", value)
    head, brace, tail = text.encode().rpartition(b"}")
    assert amended.startswith(head)
    assert amended.endswith(brace + tail)


@pytest.mark.parametrize(
    ("body", "amended"),
    [
        (b"{}", b'{"salt":"s"}'),
        (b"{ }", b'{ "salt":"s"}'),
        (b' {"a":1}\n', b' {"a":1,"salt":"s"}\n'),
        (b'{"a":1.0e2 , "b" : "\\u0061" }', b'{"a":1.0e2 , "b" : "\\u0061" ,"salt":"s"}'),
        (b'{"a":"}"}', b'{"a":"}","salt":"s"}'),
        (b'{"salt":null}', b'{"salt":"s"}'),
        (b'{"a" : 1.0e2, "salt" : {"b":[2]}, "c":"\\u0061"}', b'{"a":1.0e2,"salt":"s","c":"\\u0061"}'),
        (b'{"s\\u0061lt":1,"a":12345678901234567890}', b'{"salt":"s","a":12345678901234567890}'),
    ],
)
def test_numbers_and_escapes_of_other_members_stay_as_written(body, amended):
    assert with_member(body, "salt", "s") == amended


def test_several_members_are_put_in_at_once():
    assert with_members(b'{"model":"a","n":1}', {"model": "b", "salt": "s"}) == b'{"model":"b","n":1,"salt":"s"}'


def test_nothing_to_put_in_leaves_any_body_alone():
    assert with_members(b"not json", {}) == b"not json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1}}', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b"[1]", "not_an_object"),
        (b'"{}"', "not_an_object"),
        # json.loads of the standard library would read these.
        ('{"a":1}'.encode("utf-16"), "invalid_json"),
        ('{"a":1}'.encode("utf-8-sig"), "invalid_json"),
        (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", "json_too_deep"),
        # Which of the two would the upstream have taken?
        (b'{"salt":1,"salt":2}', "duplicate_member"),
        (b'{"salt":1,"a":{"b":1,"b":2}}', "duplicate_member"),
    ],
)
def test_a_body_that_cannot_be_amended_for_sure_is_refused(body, code):
    with pytest.raises(errors.BadRequest) as caught:
        with_member(body, "salt", "s")
    assert caught.value.reason == code


def test_what_is_there_twice_is_no_matter_where_nothing_is_replaced():
    assert with_member(b'{"a":1,"a":2}', "salt", "s") == b'{"a":1,"a":2,"salt":"s"}'


@pytest.mark.parametrize("name", ["new", "deep"])
def test_deep_nesting_is_the_servers_to_refuse(name):
    nested = "[" * 200 + "]" * 200
    amended = with_member(f'{{"deep":{nested},"other":{nested}}}'.encode(), name, 1)
    assert json.loads(amended)[name] == 1
    assert json.loads(amended)["other"] == json.loads(nested)
