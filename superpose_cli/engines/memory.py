"""How much memory a device has to spare."""

import os
from pathlib import Path

import torch


def free_memory(device: str) -> int:
    """Bytes to be had on `device` ("cpu", "cuda", "cuda:1") without swapping; half of all where unknown."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
