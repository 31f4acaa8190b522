"""Names of answers' hashes."""

from __future__ import annotations

import fnmatch

from proxy.redis_link import keys
from proxy.types import Digest

NAME = Digest(bytes(range(16)))


def test_a_key_is_found_by_its_patterns_and_gives_its_name_back() -> None:
    key = keys.of("askonce", 0x1F, NAME)
    assert fnmatch.fnmatchcase(key, keys.pattern("askonce"))
    assert fnmatch.fnmatchcase(key, keys.pattern("askonce", 0x1F))
    assert not fnmatch.fnmatchcase(key, keys.pattern("askonce", 0x1))
    assert not fnmatch.fnmatchcase(key, keys.pattern("ask"))
    assert keys.name_in(key.encode()) == NAME


def test_what_is_no_name_is_none() -> None:
    assert keys.name_in(b"askonce:1:0:no name") is None
    assert keys.name_in("askonce:1:0:ü".encode()) is None
