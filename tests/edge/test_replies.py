"""Answers as header fields and bytes."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.case import Answer
from proxy.edge.replies import (
    OUR_FIELDS,
    answer_fields,
    entry_body,
    entry_fields,
    error_body,
    error_event,
    hit_on_wire,
    valid_request_id,
)
from proxy.errors import BadRequest, NotCached, UpstreamTimeout
from proxy.types import PREFIX_CACHED_S, CacheStatus, Form, Outcome, Usage
from tests.edge.cases import NAME, NOW, Small, case, entry

KEY = NAME.hex().encode()
HIT = CacheStatus(ttl=93, detail="memory")
PLAIN = string.ascii_letters + string.digits + "-_"


@dataclass
class Upstream:
    """A reply's head."""

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


def hit(**members: Any) -> Answer:
    usual = {"outcome": Outcome.HIT, "cache_status": HIT, "case": case(), "entry": entry(), "tier": "memory"}
    return Answer(**(usual | members))


def live(outcome: Outcome, *headers: tuple[bytes, bytes], **members: Any) -> Answer:
    reply: Any = Upstream(headers=headers)
    return Answer(outcome=outcome, cache_status=CacheStatus(fwd="uri-miss"), case=case(), reply=reply, **members)


def fields(answer: Answer, now: float = NOW + 7.9) -> dict[bytes, bytes]:
    pairs = answer_fields(answer, b"request-1", now)
    assert len({name for name, _ in pairs}) == len(pairs)
    assert all(name == name.lower() for name, _ in pairs)
    return dict(pairs)


# --- fields


def test_a_plain_hit_says_what_it_is_how_old_and_what_it_saved():
    assert fields(hit()) == {
        b"content-type": b"application/json",
        b"cache-control": b"private, no-store",
        b"x-cache": b"hit",
        b"x-cache-key": KEY,
        b"x-cache-saved-tokens": b"15",
        b"x-cache-saved-usd": b"0.00123457",
        b"age": b"7",
        b"cache-status": b"askonce; hit; ttl=93; detail=memory",
        b"x-request-id": b"request-1",
    }


