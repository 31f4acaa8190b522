"""What a model is called where it is asked: callers may go on using the names they know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from typing import Final

_PATTERN: Final = re.compile(r"[*?\[]")


class ModelMap:
    """Glob to name. A name that stands there as it is comes first, then the first glob that fits, in the order of the
    configuration; what nothing fits is called the same there.

    >>> ModelMap({"gpt-4o*": "llama-3.3-70b", "gpt-4o-mini": "llama-3.1-8b"}).name_of("gpt-4o-mini")
    'llama-3.1-8b'
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._exact = dict(names)
        self.names = tuple(name for name in names if not _PATTERN.search(name))
        """Those that callers may use as they stand, without a pattern."""
        self._globs = tuple(
            (re.compile(translate(glob)), name) for glob, name in names.items() if _PATTERN.search(glob)
        )

    def name_of(self, model: str) -> str:
        """What the upstream calls it; "" for "" (a request that names none)."""
        if not model:
            return ""
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((name for glob, name in self._globs if glob.match(model)), model)
