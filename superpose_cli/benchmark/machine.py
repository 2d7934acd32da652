"""What the times were taken on."""

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from superpose_cli.benchmark.gpu import Gpu, describe_gpu
from superpose_cli.engines.fma_peak import INSTRUCTION_SET, threads_used

PACKAGES = ("superpose", "torch", "triton", "numpy", "numba", "llvmlite", "jax")
"""Packages whose versions are recorded where they are installed."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine and its software."""

    cpu: str
    cores: int
    """Cores that this process may use."""
    numba_threads: int
    torch_threads: int
    instruction_set: str
    """The processor as LLVM knows it, and the float32 lanes that the compiled kernels use."""
    torch_instruction_set: str
    memory_bytes: int
    system: str
    load: float
    """Load average of the last minute when the measurement began: what else was running."""
    python: str
    versions: dict[str, str]
    gpu: Gpu | None = None
    """Where times were taken on one."""

    @property
    def slug(self) -> str:
        """A short name for files: the GPU's, or `intel-xeon-2.50ghz-2-cores`."""
        if self.gpu is not None:
            return self.gpu.slug
        words = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b", " ", self.cpu.lower())
        return "-".join([*re.findall(r"[a-z0-9.]+", words), f"{self.cores}-cores"])


def describe_machine(device: str = "cpu") -> Machine:
    """The machine that this process runs on, with the GPU that `device` names."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        numba_threads=threads_used(),
        torch_threads=torch.get_num_threads(),
        instruction_set=INSTRUCTION_SET,
        torch_instruction_set=torch.backends.cpu.get_cpu_capability().lower(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        load=os.getloadavg()[0],
        python=platform.python_version(),
        versions=_versions(),
        gpu=None if device == "cpu" else describe_gpu(device),
    )


def _cpu() -> str:
    """The processor's name as its maker writes it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
