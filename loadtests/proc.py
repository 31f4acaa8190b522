"""What Linux says of a process and its children, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in family(int(child)))]


def resident_bytes(pid: int) -> int:
    """Memory of the family that is in RAM."""
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE_BYTES for one in family(pid))


def cpu_seconds(pid: int) -> float:
    """Processor time of the family so far, its own and the kernel's for it (proc(5): utime and stime)."""
    return sum(sum(map(int, stat_fields(one)[11:13])) for one in family(pid)) / TICKS_PER_SECOND


def stat_fields(pid: int) -> list[str]:
    """The fields after the command's name, which may itself hold spaces; the first is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
