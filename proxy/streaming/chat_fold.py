"""Chunks of a chat stream, folded into the answer that the same server gives in plain form.

The rules, each for one reason: a folded answer must say nothing that the stream did not say, and lose nothing.

- Text (`content`, `refusal`, reasoning, the `arguments` of a call) is joined in order.
- A name (`role`, a call's `id`, `type`, function name) is set once; a server may repeat it, not change it.
- What we do not know may come once. Empty values say nothing and count for nothing. A second piece may be meant as a
  continuation or as a replacement; nobody can tell, so the answer is then not `lossless` and is kept as frames.
- Of a choice and of the chunk itself (not of the delta) a repeated equal value is one value.
- Members that only ever came as null come out as null: what the server says is there stays there.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

import orjson

from proxy.streaming.pattern import Place

PER_DELIVERY: Final = frozenset({"id", "created", "obfuscation"})
"""Members of a chunk that belong to one delivery. `obfuscation` is padding of random length."""

TEXTS: Final = frozenset({"content", "refusal", "reasoning", "reasoning_content"})

_APART: Final = PER_DELIVERY | {"object"}
# The standard says of these that they hold for the whole answer, and a later chunk may know better.
_LAST_WINS: Final = frozenset({"model", "system_fingerprint", "service_tier", "moderation", "usage"})
# vLLM: ids of the tokens of this chunk; the plain form has those of the answer.
_JOINED_LISTS: Final = frozenset({"token_ids"})
# Azure: annotates what the chunk holds, category by category; the plain form has all categories.
_MERGED_OBJECTS: Final = frozenset({"content_filter_results"})
_OF_CALL: Final = frozenset({"index", "id", "type", "function"})
_CALL_TEXTS: Final = frozenset({"arguments", "input"})

Members = dict[str, Any]


class Varying(NamedTuple):
    """Where the text of a chunk is."""

    places: tuple[Place, ...]
    """Of the text, and of OpenAI's padding where there is any."""
    choice: int
    name: str
    call: int | None
    """It is arguments of this call."""


def varying(chunk: Members) -> Varying | None:
    """Where the next chunk may be another one and mean no more than its text: to add this very chunk twice adds its
    text twice, and of everything else the second time changes nothing. None: nowhere, or nobody looked closely."""
    choices = chunk.get("choices")
    choice = choices[0] if type(choices) is list and len(choices) == 1 else None
    if type(choice) is not dict or type(choice.get("index")) is not int or type(choice.get("delta")) is not dict:
        return None
    delta = choice["delta"]
    if not all(_changes_nothing_again(name, value) for name, value in choice.items() if name != "delta"):
        return None
    name = _text_name(delta)
    call = _only_call(delta[name]) if name == "tool_calls" else None
    if name is None or (name == "tool_calls" and call is None):
        return None
    way: Place = ("choices", 0, "delta", name)
    place = way if call is None else (*way, 0, "function", "arguments")
    padding: tuple[Place, ...] = (("obfuscation",),) if type(chunk.get("obfuscation")) is str else ()
    return Varying((place, *padding), choice["index"], name, call)


def _changes_nothing_again(name: str, value: object) -> bool:
    """A member of a choice. What is joined does, and what may come once."""
    return value is None or type(value) in (str, int, float, bool) or (name in _MERGED_OBJECTS and type(value) is dict)


def _text_name(delta: Members) -> str | None:
    """The member that says something, if it is one and has text."""
    speaking = [name for name, value in delta.items() if name != "role" and not is_nothing(value)]
    speaking = speaking or [name for name in delta if name in TEXTS and type(delta[name]) is str][:1]
    if len(speaking) != 1:
        return None
    (name,) = speaking
    return name if name == "tool_calls" or (name in TEXTS and type(delta[name]) is str) else None


def _only_call(calls: object) -> int | None:
    """The index of the call, if it is one and nothing of it comes but arguments."""
    call = calls[0] if type(calls) is list and len(calls) == 1 else None
    if type(call) is not dict or type(call.get("index")) is not int or not call.keys() <= _OF_CALL:
        return None
    function = call.get("function")
    only_arguments = type(function) is dict and function.keys() == {"arguments"} and type(function["arguments"]) is str
    return call["index"] if only_arguments else None


