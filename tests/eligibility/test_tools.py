"""Tools in play bar a question."""

from __future__ import annotations

import pytest

from proxy.eligibility.tools import tools
from tests.eligibility import barred

USER = {"role": "user", "content": "How do I pay?"}
OFFER = [{"type": "function", "function": {"name": "pay"}}]
CALL = [{"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}]


@pytest.mark.parametrize(
    "members",
    [
        {"tools": OFFER},
        {"tools": OFFER, "tool_choice": "required"},
        {"functions": [{"name": "pay"}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": CALL}, {"role": "tool", "content": "done"}, USER]},
        {"messages": [USER, {"role": "assistant", "function_call": {"name": "pay"}}, USER]},
        {"messages": [{"role": "function", "name": "pay", "content": "done"}, USER]},
    ],
)
def test_tools_in_play_bar(members):
    assert barred(tools, **members) == "tools"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"tools": []},
        {"tools": None, "functions": None},
        {"tools": OFFER, "tool_choice": "none"},
        {"functions": [{"name": "pay"}], "function_call": "none"},
        {"messages": [USER, {"role": "assistant", "content": "So.", "tool_calls": None}, USER]},
        {"messages": "odd"},
        {"messages": [3, USER]},
    ],
)
def test_without_tools_nothing_is_said(members):
    assert barred(tools, **members) == ""
