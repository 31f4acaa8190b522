"""May this question be answered from the cache, and its answer kept? One file in this folder for each reason why not.

A policy is a pure function that can only take permission away (`types.Verdict.narrow`).
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.settings import Rule
from proxy.types import Question, Verdict

Policy = Callable[[Question, Rule], Verdict]
"""What one reason says of a question under the rule that matches it; `types.ALLOWED` where it has nothing to say."""
