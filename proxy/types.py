"""What travels the path: frozen values that import nothing of this program.

Read it beside `pipeline.py`. Every name here is the word used in headers, logs and metric labels too.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Digest = NewType("Digest", bytes)
"""A name for a question: 16 bytes, a truncated HMAC-SHA-256 (RFC 2104 section 5). Hex of it is `X-Cache-Key`."""

Scope = NewType("Scope", bytes)
"""Who may share an answer: 16 bytes, a MAC of the caller's credential. Never the credential itself."""

Pairs = tuple[tuple[bytes, bytes], ...]
"""Header fields as ASGI gives them: lower-case name, value as it came."""


Vector: TypeAlias = "NDArray[np.float32]"
"""One embedding: float32, as many as the embedder has dimensions, of length 1, so that a dot product is a cosine."""


PREFIX_CACHED_S = 1800.0
"""How long providers keep a prompt's prefix after its last use: OpenAI says 5 to 60 minutes, and 30 where it can be
set. A vLLM keeps it until others need the room."""


class Outcome(StrEnum):
    """How a request was answered: the value of `X-Cache` and of every `outcome` label."""

    HIT = "hit"
    SEMANTIC = "semantic"
    STALE = "stale"
    COLLAPSED = "collapsed"
    MISS = "miss"
    BYPASS = "bypass"
    ERROR = "error"


class Form(StrEnum):
    """What an entry's body holds."""

    WHOLE = "whole"
    """The folded JSON answer; serves stream and plain readers."""
    FRAMES = "frames"
    """The stream's own frames, for an answer that folding would change; serves stream readers only."""
    ALIAS = "alias"
    """No answer but the name of one (`meaning.Alias`): a question that was matched by meaning, or that differs from
    another in case, space and closing punctuation only."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them (`usage` of the answer); zero where it said nothing."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Renderings(dict[str, tuple[bytes, ...]]):
    """An answer's ready-to-send forms, made once and kept beside it in memory; `size` is their bytes."""

    size: int = 0

    fields: dict[str, Pairs]
    """Header fields that are the same for every delivery, by variant."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = {}

    def keep(self, variant: str, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Remember a form under its name; gives it back."""
        self[variant] = pieces
        self.size += sum(map(len, pieces))
        return pieces


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored answer.

    `body` of a WHOLE entry is a JSON object's text with the members `id`, `created` and those named in `echoes` cut
    out. `body` of a FRAMES entry is server-sent events with `id` and `created` cut out of every frame, usage frame
    included, `data: [DONE]` left off.
    Times are Unix seconds; lifetimes are seconds. `finished_at` is when the upstream finished the answer: RFC 9111
    counts `Age` from there.
    """

    name: Digest
    endpoint: str
    model: str
    form: Form
    body: bytes
    finished_at: float
    fresh_s: float
    """Freshness lifetime; older than this it is stale."""
    kept_s: float
    """Physical lifetime (>= fresh_s): how long a stale answer may still be of use."""
    generation: int = 0
    """The store's generation when the question was asked; a purge of everything bumps it."""
    id_prefix: str = "chatcmpl-"
    echoes: tuple[str, ...] = ()
    """Members that repeat the request's own (e.g. `metadata`): taken from the current request on a hit."""
    usage: Usage = Usage()
    lacks_usage: bool = False
    """Filled by a stream whose upstream was not asked for usage: only a reader who wants none gets all there is."""
    cost_usd: float | None = None
    """What the upstream charged for it, by the price table; None when the model has no known price."""
    warm_usd: float | None = None
    """What asking again would cost while the upstream has the prompt in its prefix cache (`prices.Price.warm`)."""
    upstream: str = ""
    upstream_request_id: str = ""
    upstream_s: float = 0.0
    """Seconds the upstream took."""
    tags: tuple[str, ...] = ()
    renderings: Renderings = field(default_factory=Renderings, compare=False, repr=False)
    """Not stored. The memory tier counts its size."""

    def age_s(self, now: float) -> float:
        """Seconds since the upstream finished, never below zero (a clock may step back)."""
        age_s = now - self.finished_at
        return age_s if age_s > 0 else 0.0

    def ttl_s(self, now: float) -> float:
        """Remaining freshness in seconds; negative when stale."""
        return self.fresh_s - self.age_s(now)

    def warm(self, now: float) -> bool:
        """Young enough that the upstream would still have its prompt cached."""
        return now - self.finished_at < PREFIX_CACHED_S

    def saved_usd(self, now: float) -> float | None:
        """What serving it saves: a call of its own would cost this now. None: no known price."""
        return self.warm_usd if now - self.finished_at < PREFIX_CACHED_S else self.cost_usd

    def gone(self, now: float) -> bool:
        """Past its physical lifetime: as if it were not there."""
        return self.age_s(now) >= self.kept_s


