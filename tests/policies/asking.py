"""Questions for policies to judge."""

from __future__ import annotations

from typing import Any

from proxy.types import Question


def question(model: str = "gpt-test", **members: Any) -> Question:
    """A chat question with these members."""
    return Question(
        endpoint="/v1/chat/completions",
        model=model,
        stream=False,
        include_usage=False,
        choices=1,
        members={"model": model, "messages": [{"role": "user", "content": "Hi"}]} | members,
        key=b"",
        echoes={},
    )


def said(*parts: Any, role: str = "user", **members: Any) -> dict[str, Any]:
    """The `messages` member: a plain turn, and one that is made of these parts."""
    return {"messages": [{"role": "system", "content": "Be brief"}, {"role": role, "content": list(parts)} | members]}
