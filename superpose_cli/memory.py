"""How much of the machine's memory there is to spare."""

import os
import sys
from pathlib import Path


def free_memory() -> int:
    """Bytes to be had without swapping; half of all where unknown."""
    return min(_machine_memory(), _group_memory())


def _machine_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _group_memory() -> int:
    """What is left of a container's or a batch job's limit (cgroup v2), where there is one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (folder / "memory.max").read_text(), (folder / "memory.current").read_text()
        return int(limit) - int(used)
    except (OSError, ValueError):  # no such group, or "max"
        return sys.maxsize
