from __future__ import annotations

from proxy.fingerprint import Namer
from proxy.tenancy.credential import CredentialTenancy
from proxy.tenancy.single import SingleTenancy

NAMER = Namer(b"s" * 32)


def test_everyone_is_one_caller():
    tenancy = SingleTenancy(NAMER)
    assert tenancy.identify(()) == tenancy.identify(((b"authorization", b"Bearer sk-1"), (b"openai-project", b"p")))


def test_what_one_scope_for_all_has_kept_is_not_found_once_callers_are_told_apart():
    assert SingleTenancy(NAMER).identify(()) != CredentialTenancy(NAMER).identify(())
