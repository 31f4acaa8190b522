"""A call under the model's name at the upstream."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import orjson

from proxy.types import Call
from proxy.upstream.amend import with_member
from proxy.upstream.model_map import ModelMap

_DEPLOYMENT: Final = re.compile(r"(/openai/deployments/)[^/?]*")
"""Azure's paths name the model, and the body need not."""


def object_in(body: object) -> dict[str, object] | None:
    """The JSON object a body is; None for any other body, and for one that streams."""
    if not isinstance(body, bytes):
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is dict else None


def renamed(call: Call, models: ModelMap) -> Call:
    """The call with the upstream's name for its model, in the body's `model` and, on Azure's paths, in the path. Its
    `model` stays as the caller named it. What is neither, a form with a file say, goes as it is."""
    name = models.name_of(call.model)
    if name == call.model:
        return call
    body, members = call.body, object_in(call.body)
    if isinstance(body, bytes) and members is not None and "model" in members:
        body = with_member(body, "model", name)
    target = _DEPLOYMENT.sub(lambda found: found[1] + quote(name, safe=""), call.target, count=1)
    return replace(call, body=body, target=target if _DEPLOYMENT.match(call.target) else call.target)
