"""What holds for every way to tell callers apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.fingerprint import SIZE, Namer
from proxy.tenancy.base import Tenancy
from proxy.tenancy.credential import CredentialTenancy
from proxy.tenancy.single import SingleTenancy

TENANCIES = {"credential": CredentialTenancy, "single": SingleTenancy}
KEY = b"Bearer sk-0123456789abcdef"
NAMES = st.sampled_from([b"accept", b"api-key", b"authorization", b"openai-project", b"x-other"])
FIELDS = st.tuples(NAMES, st.binary())


EVERY = pytest.mark.parametrize("make", TENANCIES.values(), ids=TENANCIES)
Make = Callable[[Namer], Tenancy]
NAMER = Namer(b"s" * 32)


@EVERY
def test_a_scope_is_a_mac_of_fixed_size_and_shows_no_credential(make: Make):
    scope = make(NAMER).identify(((b"authorization", KEY),))
    assert len(scope) == SIZE
    assert scope not in KEY
    assert b"sk-" not in scope


@EVERY
def test_the_same_caller_is_told_apart_the_same_way_each_time(make: Make):
    headers = ((b"authorization", KEY), (b"accept", b"*/*"))
    assert make(Namer(b"s" * 32)).identify(headers) == make(Namer(b"s" * 32)).identify(headers)


@EVERY
def test_another_installation_gives_another_scope(make: Make):
    assert make(NAMER).identify(()) != make(Namer(b"t" * 32)).identify(())


@EVERY
@given(headers=st.lists(FIELDS, max_size=5))
def test_two_requests_alike_in_the_fields_it_names_are_of_one_caller(make: Make, headers):
    tenancy = make(NAMER)
    alike = tuple(pair for pair in headers if pair[0] in tenancy.headers)
    assert tenancy.identify(tuple(headers)) == tenancy.identify(alike)


@EVERY
def test_the_fields_it_names_are_lower_case(make: Make):
    assert all(name == name.lower() for name in make(NAMER).headers)