class ChatFolder:
    """One answer, chunk by chunk. Takes any parsed JSON object and never raises."""

    __slots__ = ("_choices", "_last", "_lossless", "_top", "id")

    def __init__(self) -> None:
        self.id = ""
        """The first id that was given."""
        self._last: Members = {}
        self._top: Members = {}
        self._choices: dict[int, _Choice] = {}
        self._lossless = True

    @property
    def lossless(self) -> bool:
        """The answer says all that the stream said."""
        return self._lossless and all(choice.lossless for choice in self._choices.values())

    def add(self, chunk: Members) -> None:
        """The next chunk of the stream, parsed; the folder may change it."""
        choices = chunk.pop("choices", None)
        chunk.pop("obfuscation", None)
        # For speed: from chunk to chunk mostly nothing but the choices changes.
        if chunk != self._last:
            self._last = chunk
            self._add_members(chunk)
        if type(choices) is list:
            for choice in choices:
                self._add_choice(choice)
        elif choices is not None:
            self._lossless = False

    def texts(self, varying: Varying) -> list[str] | None:
        """Where the text went of the chunk that was added last: more of it may be appended there. `varying` was said of
        that chunk. None: it went nowhere."""
        return self._choices[varying.choice].texts(varying)

    def answer(self) -> Members:
        """The answer in plain form without `id` and `created`, choices in ascending order."""
        top = dict(self._top)
        if top.get("usage", top) is None:
            # Null on every frame means "comes later", not "none".
            del top["usage"]
        model = {"model": top.pop("model")} if "model" in top else {}
        choices = [self._choices[index].plain(index) for index in sorted(self._choices)]
        return {"object": "chat.completion", **model, "choices": choices, **top}

    def _add_members(self, chunk: Members) -> None:
        if not self.id and type(chunk.get("id")) is str:
            self.id = chunk["id"]
        for name, value in chunk.items():
            if name in _LAST_WINS and not is_nothing(value):
                self._top[name] = value
            elif name not in _APART:
                self._lossless = _set_same(self._top, name, value) and self._lossless

    def _add_choice(self, choice: object) -> None:
        index = choice.get("index") if type(choice) is dict else None
        if type(index) is not int:
            self._lossless = False
            return
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        state.add(cast("Members", choice))


class _Pieces(list[str]):
    """Text that is still coming."""


