"""Somebody says whether an answer was right.

Of an answer that was matched by meaning, bad refuses the pair of questions for good, and what was learned of it counts
as certain. Any other answer that is bad is removed, so that the question is asked anew.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, NamedTuple

from proxy.errors import BadRequest, NotFound
from proxy.fingerprint import SIZE
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
    """Matched answers lately delivered, by request id and by key. Bounded."""

    def __init__(self) -> None:
        self._deliveries: OrderedDict[str, Delivery] = OrderedDict()

    def delivered(self, request_id: str, name: Digest, match: Match) -> None:
        """One more."""
        for label in (request_id, name.hex()):
            self._deliveries[label] = Delivery(name, match)
            self._deliveries.move_to_end(label)
        while len(self._deliveries) > RECENT:
            self._deliveries.popitem(last=False)

    def find(self, label: str) -> Delivery | None:
        return self._deliveries.get(label)


class Feedback:
    """Finds what is meant, and acts on it."""

    def __init__(self, store: ExactStore, meaning: Meaning, recent: Recent) -> None:
        self._store = store
        self._meaning = meaning
        self._recent = recent

    async def give(self, scope: Scope | None, *, key: str | None, request_id: str | None, verdict: Verdict) -> str:
        """What was done: `pair_refused`, `answer_removed` or `noted`.

        scope: the caller's, who can speak of its own answers only; None for the operator.
        Raises `errors.BadRequest`, `errors.NotFound`, and `errors.CacheFailure` where it cannot be promised.
        """
        delivery = await self._find(key, request_id)
        if delivery is None:
            return await self._whole_answer(_named(key), verdict)
        if scope is not None and delivery.match.scope != scope:
            raise _unknown(key or request_id or "")
        await self._meaning.feedback(delivery.match, good=verdict == "good")
        if verdict == "good":
            return "noted"
        await self._store.delete(delivery.name)
        return "pair_refused"

    async def _find(self, key: str | None, request_id: str | None) -> Delivery | None:
        if (key is None) == (request_id is None):
            raise BadRequest('give exactly one of "key" and "request_id"', code="invalid_feedback")
        delivery = self._recent.find(request_id or key or "")
        if delivery is not None:
            return delivery
        if request_id is not None:
            raise _unknown(request_id)
        entry = await self._store.get(_named(key))
        if entry is None:
            raise _unknown(key or "")
        return Delivery(entry.name, matched(entry)) if entry.form is Form.ALIAS else None

    async def _whole_answer(self, name: Digest, verdict: Verdict) -> str:
        if verdict == "good":
            return "noted"
        await self._store.delete(name)
        await self._meaning.forget(name)
        return "answer_removed"


def _named(key: str | None) -> Digest:
    try:
        name = bytes.fromhex(key or "")
    except ValueError:
        name = b""
    if len(name) != SIZE:
        raise BadRequest(
            f"{(key or '')[:64]!r} is not a key: copy the 32 hexadecimal digits of X-Cache-Key", code="invalid_key"
        )
    return Digest(name)


def _unknown(label: str) -> NotFound:
    return NotFound(
        f"no answer is known by {label[:64]!r}: use the X-Cache-Key of an answer that is still stored; request ids are "
        "known for a while, by the process that answered, and for answers matched by meaning",
        code="no_such_entry",
    )
