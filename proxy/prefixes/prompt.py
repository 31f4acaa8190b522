"""A request's prompt as the parts that a provider's prefix cache sees, in its order.

Tools and schemas come first, then the system text, then the messages (OpenAI, Prompt Caching 201; Anthropic: tools,
system, messages). Chat Completions, Completions, Responses and Anthropic's Messages are read. The templates of the
models are not known here: a short line with the part's role stands for what they put between parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

Body = Mapping[str, Any]

_OPERATORS: Final = frozenset(["tools", "schema", "system", "developer"])
_MEDIA: Final = ("image_url", "input_image", "input_audio", "image", "file", "input_file", "document", "video_url")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a prompt: a tool, a schema, or a message."""

    place: str
    """As in the body: `tools[3]`, `messages[0]`."""
    role: str
    """`tools` and `schema` for what is offered, else the message's."""
    text: str
    name: str | None = None
    """Of a tool that is offered."""
    cut: bool = False
    """Whether `text` is only the beginning."""

    @property
    def by_operator(self) -> bool:
        """Whether an application wrote it, which could put it elsewhere; the rest is what users and models said."""
        return self.role in _OPERATORS

    @property
    def header(self) -> bytes:
        """What stands for the template's words before the part."""
        return b"\x1e" + self.role.encode() + b"\n"


def parts(body: Body) -> tuple[Part, ...]:
    """The prompt of a request; empty where it has none that a prefix cache could keep."""
    return (*_tools(body), *_schema(body), *_system(body), *_messages(body))


def stream(prompt: tuple[Part, ...]) -> bytes:
    """The prompt as one text. Half a surrogate pair, which JSON can hold, becomes a question mark."""
    return b"".join(part.header + part.text.encode("utf-8", "replace") for part in prompt)


def _tools(body: Body) -> Iterator[Part]:
    for member in ("tools", "functions"):
        tools = body.get(member)
        if isinstance(tools, list):
            for index, tool in enumerate(tools):
                yield Part(f"{member}[{index}]", "tools", _json(tool), _tool_name(tool))


def _tool_name(tool: object) -> str:
    """Tools without one are told apart by their type."""
    if not isinstance(tool, Mapping):
        return ""
    function = tool.get("function")
    named = function if isinstance(function, Mapping) else tool
    return str(named.get("name") or tool.get("type") or "")


def _schema(body: Body) -> Iterator[Part]:
    text = body.get("text")
    for place, value in (
        ("response_format", body.get("response_format")),
        ("text.format", text.get("format") if isinstance(text, Mapping) else None),
    ):
        if isinstance(value, Mapping) and value.get("type") == "json_schema":
            yield Part(place, "schema", _json(value))


def _system(body: Body) -> Iterator[Part]:
    for member in ("instructions", "system"):
        if body.get(member):
            yield Part(member, "system", _content(body[member]))


def _messages(body: Body) -> Iterator[Part]:
    for member in ("messages", "input", "prompt"):
        value = body.get(member)
        if isinstance(value, str):
            yield Part(member, "user", value)
        elif isinstance(value, list) and value and all(isinstance(token, int) for token in value):
            yield Part(member, "user", _json(value))  # a prompt given as tokens
        elif isinstance(value, list):
            for index, message in enumerate(value):
                yield _message(f"{member}[{index}]", message)


def _message(place: str, message: object) -> Part:
    if isinstance(message, str):
        return Part(place, "user", message)
    if not isinstance(message, Mapping):
        return Part(place, "user", _json(message))
    role = message.get("role")
    if not isinstance(role, str):
        # An item of the Responses API that is no message: a call, its output, reasoning.
        return Part(place, str(message.get("type", "user")), _json(message))
    calls = message.get("tool_calls")
    return Part(place, role, _content(message.get("content")) + (_json(calls) if calls else ""))


def _content(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_content_part, content))
    return _json(content)


def _content_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return _json(part)
    kind, text = part.get("type"), part.get("text")
    if isinstance(text, str):
        return text
    if kind in _MEDIA:
        # Its tokens do not follow from its bytes; what it is shows whether two are the same.
        return f"[{kind} {blake2b(_json(part).encode(), digest_size=8).hexdigest()}]"
    return _json(part)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
