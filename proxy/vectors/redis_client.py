"""redis-py's client for redisvl, with every command sent over our own link: its deadline and its breaker hold."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redis_link.link import Link, LinkDown


class LinkedRedis(Redis):
    """A client without connections of its own. What a link says with `LinkDown` is a `ConnectionError` here, because
    redisvl knows those; the former is its cause."""

    def __init__(self, link: Link) -> None:
        super().__init__(protocol=2)
        self._link = link

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py: one command, its reply read as that command's; raises `RedisError` kinds."""
        try:
            [reply] = await self._link.run([args])
        except LinkDown as down:
            raise RedisConnectionError(down.message) from down
        if isinstance(reply, ResponseError):
            raise reply
        read = self.response_callbacks.get(args[0])
        return read(reply, **options) if read is not None else reply
