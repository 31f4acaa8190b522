"""vLLM: what its requests take, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import BadRequest, UpstreamError
from proxy.fingerprint import Namer
from proxy.types import Call, Scope
from proxy.upstream.kinds.base import Condition, Identity, Kind
from proxy.upstream.kinds.vllm import HARMLESS, SALTED, Gauges, VllmKind
from proxy.upstream.model_map import ModelMap
from tests.upstream.kinds import ALICE, BOB, StandInWire, call, sent

NOW = 1_800_000_000.0


def salted(scope: Scope, given: str) -> str:
    return f"salt of {scope.hex()[:4]} and {given}"


def kind(*, share: bool = False, **models: str) -> VllmKind:
    return VllmKind(models=ModelMap(models), salt=salted, share=share, clock=lambda: NOW)


def salt_in(prepared: Call) -> Any:
    return sent(prepared).get("cache_salt")


def test_it_is_watched_and_tells_what_cannot_change_an_answer():
    local: Kind = kind()
    assert (local.name, local.watched) == ("vllm", True)
    assert local.harmless == {"priority", "request_id", "session_id", "stream_interval"} == HARMLESS.keys()


# --- salts


def test_each_scope_has_a_salt_of_its_own():
    alice, again, bob, nobody = (
        salt_in(kind().prepare(call({"messages": []}, scope=scope))) for scope in (ALICE, ALICE, BOB, Scope(b""))
    )
    assert alice == again == salted(ALICE, "")
    assert len({alice, bob, nobody}) == 3


def test_a_callers_own_salt_keeps_its_prompts_apart_within_its_scope():
    mine, none, null, bobs = (
        salt_in(kind().prepare(call(body, scope=scope)))
        for body, scope in (({"cache_salt": "mine"}, ALICE), ({}, ALICE), ({"cache_salt": None}, ALICE),
                            ({"cache_salt": "mine"}, BOB))
    )  # fmt: skip
    assert mine == salted(ALICE, "mine")
    assert none == null == salted(ALICE, "")
    assert bobs != mine


def test_nobody_can_write_anothers_salt():
    stolen = salted(BOB, "")
    prepared = kind().prepare(call({"cache_salt": stolen}, scope=ALICE))
    assert salt_in(prepared) == salted(ALICE, stolen) != stolen


def test_a_name_that_is_written_in_another_way_is_the_same_member():
    prepared = kind().prepare(call(b'{"cache\\u005fsalt":"mine","x":1}', scope=ALICE))
    assert sent(prepared) == {"cache_salt": salted(ALICE, "mine"), "x": 1}
    assert prepared.body.count(b"salt") == 1 + salted(ALICE, "mine").count("salt")


def test_two_salts_in_one_request_are_refused():
    with pytest.raises(BadRequest):
        kind().prepare(call(b'{"cache_salt":"a","cache_salt":"b"}', scope=ALICE))


def test_the_rest_of_the_request_goes_byte_for_byte():
    body = b'{"messages" : [{"role":"user","content":"\\u00e9 "}], "n":1.0}'
    prepared = kind().prepare(call(body, scope=ALICE))
    assert prepared.body == body[:-1] + b',"cache_salt":"%b"}' % salted(ALICE, "").encode()


@pytest.mark.parametrize(
    ("salt", "code"),
    [("", "invalid_type"), (5, "invalid_type"), (True, "invalid_type"), (["a"], "invalid_type"), ({}, "invalid_type"),
     ("a@b", "invalid_value"), ("a/b", "invalid_value"), ("a\\b", "invalid_value"), ("a\0b", "invalid_value"),
     ("a" * 129, "invalid_value")],
)  # fmt: skip
@pytest.mark.parametrize("share", [False, True])
def test_a_salt_that_could_end_the_engine_never_reaches_it(salt, code, share):
    with pytest.raises(BadRequest) as refused:
        kind(share=share).prepare(call({"cache_salt": salt}, scope=ALICE))
    assert (refused.value.status, refused.value.reason, refused.value.param) == (400, code, "cache_salt")


def test_the_longest_salt_is_good():
    assert salt_in(kind().prepare(call({"cache_salt": "é" * 128}, scope=ALICE))) == salted(ALICE, "é" * 128)


@pytest.mark.parametrize("target", [*sorted(SALTED), "/completions?x=1", "/chat/completion%73", "/%63ompletions"])
def test_every_path_that_takes_a_salt_gets_one(target):
    assert salt_in(kind().prepare(call({"prompt": "x"}, target, scope=ALICE))) == salted(ALICE, "")


@pytest.mark.parametrize(
    "target",
    ["/models", "/messages/count_tokens", "/audio/transcriptions", "/responses/resp_1/cancel", "/files",
     "/chat/completion%2573", "/CHAT/completions", "/chat/completions/derender"],
)  # fmt: skip
def test_no_other_path_does(target):
    asked = call({"cache_salt": "a@b"}, target, scope=ALICE)
    assert kind().prepare(asked) is asked


def test_only_a_post_is_changed():
    asked = call({"x": 1}, method="GET", scope=ALICE)
    assert kind().prepare(asked) is asked


async def _upload():
    yield b"{}"


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"5", _upload()], ids=["none", "list", "text", "5", "stream"])
def test_what_is_no_object_goes_as_it_is(body):
    asked = call(body, scope=ALICE)
    assert kind().prepare(asked) is asked


@pytest.mark.parametrize(
    "body", [b'{"x":NaN}', '{"x":1}'.encode("utf-16"), b'{"x":"\\ud800"}', b"\xef\xbb\xbf{}", b"{"]
)
def test_what_its_parser_could_read_and_ours_cannot_goes_nowhere_without_a_salt(body):
    with pytest.raises(BadRequest):
        kind().prepare(call(body, scope=ALICE))
    assert kind(share=True).prepare(call(body, scope=ALICE)).body == body


def test_where_scopes_share_nothing_is_put_in_and_a_callers_own_salt_stays():
    for body in ({"messages": []}, {"cache_salt": "mine"}, {"cache_salt": None}):
        asked = call(body, scope=ALICE)
        assert kind(share=True).prepare(asked) is asked


def test_a_salt_follows_a_namer_that_is_keyed_anew():
    namer = Namer(b"s" * 32)
    local = VllmKind(models=ModelMap({}), salt=namer.salt)
    asked = call({}, scope=ALICE)
    before = salt_in(local.prepare(asked))
    namer.rekey(b"t" * 32)
    assert before == Namer(b"s" * 32).salt(ALICE, "")
    assert salt_in(local.prepare(asked)) == namer.salt(ALICE, "") != before


def test_a_mapped_model_is_put_in_beside_the_salt():
    prepared = kind(a="b").prepare(call({"model": "a"}, scope=ALICE, model="a"))
    assert sent(prepared) == {"model": "b", "cache_salt": salted(ALICE, "")}


# --- looks

CARD = {
    "id": "tiny", "object": "model", "created": 1795568001, "owned_by": "vllm", "root": "./tiny", "parent": None,
    "max_model_len": 2048, "permission": [{"id": "modelperm-a75282ed5f2de387", "created": 1795568001}],
}  # fmt: skip
ADAPTER = CARD | {"id": "ad", "root": "/loras/one", "parent": "tiny", "max_model_len": None}
METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="deferred"} 40.0
# TYPE vllm:engine_sleep_state gauge
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="weights_offloaded"} 0.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="discard_all"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
"""


