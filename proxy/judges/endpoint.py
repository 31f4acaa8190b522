"""Where the judging model is: an OpenAI-compatible `/chat/completions`, asked with a credential of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx
import orjson

from proxy.errors import CacheFailure

MOST_TOKENS: Final = 16
"""A verdict is six. A model that would think first is the wrong one for this."""
_LONGEST_REPLY_BYTES: Final = 64 * 1024


class ChatEndpoint:
    """One model at one address.

    base_url: up to and with `/v1`. api_key: sent as a bearer token; None sends none. timeout_s: for the whole call.
    """

    def __init__(self, base_url: str, model: str, *, api_key: str | None, timeout_s: float) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def ask(self, messages: Sequence[dict[str, str]]) -> str:
        """The text it answers. Raises `errors.CacheFailure`, without a word of what was asked or answered."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return _text(await self._post(messages))
        except TimeoutError as error:
            raise CacheFailure(f"The judging model took longer than {self._timeout_s:g} s", code="timeout") from error
        except httpx.HTTPError as error:
            raise CacheFailure(f"The judging model cannot be reached: {type(error).__name__}", code="failed") from error

    async def _post(self, messages: Sequence[dict[str, str]]) -> bytes:
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS}
        async with self._opened().stream("POST", self._url, json=body, headers=self._headers) as response:
            if response.status_code != httpx.codes.OK:
                raise CacheFailure(f"The judging model answered with status {response.status_code}", code="failed")
            reply = b""
            async for piece in response.aiter_bytes():
                reply += piece
                if len(reply) > _LONGEST_REPLY_BYTES:
                    raise CacheFailure("The judging model's answer is too long", code="failed")
            return reply

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            # Neither HTTP_PROXY nor ~/.netrc: where it goes and as whom is what the configuration says.
            self._client = httpx.AsyncClient(timeout=self._timeout_s, trust_env=False)
        return self._client

    async def close(self) -> None:
        """Let go of its connections. More than once is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _text(reply: bytes) -> str:
    try:
        text = orjson.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CacheFailure("The judging model's answer is no chat completion", code="failed") from error
    # A refusal or a call of a tool has no content: no verdict.
    return text if isinstance(text, str) else ""
