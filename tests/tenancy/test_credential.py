from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fingerprint import Namer
from proxy.tenancy.credential import CREDENTIALS, CredentialTenancy

TENANCY = CredentialTenancy(Namer(b"s" * 32))
NAMES = sorted(CREDENTIALS)
VALUES = st.sampled_from([b"", b"Bearer sk-1", b"Bearer sk-2", b"bearer sk-1", b"Bearer sk-1 "])


def scope(*headers: tuple[bytes, bytes]) -> bytes:
    return TENANCY.identify(headers)


@pytest.mark.parametrize("name", NAMES)
def test_another_value_of_a_credential_field_is_another_caller(name):
    assert len({scope(), scope((name, b"a")), scope((name, b"b")), scope((name, b""))}) == 4


@pytest.mark.parametrize("name", [name for name in NAMES if name != b"authorization"])
def test_a_further_credential_field_is_another_caller(name):
    assert scope((b"authorization", b"Bearer sk-1")) != scope((b"authorization", b"Bearer sk-1"), (name, b"a"))


def test_the_same_value_in_another_field_is_another_caller():
    assert len({scope((name, b"sk-1")) for name in NAMES}) == len(NAMES)


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_credentials_share_only_if_they_are_one(one, other):
    scopes = [scope((b"authorization", f"Bearer {key}".encode())) for key in (one, other)]
    assert (scopes[0] == scopes[1]) == (one == other)


def test_a_long_common_start_does_not_make_two_callers_one():
    start = b"Bearer " + b"x" * 10_000
    assert scope((b"authorization", start + b"1")) != scope((b"authorization", start + b"2"))


def test_the_order_of_different_fields_means_nothing():
    one, other = (b"authorization", b"Bearer sk-1"), (b"openai-project", b"p")
    assert scope(one, (b"accept", b"*/*"), other) == scope(other, one)


def test_the_order_of_two_fields_of_one_name_means_something():
    one, other = (b"authorization", b"Bearer sk-1"), (b"authorization", b"Bearer sk-2")
    assert len({scope(one, other), scope(other, one), scope(one), scope(other)}) == 4


def test_no_value_runs_into_its_neighbour():
    assert scope((b"api-key", b"ab"), (b"x-api-key", b"c")) != scope((b"api-key", b"a"), (b"x-api-key", b"bc"))


def test_callers_without_a_credential_are_one_to_the_upstream_and_so_to_us():
    assert scope() == scope((b"user-agent", b"a"), (b"x-request-id", b"b"))
