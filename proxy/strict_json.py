"""JSON that two readers cannot read differently.

orjson parses; it takes the last of two equal members, turns an integer past 64 bits into a float and nests to 1024. An
upstream's parser may do otherwise, so such a text must neither name an answer nor become one.

A text that orjson writes back byte for byte is proved clean by that: a duplicate member would be missing, an integer
out of range would have become a float. The SDKs send such texts, and the proof costs one `dumps`. Any other text is
read a second time by the standard library, whose hooks see every member and every integer. Names are compared as
parsed: `"a"` and `"\\u0061"` are one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import chain
from typing import Any, Final, NoReturn, cast

import orjson

from proxy import errors

MAX_DEPTH: Final = 64

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1
_LONGEST: Final = 20
"""Characters of the longest 64-bit integer, signed or not."""
_NAME_SHOWN: Final = 64


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """The value of a JSON text, if it can be read in one way only.

    `max_depth` counts nested arrays and objects and is at most 250 (orjson writes no deeper). Raises
    `errors.BadRequest`: `invalid_json`, `duplicate_member`, `json_too_deep`, `number_out_of_range`.
    """
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _refuse_unparsed(error, max_depth)
    # No more brackets than levels are allowed cannot nest deeper, wherever they stand.
    if raw.count(b"{") + raw.count(b"[") > max_depth:
        _check_depth(value, max_depth)
    if orjson.dumps(value) != raw:
        _check_again(raw, max_depth)
    return value


def object_of(raw: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, object]:
    """As `loads`, for a text that must be an object; else `errors.BadRequest` with code `not_an_object`."""
    value = loads(raw, max_depth=max_depth)
    if type(value) is not dict:
        raise errors.BadRequest("the body must be a JSON object: {...}", code="not_an_object")
    return value


def member_texts(raw: bytes) -> dict[str, bytes]:
    """Each member of a JSON object as it was written: numbers, escapes and spaces untouched.

    `raw` must have passed `object_of`.
    """
    text = raw.decode()
    texts: dict[str, bytes] = {}
    at = _after_blank(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _READER.raw_decode(text, at)
        start = _after_blank(text, _after_blank(text, at) + 1)
        _, end = _READER.raw_decode(text, start)
        texts[name] = text[start:end].encode()
        at = _after_blank(text, end)
        if text[at] == ",":
            at = _after_blank(text, at + 1)
    return texts


def _after_blank(text: str, at: int) -> int:
    return cast("re.Match[str]", _BLANK.match(text, at)).end()


def _refuse_unparsed(error: orjson.JSONDecodeError, max_depth: int) -> NoReturn:
    if "depth limit" in error.msg or "ecursion limit" in error.msg:
        raise _too_deep(max_depth) from None
    if "number is infinity" in error.msg:
        raise _out_of_range() from None
    # The parser's message holds a position, never the text.
    raise errors.BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None


def _check_depth(value: object, max_depth: int) -> None:
    """Level by level, so that nothing recurses. What a duplicate member hides is found by `_check_again`."""
    level: list[Any] = [[value]]
    for _ in range(max_depth + 1):
        children = chain.from_iterable(node.values() if type(node) is dict else node for node in level)
        level = [child for child in children if type(child) is dict or type(child) is list]
        if not level:
            return
    raise _too_deep(max_depth)


def _check_again(raw: bytes, max_depth: int) -> None:
    try:
        _CHECKER.decode(raw.decode())
    except RecursionError:
        # orjson took it, so it is at most 1024 deep; a text within the limit is far from the interpreter's.
        raise _too_deep(max_depth) from None


def _integer(digits: str) -> int:
    # The length first: converting a million digits is quadratic.
    if len(digits) > _LONGEST or not _LEAST <= (number := int(digits)) <= _MOST:
        raise _out_of_range()
    return number


def _refuse_duplicate(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    counted = Counter(name for name, _ in pairs)
    name = counted.most_common(1)[0][0][:_NAME_SHOWN]
    raise errors.BadRequest(f"the member {name!r} is there twice in one object", code="duplicate_member")


def _too_deep(max_depth: int) -> errors.BadRequest:
    return errors.BadRequest(f"the JSON is nested deeper than {max_depth} levels", code="json_too_deep")


def _out_of_range() -> errors.BadRequest:
    return errors.BadRequest(
        "a number is out of range: integers must lie in -2^63..2^64-1, others within a double's range",
        code="number_out_of_range",
    )


_READER: Final = json.JSONDecoder()
_CHECKER: Final = json.JSONDecoder(object_pairs_hook=_refuse_duplicate, parse_int=_integer)
