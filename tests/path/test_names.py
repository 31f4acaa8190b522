"""Which bodies ask the same and which do not, by what comes back (protocol 8, test 1)."""

from __future__ import annotations

import pytest

from tests.provider import Provider
from tests.running import Running, error

HI = '"messages":[{"role":"user","content":"Hi"}]'


def body(*members: str, model: str = "m", messages: str = HI) -> str:
    """A JSON text of these members, as written."""
    return "{" + ",".join([f'"model":"{model}"', messages, *members]) + "}"


def schema(properties: str) -> str:
    return f'"response_format":{{"type":"json_schema","json_schema":{{"name":"s","schema":{properties}}}}}'


def tools(*names: str) -> str:
    return '"tools":[' + ",".join(f'{{"type":"function","function":{{"name":"{name}"}}}}' for name in names) + "]"


async def caches(proxy: Running, *bodies: str) -> list[str | None]:
    answers = [await proxy.post("/v1/chat/completions", text.encode()) for text in bodies]
    return [answer.headers.get("x-cache") for answer in answers]


SAME = {
    "order of members": f'{{{HI},"model":"m"}}',
    "white space": f'{{ "model" : "m",\n{HI} }}',
    "escapes": body(model="\\u006d"),
    "user": body('"user":"u1"'),
    "safety_identifier": body('"safety_identifier":"s1"'),
    "metadata": body('"metadata":{"a":"b"}'),
    "service_tier": body('"service_tier":"flex"'),
    "prompt_cache_key": body('"prompt_cache_key":"k"'),
    "prompt_cache_retention": body('"prompt_cache_retention":"24h"'),
    "not stored": body('"store":false'),
    "stream": body('"stream":false'),
    "stream_options": body('"stream_options":{"include_usage":true}'),
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME)
async def test_bodies_that_ask_the_same_share_an_answer(default_proxy: Running, other: str) -> None:
    assert await caches(default_proxy, body(), other) == ["miss", "hit"]


DIFFERENT = {
    "white space in the words": (body(), body(messages=HI.replace("Hi", "Hi "))),
    "case": (body(), body(messages=HI.replace("Hi", "hi"))),
    "composed and decomposed letters": (
        body(messages=HI.replace("Hi", "\u00e9")),
        body(messages=HI.replace("Hi", "e\u0301")),
    ),
    "model": (body(), body(model="m2")),
    "a default made explicit": (body(), body('"top_p":1')),
    "1 and 1.0": (body('"top_p":1'), body('"top_p":1.0')),
    "true and 1": (body('"logprobs":true'), body('"logprobs":1')),
    "a member nobody knows": (body(), body('"brand_new":null')),
    "role": (body(), body(messages=HI.replace("user", "system"))),
    "a name in a message": (body(), body(messages=HI.replace('"Hi"', '"Hi","name":"n"'))),
    "order in a schema": (body(schema('{"a":{},"b":{}}')), body(schema('{"b":{},"a":{}}'))),
    "order of tools": (body(tools("f", "g")), body(tools("g", "f"))),
    "the old and the new limit of tokens": (body('"max_tokens":5'), body('"max_completion_tokens":5')),
    "cache_salt": (body(), body('"cache_salt":"s"')),
    "seed": (body('"seed":1'), body('"seed":2')),
    "number of choices": (body(), body('"n":1')),
    "one stop and two": (body('"stop":"ab"'), body('"stop":["a","b"]')),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
async def test_bodies_that_ask_something_else_do_not(default_proxy: Running, one: str, other: str) -> None:
    assert await caches(default_proxy, one, other, one, other) == ["miss", "miss", "hit", "hit"]


AMBIGUOUS = {
    "no JSON": "hello",
    "nothing": "",
    "an array": "[]",
    "a member twice": body('"model":"n"'),
    "a member twice, deep down": body(messages=HI.replace('"role":"user"', '"role":"user","role":"system"')),
    "a member twice, once escaped": body('"mode\\u006c":"n"'),
    "too deep": body('"x":' + "[" * 65 + "1" + "]" * 65),
    "an integer past 2^64": body('"seed":18446744073709551616'),
    "not a number": body('"top_p":NaN'),
    "infinite": body('"top_p":1e400'),
    "half a pair": body(messages=HI.replace("Hi", "\\ud800")),
    "messages of another type": body(messages='"messages":"Hi"'),
    "no model": f"{{{HI}}}",
    "two texts": body() + body(),
}


@pytest.mark.parametrize("text", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_body_that_could_be_read_in_two_ways_is_refused(
    default_proxy: Running, provider: Provider, text: str
) -> None:
    for _ in range(2):
        refused = await default_proxy.post("/v1/chat/completions", text.encode())
        assert refused.status_code == 400
        assert error(refused)["type"] == "invalid_request_error"
        assert "Hi" not in error(refused)["message"]
        assert "cache-status" not in refused.headers
    assert provider.calls == 0
