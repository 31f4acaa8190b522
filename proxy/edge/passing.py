"""Requests that are passed on and not kept: which model they are for, and whether they may be sent twice."""

from __future__ import annotations

import re
from urllib.parse import unquote

import orjson

from proxy.types import Pairs

ASKING = frozenset({"classify", "completions", "embeddings", "moderations", "pooling", "rerank", "score"})
"""Operations whose POST asks a model and leaves nothing behind: again elsewhere costs tokens at most. Not `responses`,
which the provider keeps unless it is told otherwise."""

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/?]+)/([^?]*)")
_CARD = re.compile(r"/models/([^?]+)")


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


def may_be_json(headers: Pairs) -> bool:
    """Whether the body may say what model it is for, or be read as JSON by a server that does not look at its type. A
    form is not read: it may be an upload of any size."""
    types = [value for name, value in headers if name == b"content-type"]
    return not types or not all(value.lower().lstrip().startswith(b"multipart/") for value in types)


def portable(method: str, target: str) -> bool:
    """Whether it asks a model and nothing else, so that another upstream may answer it too."""
    return method == "POST" and operation_of(target) in ASKING


def repeatable(method: str, target: str) -> bool:
    """Whether sending it twice to one upstream does no harm (RFC 9110 section 9.2.2, and those POSTs that only ask)."""
    return method in ("GET", "HEAD") or portable(method, target)
