"""The names of spans and attributes, against the package that has them from the specification."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, openai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.semconv.schemas import Schemas

from proxy.telemetry.tracing import genai

PACKAGES = (
    gen_ai_attributes,
    openai_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
KNOWN = {value for package in PACKAGES for name, value in vars(package).items() if name.isupper()}
NAMES = {name: value for name, value in vars(genai).items() if name.isupper() and type(value) is str and "." in value}


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if not value.startswith(("askonce", "https"))])
def test_a_name_that_is_not_ours_is_in_the_conventions(name: str) -> None:
    assert NAMES[name] in KNOWN


def test_the_schema_is_one_that_there_is() -> None:
    assert genai.SCHEMA in {each.value for each in Schemas}


@pytest.mark.parametrize(
    ("target", "operation", "api_type"),
    [
        ("/chat/completions", "chat", "chat_completions"),
        ("/chat/completions?x=1", "chat", "chat_completions"),
        ("/openai/deployments/mine/chat/completions?api-version=1", "chat", "chat_completions"),
        ("/responses", "chat", "responses"),
        ("/completions", "text_completion", ""),
        ("/embeddings", "embeddings", ""),
        ("/models", "", ""),
        ("/files/completions-of-mine", "", ""),
        ("/x?path=/embeddings", "", ""),
    ],
)
def test_what_a_path_asks_for(target: str, operation: str, api_type: str) -> None:
    called = genai.called(target)
    assert (genai.operation(called), genai.api_type(called)) == (operation, api_type)


@pytest.mark.parametrize(
    ("kind", "host", "provider"),
    [
        ("openai", "api.openai.com", "openai"),
        ("openai", "mine.openai.azure.com", "azure.ai.openai"),
        ("vllm", "10.0.0.1", "vllm"),
    ],
)
def test_whose_api_it_is(kind: str, host: str, provider: str) -> None:
    assert genai.provider(kind, host) == provider


def test_what_a_client_or_a_server_could_make_up_is_not_shown() -> None:
    assert (genai.method("GET"), genai.method("BREW")) == ("GET", "_OTHER")
    assert (genai.finish("stop"), genai.finish("because")) == ("stop", "other")
