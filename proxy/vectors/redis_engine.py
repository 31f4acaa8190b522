"""Redis' query engine as redisvl drives it: our schema, its state, its searches. Importing redisvl takes half a second:
whoever wants this file imports it in a thread.

    shape         TAG     the shape's digest and the generation: after a purge nothing of before stands in the way
    scope         TAG     for purges and for people
    model, tags   TAG     likewise
    vector_{id}   VECTOR  of one embedder; half floats

`model` is the store's own field. The index of one embedder sees its own vectors only, so that replicas with another
embedder go on with theirs.

redisvl makes and looks after the index, and writes the queries (30 us). Their replies are read by `redis.py`: redisvl
would make text of them, and ours are bytes.
"""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import RedisError, ResponseError
from redisvl.exceptions import RedisSearchError  # type: ignore[import-untyped]
from redisvl.index import AsyncSearchIndex  # type: ignore[import-untyped]
from redisvl.query import VectorQuery  # type: ignore[import-untyped]
from redisvl.query.filter import Tag  # type: ignore[import-untyped]
from redisvl.schema import IndexSchema  # type: ignore[import-untyped]

from proxy.errors import CacheFailure
from proxy.redis_link.link import Link
from proxy.redis_link.script import Command
from proxy.vectors.redis_client import LinkedRedis
from proxy.vectors.redis_names import SEPARATOR, Names

HALF: Final = "float16"
"""Two bytes a number, in the hash and again in the index. A cosine is off by some 0.00003."""

EDGES: Final = 16
"""Of a node of the graph (M); its lowest layer has twice as many."""

BREADTH: Final = 100
"""Candidates looked at when a node is added (EF_CONSTRUCTION): less than a millisecond of Redis' time at 100,000
nodes, half of what the default of 200 takes."""

SEARCH_BREADTH: Final = 40
"""Candidates looked at by a search (EF_RUNTIME)."""


class NoEngine(CacheFailure):
    """This Redis knows no such commands."""

    code = "no_engine"


class Engine:
    """One index. Every method that waits raises only `CacheFailure`.

    prefix: what the keys of answers begin with.
    """

    def __init__(self, link: Link, names: Names, prefix: str, dimensions: int) -> None:
        self._names = names
        self._index = AsyncSearchIndex(_schema(names, prefix, dimensions), redis_client=LinkedRedis(link))

    async def there(self) -> bool:
        """Whether there is such an index. Raises `NoEngine`.

        By the list of all: telling of one (FT.INFO) keeps Redis busy for 80 ms at 100,000 points.
        """
        try:
            return self._names.index in await self._index.listall()
        except RedisError as failure:
            raise _as_failure(failure) from failure

    async def create(self) -> None:
        """Make it; Redis fills it with what lies there already. Somebody else may have made it meanwhile. Raises
        `NoEngine`, and `CacheFailure` where Redis refuses."""
        try:
            await self._index.create()
        except RedisSearchError as failure:
            if "already exists" not in str(failure):
                raise _as_failure(failure) from failure

    def search(self, place: str, vector: bytes, most: int) -> Command:
        """The command that looks for the nearest of one place (`place_of`)."""
        names = self._names
        query = VectorQuery(
            vector,
            names.vector,
            return_fields=[names.words, names.vector, names.seal],
            filter_expression=Tag("shape") == place,
            dtype=HALF,
            num_results=most,
            return_score=False,
            ef_runtime=SEARCH_BREADTH,
        )
        params = [word for pair in query.params.items() for word in pair]
        return ("FT.SEARCH", names.index, *query.query.get_args(), "PARAMS", len(params), *params)


def _as_failure(failure: Exception) -> CacheFailure:
    cause = failure.__cause__ if isinstance(failure, RedisSearchError) else failure
    if cause is not None and isinstance(cause.__cause__, CacheFailure):
        return cause.__cause__  # as `LinkedRedis` had it
    said = str(cause or failure)[:200]
    if isinstance(cause, ResponseError) and "unknown command" in said.lower():
        return NoEngine(said)
    return CacheFailure(said, code="refused")


def _schema(names: Names, prefix: str, dimensions: int) -> IndexSchema:
    text = {"case_sensitive": True, "separator": SEPARATOR}
    fields: list[dict[str, Any]] = [
        {"name": "shape", "type": "tag"},
        {"name": "scope", "type": "tag"},
        {"name": "model", "type": "tag", "attrs": text},
        {"name": "tags", "type": "tag", "attrs": text},
        {
            "name": names.vector,
            "type": "vector",
            "attrs": {
                "algorithm": "hnsw",
                "dims": dimensions,
                "datatype": HALF,
                "distance_metric": "cosine",
                "m": EDGES,
                "ef_construction": BREADTH,
                "ef_runtime": SEARCH_BREADTH,
            },
        },
    ]
    return IndexSchema.from_dict(
        {"index": {"name": names.index, "prefix": prefix, "storage_type": "hash"}, "fields": fields}
    )
