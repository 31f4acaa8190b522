"""Answers made from the web as it is right now."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.settings import Rule
from proxy.types import ALLOWED, Question, Verdict


def live_data(question: Question, _rule: Rule) -> Verdict:
    """`web_search`: the model looks things up while it answers."""
    searches = question.members.get("web_search_options") is not None
    # Snapshots carry a date behind the name.
    if searches or "-search-preview" in question.model or "-search-api" in question.model:
        return Verdict.bypass("web_search")
    return ALLOWED


def hosted_tools(question: Question, _rule: Rule) -> Verdict:
    """`hosted_tool`: a tool that the provider runs itself, on the web or on files as they are right now. Tools of types
    `function` and `custom` are only proposed to the caller."""
    tools = question.members.get("tools")
    if isinstance(tools, list) and any(isinstance(tool, dict) and _is_hosted(tool) for tool in tools):
        return Verdict.bypass("hosted_tool")
    return ALLOWED


def _is_hosted(tool: Mapping[str, object]) -> bool:
    return tool.get("type", "function") not in ("function", "custom")


def upstream_cache(question: Question, _rule: Rule) -> Verdict:
    """`prompt_cache`, `usage_stats`: requests about the provider's own machinery rather than for an answer."""
    options = question.members.get("prompt_cache_options")
    if isinstance(options, dict) and (options.get("prewarm") or options.get("comparison_response_id") is not None):
        return Verdict.bypass("prompt_cache")  # generates nothing, or asks for diagnostics of this very call
    stream_options = question.members.get("stream_options")
    if isinstance(stream_options, dict) and stream_options.get("continuous_usage_stats"):
        return Verdict.bypass("usage_stats")  # vLLM: counts on every frame, which a folded answer does not have
    return ALLOWED
