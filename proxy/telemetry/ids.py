"""Names for requests and deliveries."""

from __future__ import annotations

import secrets
from itertools import count


class Ids:
    """Unique, not secret: the process is random, the rest is counted. 24 characters that need no quoting in URLs."""

    def __init__(self) -> None:
        self._process = secrets.token_urlsafe(9).encode()
        self._numbers = count()

    def next(self) -> bytes:
        return b"%b%012x" % (self._process, next(self._numbers))
