"""Who may use the operator's side."""

from __future__ import annotations

import pytest
from fastapi import Request

from proxy.admin.access import BY_PROXY, Access
from proxy.errors import Forbidden, Unauthenticated

TOKEN = "operator-token-é"
LOOPBACK = "127.0.0.1"
LOCAL = {"host": "127.0.0.1:8080"}


def request(fields: dict[str, str] | None = None, client: str | None = LOOPBACK) -> Request:
    headers = [(name.encode(), value.encode()) for name, value in (fields or {}).items()]
    caller = (client, 50000) if client is not None else None
    return Request({"type": "http", "method": "GET", "path": "/admin/stats", "headers": headers, "client": caller})


# --- with a token


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("client", [LOOPBACK, "10.0.0.9", None])
def test_its_bearer_may_from_anywhere(kind, client):
    Access(TOKEN)(request({"authorization": f"{kind} {TOKEN}"}, client))


def test_a_page_with_the_token_may_too():
    Access(TOKEN)(request({"authorization": f"Bearer {TOKEN}", "origin": "https://a", "host": "b"}, "10.0.0.9"))


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer x {TOKEN}",
     f"Bearer {TOKEN.upper()}", "Bearer None"],
)  # fmt: skip
@pytest.mark.parametrize("client", [LOOPBACK, "10.0.0.9"])
def test_nobody_else_may_not_even_from_this_machine(value, client):
    with pytest.raises(Unauthenticated) as refused:
        Access(TOKEN)(request(LOCAL | {"authorization": value}, client))
    assert TOKEN not in refused.value.message
    assert refused.value.status == 401


def test_without_an_authorization_field_nobody_may():
    with pytest.raises(Unauthenticated):
        Access(TOKEN)(request(LOCAL))


# --- without a token


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LocalHost:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"]
)
def test_without_a_token_this_machine_may(client, host):
    Access(None)(request({"host": host}, client))


ELSEWHERE = [
    "10.0.0.9",
    "192.168.1.2",
    "8.8.8.8",
    "::2",
    "fe80::1",
    "::ffff:10.0.0.9",
    "0.0.0.0",
    "",
    "localhost",
    None,
]


@pytest.mark.parametrize("client", ELSEWHERE)
def test_without_a_token_no_other_machine_may(client):
    with pytest.raises(Forbidden) as refused:
        Access(None)(request(LOCAL, client))
    assert refused.value.reason == "admin_is_local"
    assert "ASKONCE_ADMIN_TOKEN" in refused.value.message


@pytest.mark.parametrize("field", BY_PROXY)
def test_without_a_token_what_came_through_a_proxy_may_not(field):
    with pytest.raises(Forbidden):
        Access(None)(request(LOCAL | {field: LOOPBACK}))


@pytest.mark.parametrize(
    "fields",
    [
        LOCAL | {"origin": "http://127.0.0.1:8080"},
        LOCAL | {"origin": "null"},
        {"host": "evil.example"},
        {"host": "evil.example:8080"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "127.0.0.1:8080:evil"},
        {"host": "evil@127.0.0.1"},
        {"host": "::1"},
        {"host": ""},
        {},
    ],
    ids=str,
)
def test_without_a_token_a_page_in_a_browser_on_this_machine_may_not(fields):
    with pytest.raises(Forbidden):
        Access(None)(request(fields))


def test_without_a_token_a_token_changes_nothing():
    with pytest.raises(Forbidden):
        Access(None)(request({"host": "a", "authorization": "Bearer None"}, "10.0.0.9"))