@dataclass(frozen=True, slots=True)
class Question:
    """A request's body, read.

    `key` is the canonical form of all that may change the answer (protocol: everything in the body but the short list
    that cannot), length-framed, so that two bodies share it only if they ask the same.
    """

    endpoint: str
    model: str
    stream: bool
    include_usage: bool
    """`stream_options.include_usage`: the caller wants the usage frame."""
    choices: int
    """How many choices a whole answer has (`n`)."""
    members: Mapping[str, object]
    """The parsed top level, for policies."""
    key: bytes
    echoes: Mapping[str, bytes]
    """Members an answer may repeat (e.g. `metadata`), as JSON text; `null` where the request has none."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A question taken apart for matching by meaning: its words, and everything that stands round them."""

    words: str
    """Text of the last message, which is the user's; "" where there is none."""
    shape: bytes
    """Canonical form of the rest of the body (`Question.key` with the words taken out): history, system prompt, tools,
    parameters. Only questions of the same shape are ever candidates for one another."""
    members: Mapping[str, object]
    """The parsed top level, for `eligibility`."""
    barred: str = ""
    """Why its words cannot even be taken out (`no_words`, `parts`); "" when they can."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of bytes of a live stream, cut at event boundaries.

    `raw` is what came. `quiet` is the same for a caller who did not ask for usage, where we asked the upstream for it:
    usage frame gone, `"usage":null` members gone; it equals `raw` wherever nothing had to be taken out.
    """

    raw: bytes
    quiet: bytes
    terminal: bool = False
    """The end marker (`data: [DONE]`) and what follows it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the cache may do with a question. Verdicts only ever narrow, so their order does not matter."""

    read: bool = True
    write: bool = True
    reason: str = ""
    """Why something is forbidden: the token in `X-Cache-Reason`, `detail` and `askonce_bypass_total`."""
    pool: int = 0
    """Keep up to this many answers for the question and hand them out in turn; 0 keeps one."""

    def narrow(self, other: Verdict) -> Verdict:
        """Both must allow it; the first reason given stays."""
        return Verdict(
            self.read and other.read,
            self.write and other.write,
            self.reason or other.reason,
            max(self.pool, other.pool),
        )

    @classmethod
    def bypass(cls, reason: str) -> Verdict:
        """Neither read nor write."""
        return cls(read=False, write=False, reason=reason)


ALLOWED = Verdict()
"""Nothing to say against it."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What the client's headers ask of the cache (RFC 9111 section 5.2.1, RFC 5861, and ours). Seconds throughout."""

    verdict: Verdict = ALLOWED
    only_if_cached: bool = False
    max_age_s: float | None = None
    max_stale_s: float | None = None
    """How stale an answer may be; infinity for a bare `max-stale`; None when not given."""
    min_fresh_s: float = 0.0
    stale_if_error_s: float | None = None
    ttl_s: float | None = None
    namespace: str = ""
    tags: tuple[str, ...] = ()
    audited: bool = False
    """`X-Cache-Bypass` was used: goes to the audit log."""
    no_transform: bool = False
    exact_only: bool = False
    """`X-Cache-Mode: exact`: nothing that was matched by meaning."""
    threshold: float = 0.0
    """`X-Cache-Threshold`: the least similarity a match by meaning must have."""


