"""What a request that is passed on says of itself."""

from __future__ import annotations

import pytest

from proxy.edge.passing import (
    deployment_of,
    may_be_json,
    model_in_body,
    model_in_target,
    operation_of,
    portable,
    repeatable,
)

AZURE = "/openai/deployments/my%2D4o/chat/completions?api-version=1"


def test_azure_s_path_names_the_deployment_and_the_operation() -> None:
    assert deployment_of(AZURE) == ("my-4o", "chat/completions")
    assert deployment_of("/chat/completions") == ("", "")
    assert deployment_of("/openai/v1/chat/completions") == ("", "")


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        (AZURE, "chat/completions"),
        ("/openai/v1/chat/completions?x=1", "chat/completions"),
        ("/chat/completions?x=/y", "chat/completions"),
        ("/models/", "models"),
        ("/models/a/b", "models/a/b"),
    ],
)
def test_an_operation_is_what_stands_below_v1(target: str, operation: str) -> None:
    assert operation_of(target) == operation


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/models/org%2Fllama?x=1", "org/llama"),
        ("/models/a/b", "a/b"),
        ("/models", ""),
        (AZURE, "my-4o"),
        ("/files/x", ""),
    ],
)
def test_a_path_may_name_the_model(target: str, model: str) -> None:
    assert model_in_target(target) == model


@pytest.mark.parametrize(
    ("body", "model"),
    [(b'{"model":"m"}', "m"), (b'{"model":7}', ""), (b"[]", ""), (b"{}", ""), (b"", ""), (b"{", ""), (b'"model"', "")],
)
def test_a_body_may_name_the_model(body: bytes, model: str) -> None:
    assert model_in_body(body) == model


@pytest.mark.parametrize(
    ("types", "may_be"),
    [
        ([b"application/json"], True),
        ([b"text/plain"], True),
        ([], True),
        ([b"multipart/form-data; boundary=x"], False),
        ([b" Multipart/Form-Data"], False),
        ([b"multipart/form-data", b"application/json"], True),
    ],
)
def test_only_a_form_is_never_read_as_json(types: list[bytes], may_be: bool) -> None:
    assert may_be_json(tuple((b"content-type", each) for each in types)) is may_be


@pytest.mark.parametrize(
    ("method", "target", "harmless"),
    [
        ("GET", "/files/x", True),
        ("HEAD", "/anything", True),
        ("POST", "/embeddings", True),
        ("POST", "/openai/deployments/d/embeddings?api-version=1", True),
        ("POST", "/completions", True),
        ("POST", "/responses", False),
        ("POST", "/files", False),
        ("POST", "/batches", False),
        ("POST", "/chat/completions/x", False),
        ("DELETE", "/files/x", False),
        ("PUT", "/completions", False),
        ("POST", "/completions/c", False),
    ],
)
def test_only_what_leaves_nothing_behind_may_be_sent_twice(method: str, target: str, harmless: bool) -> None:
    assert repeatable(method, target) is harmless
    # What is kept in an account may be read again there, and nowhere else.
    assert portable(method, target) is (harmless and method == "POST")
