"""One line of a request log: JSON with a request, and perhaps its tenant and what the provider counted.

The request is the line itself, its member `body` (OpenAI's batch files) or `request` (which may have a `body` again).
Beside it are read: `tenant`; `response.usage` or `usage` (a batch result has it in `response.body.usage`), from which
come the provider's own number of prompt tokens and of cached ones. Nothing else of a line is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.prefixes.prompt import Part, parts

UNNAMED: Final = "(no model)"


class Unreadable(Exception):
    """A line without a prompt; says why, in words that hold for many lines."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request of the log."""

    line: int
    model: str
    tenant: str | None
    prompt: tuple[Part, ...]
    prompt_tokens: int | None = None
    """As the provider counted them; None where the line does not say."""
    cached_tokens: int | None = None


def read(raw: bytes, line: int) -> Entry:
    """What a line says. Raises Unreadable."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unreadable("not JSON") from error
    if not isinstance(found, dict):
        raise Unreadable("not a JSON object")
    body = _body(found)
    if body is None:
        raise Unreadable("no request: expected messages, input or prompt, or a member body or request with them")
    try:
        prompt = parts(body)
    except orjson.JSONEncodeError as error:  # reads 1024 levels and writes 254
        raise Unreadable("nested too deeply") from error
    model, tenant = body.get("model"), found.get("tenant")
    # Embeddings have an `input` as well: the path tells, and without one the model's name.
    embeds = "/embeddings" in str(found.get("url", "")) or "embedding" in str(model)
    if embeds or not any(part.text for part in prompt):
        raise Unreadable("no prompt that a prefix cache could keep")
    return Entry(
        line,
        model if isinstance(model, str) and model else UNNAMED,
        None if tenant is None else str(tenant),
        prompt,
        *_counted(found),
    )


def _body(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    request = found.get("request")
    inner = request.get("body") if isinstance(request, Mapping) else None
    for candidate in (found.get("body"), inner, request, found):
        if isinstance(candidate, Mapping) and any(member in candidate for member in ("messages", "input", "prompt")):
            return candidate
    return None


def _counted(found: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Prompt tokens and cached tokens by the provider's count."""
    for usage in _usages(found):
        prompt_tokens = _number(usage, "prompt_tokens", "input_tokens")
        if prompt_tokens:
            details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
            return prompt_tokens, _number(details, "cached_tokens") if isinstance(details, Mapping) else None
    return None, None


def _usages(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    response = found.get("response")
    if isinstance(response, Mapping):
        inner = response.get("body")
        for holder in (response, inner):
            if isinstance(holder, Mapping) and isinstance(usage := holder.get("usage"), Mapping):
                yield usage
    if isinstance(usage := found.get("usage"), Mapping):
        yield usage


def _number(members: Mapping[str, Any], *names: str) -> int | None:
    values = (members.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
