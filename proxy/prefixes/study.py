"""How much of the prompts of a log begins as an earlier one did, where they stop, and what moving that would gain.

Requests are added one at a time and forgotten: what stays are digests of their blocks, and the first prompt of each
family. Tokens are estimated: UTF-8 bytes / 4, or what the provider counted for that request, spread evenly over its
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.prefixes.differing import Difference, Kind, compare
from proxy.prefixes.entry import Entry
from proxy.prefixes.families import Families, Member
from proxy.prefixes.prompt import stream
from proxy.prefixes.trie import PrefixTrie
from proxy.telemetry.prices import PREFIX_LEAST, Prices
from proxy.types import Usage

BYTES_A_TOKEN: Final = 4
"""The usual rule of thumb for English text; other languages have fewer."""

BLOCK: Final = 16
"""Tokens; vLLM's block."""

MINIMUM: Final = PREFIX_LEAST
"""Tokens that have to be shared before OpenAI's cache counts any."""

_MOST_CAUSES: Final = 64
"""Of a family; more places than that are counted as one."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Tokens of prompts that an ideal prefix cache would have had, in all and from the minimum on."""

    tokens: int = 0
    from_minimum: int = 0

    def __add__(self, other: Shared) -> Shared:
        return Shared(self.tokens + other.tokens, self.from_minimum + other.from_minimum)

    def __sub__(self, other: Shared) -> Shared:
        return Shared(self.tokens - other.tokens, self.from_minimum - other.from_minimum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A place where prompts of a family stop being equal to the family's first."""

    place: str
    role: str
    offset: int
    kind: Kind
    shape: str
    movable: bool
    requests: int
    gain: Shared
    """What moving it to the end of the prompt adds, once what differs before it has been moved too."""
    usd: float | None
    """What the gain from the minimum on is worth at the price of cached input; None where no price is known."""
    lines: tuple[int, int]
    """Two lines of the log that differ so."""
    samples: tuple[str, str]
    """What stands there in those: words of users. Empty unless it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Requests that look alike."""

    number: int
    model: str
    requests: int
    prompt_tokens: int
    shared: Shared
    would_share: Shared
    """If everything movable stood at the end of the prompts; at least that."""
    usd: float | None
    causes: tuple[Cause, ...]
    """By gain, then by requests."""
    uncounted_causes: int
    """Differences at further places than are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole log. `families` have two or more requests, those with most tokens first."""

    block: int
    minimum: int
    requests: int
    prompt_tokens: int
    shared: Shared
    would_share: Shared
    usd: float | None
    """None where no price of any family's model is known."""
    counted_requests: int
    """Whose tokens the provider had counted."""
    cached_requests: int
    """Of which the provider had said how many tokens were cached."""
    cached_prompt_tokens: int
    """Their prompt tokens."""
    cached_tokens: int
    """Those that the provider had cached."""
    alone: int
    """Requests that look like no other that was followed."""
    forgotten_blocks: int
    """Blocks that there was no room to remember: with any, more is shared than is said."""
    families: tuple[Family, ...]


@dataclass(slots=True)
class _Cause:
    """A cause while requests are still added."""

    difference: Difference
    lines: tuple[int, int]
    offset: int
    requests: int = 0
    gain: Shared = Shared()


@dataclass(slots=True)
class _Family:
    """A family while requests are still added."""

    member: Member
    model: str
    requests: int = 0
    prompt_tokens: int = 0
    shared: Shared = Shared()
    would_share: Shared = Shared()
    causes: dict[tuple[str, int, Kind], _Cause] = field(default_factory=dict)
    reached: dict[tuple[str, ...], int] = field(default_factory=dict)
    """By scope: bytes that its requests have in common with the sample at most, once all is moved."""
    uncounted_causes: int = 0


@dataclass(frozen=True, slots=True)
class _Measure:
    """Turns bytes of one prompt into tokens."""

    tokens: int
    size: int
    block_bytes: int
    minimum: int

    def __call__(self, shared_bytes: int) -> Shared:
        """Of whole blocks. The last token is computed anew in any case: it gives the answer's first."""
        whole = min(shared_bytes, self.size - 1) // self.block_bytes * self.block_bytes
        tokens = round(whole * self.tokens / self.size)
        return Shared(tokens, tokens if tokens >= self.minimum else 0)


class PrefixStudy:
    """Add the requests of a log in its order, then ask for the report."""

    def __init__(
        self,
        prices: Prices,
        *,
        block: int = BLOCK,
        minimum: int = MINIMUM,
        across_tenants: bool = False,
        samples: bool = False,
        families: Families | None = None,
        trie: PrefixTrie | None = None,
    ) -> None:
        """Prompts are shared among requests of one model and, unless `across_tenants`, of one tenant.

        `samples` keeps what differs, up to 40 characters of users' words for each cause.
        """
        self._prices = prices
        self._block, self._minimum = block, minimum
        self._across, self._samples = across_tenants, samples
        self._members = families or Families()
        self._trie = trie or PrefixTrie(block * BYTES_A_TOKEN)
        self._families: dict[int, _Family] = {}
        self._requests = self._prompt_tokens = 0
        self._shared = self._would_share = Shared()
        self._counted = self._cached_requests = self._cached_prompt_tokens = self._cached_tokens = 0

    def add(self, entry: Entry) -> None:
        """Count a request in."""
        text = stream(entry.prompt)
        tokens = entry.prompt_tokens or max(1, round(len(text) / BYTES_A_TOKEN))
        measure = _Measure(tokens, len(text), self._trie.block_bytes, self._minimum)
        scope = (entry.model,) if self._across or entry.tenant is None else (entry.model, entry.tenant)
        shared_bytes = self._trie.share(scope, text) * self._trie.block_bytes
        shared = measure(shared_bytes)
        would_share = measure(self._explain(entry, scope, measure, shared_bytes))
        self._requests += 1
        self._prompt_tokens += tokens
        self._shared += shared
        self._would_share += would_share
        self._count(entry)

    def _count(self, entry: Entry) -> None:
        if entry.prompt_tokens is None:
            return
        self._counted += 1
        if entry.cached_tokens is not None:
            self._cached_requests += 1
            self._cached_prompt_tokens += entry.prompt_tokens
            self._cached_tokens += entry.cached_tokens

    def _explain(self, entry: Entry, scope: tuple[str, ...], measure: _Measure, shared_bytes: int) -> int:
        """Bytes that would be shared if what is movable were at the end; notes why they are not."""
        member = self._members.of(entry)
        if member is None:
            return shared_bytes
        family = self._families.get(member.number)
        if family is None:
            self._forget_evicted()
            family = self._families[member.number] = _Family(member, entry.model)
        best = shared_bytes
        if entry.line == member.line:
            family.reached[scope] = measure.size
        else:
            best = self._compare(family, entry, scope, measure, shared_bytes)
        family.requests += 1
        family.prompt_tokens += measure.tokens
        family.shared += measure(shared_bytes)
        family.would_share += measure(best)
        return best

    def _compare(
        self, family: _Family, entry: Entry, scope: tuple[str, ...], measure: _Measure, shared_bytes: int
    ) -> int:
        """With the family's sample. What two requests have in common with it they have in common with each other."""
        comparison = compare(family.member.prompt, entry.prompt)
        # The sample may be another tenant's, with whom nothing is shared: an earlier request of the same one has to be.
        most = family.reached.get(scope, 0)
        family.reached[scope] = max(most, comparison.shared)
        best = shared_bytes
        # What is equal behind one difference ends where the next one begins.
        ends = [each.shared_before for each in comparison.differences[1:]] + [comparison.shared]
        for difference, end in zip(comparison.differences, ends, strict=False):
            reached = max(best, min(end, most)) if difference.movable else best
            lines = family.member.line, entry.line
            self._note(family, difference, lines, measure(reached) - measure(best))
            best = reached
        return best

    def _note(self, family: _Family, difference: Difference, lines: tuple[int, int], gain: Shared) -> None:
        # What is not movable begins anywhere in what users say: one cause for each part.
        stable = difference.movable and difference.kind is not Kind.TOOL_ORDER
        place = difference.place if difference.kind is not Kind.TOOL_ORDER else difference.place.partition("[")[0]
        name = (place, difference.offset if stable else -1, difference.kind)
        cause = family.causes.get(name)
        if cause is None:
            if len(family.causes) >= _MOST_CAUSES:
                family.uncounted_causes += 1
                return
            if not self._samples:
                difference = replace(difference, samples=("", ""))
            cause = family.causes[name] = _Cause(difference, lines, difference.offset)
        cause.requests += 1
        cause.gain += gain
        cause.offset = min(cause.offset, difference.offset)

    def _forget_evicted(self) -> None:
        """Families of one request that made room for others."""
        if len(self._families) >= 2 * self._members.most:
            followed = {number for number, family in self._families.items() if self._members.follows(family.member)}
            self._families = {number: self._families[number] for number in sorted(followed)}

    def report(self) -> Report:
        """What was found so far."""
        families = [self._family(each) for each in self._families.values() if each.requests > 1]
        families.sort(key=lambda family: (-family.prompt_tokens, family.number))
        return Report(
            block=self._block,
            minimum=self._minimum,
            requests=self._requests,
            prompt_tokens=self._prompt_tokens,
            shared=self._shared,
            would_share=self._would_share,
            usd=_sum(family.usd for family in families),
            counted_requests=self._counted,
            cached_requests=self._cached_requests,
            cached_prompt_tokens=self._cached_prompt_tokens,
            cached_tokens=self._cached_tokens,
            alone=self._requests - sum(family.requests for family in families),
            forgotten_blocks=self._trie.forgotten,
            families=tuple(families),
        )

    def _family(self, family: _Family) -> Family:
        causes = [self._cause(family, name[0], cause) for name, cause in family.causes.items()]
        causes.sort(key=lambda cause: (-cause.gain.tokens, -cause.requests, cause.place))
        return Family(
            number=family.member.number,
            model=family.model,
            requests=family.requests,
            prompt_tokens=family.prompt_tokens,
            shared=family.shared,
            would_share=family.would_share,
            usd=self._worth(family.model, (family.would_share - family.shared).from_minimum),
            causes=tuple(causes),
            uncounted_causes=family.uncounted_causes,
        )

    def _cause(self, family: _Family, place: str, cause: _Cause) -> Cause:
        difference = cause.difference
        return Cause(
            place=place,
            role=difference.role,
            offset=cause.offset,
            kind=difference.kind,
            shape=difference.shape,
            movable=difference.movable,
            requests=cause.requests,
            gain=cause.gain,
            usd=self._worth(family.model, cause.gain.from_minimum),
            lines=cause.lines,
            samples=difference.samples,
        )

    def _worth(self, model: str, tokens: int) -> float | None:
        """USD that so many input tokens cost less when they are cached."""
        fresh = self._prices.cost(model, Usage(prompt_tokens=tokens))
        cached = self._prices.cost(model, Usage(prompt_tokens=tokens, cached_tokens=tokens))
        return None if fresh is None or cached is None else fresh - cached


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
