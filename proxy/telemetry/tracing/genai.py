"""What spans and their attributes are called: the one place that knows names.

Followed is version 1.41.1 of OpenTelemetry's semantic conventions (https://opentelemetry.io/docs/specs/semconv/), the
last that the conventions for generative AI were a part of. Since then these are kept at
https://github.com/open-telemetry/semantic-conventions-genai, which has made no release yet; every name used here is the
same there (November 2026). `http.*`, `server.*`, `url.*` and `error.*` are stable; `gen_ai.*` and `openai.*` are in
development, and may change with any version. Names that begin with `askonce` are ours.

They are written out here because the package's own are marked as deprecated since that move, and loading them costs
what this file does not.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = "https://opentelemetry.io/schemas/1.41.1"

MAX_NAME: Final = 128
"""Characters of a model's name that are shown: the client chose it."""

OTHER: Final = "other"

# Of HTTP and of errors.
METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
ROUTE: Final = "http.route"
SCHEME: Final = "url.scheme"
PATH: Final = "url.path"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# Of a call to a model.
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
API_TYPE: Final = "openai.api.type"

# Ours. The model on a request's span is not `gen_ai.request.model`: what reads traces would count each hit as a call
# to that model, with tokens nobody paid for.
MODEL: Final = "askonce.model"
STREAM: Final = "askonce.stream"
OUTCOME: Final = "askonce.cache.outcome"
TIER: Final = "askonce.cache.tier"
KEY: Final = "askonce.cache.key"
REASON: Final = "askonce.cache.reason"
SIMILARITY: Final = "askonce.cache.similarity"
AGE: Final = "askonce.cache.age"
UPSTREAM: Final = "askonce.upstream"
FIRST_BYTE: Final = "askonce.time_to_first_byte"
FOUND: Final = "askonce.found"
MATCHED: Final = "askonce.match.outcome"
REFUSED: Final = "askonce.match.refused"
REFUSED_BY: Final = "askonce.match.refused_by"
JUDGE: Final = "askonce.judge.by"
JUDGED_RIGHT: Final = "askonce.judge.right"
SOURCE: Final = "askonce.judge.source"

# Steps.
LOOK_UP: Final = "look-up"
MATCH: Final = "match"
EMBED: Final = "embed"
SEARCH: Final = "search"
FOLLOW: Final = "follow"
REMEMBER: Final = "remember"
JUDGING: Final = "judge"

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"})

FINISHES: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call", "abort", "error"})
"""Reasons to finish that are shown as they are. Anything else is `other`: a server could say what it likes there."""

_OPERATIONS: Final = {
    "chat/completions": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""By the end of a path below `/v1`, the longer first. What is not here calls no model."""

_API_TYPES: Final = {"chat/completions": "chat_completions", "responses": "responses"}

_AZURE: Final = (".openai.azure.com", ".services.ai.azure.com")


def called(target: str) -> str:
    """The part of a call's target that says what is asked: the end of its path, or "" where no model is called."""
    path = target.partition("?")[0].rstrip("/")
    return next((name for name in _OPERATIONS if path.endswith("/" + name)), "")


def operation(name: str) -> str:
    """`gen_ai.operation.name` for what `called` gave; "" for none."""
    return _OPERATIONS.get(name, "")


def api_type(name: str) -> str:
    """`openai.api.type` for it; "" where that has no name."""
    return _API_TYPES.get(name, "")


def provider(kind: str, host: str) -> str:
    """`gen_ai.provider.name`: whose API it is. vLLM has no well-known name there and goes by its own."""
    return "azure.ai.openai" if kind == "openai" and host.endswith(_AZURE) else kind


def method(name: str) -> str:
    """A method the conventions know, or `_OTHER`: a client could write what it likes there."""
    return name if name in METHODS else "_OTHER"


def finish(reason: str) -> str:
    """A reason to finish that may be shown."""
    return reason if reason in FINISHES else OTHER
