"""Requests that are passed on and not kept: which model they are for, and whether they may be sent twice."""

from __future__ import annotations

import re
from urllib.parse import unquote

import orjson

REPEATABLE = frozenset({"classify", "completions", "embeddings", "moderations", "pooling", "rerank", "score"})
"""First segments whose POST leaves nothing behind: asking again elsewhere costs tokens at most. Not `responses`, which
are kept by the provider unless it is told otherwise."""

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/?]+)/([^?]*)")
_CARD = re.compile(r"/models/([^?]+)")
_JSON = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json\b", re.IGNORECASE)


def deployment_of(target: str) -> tuple[str, str]:
    """Azure's name for the model, and the operation below it: `("gpt-4o", "chat/completions")`; two empty ones for a
    path that names none."""
    found = _DEPLOYMENT.match(target)
    return (unquote(found[1]), found[2]) if found else ("", "")


def operation_of(target: str) -> str:
    """What is asked for below `/v1` or below a deployment, without the query: `embeddings`, `models/gpt-4o`."""
    deployment, operation = deployment_of(target)
    return operation if deployment else target.partition("?")[0].removeprefix("/openai/v1").strip("/")


def model_in_target(target: str) -> str:
    """The model that a path names; "" for none."""
    card = _CARD.fullmatch(target.partition("?")[0])
    return unquote(card[1]) if card else deployment_of(target)[0]


def model_in_body(body: bytes) -> str:
    """The member `model` of a JSON object; "" for anything else. What is wrong with it is the upstream's to say."""
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    model = members.get("model") if isinstance(members, dict) else None
    return model if isinstance(model, str) else ""


def is_json(content_type: bytes) -> bool:
    """Whether a body of this type can say what model it is for. Without a type too: servers take it for JSON then."""
    return not content_type or _JSON.match(content_type) is not None


def repeatable(method: str, target: str) -> bool:
    """Whether sending it twice does no harm (RFC 9110 section 9.2.2, and those POSTs that only ask)."""
    return method in ("GET", "HEAD") or operation_of(target).partition("/")[0] in REPEATABLE
