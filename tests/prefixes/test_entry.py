"""Lines of a request log."""

from __future__ import annotations

import json

import pytest

from proxy.prefixes.entry import UNNAMED, Unreadable, read

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
USAGE = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}


def line(value) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "value",
    [
        BODY,
        {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": BODY},
        {"request": BODY, "time": "2026-01-01T00:00:00Z"},
        {"request": {"body": BODY}},
    ],
)
def test_a_request_is_found_in_each_form(value):
    entry = read(line(value), 7)
    assert (entry.model, entry.prompt[0].text, entry.line, entry.tenant) == ("gpt-4o", "Hi", 7, None)


def test_tenant_and_model_are_read_beside_it():
    assert read(line({"tenant": "acme", "body": BODY}), 1).tenant == "acme"
    assert read(line({"messages": BODY["messages"]}), 1).model == UNNAMED


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"response": {"usage": USAGE}}, (9, 4)),
        ({"response": {"status_code": 200, "body": {"usage": USAGE}}}, (9, 4)),
        ({"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}}}, (9, 0)),
        ({"usage": {"prompt_tokens": 9}}, (9, None)),
        ({"usage": {"prompt_tokens": 0}}, (None, None)),
        ({"usage": {"prompt_tokens": True}, "response": 7}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_the_providers_own_count_is_read(beside, expected):
    entry = read(line({"body": BODY, **beside}), 1)
    assert (entry.prompt_tokens, entry.cached_tokens) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object"),
        (line({"a": 1}), "no request"),
        (line({"body": "text"}), "no request"),
        (line({"model": "m", "messages": []}), "no prompt"),
        (line({"messages": "x", "tools": []}).replace(b"[]", b"[" * 500 + b"]" * 500), "nested too deeply"),
        (line({"url": "/v1/embeddings", "body": {"model": "m", "input": "text"}}), "no prompt"),
        (line({"model": "text-embedding-3-small", "input": "text"}), "no prompt"),
    ],
)
def test_what_holds_no_prompt_says_why(raw, words):
    with pytest.raises(Unreadable, match=words):
        read(raw, 1)
