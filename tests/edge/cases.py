"""Cases, entries and an endpoint small enough to read, for tests of the edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from proxy.case import Case
from proxy.endpoints.base import Fold, Folded, Question
from proxy.settings import Rule
from proxy.types import ALLOWED, Digest, Directives, Entry, Form, Scope, Usage
from proxy.upstream.base import Upstream

NOW = 1_800_000_000.0
NAME = Digest(bytes(range(16)))


@dataclass
class Small:
    """An endpoint whose answers are one member long; counts how often it renders."""

    path: str = "/v1/small"
    rendered: list[str] = field(default_factory=list)

    def plain(self, body: bytes) -> tuple[bytes, ...]:
        self.rendered.append("plain")
        return (b"{", b"," + body[1:])

    def replay(self, form: Form, body: bytes, *, include_usage: bool) -> tuple[bytes, ...]:
        self.rendered.append(f"{form.value} with usage" if include_usage else form.value)
        return (b"data: {", b"," + body[1:] + b"\n\ndata: {", b"}\n\ndata: [DONE]\n\n")

    def read(self, body: bytes) -> Question:
        raise NotImplementedError

    def ask_usage(self, body: bytes) -> bytes:
        raise NotImplementedError

    def whole(self, body: bytes, choices: int) -> Folded:
        raise NotImplementedError

    def fold(self, choices: int) -> Fold:
        raise NotImplementedError


class Nobody:
    """An upstream that is not asked."""

    def epoch(self, _model: str) -> str:
        return ""


def case(**members: Any) -> Case:
    """A plain question to the small endpoint."""
    usual: dict[str, Any] = {
        "endpoint": Small(),
        "scope": Scope(bytes(16)),
        "upstream": cast(Upstream, Nobody()),
        "name": NAME,
        "epoch": "",
        "model": "gpt-test",
        "stream": False,
        "include_usage": False,
        "asks_usage": True,
        "choices": 1,
        "echoes": {},
        "verdict": ALLOWED,
        "directives": Directives(),
        "rule": Rule(),
    }
    return Case(**(usual | members))


def entry(**members: Any) -> Entry:
    """Its answer, finished at `NOW` and fresh for 100 seconds."""
    usual: dict[str, Any] = {
        "name": NAME,
        "endpoint": "/v1/small",
        "model": "gpt-test",
        "form": Form.WHOLE,
        "body": b'{"said":"hi"}',
        "finished_at": NOW,
        "fresh_s": 100,
        "kept_s": 200,
        "usage": Usage(prompt_tokens=10, completion_tokens=5),
        "cost_usd": 0.00123456789,
        "warm_usd": 0.00123456789,
    }
    return Entry(**(usual | members))
