"""Several upstreams behind one proxy, each a provider of its own that says who it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from tests.provider import Asked, Provider, Script, as_said, plain
from tests.running import Running, Start

Several = Callable[..., AbstractAsyncContextManager[tuple[Running, list[Provider]]]]
"""The `several` fixture."""

SECRETS = ("api_key",)


def says(who: str, *models: str) -> Callable[[Asked], Script]:
    """A provider that answers chats with its name, the model it was asked for and how often it was asked."""
    counted = 0

    def answer(asked: Asked) -> Script:
        nonlocal counted
        if asked.path.endswith("/models"):
            return plain({"object": "list", "data": [card(model) for model in models]})
        counted += 1
        return as_said(asked, who, " ", str(asked.model), " ", str(counted))

    return answer


def card(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 1, "owned_by": "them", "root": f"org/{model}"}


def chats(provider: Provider) -> list[Asked]:
    """What it was asked, without the looks that see how it is."""
    return [asked for asked in provider.asked if asked.method == "POST"]


def flags_for(upstreams: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of several upstreams as flags, and their secrets as environment."""
    flags: dict[str, Any] = {}
    environ: dict[str, str] = {}
    for number, members in enumerate(upstreams):
        for name, value in members.items():
            if name in SECRETS:
                environ[f"ASKONCE_UPSTREAMS__{number}__{name.upper()}"] = value
            else:
                flags[f"upstreams.{number}.{name}"] = value
    return flags, environ


@asynccontextmanager
async def several(
    askonce: Start,
    first: Provider,
    *upstreams: dict[str, Any],
    flags: dict[str, Any] | None = None,
    answer: Callable[[Asked], Script] | None = None,
    **parts: Any,
) -> AsyncIterator[tuple[Running, list[Provider]]]:
    """A proxy before as many providers as there are upstreams, named by their letters and answering by `says`, unless
    an upstream has a `base_url` of its own. The first provider is the test's; it may have another `answer`."""
    async with AsyncExitStack() as stack:
        providers = [first, *[await stack.enter_async_context(Provider()) for _ in upstreams[1:]]]
        whole = []
        for letter, provider, members in zip("abcdef", providers, upstreams, strict=False):
            provider.always(answer if answer and provider is first else says(letter, f"model-{letter}"))
            whole.append({"name": letter, "base_url": provider.url} | members)
        given, environ = flags_for(whole)
        proxy = await stack.enter_async_context(askonce(given | (flags or {}), environ, **parts))
        yield proxy, providers
