"""What answers stand behind a model's name now: its epoch, part of every answer's name.

An epoch is made of what the upstream's endpoints say of themselves: the server's version and the model's card with its
parent's (both looked at all the time), the `system_fingerprint` of answers that came from there, and when weights were
last given up (sleep of level 2). While the set of these is the same, so is the epoch: in whatever order endpoints come,
however many are alike, and while some are down, whose last word holds. When it changes, nothing that was answered
before is found any more; when it changes back, it is found again, for then the same model is there again.

The first fingerprint that is seen with a version and card is their usual one, and counts as if none were known: else
the first answer after every start would be the last of its epoch. Any other counts.

What is known is kept as a note in the store, so that a restart begins with the epoch it ended with, and replicas
agree (`epoch_note.py`). Without a readable note it begins anew, and the first look sets it right.

What cannot be seen: other weights under the same name, root, version and configuration, loaded while AskOnce was down
or between two looks. That is a restart on files that were replaced in their folder, an adapter reloaded in place
(`load_inplace`) from the same path, or an update of weights through vLLM's interface for training. Whoever does that
changes `upstreams.epoch` or purges afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, Protocol
from urllib.parse import urlsplit

from proxy.errors import CacheFailure
from proxy.fingerprint import framed
from proxy.upstream.epoch_note import Known, Note, Print
from proxy.upstream.kinds.base import Identity

_log = logging.getLogger("askonce.upstream")

_MEMO: Final = 1024
"""Names whose epoch is remembered: callers can make any up."""


class Notes(Protocol):
    """Small facts that outlive a restart and that replicas share (`stores.base.ExactStore`)."""

    async def note(self, key: str) -> bytes | None:
        """None where there is none. Raises `errors.CacheFailure`."""

    async def put_note(self, key: str, value: bytes) -> None:
        """Raises `errors.CacheFailure`."""


class Epochs:
    """Of one upstream's models.

    fixed: the operator's part, first in every epoch.
    follow: False: the operator's part is all there is.
    notes: where what is known outlives the process. Its failures delay nothing but that.
    changed: called when the epoch of any model has changed, within the call that saw it.
    addresses: of the endpoints that are configured; what is known of any other is dropped. None: nothing is.
    patience_s: so long the store is waited for. A look waits with it, and looks find out who is dead.
    """

    def __init__(
        self,
        *,
        upstream: str,
        fixed: str,
        follow: bool,
        notes: Notes,
        changed: Callable[[], None],
        addresses: Sequence[str] | None = None,
        patience_s: float = 1.0,
    ) -> None:
        self._upstream = upstream
        self._fixed = fixed
        self._follow = follow
        self._notes = notes
        self._changed = changed
        self._addresses = None if addresses is None else frozenset(addresses)
        self._patience_s = patience_s
        self._note = Note()
        self._fresh = Note()
        """Of that what was seen since the store was last heard: the latest there is."""
        self._heard = False
        """The store has told what it knows, be it nothing."""
        self._unsaid = False
        """There is something that may not be in the store yet."""
        self._saws = 0
        self._keeps = True
        self._one_at_a_time = asyncio.Lock()
        self._memo: dict[str, str] = {}

    async def open(self) -> None:
        """What was known before is known again."""
        await self.refresh()

    async def refresh(self) -> None:
        """Take over what other replicas saw, and tell what they do not know."""
        if self._follow:
            async with self._one_at_a_time:
                if await self._hear():
                    await self._tell()

    def epoch(self, model: str) -> str:
        """Of a model, by the name it has at the upstream."""
        epoch = self._memo.get(model)
        if epoch is None:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            epoch = self._memo[model] = self._epoch(model)
        return epoch

    async def saw(self, address: str, identity: Identity) -> None:
        """This stands behind that endpoint now. Once for all endpoints together the store is asked too, so that
        replicas agree without anybody's calling `refresh`."""
        if not self._follow:
            return
        self._saws += 1
        due = self._unsaid or self._saws >= len(self._note.endpoints)
        if not due and self._as_seen(address, identity) == self._note.endpoints.get(address):
            return
        async with self._one_at_a_time:
            # First what others know: what they saw already is no change, and has its time.
            heard = await self._hear()
            seen = self._as_seen(address, identity)
            if seen != self._note.endpoints.get(address):
                with self._watching():
                    self._note.endpoints[address] = seen
                self._unsaid = True
            if heard:
                await self._tell()
            else:
                self._fresh.endpoints[address] = seen

    def answered(self, origin: str, model: str, fingerprint: str) -> None:
        """An answer from there had this `system_fingerprint` (empty for none). Kept with the next `saw`."""
        if not self._follow or not fingerprint:
            return
        prints = self._note.prints.setdefault(origin, {})
        known = next((each for at, each in self._note.endpoints.items() if _origin(at) == origin), Known())
        identity, last = _identity(known, model), prints.get(model)
        if last is not None and (last.identity, last.text) == (identity, fingerprint):
            return
        with self._watching({model}):
            prints.pop(model, None)  # the latest is last
            prints[model] = Print(1 if last is None else last.turn + 1, identity, fingerprint)
            self._fresh.prints.setdefault(origin, {})[model] = prints[model]
            if self._heard:
                # Not before the store has told what was usual: with a wrong one what is old would count as current.
                self._note.usual.setdefault(identity, fingerprint)
            self._note.trim()
            self._fresh.trim()
        self._unsaid = True

    # --- what is seen

    def _as_seen(self, address: str, identity: Identity) -> Known:
        """What is known of an endpoint after that look; what is known now where it brings nothing new."""
        known = self._note.endpoints.get(address, Known())
        gone, discarded_at = identity.discarded_at > 0, known.discarded_at
        if gone and not known.gone:
            # A clock that was set back must not hide it.
            discarded_at = max(identity.discarded_at, discarded_at + 1)
        models = {name: _digest(card.encode("utf-8", "surrogatepass")) for name, card in identity.models.items()}
        # What was told once and is not any more has not changed by that: a gateway before it may have lost its route.
        version, models = identity.version or known.version, models or dict(known.models)
        seen = Known(known.turn, version, models, gone, discarded_at)
        return seen if seen == known else Known(known.turn + 1, version, models, gone, discarded_at)

    # --- what others know

    async def _hear(self) -> bool:
        """Whether the store could be asked. What others know better is taken over; what they do not know is unsaid."""
        self._saws = 0
        try:
            async with asyncio.timeout(self._patience_s):
                text = await self._notes.note(self._key)
        except (CacheFailure, TimeoutError):
            self._unsaid = True
            return False
        told, fresh, self._fresh = Note.read(text or b"") or Note(), self._fresh, Note()
        if told == self._note and self._heard:
            self._unsaid = False
            return True
        with self._watching():
            self._note.merge(told)
            self._note.insist(fresh)
            self._heard = True
            for prints in self._note.prints.values():
                for print_ in prints.values():
                    self._note.usual.setdefault(print_.identity, print_.text)
            self._note.trim()
            if self._addresses is not None:
                origins = {_origin(address) for address in self._addresses}
                self._note.keep_only(self._addresses, origins)
                told.keep_only(self._addresses, origins)
        self._unsaid = told != self._note
        return True

    async def _tell(self) -> None:
        if not self._unsaid:
            return
        self._unsaid = False
        try:
            async with asyncio.timeout(self._patience_s):
                await self._notes.put_note(self._key, self._note.written())
        except (CacheFailure, TimeoutError) as failure:
            self._unsaid = True
            if self._keeps:
                why = failure.message if isinstance(failure, CacheFailure) else "the store takes too long"
                _log.warning("what stands behind the models of %s is not kept: %s", self._upstream, why)
            self._keeps = False
        else:
            self._keeps = True

    @property
    def _key(self) -> str:
        return f"epoch:{self._upstream}"

    # --- what it comes to

    def _epoch(self, model: str) -> str:
        known = self._note.endpoints
        if not self._follow or not known:
            return self._fixed
        # Who does not have it cannot answer for it. An adapter on its way to all endpoints changes once, not twice.
        having = {at: each for at, each in known.items() if model in each.models} or known
        stands = {(one.version, one.models.get(model, ""), self._print(at, one, model)) for at, one in having.items()}
        latest = max(each.discarded_at for each in having.values())
        parts = [*(part for each in sorted(stands) for part in each), repr(latest)]
        return f"{self._fixed}.{_digest(framed(part.encode('utf-8', 'surrogatepass') for part in parts))}"

    def _print(self, address: str, known: Known, model: str) -> str:
        """The endpoint's fingerprint, if it is another than usual."""
        last = self._note.prints.get(_origin(address), {}).get(model)
        if last is None or last.identity != _identity(known, model):
            return ""
        return "" if last.text == self._note.usual.get(last.identity) else last.text

    @contextmanager
    def _watching(self, models: set[str] | None = None) -> Iterator[None]:
        """Changes of the state within, of these models only or of any, and what follows from them."""
        begun = bool(self._note.endpoints)
        before = self._epochs(models)
        yield
        self._memo.clear()
        after = self._epochs(models)
        # A name that is new was one that nobody has, which all have the same epoch.
        nobodys = before[""], after[""]
        names = before.keys() | after.keys()
        moved = any(before.get(name, nobodys[0]) != after.get(name, nobodys[1]) for name in names)
        if moved and begun:
            _log.info("other answers stand behind models of %s now: earlier ones are not served", self._upstream)
        if moved:
            self._changed()

    def _epochs(self, models: set[str] | None) -> dict[str, str]:
        """Of these, or of all names there is anything to say of, and of any other as ""."""
        if models is None:
            listed = [each.models for each in self._note.endpoints.values()]
            models = set().union(*listed, *self._note.prints.values())
        return {name: self._epoch(name) for name in ("", *models)}


def _identity(known: Known, model: str) -> str:
    return _digest(framed((known.version.encode(), known.models.get(model, "").encode())))


def _digest(text: bytes) -> str:
    """16 hexadecimal digits: told apart are a handful of states, and nobody gains by two that meet."""
    return blake2b(text, digest_size=8, person=b"askonce epoch").hexdigest()


def _origin(address: str) -> str:
    """`host:port` of an address, as `Reply.origin` has it."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
