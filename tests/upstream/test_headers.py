"""Which fields pass, in each direction."""

from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.types import Pairs
from proxy.upstream.headers import (
    VIA,
    connection_names,
    refuse_connection_tricks,
    to_client,
    to_upstream,
    without_credential,
)


def fields(*names: str) -> Pairs:
    return tuple((name.encode(), b"1") for name in names)


PASSED_UPSTREAM = fields(
    "authorization", "api-key", "x-api-key", "openai-organization", "openai-project", "openai-beta",
    "content-type", "content-encoding", "accept", "accept-encoding", "user-agent", "x-stainless-lang",
    "x-client-request-id", "traceparent", "tracestate", "idempotency-key", "via", "x-unheard-of",
)  # fmt: skip

HELD_BACK = fields(
    "connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade", "trailer",
    "proxy-authorization", "host", "content-length", "expect", "cookie", "forwarded", "x-forwarded-for",
    "x-forwarded-host", "x-real-ip", "baggage", "x-data-parallel-rank", "x-http-method-override",
    "x-original-url", "cache-control", "pragma", "x-cache-control", "x-cache-bypass", "x-cache-ttl",
    "x-cache-mode", "x-cache-threshold", "x-cache-namespace", "x-cache-tags", "x-portkey-cache-force-refresh",
    "x-portkey-cache-namespace", "cf-aig-skip-cache", "cf-aig-cache-ttl", "cf-aig-cache-key",
    "helicone-cache-enabled", "helicone-cache-seed", "helicone-cache-bucket-max-size", "x-openrouter-cache",
    "x-openrouter-cache-ttl", "x-openrouter-cache-clear", "x-bf-cache-key", "x-bf-cache-no-store",
    "x-vsr-cache-control", "x-higress-skip-ai-cache", "x-omniroute-no-cache", "x-no-cache", "x-freellm-cache",
    "x-lunargate-no-cache", "op-cache",
)  # fmt: skip

ACCOUNT = fields("authorization", "api-key", "x-api-key", "openai-organization", "openai-project")


def test_the_callers_fields_pass_with_their_credential() -> None:
    assert to_upstream(PASSED_UPSTREAM) == (*PASSED_UPSTREAM, VIA)


def test_the_callers_credential_and_account_can_be_taken_out_and_nothing_else() -> None:
    passed = without_credential(PASSED_UPSTREAM)
    assert passed == tuple(pair for pair in PASSED_UPSTREAM if pair not in ACCOUNT)


@pytest.mark.parametrize("pair", HELD_BACK, ids=lambda pair: pair[0].decode())
def test_a_field_that_is_not_the_upstreams_business_is_held_back(pair: tuple[bytes, bytes]) -> None:
    assert to_upstream((pair,)) == (VIA,)


def test_what_connection_names_stays_here_in_both_directions() -> None:
    headers = ((b"connection", b"close, X-Hop"), (b"connection", b"x-other"), *fields("x-hop", "x-other", "x-end"))
    assert connection_names(headers) == {b"close", b"x-hop", b"x-other"}
    assert to_upstream(headers) == (*fields("x-end"), VIA)
    assert to_client(headers, passthrough_credential=True) == fields("x-end")


@pytest.mark.parametrize(
    ("value", "passes"), [(b"abc-DEF_1", True), (b"", False), (b"a b", False), (b"x" * 129, False)]
)
def test_a_request_id_passes_only_if_it_is_one(value: bytes, passes: bool) -> None:
    pair = (b"x-request-id", value)
    assert (pair in to_upstream((pair,))) == passes


def test_an_upstreams_request_id_is_renamed() -> None:
    headers = ((b"x-request-id", b"req_1"), (b"content-type", b"application/json"))
    assert to_client(headers, passthrough_credential=True) == ((b"x-upstream-request-id", b"req_1"), headers[1])


TO_CLIENT = fields(
    "content-type", "content-encoding", "content-disposition", "retry-after", "retry-after-ms",
    "x-should-retry", "openai-processing-ms", "openai-version", "cf-ray", "location", "www-authenticate",
)  # fmt: skip


def test_an_upstreams_fields_pass() -> None:
    assert to_client(TO_CLIENT, passthrough_credential=False) == TO_CLIENT


@pytest.mark.parametrize(
    "name",
    ["date", "server", "set-cookie", "alt-svc", "strict-transport-security", "endpoint-load-metrics", "content-length",
     "transfer-encoding", "connection", "age", "cache-status", "x-cache", "x-cache-key", "x-upstream",
     "proxy-authenticate"],
)  # fmt: skip
def test_a_field_that_is_not_the_clients_business_is_held_back(name: str) -> None:
    assert to_client(fields(name), passthrough_credential=True) == ()


@pytest.mark.parametrize("name", ["x-ratelimit-remaining-tokens", "openai-organization", "openai-project"])
def test_what_is_said_of_an_account_reaches_only_its_holder(name: str) -> None:
    assert to_client(fields(name), passthrough_credential=True) == fields(name)
    assert to_client(fields(name), passthrough_credential=False) == ()


@pytest.mark.parametrize(
    "named",
    ["authorization", "API-Key", "close, x-api-key", "content-type", "content-length", "content-encoding", "host",
     "cache-control", "X-Cache-Bypass", "openai-beta", "keep-alive , \tauthorization"],
)  # fmt: skip
def test_a_field_we_depend_on_cannot_be_made_to_vanish(named: str) -> None:
    with pytest.raises(BadRequest):
        refuse_connection_tricks(((b"connection", named.encode()),))


@pytest.mark.parametrize("named", ["close", "keep-alive", "x-hop, te", ""])
def test_an_ordinary_connection_field_is_no_trick(named: str) -> None:
    refuse_connection_tricks(((b"connection", named.encode()), (b"authorization", b"Bearer x")))
