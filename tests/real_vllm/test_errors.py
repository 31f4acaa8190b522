"""What a real vLLM refuses, and callers who leave while it computes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import openai
import pytest

from tests.real_vllm.served import GENERATED, JSON, RUNNING, Before, ask, asking, cache, quiet, until
from tests.running import ALICE, Running, credential, error, frames
from tests.vllm_cpu import VllmServer

REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "a model that it does not have": (404, asking("Who?", model="huge")),
    "a prompt that is too long": (400, asking("word " * 5000)),
    "a number that is none": (400, asking("How long?", max_tokens="long")),
    "a member out of bounds": (400, asking("Certain?", top_p=7)),
}


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_refusal_comes_byte_for_byte_and_is_not_kept(
    served: VllmServer, before: Before, refused: str, stream: bool
) -> None:
    status, members = REFUSED[refused]
    question = members | {"stream": stream}
    async with before(served.url) as proxy:
        answers = [await ask(proxy, question) for _ in range(2)]
        kept = await entries(proxy)
    async with httpx.AsyncClient() as http:
        own = await http.post(f"{served.url}/chat/completions", json=question, timeout=60)
    assert own.status_code == status
    assert [(each.status_code, each.content) for each in answers] == [(own.status_code, own.content)] * 2
    assert [each.headers["x-cache"] for each in answers] == ["miss"] * 2
    assert kept == 0


async def entries(proxy: Running) -> int:
    """How many answers are kept."""
    await proxy.landed()
    return sum((await proxy.http.get("/admin/stats")).json()["store"]["entries"].values())


async def test_an_error_that_vllm_tells_in_a_stream_before_its_end_marker_is_passed_on_and_not_kept(
    served: VllmServer, before: Before
) -> None:
    """A schema that cannot be: the plain form has a status for it, a stream has begun by then."""
    own = {"structured_outputs": {"json": {"type": "nonsense"}}}
    question = asking("Schema?")
    async with before(served.url) as proxy, proxy.sdk() as client:
        streams = [await ask(proxy, question | own, stream=True) for _ in range(2)]
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(**question, stream=True, extra_body=own):
                pass
        kept = await entries(proxy)
    for streamed in streams:
        assert (streamed.status_code, streamed.headers["x-cache"]) == (200, "miss")
        assert [frame["error"]["code"] for frame in frames(streamed.content) if "error" in frame] == [400]
        assert streamed.content.endswith(b"data: [DONE]\n\n")
    assert kept == 0


@pytest.mark.parametrize("salt", ["with/slash", "at@home", "x" * 129, "", 7])
@pytest.mark.parametrize("share", [False, True])
async def test_a_salt_that_vllm_would_choke_on_does_not_reach_it(
    served: VllmServer, before: Before, salt: object, share: bool
) -> None:
    async with before(served.url, share_prefix_cache=share) as proxy:
        answer = await ask(proxy, asking("Salt?", cache_salt=salt))
        kept = await entries(proxy)
    assert (answer.status_code, error(answer)["param"], kept) == (400, "cache_salt", 0)


# --- callers who leave

TOKENS = 1500
"""Many seconds of work."""

UNKEPT: dict[str, tuple[str, Mapping[str, str]]] = {
    "bypassed": ("/v1/chat/completions", {"x-cache-bypass": "true"}),
    "not to be stored": ("/v1/chat/completions", {"cache-control": "no-store"}),
    "passed through": ("/v1/messages", {}),
}


@pytest.mark.parametrize("unkept", UNKEPT)
async def test_vllm_stops_at_once_when_the_caller_of_what_is_not_kept_leaves(
    served: VllmServer, before: Before, unkept: str
) -> None:
    path, headers = UNKEPT[unkept]
    members = asking(f"Long and {unkept}?", stream=True, max_tokens=TOKENS, ignore_eos=True)
    await quiet(served)
    generated = served.metric(GENERATED)
    async with before(served.url) as proxy:
        sent = {**JSON, **credential(ALICE), **headers}
        async with proxy.http.stream("POST", path, json=members, headers=sent) as response:
            assert response.status_code == 200
            assert response.headers["x-cache"] in ("bypass", "miss")
            await _begun(response)
            await until(lambda: served.metric(RUNNING) == 1, "vLLM is at it")
        await quiet(served)
        kept = await entries(proxy)
    assert served.metric(GENERATED) - generated < TOKENS
    assert kept == 0


async def test_what_is_kept_is_brought_to_its_end_when_its_caller_leaves_and_serves_the_next(
    served: VllmServer, before: Before
) -> None:
    members = asking("Long and kept?", max_tokens=300, ignore_eos=True)
    await quiet(served)
    generated = served.metric(GENERATED)
    async with before(served.url) as proxy:
        streamed = json.dumps(members | {"stream": True})
        sent = {**JSON, **credential(ALICE)}
        async with proxy.http.stream("POST", "/v1/chat/completions", content=streamed, headers=sent) as response:
            await _begun(response)
        left_at = served.metric(GENERATED) - generated
        await quiet(served)
        await proxy.landed()
        brought = served.metric(GENERATED) - generated
        answer = await ask(proxy, members)
        assert served.metric(GENERATED) - generated == brought
    assert left_at < brought == 300  # there was something left to do
    assert cache(answer) == "hit"
    assert answer.json()["usage"]["completion_tokens"] == 300


async def _begun(response: httpx.Response) -> None:
    """Until the model has said something."""
    seen = b""
    async for piece in response.aiter_raw():
        seen += piece
        if seen.count(b"\n\n") > 2:
            return
    raise AssertionError(f"it ended: {frames(seen)}")
