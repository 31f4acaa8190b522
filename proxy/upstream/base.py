"""Ask the model. One file in this folder for each way to reach one."""

from __future__ import annotations

from typing import Protocol

from proxy.types import Call, Reply


class Upstream(Protocol):
    """Somewhere that answers OpenAI-compatible calls."""

    @property
    def name(self) -> str:
        """The configured name: in keys, metrics and logs."""

    async def open(self) -> None: ...

    async def send(self, call: Call) -> Reply:
        """Send it and return at the response's header section.

        Raises `errors.UpstreamError` kinds; never retries after a byte of the response came; follows no redirect.
        """

    async def close(self) -> None: ...
