"""The load tests are programs beside one another, not a package: their folder is put on the path."""

from __future__ import annotations

import sys
from pathlib import Path

# At the end, so that none of their names hides another module.
sys.path.append(str(Path(__file__).parents[2] / "loadtests"))
