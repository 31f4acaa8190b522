"""`prompt_cache_key` for hosted APIs, where the caller sent none.

OpenAI routes a request by a hash of its first tokens together with this key: prompts that begin alike meet in one
machine's cache if their keys are equal, and a machine takes about 15 requests a minute for one beginning and key before
others are sent elsewhere, where the cache is cold. So the key is made of who asks, what the prompt begins with, and a
number: 0 for the first 15 requests of a minute, 1 for the next 15, and so on. Every minute begins with 0 again, so that
the same few machines stay warm. Who asks is in it because several callers behind one credential would otherwise
share what the provider keeps apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from proxy.types import Call, Scope
from proxy.upstream import amend, prefix

MEMBER: Final = "prompt_cache_key"

LONGEST: Final = 64
"""Characters: a longer key is refused with a 400."""

REQUESTS: Final = 15
"""Of a minute, for one beginning and key, as the provider's guide says."""

_MINUTE_S: Final = 60.0

_PATHS: Final = ("/chat/completions", "/responses")
"""Those that know the member."""

Mac = Callable[[Scope, bytes, int], str]
"""A keyed digest of scope, beginning and bucket, as text."""


class PromptCacheKeys:
    """Fills keys in. Each process counts for itself: with several, a bucket takes so many times 15.

    `clock` gives seconds that never go back. `beginnings` is how many are counted, the latest ones; one that is
    forgotten begins with bucket 0 again, which is right for anything that comes less than 15 times a minute.
    16384 take about 5 MiB.
    """

    def __init__(
        self, *, mac: Mac, clock: Callable[[], float], prefix_bytes: int = 4096, beginnings: int = 16_384
    ) -> None:
        self._mac = mac
        self._clock = clock
        self._prefix_bytes = prefix_bytes
        self._beginnings = beginnings
        self._counted: OrderedDict[tuple[Scope, bytes], tuple[float, int]] = OrderedDict()
        """When its minute began, and the requests since then."""

    def fill_in(self, call: Call) -> Call:
        """The call with a key; as it is where the caller sent one (null too), where the path knows none, and where
        there is no prompt to be seen."""
        body = call.body
        if not isinstance(body, bytes) or not call.target.partition("?")[0].endswith(_PATHS):
            return call
        members = prefix.members_of(call)
        if members is None or MEMBER in members:
            return call
        digest = prefix.beginning(call, self._prefix_bytes, members)
        if digest is None:
            return call
        return replace(call, body=amend.appended(body, {MEMBER: self.key(call.scope, digest)}))

    def key(self, scope: Scope, digest: bytes) -> str:
        """The key for one more request that begins so: at most `LONGEST` characters."""
        return self._mac(scope, digest, self._bucket((scope, digest)))[:LONGEST]

    def _bucket(self, beginning: tuple[Scope, bytes]) -> int:
        now = self._clock()
        begun, count = self._counted.pop(beginning, (now, 0))
        if now - begun >= _MINUTE_S:
            begun, count = now, 0
        self._counted[beginning] = begun, count + 1
        if len(self._counted) > self._beginnings:
            self._counted.popitem(last=False)
        return count // REQUESTS
