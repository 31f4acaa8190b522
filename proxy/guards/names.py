"""The texts name different people, places or things, as far as capitals show it. In lower case nothing is seen."""

from __future__ import annotations

from proxy.guards.base import Guard
from proxy.lexis.reading import Reading


def _refuses_conflict(asked: Reading, stored: Reading) -> bool:
    if not asked.names or not stored.names or asked.names == stored.names:
        return False
    return bool(_missing(asked, stored)) and bool(_missing(stored, asked))


def _refuses_any(asked: Reading, stored: Reading) -> bool:
    if asked.names == stored.names:
        return False
    return bool(_missing(asked, stored)) or bool(_missing(stored, asked))


def _missing(named: Reading, other: Reading) -> list[str]:
    """Names that are not in the other text in any spelling: whole, without its ending (`India`, `Indian`), or as
    initials of a longer name, or the other way round."""
    missing = [name for name in named.names if name not in other.vocabulary and name not in other.initials]
    if not missing:
        return missing
    short = named.initials & other.vocabulary
    return [name for name in missing if not _is_akin(name, other) and not any(name[0] in each for each in short)]


def _is_akin(name: str, other: Reading) -> bool:
    root = name[: max(4, len(name) - 2)]
    return len(name) >= 4 and any(word.startswith(root) for word in other.vocabulary)


NAMES = Guard("names", _refuses_conflict)
"""Each text has a name that the other has not."""

ANY_NAME = Guard("any_name", _refuses_any)
"""One of them has."""
