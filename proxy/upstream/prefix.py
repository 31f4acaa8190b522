"""What a request's prompt begins with.

A server that keeps what it computed for a prompt (vLLM's prefix cache, the hosted APIs' prompt caches) saves work only
where the next prompt that begins alike comes to the same machine. Two things are made of a body for that:

    home    one digest of its beginning: model, tools and schemas, then messages up to the user's first, cut at so many
            bytes. All turns of a conversation have one home, and so have all prompts whose beginning is longer than
            the cut. It needs no memory, so that all replicas find the same.
    turns   one digest for each message from the user's first on, over everything up to and with it: one running hash,
            read off at each. The last stands for the request itself. The others say whether one that ended there was
            seen before: the caller's next turn is what it sent the last time, the answer (in whatever form), and more.

Only what the prompt is made of is looked at, so temperatures and the like change neither. Digests are not keyed and
never leave the process as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from proxy.fingerprint import framed
from proxy.types import Call

SIZE: Final = 16
"""Bytes in a digest: with 2^32 prompts the chance that any two share one is 2^-65."""

_LOOK_BACK: Final = 16
"""Messages from the end whose turns are made, beside the user's first. A turn adds an answer, the results of a dozen
tools and a question at most; what adds more goes by the home. Each costs a microsecond, whether it is looked up or not.
"""

_SHAPES: Final = {
    "/chat/completions": ("messages", ("tools", "functions", "response_format", "documents")),
    "/responses": ("input", ("tools", "text", "instructions")),
    "/messages": ("messages", ("tools", "system")),
    "/completions": ("prompt", ()),
}
"""By the end of the path: the member that holds the messages (or a prompt that has none), and those that come before
it in the prompt, in the order in which servers put them there. vLLM puts no schema into the prompt; but an application
sends the same one every time."""

_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
"""Where a hosted cache is to be written: no part of the prompt, and callers move it on with every turn."""

_MARKED_LEVELS: Final = 5
"""A mark stands as deep as in a part of a tool's result: message, list, part, list, part."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Digests of one request, each `SIZE` bytes."""

    home: bytes
    turns: tuple[bytes, ...] = ()
    """The longest last; empty for a prompt without messages."""


def read(call: Call, *, prefix_bytes: int, by_scope: bool, turns: bool = True) -> Prefix | None:
    """The digests of a call's prompt; None where there is none to be seen: a body that streams, is no JSON object, or
    has no prompt in one of the known shapes. Never raises.

    `by_scope` gives each scope digests of its own, for servers where scopes do not share what was computed. Without
    `turns` only the home is made.
    """
    members = members_of(call)
    return None if members is None else _digests(call, members, prefix_bytes, call.scope if by_scope else b"", turns)


def beginning(call: Call, prefix_bytes: int, members: Mapping[str, Any] | None = None) -> bytes | None:
    """The home of a call's prompt, the same for all scopes; None as for `read`. `members` is what `members_of` gave,
    where that is there already."""
    members = members_of(call) if members is None else members
    found = None if members is None else _digests(call, members, prefix_bytes, b"", turns=False)
    return None if found is None else found.home


def members_of(call: Call) -> dict[str, Any] | None:
    """The parsed body of a call to a path that has a prompt; None for any other, and for what is no JSON object."""
    if not isinstance(call.body, bytes) or _shape_of(call) is None:
        return None
    try:
        members = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None
    return members if type(members) is dict else None


@dataclass(frozen=True, slots=True)
class _Prompt:
    model: str
    salt: str
    """`cache_salt`: vLLM shares nothing between two of them."""
    ahead: bytes
    messages: list[Any]


def _digests(call: Call, members: Mapping[str, Any], prefix_bytes: int, scope: bytes, turns: bool) -> Prefix | None:
    try:
        prompt = _prompt_of(call, members, prefix_bytes)
        if prompt is None:
            return None
        whose = framed((prompt.model.encode("utf-8", "surrogatepass"), scope, prompt.salt.encode()))
        end = _opening_ends(prompt.messages)
        # Written once for both: of a long question that is nearly all there is.
        opening = orjson.dumps(prompt.messages[:end])[1:-1]
        found = _turns(whose, prompt, opening, prompt.messages[end:]) if turns and opening else ()
        return Prefix(_home(whose, prompt, opening, prefix_bytes), found)
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return None


def _shape_of(call: Call) -> tuple[str, tuple[str, ...]] | None:
    path = call.target.partition("?")[0]
    return next((shape for end, shape in _SHAPES.items() if path.endswith(end)), None)


def _prompt_of(call: Call, members: Mapping[str, Any], prefix_bytes: int) -> _Prompt | None:
    shape = _shape_of(call)
    if shape is None:
        return None
    holder, before = shape
    model, salt, held = members.get("model"), members.get("cache_salt"), members.get(holder)
    model, salt = model if isinstance(model, str) else call.model, salt if isinstance(salt, str) else ""
    if holder == "prompt":
        # A character, a token, or a text among several is a byte at least.
        plain = orjson.dumps(held[:prefix_bytes]) if held and isinstance(held, str | list) else None
        return None if plain is None else _Prompt(model, salt, plain, [])
    if holder == "input" and held and isinstance(held, str):
        held = [{"role": "user", "content": held}]  # what the short form stands for
    messages = _messages_of(held)
    if messages is None:
        return None
    ahead = {name: _unmarked(members[name]) for name in before if members.get(name) is not None}
    return _Prompt(model, salt, orjson.dumps(ahead), messages)


def _messages_of(found: object) -> list[Any] | None:
    if isinstance(found, list) and found and all(type(message) is dict for message in found):
        return [_unmarked(message) for message in found]
    return None


def _unmarked(value: Any, levels: int = _MARKED_LEVELS) -> Any:
    """Without marks for a hosted cache, so many levels down; the same object where it has none at its top."""
    if type(value) is list and levels:
        return [_unmarked(each, levels - 1) for each in value]
    if type(value) is not dict or not levels:
        return value
    content = value.get("content")
    if type(content) is list:
        value = value | {"content": _unmarked(content, levels - 1)}
    if "cache_control" in value or "prompt_cache_breakpoint" in value:
        return {name: inner for name, inner in value.items() if name not in _MARKS}
    return value


def _opening_ends(messages: list[Any]) -> int:
    """Behind the user's first message."""
    return next((at for at, message in enumerate(messages, 1) if message.get("role") == "user"), len(messages))


def _home(whose: bytes, prompt: _Prompt, opening: bytes, prefix_bytes: int) -> bytes:
    beginning = (prompt.ahead + opening[:prefix_bytes])[:prefix_bytes]
    return blake2b(whose + beginning, digest_size=SIZE, person=b"askonce home").digest()


def _turns(whose: bytes, prompt: _Prompt, opening: bytes, rest: list[Any]) -> tuple[bytes, ...]:
    run = blake2b(whose + prompt.ahead, digest_size=SIZE, person=b"askonce turn")
    run.update(opening)
    turns = [run.digest()]
    if passed := rest[:-_LOOK_BACK]:
        run.update(b"," + orjson.dumps(passed)[1:-1])
    for message in rest[-_LOOK_BACK:]:
        run.update(b"," + orjson.dumps(message))
        turns.append(run.digest())
    return tuple(turns)
