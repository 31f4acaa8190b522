"""Prompts, in the order in which prefix caches see them."""

from __future__ import annotations

import pytest

from proxy.prefixes.prompt import parts, stream

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def roles(body):
    return [(part.place, part.role) for part in parts(body)]


def test_tools_and_schemas_come_before_everything_that_is_said():
    body = {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n"}},
        "tools": [TOOL, TOOL],
    }
    assert roles(body) == [
        ("tools[0]", "tools"),
        ("tools[1]", "tools"),
        ("response_format", "schema"),
        ("messages[0]", "system"),
        ("messages[1]", "user"),
    ]
    assert parts(body)[0].name == "look_up"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"instructions": "i", "input": "q", "text": {"format": {"type": "json_schema", "name": "n"}}},
            [("text.format", "schema"), ("instructions", "system"), ("input", "user")],
        ),
        (
            {"input": [{"role": "developer", "content": "d"}, {"type": "function_call_output", "output": "o"}]},
            [("input[0]", "developer"), ("input[1]", "function_call_output")],
        ),
        (
            {"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "u"}]},
            [("system", "system"), ("messages[0]", "user")],
        ),
        ({"prompt": "p"}, [("prompt", "user")]),
        ({"prompt": ["p", "q"]}, [("prompt[0]", "user"), ("prompt[1]", "user")]),
        ({"prompt": [1, 2, 3]}, [("prompt", "user")]),
        ({"prompt": [[1, 2], [3]]}, [("prompt[0]", "user"), ("prompt[1]", "user")]),
        ({"functions": [{"name": "f"}], "messages": []}, [("functions[0]", "tools")]),
        ({"response_format": {"type": "json_object"}, "messages": "not a list", "tools": 7}, [("messages", "user")]),
        ({}, []),
    ],
)
def test_each_dialect_is_read(body, expected):
    assert roles(body) == expected


def test_contents_are_joined_and_pictures_stand_for_themselves_in_few_bytes():
    def content(data):
        picture = {"type": "image_url", "image_url": {"url": data}}
        return parts({"messages": [{"role": "user", "content": [{"type": "text", "text": "see "}, picture]}]})[0].text

    one, other = content("data:" + "x" * 100_000), content("data:" + "y" * 100_000)
    assert one.startswith("see [image_url ")
    assert len(one) < 60
    assert one != other


def test_calls_of_tools_are_part_of_a_message():
    calls = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    (part,) = parts({"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]})
    assert '"arguments"' in part.text


@pytest.mark.parametrize("odd", [None, 7, True, ["a", None, 3], {"a": 1}])
def test_odd_members_do_not_stop_the_reader(odd):
    body = {"messages": [odd, {"role": "user", "content": odd}], "tools": [odd], "system": odd, "text": odd}
    assert stream(parts(body))


def test_only_what_the_operator_wrote_is_by_the_operator():
    told = {"system": True, "developer": True, "user": False, "assistant": False, "tool": False}
    body = {"messages": [{"role": role, "content": "x"} for role in told]}
    assert {part.role: part.by_operator for part in parts(body)} == told


def test_the_stream_tells_roles_apart_and_takes_half_a_surrogate_pair():
    one = stream(parts({"messages": [{"role": "user", "content": "x\ud800"}]}))
    other = stream(parts({"messages": [{"role": "assistant", "content": "x\ud800"}]}))
    assert one != other
    assert one.endswith(b"x?")
