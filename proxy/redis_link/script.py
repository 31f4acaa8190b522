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
_KEY_AT: Final = 1
_SCRIPT_KEY_AT: Final = 3


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


def key_of(command: Command) -> Word | None:
    """The first key of a command of ours: commands on one key keep their order."""
    at = _SCRIPT_KEY_AT if command[0] in ("EVALSHA", "EVAL") else _KEY_AT
    return command[at] if len(command) > at else None
