"""The GPU that times were taken on, and the peak of its arithmetic."""

import subprocess
from dataclasses import dataclass

import torch

LANES = {(8, 0): 64, (8, 6): 128, (8, 7): 128, (8, 9): 128, (9, 0): 128, (10, 0): 128, (12, 0): 128}
"""Compute capability -> float32 multiply-adds of a multiprocessor in a cycle (CUDA C++ Programming Guide)."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU and its driver."""

    name: str
    capability: str
    driver: str
    memory_bytes: int
    multiprocessors: int
    peak_gflops: float | None
    """Of float32 outside matrix units: lanes times two at the highest clock; None for unknown kinds."""

    @property
    def slug(self) -> str:
        """A short name for files: `nvidia-h100-80gb-hbm3`."""
        return "-".join(self.name.lower().split())


def describe_gpu(device: str) -> Gpu:
    """The GPU of a torch device."""
    found = torch.cuda.get_device_properties(device)
    asked = "clocks.max.sm,driver_version"
    line = _nvidia_smi(asked, str(torch.device(device).index or 0)).split(", ")
    clock, driver = (line[0], line[1]) if len(line) == 2 else ("", "unknown")
    lanes = LANES.get((found.major, found.minor))
    return Gpu(
        name=found.name,
        capability=f"{found.major}.{found.minor}",
        driver=driver,
        memory_bytes=found.total_memory,
        multiprocessors=found.multi_processor_count,
        peak_gflops=2e-3 * lanes * found.multi_processor_count * int(clock)
        if lanes and clock.isdigit()
        else None,
    )


def _nvidia_smi(query: str, index: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "-i", index]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
