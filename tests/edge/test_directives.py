"""What a client may ask of the cache, in every spelling."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.edge.directives import MAX_SECONDS, NAMES, from_body, from_headers
from proxy.errors import BadRequest
from proxy.types import ALLOWED, Directives, Verdict
from proxy.upstream.headers import to_upstream

NOTHING = Directives()
BYPASS = Directives(verdict=Verdict.bypass("client"), audited=True)
NO_READ = Directives(verdict=Verdict(read=False, reason="no-cache"))
NO_WRITE = Directives(verdict=Verdict(write=False, reason="no-store"))
OFF = Directives(verdict=Verdict.bypass("mode"))
BOTH = Directives(verdict=Verdict.bypass("client"))


def headers(*fields: tuple[str, str]) -> Directives:
    return from_headers(tuple((name.encode(), value.encode("latin-1")) for name, value in fields))


HEADERS: list[tuple[str, str, Directives]] = [
    # ours
    ("x-cache-bypass", "true", BYPASS),
    ("x-cache-bypass", "1", BYPASS),
    ("x-cache-bypass", " TRUE ", BYPASS),
    ("x-cache-bypass", "false", NOTHING),
    ("x-cache-bypass", "0", NOTHING),
    ("x-cache-mode", "off", OFF),
    ("x-cache-mode", "exact", Directives(exact_only=True)),
    ("x-cache-mode", "Semantic", NOTHING),
    ("x-cache-threshold", "0.95", Directives(threshold=0.95)),
    ("x-cache-threshold", "1", Directives(threshold=1.0)),
    ("x-cache-ttl", "60", Directives(ttl_s=60)),
    ("x-cache-ttl", "60s", Directives(ttl_s=60)),
    ("x-cache-ttl", "0", Directives(ttl_s=0)),
    ("x-cache-namespace", " team a ", Directives(namespace="team a")),
    ("x-cache-tags", "doc-1, v2,,doc-1 ", Directives(tags=("doc-1", "v2"))),
    ("x-cache-tags", "", NOTHING),
    # Cache-Control, under each of its names
    *[
        (name, value, expected)
        for name in ("cache-control", "x-cache-control", "x-vsr-cache-control")
        for value, expected in [
            ("no-cache", NO_READ),
            ("NO-CACHE", NO_READ),
            ('no-cache="x"', NO_READ),
            ("no-store", NO_WRITE),
            ("no-cache, no-store", BOTH),
            ("no-store,no-cache", BOTH),
            ("only-if-cached", Directives(only_if_cached=True)),
            ("no-transform", Directives(no_transform=True)),
            ("max-age=60", Directives(max_age_s=60)),
            ('max-age="60"', Directives(max_age_s=60)),
            ("max-age = 60", Directives(max_age_s=60)),
            ("max-age=0", Directives(max_age_s=0)),
            ("max-age=0060", Directives(max_age_s=60)),
            ("max-age=99999999999999999999", Directives(max_age_s=MAX_SECONDS)),
            ("max-age=" + "9" * 60_000, Directives(max_age_s=MAX_SECONDS)),
            ("max-stale", Directives(max_stale_s=math.inf)),
            ("max-stale=", Directives(max_stale_s=math.inf)),
            ("max-stale=60", Directives(max_stale_s=60)),
            ("min-fresh=60", Directives(min_fresh_s=60)),
            ("stale-if-error=60", Directives(stale_if_error_s=60)),
            ("stale-if-error=0", Directives(stale_if_error_s=0)),
            (
                "max-age=60, max-stale=5 ,, only-if-cached",
                Directives(max_age_s=60, max_stale_s=5, only_if_cached=True),
            ),
            ("immutable, x-thing=1, private", NOTHING),
            ("s-maxage=5", NOTHING),
            ("", NOTHING),
            (",", NOTHING),
        ]
    ],
    ("pragma", "no-cache", NO_READ),
    ("pragma", "x, No-Cache", NO_READ),
    ("pragma", "else", NOTHING),
    # other gateways' names (peers, section 5)
    ("x-portkey-cache-force-refresh", "true", NO_READ),
    ("x-portkey-cache-force-refresh", "false", NOTHING),
    ("x-portkey-cache-namespace", "n", Directives(namespace="n")),
    ("cf-aig-skip-cache", "true", BYPASS),
    ("cf-aig-skip-cache", "false", NOTHING),
    ("cf-aig-cache-ttl", "3600", Directives(ttl_s=3600)),
    ("cf-aig-cache-key", "k", Directives(namespace="k")),
    ("helicone-cache-enabled", "true", NOTHING),
    ("helicone-cache-enabled", "false", BYPASS),
    ("helicone-cache-seed", "user-1", Directives(namespace="user-1")),
    ("helicone-cache-bucket-max-size", "5", NOTHING),
    ("x-openrouter-cache", "true", NOTHING),
    ("x-openrouter-cache", "false", BYPASS),
    ("x-openrouter-cache-ttl", "60", Directives(ttl_s=60)),
    ("x-openrouter-cache-clear", "true", NO_READ),
    ("x-bf-cache-key", "k", Directives(namespace="k")),
    ("x-bf-cache-ttl", "30s", Directives(ttl_s=30)),
    ("x-bf-cache-threshold", "0.9", Directives(threshold=0.9)),
    ("x-bf-cache-type", "direct", Directives(exact_only=True)),
    ("x-bf-cache-type", "semantic", NOTHING),
    ("x-bf-cache-no-store", "true", NO_WRITE),
    ("x-higress-skip-ai-cache", "on", BYPASS),
    ("x-omniroute-no-cache", "1", BYPASS),
    ("x-no-cache", "true", BYPASS),
    ("x-no-cache", "false", NOTHING),
    ("x-freellm-cache", "off", BYPASS),
    ("x-freellm-cache", "on", NOTHING),
    ("x-lunargate-no-cache", "true", BYPASS),
    ("op-cache", "readWrite", NOTHING),
    ("op-cache", "readOnly", NO_WRITE),
    ("op-cache", "writeOnly", NO_READ),
    # not for us
    ("x-cache", "hit", NOTHING),
    ("cache-controls", "no-cache", NOTHING),
]


@pytest.mark.parametrize(("name", "value", "expected"), HEADERS, ids=lambda value: str(value)[:40])
def test_each_field_means_what_it_means_elsewhere(name, value, expected):
    assert headers((name, value)) == expected


def test_every_name_is_in_the_table_of_this_suite():
    assert {name.encode() for name, _, _ in HEADERS} >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_word_to_the_cache_goes_upstream(name):
    sent = to_upstream(((name, b"true"), (b"accept", b"*/*")))
    assert name not in dict(sent)
    assert (b"accept", b"*/*") in sent


TAKE_ANY_WORD = {
    b"cache-control", b"cf-aig-cache-key", b"helicone-cache-bucket-max-size", b"helicone-cache-seed", b"pragma",
    b"x-bf-cache-key", b"x-cache-control", b"x-cache-namespace", b"x-cache-tags", b"x-portkey-cache-namespace",
    b"x-vsr-cache-control",
}  # fmt: skip
INVALID: list[tuple[str, str]] = [
    *[("x-cache-bypass", value) for value in ("perhaps", "", "2", "true, true")],
    *[("x-cache-mode", value) for value in ("fast", "", "exact, off")],
    *[("x-cache-threshold", value) for value in ("2", "-0.1", "nan", "inf", "", "high")],
    *[("x-cache-ttl", value) for value in ("soon", "-1", "1e3", "1.5", "", "s", "60ss", "6 0", "+1", "\xb2")],
    *[("x-cache-namespace", value) for value in ("", "  ", "a" * 129, "caf\xe9", "a\tb", "a\x7f")],
    *[("x-cache-tags", value) for value in ("a b", "a" * 65, "caf\xe9", ",".join(map(str, range(17))))],
    *[
        (name, f"{directive}={value}")
        for name in ("cache-control", "x-cache-control", "x-vsr-cache-control")
        for directive in ("max-age", "max-stale", "min-fresh", "stale-if-error")
        for value in ("soon", "-1", "1.5", "1e3")
    ],
    *[("cache-control", directive) for directive in ("max-age", "min-fresh", "stale-if-error", "no-store, max-age=x")],
    *[(name.decode(), "perhaps") for name in sorted(NAMES - TAKE_ANY_WORD)],
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_a_value_that_cannot_be_meant_is_refused_by_name_with_what_to_send(name, value):
    with pytest.raises(BadRequest) as refused:
        headers((name, value))
    assert refused.value.reason == "invalid_directive"
    assert refused.value.message.startswith(name)
    assert "; send " in refused.value.message
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("name", ["cache-control", "x-cache-control", "x-vsr-cache-control"])
def test_pragma_counts_only_where_there_is_no_cache_control(name):
    for value in ("max-age=60", "", "else"):
        assert headers(("pragma", "no-cache"), (name, value)).verdict == ALLOWED
        assert headers((name, value), ("pragma", "no-cache")).verdict == ALLOWED
    assert headers(("pragma", "no-cache"), ("x-cache-ttl", "5")) == Directives(verdict=NO_READ.verdict, ttl_s=5)


TWICE: list[tuple[tuple[str, str], tuple[str, str], Directives]] = [
    (("cache-control", "max-age=60"), ("x-cache-control", "max-age=5"), Directives(max_age_s=5)),
    (("cache-control", "max-stale"), ("cache-control", "max-stale=5"), Directives(max_stale_s=5)),
    (("cache-control", "min-fresh=60"), ("cache-control", "min-fresh=5"), Directives(min_fresh_s=60)),
    (("cache-control", "stale-if-error=60"), ("cache-control", "stale-if-error=5"), Directives(stale_if_error_s=5)),
    (("x-cache-ttl", "60"), ("cf-aig-cache-ttl", "5"), Directives(ttl_s=5)),
    (("cache-control", "no-cache"), ("x-cache-control", "no-store"), BOTH),
    (("op-cache", "readOnly"), ("x-portkey-cache-force-refresh", "true"), BOTH),
    (("x-cache-bypass", "true"), ("x-cache-bypass", "false"), BYPASS),
    (("x-cache-mode", "off"), ("x-cache-mode", "exact"), Directives(OFF.verdict, exact_only=True)),
]


@pytest.mark.parametrize(("one", "other", "expected"), TWICE)
def test_said_twice_the_narrower_counts_in_either_order(one, other, expected):
    assert headers(one, other) == headers(other, one) == expected


def test_labels_given_in_two_fields_are_all_taken():
    assert headers(("x-cache-tags", "a, b"), ("x-cache-tags", "b, c")).tags == ("a", "b", "c")
    with pytest.raises(BadRequest):
        headers(*(("x-cache-tags", f"t{number}") for number in range(17)))


def test_two_namespaces_narrow_twice_and_cannot_be_forged_as_one():
    namespaces = {
        headers(("x-cache-namespace", "a"), ("cf-aig-cache-key", "b")).namespace,
        headers(("x-cache-namespace", "a")).namespace,
        headers(("x-cache-namespace", "ab")).namespace,
        headers(("x-cache-namespace", "a b")).namespace,
        headers(("x-cache-namespace", "a\\nb")).namespace,
    }
    assert len(namespaces) == 5


# --- in the body

MESSAGES = [{"role": "user", "content": 'say "cache" and "skip_cache"'}]
BODIES: dict[str, tuple[dict[str, Any], Directives]] = {
    "litellm no-cache": ({"cache": {"no-cache": True}}, NO_READ),
    "litellm no-store": ({"cache": {"no-store": True}}, NO_WRITE),
    "litellm both": ({"cache": {"no-cache": True, "no-store": True}}, BOTH),
    "litellm off": ({"cache": {"use-cache": False}}, BYPASS),
    "litellm on": ({"cache": {"use-cache": True, "no-cache": False}}, NOTHING),
    "litellm ttl": ({"cache": {"ttl": 60}}, Directives(ttl_s=60)),
    "litellm s-maxage": ({"cache": {"s-maxage": 60}}, Directives(max_age_s=60)),
    "litellm namespace": ({"cache": {"namespace": "n"}}, Directives(namespace="n")),
    "litellm null members": ({"cache": {"ttl": None, "no-cache": None}}, NOTHING),
    "orq": ({"cache": {"type": "exact_match", "ttl": 60}}, Directives(ttl_s=60, exact_only=True)),
    "litellm's store": ({"cache": {"type": "redis"}}, NOTHING),
    "empty": ({"cache": {}}, NOTHING),
    "null": ({"cache": None}, NOTHING),
    "tensorzero off": ({"tensorzero::cache_options": {"enabled": "off"}}, BYPASS),
    "tensorzero on": ({"tensorzero::cache_options": {"enabled": "on", "max_age_s": 60}}, Directives(max_age_s=60)),
    "tensorzero read": ({"tensorzero::cache_options": {"enabled": "read_only"}}, NO_WRITE),
    "tensorzero write": ({"tensorzero::cache_options": {"enabled": "write_only", "max_age_s": None}}, NO_READ),
    "production-stack skip": ({"skip_cache": True}, BYPASS),
    "production-stack use": ({"skip_cache": False, "cache_similarity_threshold": 0.9}, Directives(threshold=0.9)),
    "several": ({"skip_cache": False, "cache": {"ttl": 5, "no-store": True}}, Directives(NO_WRITE.verdict, ttl_s=5)),
}


@pytest.mark.parametrize(("extra", "expected"), BODIES.values(), ids=BODIES)
def test_controls_in_the_body_are_read_and_taken_out(extra, expected):
    asked = {"model": "m", "messages": MESSAGES, "seed": 7}
    body, directives = from_body(json.dumps(extra | asked).encode(), NOTHING)
    assert directives == expected
    assert json.loads(body) == asked
    assert list(json.loads(body)) == list(asked)


@pytest.mark.parametrize(
    "extra",
    [
        {"cache": {"no-cache": "perhaps"}},
        {"cache": {"ttl": "soon"}},
        {"cache": {"ttl": -1}},
        {"cache": {"ttl": 1.5}},
        {"cache": {"ttl": [60]}},
        {"cache": {"s-maxage": {}}},
        {"cache": {"namespace": ""}},
        {"tensorzero::cache_options": {"enabled": "perhaps"}},
        {"tensorzero::cache_options": {"enabled": False}},
        {"tensorzero::cache_options": {"max_age_s": "soon"}},
        {"skip_cache": "perhaps"},
        {"skip_cache": [True]},
        {"cache_similarity_threshold": 2},
    ],
)
def test_a_control_in_the_body_that_cannot_be_meant_is_refused(extra):
    with pytest.raises(BadRequest) as refused:
        from_body(json.dumps(extra | {"messages": MESSAGES}).encode(), NOTHING)
    assert refused.value.reason == "invalid_directive"
    assert refused.value.message.startswith(next(iter(extra)))
    assert "say" not in refused.value.message


def test_a_body_without_controls_is_not_touched():
    for text in (
        b'{ "messages" : [{"role":"user","content":"hi"}] , "n":1.0e0 }',
        b'{"messages":[{"role":"user","content":"say \\"cache\\": {}"}]}',
        b'{"metadata":{"cache":{"no-cache":true}},"stop":["cache","skip_cache"]}',
        b"no JSON",
    ):
        assert from_body(text, NO_READ) == (text, NO_READ)


def test_a_body_that_can_be_read_in_two_ways_is_refused_before_anything_is_taken_out():
    with pytest.raises(BadRequest) as refused:
        from_body(b'{"cache":{"no-cache":true},"cache":{}}', NOTHING)
    assert refused.value.reason == "duplicate_member"


def test_headers_and_body_together_narrow():
    body = b'{"cache":{"no-store":true,"ttl":60}}'
    asked = headers(("cache-control", "no-cache"), ("x-cache-ttl", "5"))
    assert from_body(body, asked) == (b"{}", Directives(verdict=BOTH.verdict, ttl_s=5))


# --- whatever comes

VALUES = st.one_of(
    st.sampled_from([b"true", b"off", b"no-cache", b"no-store", b"max-age=5", b"readOnly", b"60", b"a, b", b""]),
    st.text(st.characters(codec="latin-1"), max_size=30).map(lambda text: text.encode("latin-1")),
    st.binary(max_size=20),
)
FIELDS = st.lists(st.tuples(st.sampled_from([*sorted(NAMES), b"accept"]), VALUES), max_size=6)


def narrower(directives: Directives) -> bool:
    """Whether no directive gives more than the bare request would get."""
    verdict = directives.verdict
    return verdict == ALLOWED or (bool(verdict.reason) and not (verdict.read and verdict.write) and not verdict.pool)


@given(FIELDS)
@example([(b"cache-control", b"max-age=" + b"1" * 5000)])
@example([(b"x-cache-ttl", "²".encode("latin-1"))])
def test_whatever_headers_come_they_narrow_or_are_refused(fields):
    try:
        directives = from_headers(tuple(fields))
    except BadRequest:
        return
    assert narrower(directives)


@given(FIELDS, FIELDS)
def test_more_headers_never_give_back_what_fewer_took(fields, more):
    try:
        before, after = from_headers(tuple(fields)), from_headers((*fields, *more))
    except BadRequest:
        return
    # A Cache-Control silences a Pragma (RFC 9111 section 5.4): the one thing a field may take away from another.
    if not any(name == b"pragma" for name, _ in fields):
        assert before.verdict.read or not after.verdict.read
        assert before.verdict.write or not after.verdict.write


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["off", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CONTROLS = st.sampled_from(["cache", "tensorzero::cache_options", "skip_cache", "cache_similarity_threshold"])
OPTIONS = st.dictionaries(
    st.sampled_from(["no-cache", "no-store", "use-cache", "ttl", "s-maxage", "namespace", "enabled", "max_age_s"]), JSON
)


@given(st.dictionaries(CONTROLS, JSON | OPTIONS, min_size=1))
def test_whatever_controls_the_body_holds_they_narrow_and_go_or_are_refused(extra):
    try:
        body, directives = from_body(json.dumps(extra | {"model": "m"}).encode(), NOTHING)
    except BadRequest:
        return
    assert narrower(directives)
    assert json.loads(body) == {"model": "m"}
