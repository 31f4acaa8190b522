"""Which upstream serves a model, and the models of all of them as one list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import orjson

from proxy.errors import UpstreamError, UpstreamTimeout
from proxy.types import Call, Reply
from proxy.upstream.base import Told, Upstream

OK = 200

LIST_S = 5.0
"""How long an upstream's list of models is waited for. The others' are served without it: a list is asked for by people
and at starts, and a hanging upstream must not hang it."""

ABOUT_ONE_LIST = frozenset(
    {b"accept-encoding", b"content-length", b"if-none-match", b"if-modified-since", b"if-match", b"range", b"if-range"}
)


@dataclass(frozen=True, slots=True)
class Route:
    """One upstream and what it serves."""

    upstream: Upstream
    models: tuple[str, ...]
    """Globs."""
    aliases: tuple[str, ...] = ()
    """Names that callers may use for models that are called otherwise there (`model_map`), without patterns."""

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, glob) for glob in self.models)


class Routes:
    """`Upstreams` in the order of the configuration: the first that serves a model has it."""

    def __init__(self, routes: Sequence[Route], *, reads_bodies: bool) -> None:
        self._routes = tuple(routes)
        self._default = next((each for each in self._routes if "*" in each.models), self._routes[0])
        self.reads_bodies = reads_bodies

    @property
    def all(self) -> Sequence[Upstream]:
        return tuple(route.upstream for route in self._routes)

    def of(self, model: str) -> Upstream:
        """The first whose patterns match, or else the default."""
        return self._route(model).upstream

    def _route(self, model: str) -> Route:
        found = (route for route in self._routes if route.serves(model)) if model else iter(())
        return next(found, self._default)

    async def models(self, call: Call) -> Reply:
        """`GET /models` of all of them as one list: of each upstream those models that a request for them would bring
        there, and its aliases. One that fails is left out; where all do, what the first said is the answer.

        Raises `errors.UpstreamError`.
        """
        # A list that comes packed, or does not come because the caller has one, cannot be put together with others.
        plain = tuple(pair for pair in call.headers if pair[0] not in ABOUT_ONE_LIST)
        call = replace(call, headers=plain, body=b"")
        answers = await asyncio.gather(*(self._listed(route, call) for route in self._routes))
        lists = [answer for answer in answers if isinstance(answer, list)]
        if lists:
            return Listed([card for cards in lists for card in cards])
        first = answers[0]
        if isinstance(first, UpstreamError):
            raise first
        assert isinstance(first, Told)  # noqa: S101 - for the type: nothing else is left
        return first

    async def _listed(self, route: Route, call: Call) -> list[dict[str, Any]] | Told | UpstreamError:
        try:
            async with asyncio.timeout(LIST_S):
                told = await Told.of(await route.upstream.send(call))
        except TimeoutError:
            return UpstreamTimeout(f"upstream {route.upstream.name}: no list of models within {LIST_S:g} s")
        except UpstreamError as error:
            return error
        cards = _cards(told)
        if cards is None:
            return told
        # Under the name that callers use, once: two upstreams may have a model of one name, and the first serves it.
        reached = [card for card in cards if self._route(card["id"]) is route]
        known = {card["id"] for card in reached}
        named = [_alias(alias, route.upstream.name) for alias in route.aliases if alias not in known]
        return reached + [card for card in named if self._route(card["id"]) is route]


class Listed(Told):
    """The merged list."""

    def __init__(self, cards: list[dict[str, Any]]) -> None:
        body = orjson.dumps({"object": "list", "data": cards})
        super().__init__(OK, ((b"content-type", b"application/json"),), body)


def _cards(told: Told) -> list[dict[str, Any]] | None:
    """The entries of a list of models; None where it is none."""
    if told.status != OK:
        return None
    try:
        data = orjson.loads(told.body)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(data, list):
        return None
    return [card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)]


def _alias(name: str, upstream: str) -> dict[str, Any]:
    """OpenAI's four members of a model; it has no date of its own."""
    return {"id": name, "object": "model", "created": 0, "owned_by": upstream}
