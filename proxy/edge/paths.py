"""Which upstream paths may be reached at all: an allow-list, because what shares a port with `/v1` may reset caches,
put the model to sleep or load weights (vLLM's API key guards some prefixes only). Some of it is below `/v1` itself;
that stays closed whatever is configured (`settings/closed_paths.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.errors import NotFound
from proxy.settings.closed_paths import CLOSED

ALLOWED = frozenset(
    {
        # OpenAI
        "assistants", "audio", "batches", "chat", "chatkit", "completions", "containers", "content_provenance_checks",
        "conversations", "decisions", "embeddings", "evals", "files", "fine_tuning", "images", "live", "models",
        "moderations", "organization", "projects", "realtime", "responses", "safety", "skills", "agents", "threads",
        "uploads", "vector_stores", "videos", "webhook_endpoints",
        # vLLM and others, stateless
        "classify", "messages", "pooling", "rerank", "score",
    }
)  # fmt: skip
"""First segments below `/v1`."""

_PLAIN = re.compile(rb"/[A-Za-z0-9/_.:~@!$&'()*+,;=%-]*")
# An escaped slash, backslash, dot or NUL may become another path on the other side; an escaped per cent sign may become
# any of them where two servers in a row decode.
_ESCAPED = re.compile(rb"%(2[eEfF5]|5[cC]|00)")
_AZURE = re.compile(rb"/openai/(?:deployments/[^/]+/|v1/)?([^/]*)")


class Paths:
    """Turns a client's raw path into a target for the upstream, or refuses it."""

    def __init__(self, more: Iterable[str], often: Iterable[bytes] = ()) -> None:
        self._allowed = (ALLOWED | frozenset(more)) - CLOSED
        self._ready = {path: self._checked(path, b"") for path in often}
        """Targets of paths that are asked for often."""

    def target(self, raw_path: bytes, query: bytes) -> str:
        """`/v1/models?x=1` gives `/models?x=1`; an Azure path stays whole. Raises `errors.NotFound`."""
        ready = None if query else self._ready.get(raw_path)
        return self._checked(raw_path, query) if ready is None else ready

    def _checked(self, raw_path: bytes, query: bytes) -> str:
        path = raw_path[3:] if raw_path.startswith(b"/v1/") else raw_path
        if not self._known(raw_path) or not _PLAIN.fullmatch(path) or _ESCAPED.search(path) or _climbs(path):
            raise NotFound(
                f"no such path, or not one that may be reached through AskOnce: {_shown(raw_path)}; paths below /v1 "
                "that are not OpenAI's can be allowed with server.allow_paths"
            )
        return (path + (b"?" + query if query else b"")).decode("ascii", "backslashreplace")

    def _known(self, raw_path: bytes) -> bool:
        """Whether the operation is on the list: the first segment below `/v1`, or below an Azure deployment."""
        azure = _AZURE.match(raw_path)
        operation = azure[1] if azure else raw_path.removeprefix(b"/v1/").split(b"/", 1)[0]
        return operation.decode("latin-1") in self._allowed


def _climbs(path: bytes) -> bool:
    """Java servers take `..;x` for `..`."""
    return b"//" in path or any(segment.split(b";", 1)[0] in (b".", b"..") for segment in path.split(b"/"))


def _shown(raw_path: bytes) -> str:
    text = raw_path[:128].decode("latin-1")
    return "".join(character if character.isprintable() else "?" for character in text)