def server(**other: Any) -> StandInWire:
    """A vLLM that is well; by what comes last in a path what it answers otherwise."""
    answers = {
        "health": b"",
        "metrics": METRICS,
        "version": {"version": "0.32.0"},
        "models": {"object": "list", "data": [CARD, ADAPTER]},
    } | other
    paths = {"health": "../health", "metrics": "../metrics", "version": "../version", "models": "/models"}
    return StandInWire({path: answers[name] for name, path in paths.items()})


async def identity(**other: Any) -> Identity | None:
    return (await kind().look(server(**other))).identity


def sleeping(*, level: int) -> bytes:
    awake, offloaded, discarded = (b'"%b"} ' % name for name in (b"awake", b"weights_offloaded", b"discard_all"))
    state = METRICS.replace(awake + b"1", awake + b"0")
    kind_of = offloaded if level == 1 else discarded
    return state.replace(kind_of + b"0", kind_of + b"1")


async def test_one_that_is_well_tells_its_load_and_what_it_is():
    condition = await kind().look(server())
    assert (condition.well, condition.why) == (True, "")
    assert (condition.waiting, condition.running, condition.kv_usage) == (2, 3, 0.25)
    assert condition.identity is not None
    assert condition.identity.version == "0.32.0"
    assert condition.identity.models.keys() == {"tiny", "ad"}
    assert condition.identity.discarded_at == 0.0


async def test_it_is_asked_beside_and_below_its_base_address():
    wire = server()
    await kind().look(wire)
    assert sorted(wire.asked) == ["../health", "../metrics", "../version", "/models"]


async def test_it_looks_the_same_every_time():
    later = [card | {"created": 1, "permission": [], "owned_by": "x", "new_member": 1} for card in (CARD, ADAPTER)]
    assert await identity() == await identity(models={"data": later[::-1]})


@pytest.mark.parametrize("change", [{"root": "./other"}, {"max_model_len": 4096}])
async def test_another_base_is_another_model_and_another_parent(change):
    before, after = await identity(), await identity(models={"data": [CARD | change, ADAPTER]})
    assert before is not None
    assert after is not None
    assert before.models["tiny"] != after.models["tiny"]
    assert before.models["ad"] != after.models["ad"]


