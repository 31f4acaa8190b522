"""Tests of the stores, and what they share: a clock to turn by hand, entries, a codec."""

from __future__ import annotations

import hashlib
from typing import Any

from proxy.stores.frame import FrameCodec
from proxy.types import Digest, Entry, Form, Usage

BEGIN = 1_800_000_000.0
SECRET = b"a secret of this test installation"


class Clock:
    """Seconds, moved by the test."""

    def __init__(self, now: float = BEGIN) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def name_of(number: int) -> Digest:
    """Spread like a MAC."""
    return Digest(hashlib.sha256(number.to_bytes(8, "big")).digest()[:16])


def entry(number: int = 0, body: bytes = b'{"object":"chat.completion"}', **other: Any) -> Entry:
    """An answer just finished, good for an hour, kept for two."""
    members: dict[str, Any] = {
        "name": name_of(number),
        "endpoint": "/chat/completions",
        "model": "gpt-4o-mini",
        "form": Form.WHOLE,
        "body": body,
        "finished_at": BEGIN,
        "fresh_s": 3600.0,
        "kept_s": 7200.0,
    }
    return Entry(**members | other)


def full_entry(number: int = 0, **other: Any) -> Entry:
    """One that differs from the default in every member that has one."""
    members: dict[str, Any] = {
        "form": Form.FRAMES,
        "body": b'data: {"choices":[]}\n\n' * 100,
        "id_prefix": "cmpl-",
        "echoes": ("metadata", "service_tier"),
        "usage": Usage(12, 34, 5),
        "lacks_usage": True,
        "cost_usd": 0.00125,
        "warm_usd": 0.00075,
        "upstream": "openai",
        "upstream_request_id": "req_0123",
        "upstream_s": 1.5,
        "tags": ("a", "b"),
    }
    return entry(number, **members | other)


def codec(max_body: int = 1 << 20) -> FrameCodec:
    return FrameCodec(SECRET, level=3, max_body=max_body)
