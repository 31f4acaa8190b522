"""What the image is made of, in MB: run inside it, with its own Python."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

HOME = Path("/opt/askonce")
SHOWN = 12

sizes = Counter()
bytecode = 0
for file in HOME.rglob("*"):
    if file.is_file() and not file.is_symlink():
        parts = file.relative_to(HOME).parts
        inside = parts[parts.index("site-packages") + 1] if "site-packages" in parts else parts[0]
        sizes[inside.removesuffix(".libs")] += file.stat().st_size
        bytecode += file.stat().st_size * (file.suffix == ".pyc")

for name, size in sizes.most_common(SHOWN):
    sys.stdout.write(f"{size / 1e6:8.1f} MB  {name}\n")
sys.stdout.write(f"{sum(size for _, size in sizes.most_common()[SHOWN:]) / 1e6:8.1f} MB  {len(sizes) - SHOWN} more\n")
sys.stdout.write(f"{bytecode / 1e6:8.1f} MB  of all this is bytecode\n")
