"""Names for requests and deliveries."""

from __future__ import annotations

import secrets
from itertools import count


class Ids:
    """Unique, not secret: the process is random, the rest is counted. 24 hex digits."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(6).encode()
        self._numbers = count()

    def next(self) -> bytes:
        return b"%b%012x" % (self._process, next(self._numbers))
