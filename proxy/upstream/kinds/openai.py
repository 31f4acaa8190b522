"""Any OpenAI-compatible API: OpenAI, Azure, Mistral, DeepSeek, a gateway."""

from __future__ import annotations

from typing import Final, Protocol

from proxy.types import Call
from proxy.upstream.kinds.base import Condition, Wire
from proxy.upstream.kinds.renaming import renamed
from proxy.upstream.model_map import ModelMap

SERVER_ERROR: Final = 500


class PromptCaching(Protocol):
    """Fills in `prompt_cache_key` (`prompt_cache.PromptCacheKeys`)."""

    def fill_in(self, call: Call) -> Call:
        """The call with a key, or as it is where one makes no sense."""


class OpenAIKind:
    """`Kind` for hosted APIs.

    models: what callers' names are called there. prompt_cache: None unless it was asked for, as it changes the request.
    """

    def __init__(self, *, models: ModelMap, prompt_cache: PromptCaching | None = None) -> None:
        self._models = models
        self._prompt_cache = prompt_cache

    @property
    def name(self) -> str:
        return "openai"

    @property
    def harmless(self) -> frozenset[str]:
        """None: what a hosted API does with a member it may not even document is not ours to know."""
        return frozenset()

    @property
    def watched(self) -> bool:
        """Somebody else's service, which tells nothing of its load: looked at only where there is a choice."""
        return False

    def prepare(self, call: Call) -> Call:
        call = renamed(call, self._models)
        return call if self._prompt_cache is None else self._prompt_cache.fill_in(call)

    async def look(self, wire: Wire) -> Condition:
        """It is well if it answers at all: without a credential of ours the list of models is a 401."""
        status, _ = await wire.get("/models")
        if status >= SERVER_ERROR:
            return Condition(well=False, why=f"GET /models answered {status}")
        return Condition(well=True)