class _Choice:
    """One choice of the answer."""

    __slots__ = ("_calls", "_function_call", "_members", "_message", "_texts", "lossless")

    def __init__(self) -> None:
        self.lossless = True
        self._members: Members = {}
        self._message: Members = {"role": None, "content": None}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, Members] = {}
        self._function_call: Members = {}

    def add(self, choice: Members) -> None:
        for name, value in choice.items():
            if name == "delta":
                self._add_delta(value)
            elif value is None:
                self._members.setdefault(name, None)
            elif name == "logprobs":
                self._keep(self._add_logprobs(value))
            elif name != "index":
                self._keep(self._add_member(name, value))

    def texts(self, varying: Varying) -> list[str] | None:
        if varying.call is None:
            return self._texts[varying.name]
        arguments = self._calls[varying.call]["function"]["arguments"]
        return arguments if type(arguments) is _Pieces else None

    def plain(self, index: int) -> Members:
        """The choice in plain form."""
        members = dict(self._members)
        logprobs = {"logprobs": members.pop("logprobs")} if "logprobs" in members else {}
        finish_reason = members.pop("finish_reason", None)
        return {
            "index": index,
            "message": self._plain_message(),
            **logprobs,
            "finish_reason": finish_reason,
            **members,
        }

    def _plain_message(self) -> Members:
        message = {**self._message, **{name: "".join(pieces) for name, pieces in self._texts.items()}}
        message["role"] = message["role"] or "assistant"
        if self._calls:
            message["tool_calls"] = [_plain_call(self._calls[index]) for index in sorted(self._calls)]
        if self._function_call:
            message["function_call"] = _joined(self._function_call)
        # Servers open with `"content":""` before they know; a call or a refusal without text has null.
        if message["content"] == "" and (self._calls or self._function_call or message.get("refusal")):
            message["content"] = None
        return message

    def _keep(self, lossless: bool) -> None:
        self.lossless = self.lossless and lossless

    def _add_delta(self, delta: object) -> None:
        if type(delta) is not dict:
            self._keep(delta is None)
            return
        for name, value in delta.items():
            if name in TEXTS and type(value) is str:
                pieces = self._texts.get(name)
                if pieces is None:
                    pieces = self._open_text(name)
                pieces.append(value)
            elif value is None:
                self._message.setdefault(name, None)
            else:
                self._keep(self._add_to_message(name, value))

    def _open_text(self, name: str) -> list[str]:
        # The member takes its place now; a list of parts in it cannot be joined with text.
        self._keep(is_nothing(self._message.setdefault(name, None)))
        return self._texts.setdefault(name, [])

    def _add_to_message(self, name: str, value: object) -> bool:
        """A member of `delta` that is not plain text; False when it cannot be folded."""
        if name == "tool_calls" and value:
            return self._add_calls(value)
        if name == "function_call" and value:
            return type(value) is dict and _add_call_part(self._function_call, value)
        if name == "role":
            return _set_same(self._message, name, value)
        # Audio: its parts have rules of their own, and its id is the server's state.
        return _set_once(self._message, name, value) and name not in self._texts and name != "audio"

    def _add_calls(self, calls: object) -> bool:
        indexed = type(calls) is list and all(type(call) is dict and type(call.get("index")) is int for call in calls)
        if not indexed:
            self._message["tool_calls"] = calls
            return False
        lossless = True
        for call in cast("list[Members]", calls):
            state = self._calls.setdefault(call["index"], {})
            for name, value in call.items():
                lossless = _add_call_member(state, name, value) and lossless
        return lossless

    def _add_logprobs(self, logprobs: object) -> bool:
        state = self._members.get("logprobs")
        if state is None:
            state = self._members["logprobs"] = {}
        if type(logprobs) is not dict:
            return False
        lossless = True
        for name, value in logprobs.items():
            if name in ("content", "refusal") and type(value) is list and type(state.get(name)) is list:
                state[name].extend(value)
            else:
                lossless = _set_once(state, name, value) and lossless
        return lossless

    def _add_member(self, name: str, value: object) -> bool:
        """A member beside `delta`; False when it cannot be folded."""
        if name == "message":
            # The whole message so far in a chunk: a second account of what the deltas say.
            return False
        old = self._members.get(name)
        if name in _JOINED_LISTS and type(value) is list and type(old) is list:
            old += value
            return True
        if name in _MERGED_OBJECTS and type(value) is dict and type(old) is dict:
            return all(_set_same(old, category, result) for category, result in value.items())
        if type(value) is list:
            return _set_once(self._members, name, value)
        return _set_same(self._members, name, value)


def _add_call_member(call: Members, name: str, value: object) -> bool:
    if name == "index":
        return True
    if name in ("id", "type"):
        return _set_same(call, name, value)
    if name in ("function", "custom") and type(value) is dict:
        if is_nothing(call.get(name)):
            call[name] = {}
        return type(call[name]) is dict and _add_call_part(call[name], value)
    return _set_once(call, name, value)


def _add_call_part(part: Members, members: Members) -> bool:
    """The `function`, `custom` or `function_call` object of a delta; False when it cannot be folded."""
    lossless = True
    for name, value in members.items():
        if name in _CALL_TEXTS and type(value) is str:
            if is_nothing(part.get(name)):
                part[name] = _Pieces()
            lossless = lossless and type(part[name]) is _Pieces
            if lossless:
                part[name].append(value)
        elif name == "name":
            lossless = _set_same(part, name, value) and lossless
        else:
            lossless = _set_once(part, name, value) and lossless
    return lossless


def _plain_call(call: Members) -> Members:
    parts = {kind: _joined(call[kind]) for kind in ("function", "custom") if type(call.get(kind)) is dict}
    kind = next(iter(parts), None)
    return {**call, **({} if call.get("type") or kind is None else {"type": kind}), **parts}


def _joined(part: Members) -> Members:
    return {name: "".join(value) if type(value) is _Pieces else value for name, value in part.items()}


def is_nothing(value: object) -> bool:
    """Null or empty: says nothing that a reader could miss."""
    return value is None or (type(value) in (str, list, dict) and not value)


def _set_once(members: Members, name: str, value: object) -> bool:
    """Set what may come once; False if it is there already."""
    if not is_nothing(members.get(name)):
        return is_nothing(value)
    # An empty list says more than null, and null more than nothing.
    if value is not None or name not in members:
        members[name] = value
    return True


def _set_same(members: Members, name: str, value: object) -> bool:
    """Set what may be repeated; False if it is there with another value."""
    # As JSON: for Python 1, 1.0 and true are equal.
    return _set_once(members, name, value) or orjson.dumps(members[name]) == orjson.dumps(value)
