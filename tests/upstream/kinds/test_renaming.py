"""A call under the model's name at the upstream."""

from __future__ import annotations

import pytest

from proxy.upstream.kinds.renaming import object_in, renamed
from proxy.upstream.model_map import ModelMap
from tests.upstream.kinds import call, sent

MAP = ModelMap({"gpt-4o": "org/llama 3"})


def test_only_the_model_is_another():
    asked = call(b'{"model":"gpt-4o","x":1.0,"y":"\\u00e9"}', model="gpt-4o")
    assert renamed(asked, MAP).body == b'{"model":"org/llama 3","x":1.0,"y":"\\u00e9"}'


def test_a_model_that_is_called_the_same_goes_byte_for_byte():
    asked = call(b' {"model" : "o3"}', model="o3")
    assert renamed(asked, MAP) is asked


def test_on_azures_paths_the_deployment_is_the_model():
    target = "/openai/deployments/gpt-4o/chat/completions?api-version=1&x=/openai/deployments/gpt-4o"
    prepared = renamed(call({"messages": []}, target, model="gpt-4o"), MAP)
    assert prepared.target == (
        "/openai/deployments/org%2Fllama%203/chat/completions?api-version=1&x=/openai/deployments/gpt-4o"
    )
    assert sent(prepared) == {"messages": []}


def test_a_path_that_only_looks_like_a_deployments_stays():
    target = "/files?x=/openai/deployments/gpt-4o/chat"
    assert renamed(call({"model": "gpt-4o"}, target, model="gpt-4o"), MAP).target == target


@pytest.mark.parametrize("body", [b"", b"--boundary", b'["gpt-4o"]', b"null", b'{"model":', b"\xff"])
def test_what_is_no_object_goes_as_it_is(body):
    assert renamed(call(body, model="gpt-4o"), MAP).body == body


async def _upload():
    yield b'{"model":"gpt-4o"}'


def test_what_streams_goes_as_it_is():
    asked = call(_upload(), model="gpt-4o")
    assert renamed(asked, MAP).body is asked.body


@pytest.mark.parametrize(("body", "found"), [(b'{"a":1}', {"a": 1}), (b"[]", None), (b"{", None), (_upload(), None)])
def test_an_object_is_found_where_there_is_one(body, found):
    assert object_in(body) == found
