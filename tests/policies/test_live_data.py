from __future__ import annotations

import pytest

from proxy.policies.live_data import hosted_tools, live_data, upstream_cache
from proxy.settings import Rule
from proxy.types import ALLOWED, Verdict
from tests.policies.asking import question

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}


@pytest.mark.parametrize(
    "members",
    [
        {"web_search_options": {}},
        {"web_search_options": {"search_context_size": "low"}},
        {"model": "gpt-4o-search-preview"},
        {"model": "gpt-4o-mini-search-preview-2025-03-11"},
        {"model": "gpt-5-search-api"},
        {"model": "gpt-5-search-api-2025-10-14"},
    ],
)
def test_an_answer_from_the_web_is_passed_by(members):
    assert live_data(question(**members), Rule()) == Verdict(read=False, write=False, reason="web_search")


@pytest.mark.parametrize("members", [{}, {"web_search_options": None}, {"model": "research-preview"}])
def test_an_answer_from_the_model_alone_is_allowed(members):
    assert live_data(question(**members), Rule()) == ALLOWED


@pytest.mark.parametrize("kind", ["web_search", "code_interpreter", "mcp", None])
def test_a_tool_that_the_provider_runs_is_passed_by(kind):
    verdict = hosted_tools(question(tools=[FUNCTION, {"type": kind}]), Rule())
    assert verdict == Verdict(read=False, write=False, reason="hosted_tool")


@pytest.mark.parametrize("tools", [None, [], [FUNCTION], [FUNCTION, CUSTOM], [{"function": {"name": "f"}}], "no list"])
def test_tools_that_are_only_proposed_are_allowed(tools):
    assert hosted_tools(question(tools=tools), Rule()) == ALLOWED


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache"),
        ({"prompt_cache_options": {"comparison_response_id": "r"}}, "prompt_cache"),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, "usage_stats"),
    ],
)
def test_a_request_about_the_providers_machinery_is_passed_by(members, reason):
    assert upstream_cache(question(**members), Rule()) == Verdict(read=False, write=False, reason=reason)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "30m", "prewarm": False}},
        {"prompt_cache_options": {"comparison_response_id": None}},
        {"prompt_cache_options": None, "stream_options": None},
        {"stream_options": {"include_usage": True, "continuous_usage_stats": False}},
    ],
)
def test_a_hint_about_it_is_allowed(members):
    assert upstream_cache(question(**members), Rule()) == ALLOWED
