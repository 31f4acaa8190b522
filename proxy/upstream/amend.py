"""A request's body with members put in, everything else as the caller wrote it.

Numbers and escapes go on as they were written: what is sent is what the caller asked, to the byte where that can be. A
member that is not there yet is put before the closing brace, which touches no other byte. Only where one must be
replaced is the object put together anew, from its members' texts: the spaces between members go then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from proxy import strict_json

_DEEPEST: Final = 250
"""Levels of nesting that `strict_json` can check: what a server refuses beyond its own limit is not for here to say."""


def with_member(body: bytes, name: str, value: object) -> bytes:
    """As `with_members`, for one."""
    return with_members(body, {name: value})


def with_members(body: bytes, members: Mapping[str, object]) -> bytes:
    """The JSON object `body` with these top-level members, in place of any of their names.

    Values are what orjson writes. Raises `errors.BadRequest` for a body that is no JSON object in UTF-8, and, where a
    member must be replaced, for one that two parsers could read differently (`strict_json`): nobody could say then
    which of two values of the same name the upstream takes.
    """
    if not members:
        return body
    there = _members_of(body)
    if there.keys().isdisjoint(members):
        return appended(body, members, empty=not there)
    strict_json.object_of(body, max_depth=_DEEPEST)
    texts = strict_json.member_texts(body) | {name: orjson.dumps(value) for name, value in members.items()}
    return b"{" + b",".join(orjson.dumps(name) + b":" + text for name, text in texts.items()) + b"}"


def appended(body: bytes, members: Mapping[str, object], *, empty: bool = False) -> bytes:
    """As `with_members`, for a body that is known to be a JSON object (`empty`: `{}`) with none of these names."""
    # What follows the brace that ends an object can be white space only.
    brace = body.rindex(b"}")
    added = orjson.dumps(dict(members))[1:-1]
    return b"".join((body[:brace], b"" if empty else b",", added, body[brace:]))


def _members_of(body: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    # Proved strictly only where that matters; the strict reader words the refusal.
    return value if type(value) is dict else strict_json.object_of(body, max_depth=_DEEPEST)
