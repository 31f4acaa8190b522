"""What two prompts share decides which digests they share, and no body makes it raise."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.types import Call
from proxy.upstream import prefix
from proxy.upstream.prefix import Prefix
from tests.upstream.balancing.asking import SYSTEM, asked, call, chat, said

TOOLS = [{"type": "function", "function": {"name": f"tool_{number}", "parameters": {}}} for number in range(3)]
PATHS = ["/chat/completions", "/completions", "/responses", "/messages", "/openai/deployments/d/chat/completions?v=1"]


def found(one: Call, prefix_bytes: int = 4096, *, by_scope: bool = False) -> Prefix:
    read = prefix.read(one, prefix_bytes=prefix_bytes, by_scope=by_scope)
    assert read is not None
    return read


def home(one: Call, prefix_bytes: int = 4096, *, by_scope: bool = False) -> bytes:
    return found(one, prefix_bytes, by_scope=by_scope).home


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.text(max_size=20) | st.none()}
    ),
    min_size=1,
    max_size=5,
)


# -- homes -----------------------------------------------------------------------------------------------------------


@given(MESSAGES, MESSAGES)
def test_every_turn_of_a_conversation_has_one_home(opening, later):
    conversation = [*opening, asked("first"), *later]
    first = next(at for at, message in enumerate(conversation, 1) if message["role"] == "user")
    turns = [home(chat(*conversation[:end])) for end in range(first, len(conversation) + 1)]
    assert len(set(turns)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat(asked("a")), chat(asked("b"))),
        (chat(SYSTEM, asked("a")), chat(asked("a"))),
        (chat(asked("a"), model="m"), chat(asked("a"), model="n")),
        (chat(asked("a"), tools=TOOLS), chat(asked("a"))),
        (chat(asked("a"), tools=TOOLS), chat(asked("a"), tools=TOOLS[::-1])),
        (chat(asked("a"), functions=TOOLS), chat(asked("a"), tools=TOOLS)),
        (chat(asked("a"), functions=TOOLS), chat(asked("a"))),
        (chat(asked("a"), documents=[{"text": "d"}]), chat(asked("a"))),
        (chat(asked("a"), response_format={"type": "json_object"}), chat(asked("a"))),
        (chat(asked("a"), cache_salt="one"), chat(asked("a"), cache_salt="two")),
        (call({"prompt": "a"}, "/completions"), call({"prompt": "b"}, "/completions")),
        (call({"prompt": [1, 2]}, "/completions"), call({"prompt": [1, 3]}, "/completions")),
        (call({"instructions": "i", "input": "a"}, "/responses"), call({"input": "a"}, "/responses")),
        (call({"text": {"format": {}}, "input": "a"}, "/responses"), call({"input": "a"}, "/responses")),
        (call({"tools": TOOLS, "input": "a"}, "/responses"), call({"input": "a"}, "/responses")),
        (call({"input": "a"}, "/responses"), call({"input": "b"}, "/responses")),
        (
            call({"system": "s", "messages": [asked("a")]}, "/messages"),
            call({"system": "t", "messages": [asked("a")]}, "/messages"),
        ),
    ],
)
def test_prompts_that_begin_differently_have_different_homes(one, other):
    assert home(one) != home(other)
    assert set(found(one).turns).isdisjoint(found(other).turns)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat(asked("a"), temperature=1, stream=True, user="u"), chat(asked("a"))),
        (chat(asked("a"), tools=None), chat(asked("a"))),
        (call({"input": "a"}, "/responses"), call({"input": [asked("a")]}, "/responses")),
        (call({"input": "a"}, "/responses"), call({"input": "a"}, "/openai/v1/responses?api-version=1")),
        # The mark of a hosted cache moves on with every turn.
        (chat({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}),
         chat({"role": "user", "content": [{"type": "text", "text": "a"}]})),
        (chat(asked("a") | {"prompt_cache_breakpoint": True}), chat(asked("a"))),
        (chat(asked("a"), tools=[TOOLS[0] | {"cache_control": {}}]), chat(asked("a"), tools=[TOOLS[0]])),
    ],
)  # fmt: skip
def test_what_does_not_change_the_prompt_changes_no_digest(one, other):
    assert found(one) == found(other)


def test_a_mark_is_found_as_deep_as_callers_put_it():
    def turn(**mark: object) -> Call:
        result = {"type": "tool_result", "content": [{"type": "text", "text": "a"} | mark]}
        return call({"messages": [{"role": "user", "content": [result]}]}, "/messages")

    assert found(turn(cache_control={"type": "ephemeral"})) == found(turn())
    assert found(turn(citations={})) != found(turn())


def test_spaces_and_escapes_change_no_digest():
    members = {"model": "m", "messages": [SYSTEM, asked("é\n")]}
    loose = Call("POST", "/chat/completions", (), json.dumps(members, indent=2).encode())
    assert found(loose) == found(call(members))


@given(st.integers(1, 300), st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_what_differs_behind_the_cut_differs_in_turns_only(cut, one, other):
    common = {"role": "system", "content": "x" * cut}
    ours, theirs = (found(chat(common, asked(text)), cut) for text in (one, other))
    assert ours.home == theirs.home
    assert (ours.turns[-1] == theirs.turns[-1]) == (one == other)


def test_what_differs_before_the_cut_makes_another_home():
    one, other = (chat({"role": "system", "content": "x" * 50 + word}, asked("a")) for word in ("b", "c"))
    assert home(one, 200) != home(other, 200)
    assert home(one, 50) == home(other, 50)


def test_long_tools_alone_make_the_home():
    one, other = (chat(asked(text), tools=TOOLS) for text in "ab")
    assert home(one, 100) == home(other, 100)


def test_a_long_plain_prompt_is_cut_too():
    for prompt, more in (("x" * 100, "y"), ([7] * 100, [8]), (["x" * 100], ["y"])):
        one, other = (call({"prompt": each}, "/completions") for each in (prompt, prompt + more))
        assert home(one, 64) == home(other, 64)
        assert home(one) != home(other)


def test_scopes_have_digests_of_their_own_where_they_share_nothing():
    one, other = (chat(asked("a"), scope=scope) for scope in (b"one", b"two"))
    assert found(one) == found(other)
    ours, theirs = (found(each, by_scope=True) for each in (one, other))
    assert ours.home != theirs.home
    assert set(ours.turns).isdisjoint(theirs.turns)


def test_the_model_of_the_path_is_taken_where_the_body_names_none():
    body = orjson.dumps({"messages": [asked("a")]})
    one, other = (Call("POST", "/chat/completions", (), body, model=model) for model in ("m", "n"))
    assert home(one) != home(other)
    assert home(one) == home(chat(asked("a")))


def test_the_parts_of_a_digest_cannot_run_into_each_other():
    one = found(chat(asked("a"), model="m", cache_salt="ns"))
    other = found(chat(asked("a"), model="mn", cache_salt="s"))
    assert one.home != other.home
    assert one.turns != other.turns


# -- turns -----------------------------------------------------------------------------------------------------------


@given(MESSAGES, MESSAGES, MESSAGES)
def test_a_turn_is_the_digest_of_the_request_that_ended_there(opening, earlier, more):
    asking = [*opening, asked("first"), *earlier]
    before, after = found(chat(*asking)), found(chat(*asking, *more))
    assert after.turns[: len(before.turns)] == before.turns
    assert len(after.turns) == len(before.turns) + len(more)


@given(MESSAGES)
def test_there_is_a_turn_for_every_message_from_the_users_first_on(messages):
    behind = [message["role"] == "user" for message in messages]
    first = behind.index(True) if True in behind else len(messages) - 1
    assert len(found(chat(*messages)).turns) == len(messages) - first


@given(MESSAGES)
def test_no_two_turns_are_equal(messages):
    turns = found(chat(*messages)).turns
    assert len(set(turns)) == len(turns)


def test_a_changed_message_changes_every_turn_from_there_on():
    one = found(chat(SYSTEM, asked("a"), said("b"), asked("c"))).turns
    other = found(chat(SYSTEM, asked("a"), said("B"), asked("c"))).turns
    assert [ours == theirs for ours, theirs in zip(one, other, strict=True)] == [True, False, False]


def test_messages_that_join_to_the_same_text_are_not_the_same_turns():
    one, other = (found(chat(*messages)).turns for messages in ([asked("a"), asked("b")], [asked("ab")]))
    assert set(one).isdisjoint(other)


@pytest.mark.parametrize("count", [3, 16, 17, 18, 19, 200])
def test_turns_are_the_same_however_far_back_they_are_made(count):
    messages = [asked(str(number)) for number in range(count)]
    turns, before = found(chat(*messages)).turns, found(chat(*messages[:-2])).turns
    assert len(turns) == min(count, 17)
    assert turns[-3] == before[-1]
    assert turns[0] == found(chat(messages[0])).turns[0]


def test_a_prompt_without_messages_has_no_turns():
    assert found(call({"prompt": "a"}, "/completions")).turns == ()


def test_turns_are_left_out_where_nobody_wants_them():
    read = prefix.read(chat(asked("a")), prefix_bytes=4096, by_scope=False, turns=False)
    assert read == Prefix(home(chat(asked("a"))))


# -- what has no prefix ----------------------------------------------------------------------------------------------


async def _stream():
    yield b"{}"


def no_prefix(one: Call) -> bool:
    read = prefix.read(one, prefix_bytes=4096, by_scope=True)
    assert (prefix.beginning(one, 4096) is None) == (read is None)
    return read is None


@pytest.mark.parametrize(
    "members",
    [
        {},
        [],
        "text",
        {"messages": []},
        {"messages": None},
        {"messages": {"role": "user"}},
        {"messages": "text"},
        {"messages": ["text"]},
        {"messages": [asked("a"), None]},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": 7},
        {"prompt": {"a": 1}},
        {"input": ""},
        {"input": [7]},
        {"system": "s"},
        {"tools": TOOLS},
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_body_without_a_prompt_has_no_prefix(path, members):
    assert no_prefix(call(members, path))


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"[1]", b'"x"', b'{"messages":[{"a":NaN}]}', b"\xff\xfe{}"])
@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_no_json_object_has_no_prefix(path, body):
    assert no_prefix(Call("POST", path, (), body))


def test_a_body_that_streams_has_no_prefix():
    assert no_prefix(Call("POST", "/chat/completions", (), _stream()))


@pytest.mark.parametrize("path", ["/embeddings", "/models", "/moderations", "/chat/completions/id", "/tokenize", ""])
def test_a_path_without_a_prompt_has_no_prefix(path):
    assert no_prefix(call({"messages": [asked("a")], "prompt": "a", "input": "a"}, path))


@pytest.mark.parametrize("levels", [20, *range(248, 258), 1000, 5000])
@pytest.mark.parametrize("where", ["messages", "tools", "prompt"])
def test_nesting_of_any_depth_does_not_raise(levels, where):
    deep = '{"content":' * levels + "[[0]]" + "}" * levels
    members = {"messages": "[{}]", "tools": "[]", "prompt": "[]", where: f"[{deep}]"}
    text = ",".join(f'"{name}":{member}' for name, member in members.items())
    path = "/completions" if where == "prompt" else "/chat/completions"
    one = Call("POST", path, (), f'{{"cache_control":1,{text}}}'.encode())
    # In between it depends on the member: orjson writes 254 levels and reads 1024.
    assert no_prefix(one) in ({False} if levels == 20 else {True} if levels > 254 else {True, False})


@pytest.mark.parametrize("levels", [20, 100, 500])
def test_parts_within_parts_do_not_raise_either(levels):
    deep = '{"role":"user","content":[' * levels + "{}" + "]}" * levels
    one = Call("POST", "/chat/completions", (), f'{{"messages":[{deep}]}}'.encode())
    assert no_prefix(one) == (levels == 500)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["role", "content", "cache_control", "tools", "text"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
MEMBERS = st.dictionaries(
    st.sampled_from(["model", "messages", "input", "prompt", "tools", "system", "instructions", "cache_salt"]), JSON
)


@given(MEMBERS, st.sampled_from(PATHS), st.integers(1, 100))
def test_malformed_members_do_not_raise(members, path, prefix_bytes):
    one = Call("POST", path, (), json.dumps(members).encode())
    read = prefix.read(one, prefix_bytes=prefix_bytes, by_scope=True)
    assert read is None or {len(digest) for digest in (read.home, *read.turns)} == {prefix.SIZE}


# -- the beginning alone ---------------------------------------------------------------------------------------------


def test_the_beginning_is_the_home_whoever_asks():
    one = chat(SYSTEM, asked("a"), scope=b"one")
    assert prefix.beginning(one, 4096) == home(one) != home(one, by_scope=True)
    assert prefix.beginning(one, 10) == home(one, 10)


def test_a_body_that_was_parsed_before_is_not_parsed_again():
    one = chat(asked("a"))
    assert prefix.beginning(one, 4096, {"model": "m", "messages": [asked("b")]}) == home(chat(asked("b")))


def test_a_home_is_the_same_for_every_version_of_this_program():
    # Replicas of two versions, side by side during a deployment, should agree on homes.
    assert home(chat(asked("a"))).hex() == "f25bffc719c101992f93b5f221f25ef9"
