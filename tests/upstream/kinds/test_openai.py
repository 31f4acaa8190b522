"""Any OpenAI-compatible API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.errors import UpstreamError
from proxy.types import Call
from proxy.upstream.kinds.base import Condition, Kind
from proxy.upstream.kinds.openai import OpenAIKind
from proxy.upstream.model_map import ModelMap
from tests.upstream.kinds import StandInWire, call, sent


def kind(**models: str) -> OpenAIKind:
    return OpenAIKind(models=ModelMap({name.replace("_", "-"): there for name, there in models.items()}))


def test_it_knows_no_member_to_be_harmless_and_is_not_watched():
    hosted: Kind = kind()
    assert (hosted.name, hosted.harmless, hosted.watched) == ("openai", frozenset(), False)


def test_a_call_goes_as_it_is():
    asked = call(b'{ "model":"gpt-4o", "n" : 1.0}', model="gpt-4o")
    assert kind().prepare(asked) is asked


def test_a_mapped_model_is_put_in():
    prepared = kind(gpt_4o="llama").prepare(call({"model": "gpt-4o", "messages": []}, model="gpt-4o"))
    assert sent(prepared) == {"model": "llama", "messages": []}
    assert prepared.model == "gpt-4o"


def test_prompt_caching_sees_the_call_as_it_will_be_sent_and_has_the_last_word():
    class Filled:
        def fill_in(self, asked: Call) -> Call:
            assert sent(asked)["model"] == "llama"
            return replace(asked, body=b"filled")

    hosted = OpenAIKind(models=ModelMap({"*": "llama"}), prompt_cache=Filled())
    assert hosted.prepare(call({"model": "gpt-4o"}, model="gpt-4o")).body == b"filled"


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 429])
async def test_one_that_answers_is_well_whatever_it_thinks_of_us(status):
    wire = StandInWire({"/models": status})
    assert await kind().look(wire) == Condition(well=True)
    assert wire.asked == ["/models"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
async def test_one_that_fails_is_not(status):
    condition = await kind().look(StandInWire({"/models": status}))
    assert not condition.well
    assert str(status) in condition.why


async def test_one_that_does_not_answer_is_for_who_looks_to_say():
    with pytest.raises(UpstreamError):
        await kind().look(StandInWire({"/models": UpstreamError("no connection")}))
