"""Who serves which model, and the list of all models. On real sockets it is in `tests/path/test_upstreams.py`."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.types import Call, Patience
from proxy.upstream.base import TOLD_BYTES, Told, Upstream, worth_another
from proxy.upstream.routes import Route, Routes

LIST = Call("GET", "/models", (), b"")


class Named:
    """An upstream with a list of models."""

    def __init__(self, name: str, body: bytes = b"", status: int = 200) -> None:
        self.name, self._body, self._status = name, body, status

    async def send(self, _call: Call) -> Told:
        return Told(self._status, ((b"x-upstream", self.name.encode()),), self._body)


def routes(*patterns: tuple[str, ...]) -> Routes:
    return Routes([Route(upstream(str(n)), globs) for n, globs in enumerate(patterns)], reads_bodies=False)


def upstream(name: str, *rest: Any) -> Upstream:
    return cast(Upstream, Named(name, *rest))


@pytest.mark.parametrize(
    ("model", "serves"),
    [("gpt-4o", "0"), ("gpt-", "0"), ("llama-3", "1"), ("Llama-3", "2"), ("", "2"), ("anything", "2"), ("exact", "1")],
)
def test_the_first_whose_pattern_matches_serves(model: str, serves: str) -> None:
    assert routes(("gpt-*",), ("llama-*", "exact"), ("*",), ("*",)).of(model).name == serves


@pytest.mark.parametrize("model", ["", "else"])
def test_without_one_that_takes_any_the_first_serves(model: str) -> None:
    assert routes(("gpt-*",), ("llama-*",)).of(model).name == "0"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":{}}', b'{"data":null}', b"{", b"x" * (TOLD_BYTES + 1)])
async def test_what_is_no_list_of_models_is_left_out(body: bytes) -> None:
    good = upstream("good", b'{"data":[{"id":"m"},{"id":7},3,{}]}')
    merged = await Routes([Route(upstream("bad", body), ("none",)), Route(good, ("*",))], reads_bodies=True).models(
        LIST
    )
    assert b"".join([piece async for piece in merged]) == b'{"object":"list","data":[{"id":"m"}]}'
    assert merged.length == len(b'{"object":"list","data":[{"id":"m"}]}')


async def test_where_none_has_a_list_the_first_s_answer_is_given() -> None:
    each = [Route(upstream("a", b"why", 403), ("*",)), Route(upstream("b", b"no", 500), ("*",))]
    told = await Routes(each, reads_bodies=True).models(LIST)
    assert (told.status, b"".join([piece async for piece in told])) == (403, b"why")


@pytest.mark.parametrize(
    ("budget_s", "spent_s", "worth"),
    [
        (None, 1e9, True),
        (600, 0, True),
        (600, 541, False),
        (600, 539, True),
        (2, 1.7, True),
        (2, 1.9, False),
        (0.1, 0, False),
    ],
)
def test_another_is_tried_while_the_caller_will_still_be_there(
    budget_s: float | None, spent_s: float, worth: bool
) -> None:
    assert worth_another(Patience(budget_s), spent_s) is worth
