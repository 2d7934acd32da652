"""The engines by name, and the choice among them. An engine's module is imported when it is asked for."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from superpose_cli.engines.base import Engine
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import EngineConfig
from superpose_cli.experiment.instances import Family


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine is defined, and what to say of it."""

    module: str
    factory: str
    devices: tuple[str, ...]
    """Kinds of device that it runs on."""
    dtypes: tuple[str, ...]
    description: str
    package: str | None = None
    """What it needs that an installation may lack."""


ENGINES = {
    "numba": EngineEntry(
        "superpose_cli.engines.numba_cpu",
        "NumbaEngine",
        ("cpu",),
        ("float32",),
        "one compiled loop per instance on the CPU: the fastest without a GPU",
    ),
    "triton": EngineEntry(
        "superpose_cli.engines.triton_gpu",
        "TritonEngine",
        ("cuda",),
        ("float32", "tf32", "bf16"),
        "one fused kernel for all instances and many steps: the fastest on an NVIDIA GPU",
        package="triton",
    ),
    "torch": EngineEntry(
        "superpose_cli.engines.torch_reference",
        "TorchEngine",
        ("cpu", "cuda"),
        ("float32", "float64"),
        "PyTorch with closed-form gradients, on CPU or CUDA: the reference",
    ),
}
"""Engines from the fastest to the most general; `auto` takes the first that accepts."""


GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a GPU that torch can use shows on Linux: NVIDIA's driver, Windows' own under WSL, AMD's."""


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was taken."""

    engine: Engine
    reason: str


def choose_engine(config: EngineConfig, families: Sequence[Family]) -> Choice:
    """The engine that `config` asks for, able to train all `families`.

    Where the device is `auto`, the CPU is taken beside a GPU too: by an engine that is named and runs there
    alone, and where no engine accepts on the GPU.

    Raises ConfigError for an unknown name, for a device that is not there, and where no engine (or not the
    named one) accepts a family.
    """
    if config.name != "auto" and config.name not in ENGINES:
        raise ConfigError(f"no engine '{config.name}'; choose one of: auto, {', '.join(ENGINES)}")
    refusals: list[str] = []
    candidates = _candidates(config)
    for name, device in candidates:
        entry = ENGINES[name]
        refusal = _cannot(name, entry, device, config.dtype)
        if refusal is None:
            try:
                engine: Engine = getattr(importlib.import_module(entry.module), entry.factory)(
                    device, config.dtype
                )
            except ConfigError as error:  # another engine may be content with this device
                refusals.append(str(error))
                continue
            refusal = next(filter(None, map(engine.refuses, families)), None)
            if refusal is None:
                if config.name != "auto":
                    return Choice(engine, "as asked")
                fastest = "the fastest that accepts" + (" on the CPU" if device != candidates[0][1] else "")
                return Choice(engine, "; ".join([*refusals, fastest]))
        refusals.append(refusal)
    if any(config.dtype not in ENGINES[name].dtypes for name, _ in candidates):
        refusals.append(_who_computes(config.dtype))
    raise ConfigError("; ".join(dict.fromkeys(refusals)))


def _candidates(config: EngineConfig) -> list[tuple[str, str]]:
    """Which engines to try, on which devices; at least one."""
    device = device_of(config.device)
    if device == "cpu" or config.device != "auto":
        return [(name, device) for name in (ENGINES if config.name == "auto" else [config.name])]
    able = [(name, on) for on in (device, "cpu") for name, entry in ENGINES.items() if on in entry.devices]
    return able if config.name == "auto" else [pair for pair in able if pair[0] == config.name][:1]


def _cannot(name: str, entry: EngineEntry, device: str, dtype: str) -> str | None:
    """Why the engine cannot work on this device in this precision, or None."""
    if device.split(":")[0] not in entry.devices:
        return f"engine {name} runs on {' or '.join(entry.devices)}, not on {device}"
    if dtype not in entry.dtypes:
        return f"engine {name} computes in {' or '.join(entry.dtypes)}, not in {dtype}"
    if entry.package and importlib.util.find_spec(entry.package) is None:
        return f"engine {name} needs a package that is not installed here: pip install {entry.package}"
    return None


def _who_computes(dtype: str) -> str:
    """What to use for a precision, or instead of it."""
    able = [
        f"{name} on {' or '.join(entry.devices)}" for name, entry in ENGINES.items() if dtype in entry.dtypes
    ]
    return f"use engine {' or '.join(able)}, or engine.dtype=float32"


def device_of(name: str) -> str:
    """The device of a name; `auto` is a GPU where torch sees one, else the CPU."""
    if name != "auto":
        return name
    # Loading torch takes over a second: not to learn that a Linux machine without a GPU's driver has no GPU.
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_DRIVERS)):
        return "cpu"
    return "cuda" if importlib.import_module("torch").cuda.is_available() else "cpu"
