"""Matching by meaning, wired: settings -> rooms -> one `Meaning`.

Beside `app.py` and `replicas.py` the only module that knows which classes are real. Heavy libraries come with the one
file that needs them, and only when it is chosen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from proxy.endpoints.base import Endpoint
from proxy.errors import CacheFailure, SettingsError
from proxy.fingerprint import Namer
from proxy.meaning.base import Meaning
from proxy.meaning.off import NoMeaning
from proxy.probes import Probe
from proxy.replicas import Shared, revealed
from proxy.settings import Settings
from proxy.stores.base import ExactStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.semantic import MatchingGauges, PartitionGauges
from proxy.telemetry.tasks import Tasks
from proxy.telemetry.tracing.base import Tracing

if TYPE_CHECKING:
    from proxy.eligibility.base import Bar
    from proxy.embedders.base import Embedder
    from proxy.guards.base import Guard
    from proxy.judges.base import Judge
    from proxy.ledgers.base import Ledger
    from proxy.types import Vector
    from proxy.vectors.base import VectorIndex
    from proxy.verifiers.base import Verifier

NEEDED: Final = {
    "onnx": ("numpy", "onnxruntime", "tokenizers"),
    "sentence-transformers": ("numpy", "sentence_transformers"),
    "openai": ("numpy",),
}
"""Libraries by `semantic.embedder.kind`."""

GREY: Final = (0.1, 0.9)
"""Between these probabilities likeness tells little, and a model is asked where there is one."""

Close = Callable[[], Awaitable[None]]

EXTRA: Final = {"onnx": "semantic", "sentence-transformers": "sentence-transformers", "openai": "semantic"}


class Mode(NamedTuple):
    """What `semantic.mode` comes to here, and why where it was not said."""

    mode: Literal["off", "shadow", "on"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class House:
    """What matching shares with the rest of the program."""

    store: ExactStore
    shared: Shared | None
    namer: Namer
    endpoints: dict[bytes, Endpoint]
    metrics: Metrics
    clock: Callable[[], float]
    random: Callable[[], float]
    tracing: Tracing


def mode_of(settings: Settings) -> Mode:
    """Raises `errors.SettingsError` where it is wanted and cannot be had."""
    wanted, kind = settings.semantic.mode, settings.semantic.embedder.kind
    if wanted == "off":
        return Mode("off", "semantic.mode is off")
    missing = [library for library in (*NEEDED[kind], *_for_store(settings)) if find_spec(library) is None]
    if missing:
        lacks = f"{', '.join(missing)} not installed: pip install 'askonce[{EXTRA[kind]}]'"
        if wanted == "auto":
            return Mode("off", lacks)
        raise SettingsError(f"semantic.mode is {wanted}, with {lacks}, or set it to off")
    if settings.store.kind == "off":
        if wanted == "auto":
            return Mode("off", "the store is off")
        raise SettingsError(f"semantic.mode is {wanted} and store.url is off://: nothing is kept that could be matched")
    return Mode("on" if wanted == "auto" else wanted)


def _for_store(settings: Settings) -> tuple[str, ...]:
    return ("redisvl",) if settings.store.kind == "redis" else ("usearch",)


def match_by_meaning(settings: Settings, house: House) -> Meaning:
    """Opens nothing. Raises `errors.SettingsError`."""
    mode, reason = mode_of(settings)
    if mode == "off":
        return NoMeaning(reason)
    from proxy.eligibility.length import length
    from proxy.meaning.learning import Learning
    from proxy.meaning.matching import Matching, MatchingSettings, Rooms
    from proxy.verifiers.thresholds import thresholds

    semantic, tasks = settings.semantic, Tasks()
    embedder = make_embedder(settings, house.metrics.batch_embedded)
    index, ledger = _kept(settings, house, embedder, tasks)
    judge, close_judge = _judge(settings, embedder)
    learning = Learning(
        ledger=ledger,
        judge=judge,
        close_judge=close_judge,
        make_verifier=_verifier(settings, mode),
        thresholds=partial(thresholds, audit_rate=_audited(settings, mode)),
        tasks=tasks,
        metrics=house.metrics,
        clock=house.clock,
        tracing=house.tracing,
    )
    rooms = Rooms(
        store=house.store,
        embedder=embedder,
        index=index,
        length=length(semantic.embedder.max_pieces),
        bars=_bars(settings),
        guards=_guards(settings),
        learning=learning,
        endpoints={endpoint.path: endpoint for endpoint in house.endpoints.values()},
    )
    house.metrics.show(PartitionGauges(learning.uppers, learning.suspensions).exported)
    matching = Matching(
        rooms,
        MatchingSettings(
            mode=mode,
            policy=semantic.policy,
            budget=semantic.budget,
            deadline_s=semantic.deadline,
            floor=semantic.floor,
            candidates=semantic.candidates,
            audit_rate=semantic.audit_rate,
        ),
        namer=house.namer,
        tasks=tasks,
        metrics=house.metrics,
        clock=house.clock,
        random=house.random,
        tracing=house.tracing,
    )
    house.metrics.show(MatchingGauges(semantic.budget, matching.report, lambda: index.report().points).exported)
    return matching


def make_embedder(settings: Settings, noted: Callable[[int], None] = lambda _size: None) -> Embedder:
    """What turns words into vectors. Opens nothing."""
    chosen = settings.semantic.embedder
    match chosen.kind:
        case "onnx":
            from proxy.embedders.onnx import OnnxEmbedder

            return OnnxEmbedder(
                model=chosen.model,
                directory=chosen.directory,
                data_dir=settings.store.data_dir.expanduser(),
                precision=chosen.precision,
                threads=chosen.threads,
                batch=chosen.batch,
                queue=chosen.queue,
                max_pieces=chosen.max_pieces,
                noted=noted,
            )
        case "sentence-transformers":
            from proxy.embedders.sentence_transformers import SentenceTransformersEmbedder

            return SentenceTransformersEmbedder(
                model=str(chosen.directory or chosen.model),
                dimensions=chosen.dimensions,
                threads=chosen.threads,
                batch=chosen.batch,
                queue=chosen.queue,
                max_pieces=chosen.max_pieces,
                noted=noted,
            )
        case "openai":
            from proxy.embedders.openai import OpenAIEmbedder

            return OpenAIEmbedder(
                model=chosen.model,
                base_url=chosen.base_url or "",
                api_key=revealed(chosen.api_key),
                dimensions=chosen.dimensions,
                batch=chosen.batch,
                queue=chosen.queue,
                max_pieces=chosen.max_pieces,
                timeout_s=chosen.timeout,
                noted=noted,
            )


async def probe_semantic(settings: Settings) -> AsyncIterator[Probe]:
    """Whether there is a model, and it embeds."""
    mode, reason = mode_of(settings)
    if mode == "off":
        yield Probe("semantic", ok=True, detail=f"off: {reason}", warns=settings.semantic.mode == "auto")
        return
    embedder = make_embedder(settings)
    await embedder.open()
    try:
        await embedder.ready()
        began = perf_counter()
        await embedder.embed("What is a cache?")
        took_ms = (perf_counter() - began) * 1000
    except CacheFailure as failure:
        yield Probe("embedder", ok=False, detail=failure.message)
    else:
        detail = f"{embedder.identity}: {embedder.dimensions} dimensions, a short question takes {took_ms:.1f} ms"
        yield Probe("embedder", ok=True, detail=detail)
    finally:
        await embedder.close()


def _kept(settings: Settings, house: House, embedder: Embedder, tasks: Tasks) -> tuple[VectorIndex, Ledger]:
    """Where stored questions are found and labels are kept: beside the answers."""
    if house.shared is not None:
        return _on_redis(settings, house.shared, embedder, tasks)
    from proxy.ledgers.memory import MemoryLedger
    from proxy.ledgers.sqlite import SqliteLedger
    from proxy.vectors.embedded import EmbeddedIndex

    semantic, database = settings.semantic, None
    if settings.store.kind == "sqlite":
        database = settings.store.database.expanduser()
    index = EmbeddedIndex(
        _beside(database, "vectors"),
        identity=embedder.identity,
        dimensions=embedder.dimensions,
        exact_search=semantic.exact_search,
        max_points=semantic.max_points,
        clock=house.clock,
    )
    labels = _beside(database, "labels")
    return index, SqliteLedger(labels) if labels is not None else MemoryLedger()


def _beside(database: Path | None, what: str) -> Path | None:
    """`cache.vectors.db` beside `cache.db`."""
    return database.with_suffix(f".{what}{database.suffix}") if database is not None else None


def _on_redis(settings: Settings, shared: Shared, embedder: Embedder, tasks: Tasks) -> tuple[VectorIndex, Ledger]:
    from proxy.ledgers.redis import RedisLedger
    from proxy.vectors.redis import RedisIndex

    prefix = settings.store.redis.prefix
    index = RedisIndex(
        shared.link,
        shared.writes,
        prefix=prefix,
        identity=embedder.identity,
        dimensions=embedder.dimensions,
        secret=shared.secret,
        tasks=tasks,
        clustered=settings.store.redis_address.kind == "cluster",
    )
    ledger = RedisLedger(shared.link, prefix=prefix, secret=shared.secret)
    shared.redis.heard.append(index.heard)
    shared.keyed.extend((index, ledger))
    return index, ledger


def _bars(settings: Settings) -> Sequence[Bar]:
    from proxy.eligibility.freshness import freshness
    from proxy.eligibility.language import language
    from proxy.eligibility.media import media
    from proxy.eligibility.structured import structured
    from proxy.eligibility.tools import tools
    from proxy.eligibility.words import words

    return (
        tools,
        media,
        structured,
        words,
        freshness,
        language(settings.semantic.embedder.languages),
    )


def _guards(settings: Settings) -> Sequence[Guard]:
    from proxy.guards.lex import LEX, LEX2

    return LEX2 if settings.semantic.policy == "strict" else LEX


def _verifier(settings: Settings, mode: str) -> Callable[[], Verifier]:
    from proxy.verifiers.budgeted import Budgeted

    semantic = settings.semantic
    match semantic.policy:
        case "learned":
            from proxy.verifiers.learned import Learned
            from proxy.verifiers.prior import read_prior

            return partial(Learned, semantic.budget, read_prior(), audit_rate=_audited(settings, mode))
        case "strict":
            from proxy.verifiers.strict import Strict

            return lambda: Budgeted(Strict(), semantic.budget)
        case "faq":
            from proxy.verifiers.faq import Faq

            return lambda: Budgeted(Faq(), semantic.budget)
        case "static":
            from proxy.verifiers.static import Static

            return lambda: Budgeted(Static(semantic.threshold), semantic.budget)


def _audited(settings: Settings, mode: str) -> float:
    """Share of would-be hits that are compared: in shadow all of them go upstream."""
    return 1.0 if mode == "shadow" else settings.semantic.audit_rate


def _judge(settings: Settings, embedder: Embedder) -> tuple[Judge, Close]:
    """What compares answers, and how it lets go of its connections."""
    from proxy.judges.endpoint import ChatEndpoint
    from proxy.judges.equality import EqualityJudge
    from proxy.judges.figures import FiguresJudge
    from proxy.judges.llm import LlmJudge
    from proxy.judges.panel import Panel
    from proxy.judges.similarity import SimilarityJudge

    async def vector(text: str) -> Vector | None:
        embedding = await embedder.embed(text, patient=True)
        return embedding.vector if embedding.whole else None

    cheap: list[Judge] = [EqualityJudge(), FiguresJudge()]
    chosen, first = settings.semantic.llm_judge, settings.upstreams[0]
    if chosen.model is None:
        return Panel([*cheap, SimilarityJudge(vector)]), _nothing
    endpoint = ChatEndpoint(
        chosen.base_url or first.base_url[0],
        chosen.model,
        # The upstream's own credential goes to the upstream only.
        api_key=revealed(chosen.api_key or (first.api_key if chosen.base_url is None else None)),
        timeout_s=chosen.timeout,
    )
    unsure = SimilarityJudge(vector, unsure=GREY)
    llm = LlmJudge(endpoint.ask, calls_per_hour=chosen.calls_per_hour)
    return Panel([*cheap, unsure, llm, SimilarityJudge(vector)]), endpoint.close


async def _nothing() -> None:
    """Nothing to let go of."""
