"""What a caller sends to `/v1/feedback`."""

from __future__ import annotations

from typing import NamedTuple

from proxy.errors import BadRequest
from proxy.feedback import Verdict
from proxy.strict_json import object_of


class FeedbackBody(NamedTuple):
    """`{"key" | "request_id": ..., "verdict": "good" | "bad"}`."""

    verdict: Verdict
    key: str | None
    request_id: str | None

    @classmethod
    def of(cls, body: bytes) -> FeedbackBody:
        """Raises `errors.BadRequest`."""
        members = object_of(body, max_depth=8)
        unknown = sorted(members.keys() - {"key", "request_id", "verdict"})
        if unknown:
            raise _refused(f"{unknown[0][:64]!r} is not a member of a feedback: send key or request_id, and verdict")
        verdict = members.get("verdict")
        if verdict not in ("good", "bad"):
            raise _refused('`verdict` must be "good" or "bad"')
        key, request_id = _text(members.get("key")), _text(members.get("request_id"))
        if (key is None) == (request_id is None):
            raise _refused("give exactly one of `key` and `request_id`")
        return cls("good" if verdict == "good" else "bad", key, request_id)


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise _refused("`key` and `request_id` are strings: copy X-Cache-Key or X-Request-Id of the answer")


def _refused(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_feedback")
