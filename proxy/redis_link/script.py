"""Lua that Redis runs as one step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

Word = bytes | str | int | float
"""What a command is made of."""

Command = tuple[Word, ...]
"""A command and its arguments."""

_SHA_AT: Final = 1


class Script:
    """Sent by its digest (EVALSHA); `Link` sends the text where Redis does not know it: after a restart, say.

    Every key a script touches is one of its KEYS, and they share a hash slot: so it runs on a Cluster too.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # as EVALSHA wants it

    def call(self, keys: Sequence[Word], *arguments: Word) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    def in_full(self, command: Command) -> Command:
        """The same command with the text in it."""
        return ("EVAL", self.text, *command[_SHA_AT + 1 :])
