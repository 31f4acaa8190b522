"""Somebody says whether an answer was right.

Of an answer that was matched by meaning, bad refuses the pair of questions for good, and what was learned of it counts
as certain. Any other answer that is bad is removed, so that the question is asked anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, TypeVar

from proxy.errors import BadRequest, CacheFailure, NotFound
from proxy.fingerprint import name_of
from proxy.match import Match, matched
from proxy.meaning.base import Meaning
from proxy.stores.base import ExactStore
from proxy.types import Digest, Form, Scope

Verdict = Literal["good", "bad"]

RECENT = 10_000
"""Deliveries of matched answers that can be named by their request id, in this process: an hour of a busy one."""


class Delivery(NamedTuple):
    """A matched answer that was given to a caller."""

    name: Digest
    """Of the question that was asked."""
    match: Match


class Recent:
    """Matched answers lately delivered, by request id and by key. Bounded.

    Request ids are the clients' own words: two callers may use the same, and one may look like a key.
    """

    def __init__(self) -> None:
        self._by_request: OrderedDict[tuple[str, Scope], Delivery] = OrderedDict()
        self._by_name: OrderedDict[Digest, Delivery] = OrderedDict()

    def delivered(self, request_id: str, name: Digest, match: Match) -> None:
        """One more."""
        delivery = Delivery(name, match)
        _latest(self._by_request, (request_id, match.scope), delivery)
        _latest(self._by_name, name, delivery)

    def of_request(self, request_id: str, scope: Scope | None) -> Delivery | None:
        """This caller's; for the operator (None) the latest of anybody's."""
        if scope is not None:
            return self._by_request.get((request_id, scope))
        return next((self._by_request[label] for label in reversed(self._by_request) if label[0] == request_id), None)

    def of_name(self, name: Digest) -> Delivery | None:
        """By the key that was shown with the answer."""
        return self._by_name.get(name)


K = TypeVar("K")


def _latest(deliveries: OrderedDict[K, Delivery], label: K, delivery: Delivery) -> None:
    deliveries[label] = delivery
    deliveries.move_to_end(label)
    if len(deliveries) > RECENT:
        deliveries.popitem(last=False)


Elsewhere = Callable[[str, Scope | None], Awaitable[Delivery | None]]
"""As `Recent.of_request`, but of other processes that share the port."""


async def nowhere(_request_id: str, _scope: Scope | None) -> None:
    """There are none."""


class Feedback:
    """Finds what is meant, and acts on it."""

    def __init__(self, store: ExactStore, meaning: Meaning, recent: Recent, elsewhere: Elsewhere = nowhere) -> None:
        self._store = store
        self._meaning = meaning
        self._recent = recent
        self._elsewhere = elsewhere

    async def give(self, scope: Scope | None, *, key: str | None, request_id: str | None, verdict: Verdict) -> str:
        """What was done: `pair_refused`, `answer_removed` or `noted`.

        scope: the caller's, who can speak of its own answers only; None for the operator.
        Raises `errors.BadRequest`, `errors.NotFound`, and `errors.CacheFailure` where it cannot be promised.
        """
        delivery = await self._find(scope, key, request_id, verdict)
        if delivery is None:
            return await self._whole_answer(name_of(key or ""), verdict)
        if scope is not None and delivery.match.scope != scope:
            raise _unknown(key or request_id or "")
        if verdict == "good":
            await self._meaning.feedback(delivery.match, good=True)
            return "noted"
        try:
            await self._meaning.feedback(delivery.match, good=False)
        finally:
            # Last: what is matched from here on meets the refusal.
            await self._store.delete(delivery.name)
            await self._meaning.forget(delivery.name)
        return "pair_refused"

    async def _find(
        self, scope: Scope | None, key: str | None, request_id: str | None, verdict: Verdict
    ) -> Delivery | None:
        if (key is None) == (request_id is None):
            raise BadRequest('give exactly one of "key" and "request_id"', code="invalid_feedback")
        if request_id is not None:
            delivery = self._recent.of_request(request_id, scope) or await self._elsewhere(request_id, scope)
            if delivery is None:
                raise _unknown(request_id)
            return delivery
        return await self._named(name_of(key or ""), verdict)

    async def _named(self, name: Digest, verdict: Verdict) -> Delivery | None:
        entry = await self._store.get(name)
        if entry is not None and entry.form is Form.ALIAS:
            return Delivery(name, matched(entry))
        recent = self._recent.of_name(name)
        if entry is not None:
            # The question has got an answer of its own since it was matched, under the same key. Which of the two is
            # meant nobody can tell: bad is done to both, good of the one says nothing of the other.
            return recent if verdict == "bad" else None
        if recent is None:
            degraded = self._store.report().degraded
            # That a store in trouble has not found it does not say that it is gone.
            raise CacheFailure(degraded) if degraded is not None else _unknown(name.hex())
        return recent

    async def _whole_answer(self, name: Digest, verdict: Verdict) -> str:
        if verdict == "good":
            return "noted"
        await self._store.delete(name)
        await self._meaning.forget(name)
        return "answer_removed"


def _unknown(label: str) -> NotFound:
    return NotFound(
        f"no answer is known by {label[:64]!r}: use the X-Cache-Key of an answer that is still stored; request ids are "
        "known for a while, by the replica that answered, and for answers matched by meaning",
        code="no_such_entry",
    )
