"""Tools take part: the answer may be a call, or rest on what a tool has said. Either belongs to that one dialogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking

_ROLES: Final = frozenset(["tool", "function"])
_CALLS: Final = ("tool_calls", "function_call")


def tools(asking: Asking, _reading: Reading, _rule: Rule) -> str:
    """`tools`: tool calls or results among the messages, or tools on offer that are not switched off."""
    messages = asking.members.get("messages")
    in_play = isinstance(messages, list) and any(isinstance(each, dict) and _of_a_tool(each) for each in messages)
    return "tools" if in_play or _on_offer(asking.members) else ""


def _of_a_tool(message: Mapping[str, object]) -> bool:
    return message.get("role") in _ROLES or any(message.get(name) for name in _CALLS)


def _on_offer(members: Mapping[str, object]) -> bool:
    offered = members.get("tools") and members.get("tool_choice") != "none"
    return bool(offered or (members.get("functions") and members.get("function_call") != "none"))