@pytest.mark.parametrize("change", [{"root": "/loras/two"}, {"parent": "other"}, {"parent": None}])
async def test_another_adapter_under_the_same_name_is_another_model_and_its_base_is_not(change):
    before, after = await identity(), await identity(models={"data": [CARD, ADAPTER | change]})
    assert before is not None
    assert after is not None
    assert before.models["tiny"] == after.models["tiny"]
    assert before.models["ad"] != after.models["ad"]


async def test_adapters_of_parents_that_are_not_served_are_told_apart_by_their_names():
    parents = ("other", "another", None)
    found = [await identity(models={"data": [ADAPTER | {"parent": parent}]}) for parent in parents]
    assert len({each.models["ad"] for each in found if each is not None}) == 3


@pytest.mark.parametrize("level", [1, 2])
async def test_one_that_sleeps_is_not_well(level):
    condition = await kind().look(server(metrics=sleeping(level=level)))
    assert not condition.well
    assert condition.why == f"it sleeps (level {level}): wake it with POST /wake_up"
    assert condition.certain
    assert condition.identity is not None
    assert condition.identity.discarded_at == (NOW if level == 2 else 0.0)


async def test_one_of_several_engines_that_sleeps_is_enough():
    asleep = sleeping(level=1).replace(b'engine="0"', b'engine="1"')
    for metrics in (METRICS + asleep, asleep + METRICS):
        assert not (await kind().look(server(metrics=metrics))).well


@pytest.mark.parametrize("status", [500, 503])
async def test_one_whose_engine_is_dead_is_not_well(status):
    condition = await kind().look(server(health=status))
    assert not condition.well
    assert str(status) in condition.why


async def test_one_that_does_not_answer_is_for_who_looks_to_say():
    wire = server(health=UpstreamError("no connection"), metrics=UpstreamError("none either"))
    with pytest.raises(UpstreamError, match="no connection"):
        await kind().look(wire)
    assert len(wire.asked) == 4


@pytest.mark.parametrize("what", ["health", "metrics", "version", "models"])
@pytest.mark.parametrize("how", [404, 401, 403])
async def test_what_a_server_does_not_offer_makes_it_not_ill(what, how):
    condition = await kind().look(server(**{what: how}))
    assert condition.well
    assert condition.identity is not None


async def test_a_server_that_offers_nothing_but_its_api_is_well():
    assert await kind().look(StandInWire({})) == Condition(well=True, identity=Identity())


@pytest.mark.parametrize("what", ["version", "models"])
@pytest.mark.parametrize(
    "how", [UpstreamError("late"), 500, 503, 429, b"<html>", b"[]", b"", {"data": 5, "version": 5}]
)
async def test_what_could_not_be_told_this_time_is_no_other_model(what, how):
    condition = await kind().look(server(**{what: how}))
    assert (condition.well, condition.identity) == (True, None)


@pytest.mark.parametrize("metrics", [UpstreamError("over the bound"), 500, b"", b"<html>", b"\xff\xfe"])
async def test_metrics_that_cannot_be_had_make_it_not_ill(metrics):
    condition = await kind().look(server(metrics=metrics))
    assert (condition.well, condition.waiting, condition.kv_usage) == (True, 0, 0.0)


async def test_cards_that_are_none_are_left_out():
    found = await identity(models={"data": [CARD, 5, None, {}, {"id": 5}, {"id": "x", "root": {"a": 1}, "parent": 5}]})
    assert found is not None
    assert found.models.keys() == {"tiny", "x"}


# --- gauges


def test_engines_are_added_up_and_the_fullest_counts():
    second = METRICS.replace(b'engine="0"', b'engine="1"').replace(b"} 0.25", b"} 0.75").replace(b"} 3.0", b"} 5.0")
    for text in (METRICS + second, second + METRICS):
        gauges = Gauges.read(text)
        assert (gauges.waiting, gauges.running, gauges.kv_usage, gauges.asleep) == (4, 8, 0.75, False)


@pytest.mark.parametrize(
    ("line", "waiting"),
    [
        (b"vllm:num_requests_waiting 7", 7),
        (b"vllm:num_requests_waiting{} 7.0", 7),
        (b'vllm:num_requests_waiting{model_name="a}b c"} 7e0 1795568001000', 7),
        (b"vllm:num_requests_waiting 7\r", 7),
        (b" vllm:num_requests_waiting 7", 0),
        (b"# vllm:num_requests_waiting 7", 0),
        (b"vllm:num_requests_waiting NaN", 0),
        (b"vllm:num_requests_waiting +Inf", 0),
        (b"vllm:num_requests_waiting -1", 0),
        (b"vllm:num_requests_waiting x", 0),
        (b"vllm:num_requests_waiting{", 0),
        (b"vllm:num_requests_waiting ", 0),
        (b"vllm:num_requests_waiting_total 7", 0),
        (b"other:num_requests_waiting 7", 0),
    ],
)
def test_a_sample_is_read_or_left_out(line, waiting):
    for text in (line, b"x 1\n" + line, line + b"\nx 1\n"):
        assert Gauges.read(text).waiting == waiting