def test_a_streamed_hit_is_events_that_no_proxy_holds_back():
    got = fields(hit(case=case(stream=True)))
    assert got[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert got[b"x-accel-buffering"] == b"no"
    assert got[b"x-cache"] == b"hit"


def test_what_is_not_known_to_be_saved_is_not_said():
    got = fields(hit(entry=entry(usage=Usage(), cost_usd=None, warm_usd=None)))
    assert not {b"x-cache-saved-tokens", b"x-cache-saved-usd"} & got.keys()
    assert fields(hit(entry=entry(cost_usd=0.0, warm_usd=0.0)))[b"x-cache-saved-usd"] == b"0.00000000"


def test_a_stale_answer_has_its_age_and_a_follower_has_none():
    stale = fields(hit(outcome=Outcome.STALE), NOW + 150)
    assert (stale[b"x-cache"], stale[b"age"]) == (b"stale", b"150")
    follower = fields(hit(outcome=Outcome.COLLAPSED, cache_status=CacheStatus(fwd="uri-miss", collapsed=True)))
    assert follower[b"x-cache"] == b"collapsed"
    assert not {b"age", b"x-cache-saved-tokens", b"x-cache-saved-usd"} & follower.keys()


def test_a_clock_that_stepped_back_gives_no_negative_age():
    assert fields(hit(), NOW - 50)[b"age"] == b"0"


def test_a_miss_carries_the_upstreams_fields_but_for_those_that_are_ours():
    theirs = [(name, b"theirs") for name in sorted(OUR_FIELDS)]
    got = fields(live(Outcome.MISS, (b"content-type", b"text/html"), (b"retry-after", b"7"), *theirs))
    assert got == {
        b"content-type": b"text/html",
        b"retry-after": b"7",
        b"cache-control": b"private, no-store",
        b"x-cache": b"miss",
        b"x-cache-key": KEY,
        b"cache-status": b"askonce; fwd=uri-miss",
        b"x-request-id": b"request-1",
    }


def test_a_refused_store_and_a_bypass_give_their_reason():
    assert fields(live(Outcome.MISS, reason="too_large"))[b"x-cache-reason"] == b"too_large"
    bypass = fields(live(Outcome.BYPASS, reason="temperature"))
    assert (bypass[b"x-cache"], bypass[b"x-cache-reason"]) == (b"bypass", b"temperature")
    assert b"x-cache-key" not in bypass


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_lanes_may_keep_beside_an_entry_is_the_same_for_every_delivery(stream):
    asked = case(stream=stream)
    kept = entry_fields(entry(), asked, Outcome.HIT, NOW)
    for now, request_id in ((NOW, b"a"), (NOW + 50, b"b")):
        assert answer_fields(hit(case=asked), request_id, now)[: len(kept)] == kept
    assert not {b"age", b"x-request-id", b"cache-status"} & dict(kept).keys()


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_saved_is_less_while_the_prompt_would_have_been_cached_upstream(stream):
    kept = entry(cost_usd=0.02, warm_usd=0.005)
    answer = hit(case=case(stream=stream), entry=kept)
    for age_s, saved in ((0, b"0.00500000"), (PREFIX_CACHED_S, b"0.02000000"), (1, b"0.00500000")):
        now = kept.finished_at + age_s
        assert dict(answer_fields(answer, b"a", now))[b"x-cache-saved-usd"] == saved
        assert b"x-cache-saved-usd: %b\r\n" % saved in hit_on_wire(answer, kept, b"a", b"t", now)[0]


# --- bodies


def test_a_plain_answer_is_stamped_for_each_delivery():
    body = entry_body(entry(), case(), b"abc", NOW + 7.9)
    assert json.loads(body) == {"id": "chatcmpl-abc", "created": int(NOW) + 7, "said": "hi"}


def test_a_stream_is_stamped_on_every_frame():
    body = entry_body(entry(), case(stream=True), b"abc", NOW)
    stamp = b'"id":"chatcmpl-abc","created":1800000000'
    assert body == b'data: {%b,"said":"hi"}\n\ndata: {%b}\n\ndata: [DONE]\n\n' % (stamp, stamp)


def test_an_id_keeps_the_kind_of_the_first():
    assert json.loads(entry_body(entry(id_prefix=""), case(), b"abc", NOW))["id"] == "abc"
    assert json.loads(entry_body(entry(id_prefix="gen-"), case(), b"abc", NOW))["id"] == "gen-abc"


def test_what_an_answer_repeats_is_taken_from_the_request_at_hand():
    kept = entry(echoes=("metadata",))
    asked = case(echoes={"metadata": b'{"run":"2"}'})
    assert json.loads(entry_body(kept, asked, b"a", NOW))["metadata"] == {"run": "2"}
    assert json.loads(entry_body(kept, case(), b"a", NOW))["metadata"] is None
    assert "metadata" not in json.loads(entry_body(entry(), asked, b"a", NOW))


def test_each_form_is_rendered_once_and_kept_beside_the_entry():
    endpoint, kept = Small(), entry()
    forms = [{}, {"stream": True}, {"stream": True, "include_usage": True}]
    for _ in range(3):
        for form in forms:
            entry_body(kept, case(endpoint=endpoint, **form), b"a", NOW)
    assert endpoint.rendered == ["plain", "whole", "whole with usage"]
    assert kept.renderings.size == sum(len(piece) for pieces in kept.renderings.values() for piece in pieces)


def test_an_answer_kept_as_frames_is_replayed_from_them():
    endpoint = Small()
    entry_body(replace(entry(), form=Form.FRAMES), case(endpoint=endpoint, stream=True), b"a", NOW)
    assert endpoint.rendered == ["frames"]


# --- errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            BadRequest("`n` is wrong", code="invalid_value", param="n"),
            {"message": "`n` is wrong", "type": "invalid_request_error", "param": "n", "code": "invalid_value"},
        ),
        (
            NotCached("nothing stored"),
            {"message": "nothing stored", "type": "cache_error", "param": None, "code": "only_if_cached_miss"},
        ),
        (
            UpstreamTimeout('said "no"\n\n'),
            {"message": 'said "no"\n\n', "type": "upstream_error", "param": None, "code": "upstream_timeout"},
        ),
    ],
)
def test_an_error_has_openais_shape_as_a_body_and_as_the_event_that_ends_a_stream(error, said):
    assert json.loads(error_body(error)) == {"error": said}
    event = error_event(error)
    assert event.startswith(b"data: ")
    assert event.count(b"\n") == 2
    assert json.loads(event[len("data: ") :]) == {"error": said}


# --- ids


@pytest.mark.parametrize("value", [b"a", b"A-z_9", b"x" * 128])
def test_an_id_that_can_stand_in_a_log_line_is_kept(value):
    assert valid_request_id(value)


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a b", b"a;b", b"a\n", b"a\r\nx: y", b'"', "é".encode(), b"a\0"])
def test_any_other_is_replaced(value):
    assert not valid_request_id(value)


@given(st.binary(max_size=140) | st.text(PLAIN + " ;\n", max_size=140).map(str.encode))
def test_no_id_that_is_kept_breaks_out_of_its_field(value):
    assert valid_request_id(value) == (1 <= len(value) <= 128 and set(value) <= set(PLAIN.encode()))
