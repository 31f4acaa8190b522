"""What is not cached passes as if AskOnce were not there, but for the fields that belong to one connection."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import openai
import pytest

from tests.provider import Provider, completion, event, failure, gzipped, plain, reply, stream
from tests.running import ALICE, Running, Start, cache_status, error, question, request_bytes

CHAT = "/v1/chat/completions"


def passed(answer: Any) -> bool:
    """It says that it came from the upstream and was not looked up."""
    return answer.headers["x-cache"] == "bypass" and cache_status(answer) == {"fwd": "bypass", "detail": "endpoint"}


# --- bodies


async def test_a_multipart_upload_arrives_byte_for_byte(default_proxy: Running, provider: Provider) -> None:
    audio = os.urandom(300_000)
    files = {"file": ("talk.wav", audio, "audio/wav"), "model": (None, "whisper-1")}
    answer = await default_proxy.http.post("/v1/audio/transcriptions", files=files)
    assert provider.last.body == answer.content
    assert audio in provider.last.body
    assert provider.last.header("content-type") == answer.request.headers["content-type"]
    assert passed(answer)


async def test_an_upload_of_unknown_length_is_passed_on_as_it_comes(default_proxy: Running, provider: Provider) -> None:
    pieces = [os.urandom(50_000) for _ in range(4)]

    async def body() -> Any:
        for piece in pieces:
            yield piece

    answer = await default_proxy.http.post(
        "/v1/files", content=body(), headers={"content-type": "application/octet-stream"}
    )
    assert provider.last.body == answer.content == b"".join(pieces)


async def test_a_binary_download_comes_back_byte_for_byte(default_proxy: Running, provider: Provider) -> None:
    sound = bytes(range(256)) * 2000
    provider.then(reply(sound, content_type="audio/mpeg"))
    answer = await default_proxy.post("/v1/audio/speech", b'{"model":"tts-1","input":"Hi","voice":"alloy"}')
    assert (answer.content, answer.headers["content-type"]) == (sound, "audio/mpeg")
    assert answer.headers["content-length"] == str(len(sound))
    assert passed(answer)


async def test_a_coded_body_is_passed_as_it_is_or_decoded_but_never_mislabelled(
    default_proxy: Running, provider: Provider
) -> None:
    provider.then(gzipped({"data": "a" * 5000}))
    answer = await default_proxy.http.get("/v1/files/file-1", headers={"accept-encoding": "gzip"})
    assert answer.json() == {"data": "a" * 5000}


async def test_a_response_stream_passes_event_by_event(default_proxy: Running, provider: Provider) -> None:
    """The Responses API: named events, no end marker."""
    kinds = ["response.created", "response.output_text.delta", "response.completed"]
    events = [b"event: %b\n" % kind.encode() + event({"type": kind, "n": n}) for n, kind in enumerate(kinds)]
    gate = asyncio.Event()
    provider.then(stream([events[0], gate, *events[1:]]))
    async with default_proxy.http.stream(
        "POST", "/v1/responses", json={"model": "m", "input": "Hi", "stream": True}
    ) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == events[0]
        gate.set()
        assert b"".join([piece async for piece in pieces]) == b"".join(events[1:])
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert passed(answer)


async def test_a_caller_who_leaves_a_passed_stream_is_noticed_upstream(
    default_proxy: Running, provider: Provider
) -> None:
    provider.then(stream([event({"type": "response.created"}), asyncio.Event()]))
    async with default_proxy.http.stream("POST", "/v1/responses", json={"stream": True}) as answer:
        await anext(answer.aiter_raw())
    await provider.last.left.wait()


async def test_the_sdk_lists_models(default_proxy: Running, provider: Provider) -> None:
    async with default_proxy.sdk() as sdk:
        assert [model.id async for model in await sdk.models.list()] == ["gpt-test"]
    assert (provider.last.method, provider.last.target) == ("GET", "/v1/models")
    assert provider.last.header("authorization") == f"Bearer {ALICE}"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_every_method_passes(default_proxy: Running, provider: Provider, method: str) -> None:
    provider.then([*reply(b"" if method == "HEAD" else b"{}", 200)])
    answer = await default_proxy.http.request(method, "/v1/files/file-1")
    assert (answer.status_code, provider.last.method, provider.last.path) == (200, method, "/v1/files/file-1")


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 404, 409, 429, 500, 503])
async def test_a_status_passes_with_its_body_and_no_redirect_is_followed(
    default_proxy: Running, provider: Provider, status: int
) -> None:
    elsewhere = reply(b"", status, [("location", "/v1/elsewhere")])
    provider.then(elsewhere if status in (204, 302) else failure(status, f"{status}!"))
    answer = await default_proxy.http.post("/v1/embeddings", json={"model": "m", "input": "Hi"})
    assert answer.status_code == status
    assert status in (204, 302) or answer.json()["error"]["message"] == f"{status}!"
    assert provider.calls == 1


async def test_a_get_of_stored_completions_is_not_taken_for_a_question(
    default_proxy: Running, provider: Provider
) -> None:
    answer = await default_proxy.http.get(f"{CHAT}?limit=2")
    assert (provider.last.method, provider.last.target) == ("GET", f"{CHAT}?limit=2")
    assert passed(answer)


# --- paths


TARGETS = ["/v1/models?a=1&b=%20c&a=2", "/v1/files?purpose=x%2Fy&after=%C3%A9", "/v1/files/a%20b"]


@pytest.mark.parametrize("target", TARGETS)
async def test_paths_and_queries_arrive_as_they_were_written(
    default_proxy: Running, provider: Provider, target: str
) -> None:
    await default_proxy.raw(f"GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert provider.last.target == target


AZURE = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"


async def test_an_azure_client_is_served_with_its_credential(default_proxy: Running, provider: Provider) -> None:
    azure = {"azure_endpoint": default_proxy.url, "api_key": "azure-key", "api_version": "2024-10-21"}
    async with openai.AsyncAzureOpenAI(**azure, max_retries=0) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**question(model="my-gpt"))
        assert raw.parse().choices[0].message.content == "Answer 1"
        assert raw.headers["x-cache"] == "miss"
    assert provider.last.target == AZURE
    assert provider.last.header("api-key") == "azure-key"


REFUSED = [
    "/v1/nothing",
    "/v1",
    "/v1/",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/reset_prefix_cache",
    "/v1/../reset_prefix_cache",
    "/v1/models/../../sleep",
    "/v1/models/..%2f..%2fsleep",
    "/v1/models%2f..%2f..%2fsleep",
    "/v1/%2e%2e/sleep",
    "/v1/files/%2E%2E/%2E%2E/sleep",
    "/v1/files/..%5c..%5csleep",
    "/v1/files/a%00b",
    "/v1//models",
    "/v1/./models",
    "//v1/models",
    "/openai/../sleep",
    "/openai/deployments/../../sleep",
    "/openai/deployments/x/../../../sleep",
    "/v1/models;/../../sleep",
]
ADMINISTRATION = [
    "/reset_prefix_cache",
    "/sleep",
    "/wake_up",
    "/collective_rpc",
    "/pause",
    "/update_weights",
    "/start_profile",
    "/server_info",
    "/scale_elastic_ep",
    "/version",
    "/inference/v1/generate",
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [*REFUSED, *ADMINISTRATION])
async def test_no_other_path_reaches_the_upstream(askonce: Start, provider: Provider, path: str, method: str) -> None:
    async with askonce() as proxy:
        head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        answer = await proxy.raw(head.encode())
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))
    assert provider.calls == 0


async def test_an_unknown_path_below_v1_is_refused_in_openais_shape(default_proxy: Running) -> None:
    refused = await default_proxy.http.get("/v1/nothing")
    assert refused.status_code == 404
    assert (error(refused)["type"], error(refused)["code"]) == ("not_found_error", "unknown_path")


async def test_an_operator_can_open_a_path(askonce: Start, provider: Provider) -> None:
    async with askonce({"server.allow_paths": ["tokenize"]}) as proxy:
        assert (await proxy.http.post("/v1/tokenize", json={})).status_code == 200
    assert provider.last.path == "/v1/tokenize"


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/responses", "/v1/live/sessions"])
async def test_a_websocket_is_refused_with_501_and_not_left_hanging(
    proxy: Running, provider: Provider, path: str
) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    refused = await proxy.http.get(path, headers=upgrade)
    assert refused.status_code == 501
    assert error(refused)["code"] == "websocket_not_supported"
    assert refused.headers["x-should-retry"] == "false"
    assert provider.calls == 0


# --- fields (protocol 3.4)

ROUTES = pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"], ids=["cached endpoint", "passed endpoint"])

TO_UPSTREAM = {
    "authorization": f"Bearer {ALICE}",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "openai-beta": "assistants=v2",
    "x-stainless-lang": "python",
    "x-client-request-id": "c-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "idempotency-key": "i-1",
    "user-agent": "test/1",
}
NOT_TO_UPSTREAM = {
    "cookie": "a=b",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "inside",
    "forwarded": "for=10.0.0.1",
    "x-data-parallel-rank": "1",
    "te": "trailers",
    "proxy-authorization": "Basic eDp5",
    "keep-alive": "timeout=5",
    "x-cache-tags": "a",
    "x-mine": "1",
    "baggage": "user=1",
}


@ROUTES
async def test_which_request_fields_reach_the_upstream(default_proxy: Running, provider: Provider, path: str) -> None:
    fields = TO_UPSTREAM | NOT_TO_UPSTREAM | {"connection": "keep-alive, x-mine", "content-type": "application/json"}
    await default_proxy.http.post(path, json=question(input="Hi"), headers=fields)
    sent = {name.lower(): value for name, value in provider.last.headers}
    assert {name: sent.get(name) for name in TO_UPSTREAM} == TO_UPSTREAM
    assert sent.keys() & NOT_TO_UPSTREAM.keys() == set()
    assert sent["host"] == f"127.0.0.1:{provider.port}"
    assert sent["via"].endswith(" askonce")
    assert int(sent["content-length"]) == len(provider.last.body)


FROM_UPSTREAM = [("retry-after-ms", "100"), ("x-should-retry", "false"), ("openai-processing-ms", "12")]
LIMITS = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-tokens", "7")]
NOT_FROM_UPSTREAM = [
    ("set-cookie", "session=1"),
    ("connection", "x-inner"),
    ("x-inner", "1"),
    ("keep-alive", "timeout=5"),
    ("proxy-authenticate", "Basic"),
    ("strict-transport-security", "max-age=1"),
    ("alt-svc", "h3"),
    ("x-request-id", "upstream-id"),
]


def answer_with_fields(asked: Any) -> Any:
    (sent,) = plain({"choices": [], "object": "list", "data": []})
    head, blank, body = sent.partition(b"\r\n\r\n")
    fields = "".join(f"\r\n{name}: {value}" for name, value in [*FROM_UPSTREAM, *LIMITS, *NOT_FROM_UPSTREAM])
    return [head + fields.encode() + blank + body]


@ROUTES
async def test_which_response_fields_reach_the_caller(proxy: Running, provider: Provider, path: str) -> None:
    provider.always(answer_with_fields)
    answer = await proxy.http.post(path, json=question(input="Hi"))
    got = {name: value for name, value in answer.headers.items() if name not in ("date", "server")}
    assert [name for name, value in [*FROM_UPSTREAM, *LIMITS] if got.get(name) != value] == []
    assert [name for name, value in NOT_FROM_UPSTREAM if got.get(name) == value] == []
    assert [value for name, value in got.items() if name.endswith("upstream-request-id")] == ["upstream-id"]
    assert got["cache-control"] == "private, no-store"


@ROUTES
async def test_rate_limits_of_the_operators_own_credential_stay_inside(
    askonce: Start, provider: Provider, path: str
) -> None:
    provider.always(answer_with_fields)
    own = {"ASKONCE_UPSTREAMS__0__API_KEY": "sk-operator"}
    async with askonce(environ=own) as proxy:
        answer = await proxy.http.post(path, json=question(input="Hi"), headers={"authorization": f"Bearer {ALICE}"})
    assert provider.last.header("authorization") == "Bearer sk-operator"
    assert [name for name in answer.headers if name.startswith("x-ratelimit")] == []


async def test_a_hit_carries_nothing_of_the_upstreams_first_response(proxy: Running, provider: Provider) -> None:
    """Protocol 8, test 10."""
    fields = [field for field in [*FROM_UPSTREAM, *LIMITS, *NOT_FROM_UPSTREAM] if field[0] != "connection"]
    fields += [("openai-version", "1"), ("cf-ray", "1"), ("etag", '"1"')]
    provider.then(plain(completion("kept"), headers=fields))
    await proxy.chat()
    hit = await proxy.chat()
    assert hit.headers["x-cache"] == "hit"
    ours = {"content-type", "content-length", "date", "server", "age", "cache-control", "cache-status", "x-request-id"}
    assert {name for name in hit.headers if name not in ours and not name.startswith("x-cache")} == {"x-upstream"}
    assert hit.headers["content-type"] == "application/json"


async def test_a_stream_says_that_it_must_not_be_buffered_or_kept(proxy: Running) -> None:
    for cache in ("miss", "hit"):
        answer = await proxy.chat(stream=True)
        assert answer.headers["x-cache"] == cache
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-store" in answer.headers["cache-control"]
        assert "content-length" not in answer.headers or cache == "hit"


@ROUTES
@pytest.mark.parametrize("named", ["authorization", "Authorization", "api-key", "content-type, x-api-key"])
async def test_naming_a_credential_in_connection_is_refused(
    proxy: Running, provider: Provider, path: str, named: str
) -> None:
    refused = await proxy.http.post(path, json=question(), headers={"connection": named})
    assert refused.status_code == 400
    assert error(refused)["type"] == "invalid_request_error"
    assert provider.calls == 0


async def test_a_length_and_a_transfer_coding_together_are_refused(proxy: Running, provider: Provider) -> None:
    smuggled = request_bytes(question(), "transfer-encoding: chunked", "connection: close")
    assert (await proxy.raw(smuggled)).startswith(b"HTTP/1.1 400 ")
    assert provider.calls == 0