class CacheStatus(NamedTuple):
    """The parameters of our member in `Cache-Status` (RFC 9211 section 2); None leaves one out.

    A tuple because every hit makes one: it costs half of a frozen dataclass, and hashes.
    """

    fwd: str | None = None
    """Why it went forward; None means a hit."""
    fwd_status: int | None = None
    ttl: int | None = None
    stored: bool | None = None
    collapsed: bool | None = None
    detail: str = ""


@dataclass(slots=True)
class Patience:
    """How long somebody goes on waiting for a call. The only value here that changes: others may join.

    A call is not cut short by it (its answer may still be kept), but none is begun anew for whoever will be gone.
    """

    seconds: float | None = None
    """From the call's beginning; None: as long as it takes, or nobody said."""

    def stretch(self, seconds: float | None, since_s: float) -> None:
        """Somebody joins `since_s` after the beginning, and will wait so long from now."""
        if self.seconds is not None:
            self.seconds = None if seconds is None else max(self.seconds, since_s + seconds)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an upstream.

    `target` is the path below the upstream's base address with its query (`/chat/completions?x=1`), or an absolute
    `/openai/...` path. `headers` are the client's end-to-end fields, already filtered, its credential among them.
    `streaming` says that the client asked for server-sent events.
    """

    method: str
    target: str
    headers: Pairs
    body: bytes | AsyncIterable[bytes]
    streaming: bool = False
    model: str = ""
    """As the caller named it; empty where that is not known."""
    scope: Scope = Scope(b"")
    """Whose it is; empty where nobody was told apart."""
    repeatable: bool = False
    """Asking twice does no harm: it may be sent again, to another endpoint, although the first may have arrived."""
    portable: bool = False
    """It asks a model and nothing else, so another upstream may answer it as well. What is kept in an account (files,
    batches) is looked for there only."""
    patience: Patience = field(default_factory=Patience)


class CallSpan(Protocol):
    """What is told of a call to whoever traces it (`telemetry.tracing`). After `end` nothing more is heard."""

    def departed(self, status: int) -> None:
        """The response's head is here."""

    def first_byte(self) -> None:
        """Of its body."""

    def answered(self, model: str, usage: Usage, finishes: Sequence[str]) -> None:
        """It was a whole answer: what it says of itself, with the reason why each choice ended."""

    def failed(self, reason: str) -> None:
        """It brought no whole answer."""

    def over(self) -> None:
        """The body has ended."""

    def end(self) -> None:
        """All is told. More than once is harmless."""


class Reply(Protocol):
    """What an upstream answered: status and end-to-end headers at once, the body as it comes.

    Iterating raises `errors.UpstreamError` kinds when the body does not end cleanly. `aclose` may be called at any
    time, more than once, and gives the connection back or closes it.
    """

    status: int
    headers: Pairs
    length: int | None
    """Of the body, where the upstream said it and its bytes go through as they are."""
    origin: str
    """The endpoint that answered, `host:port`; empty for an answer that another replica passes on."""
    span: CallSpan

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store says of itself, for `/readyz`, `/admin/stats` and metrics. Bytes and entries by tier."""

    kind: str
    degraded: str | None = None
    """Why it does not do all it should, in a sentence for the operator; None when all is well."""
    bytes_by_tier: dict[str, int] = field(default_factory=dict)
    entries_by_tier: dict[str, int] = field(default_factory=dict)
    evictions: dict[tuple[str, str], int] = field(default_factory=dict)
    """Answers that went without being asked to, by (tier, cause)."""
    errors: dict[tuple[str, str], int] = field(default_factory=dict)
    """What failed, by (tier, operation); a frame that cannot be used counts as `unreadable_<why>`."""
    breaker: str | None = None
    """`closed`, `open` or `half_open`, for a store that has a breaker."""
    openings: int = 0
    """How often that breaker opened."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a shared store heard of the other replicas since it last asked."""

    secret: bytes
    """That all replicas key names and tags with; empty where each has it from its configuration."""
    generation: int
    """Of the store, after the last purge of everything."""
    changes: tuple[Digest, ...] = ()
    """Deleted or replaced by others, oldest first."""
    sure: bool = True
    """Nothing can have been missed."""
