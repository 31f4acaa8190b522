"""Can this question be matched by meaning at all? One file in this folder for each reason why not.

Asked once for each miss, never for a hit.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.lexis.reading import Reading
from proxy.settings import Rule
from proxy.types import Asking

Bar = Callable[[Asking, Reading, Rule], str]
"""What one reason says of a question under the rule that matches it: its token (a label of
`askonce_semantic_barred_total`), or "" where it has nothing to say. Pure."""
