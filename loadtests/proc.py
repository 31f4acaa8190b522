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


def stat_fields(pid: int, thread: int | None = None) -> list[str]:
    """The fields after the command's name, which may itself hold spaces; the first is the state."""
    place = f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat"
    return Path(place).read_text().rpartition(")")[2].split()


def threads(pid: int) -> list[int]:
    """Of one process, the first of them being the process itself."""
    return sorted(int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir())


def thread_seconds(pid: int) -> dict[int, float]:
    """Processor time of each thread so far."""
    fields = {thread: stat_fields(pid, thread)[11:13] for thread in threads(pid)}
    return {thread: sum(map(int, taken)) / TICKS_PER_SECOND for thread, taken in fields.items()}


def maps(pid: int, *names: str) -> list[str]:
    """Which of these names are in the path of a file that the process has mapped."""
    text = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in names if name in text]


def descriptors(pid: int) -> int:
    """Open file descriptors of the family."""
    return sum(sum(1 for _ in Path(f"/proc/{one}/fd").iterdir()) for one in family(pid))


def thread_count(pid: int) -> int:
    """Threads of the family."""
    return sum(len(threads(one)) for one in family(pid))
