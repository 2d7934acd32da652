"""Who is timed: the notebook's loop, JAX where it is installed, and every engine that works here."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from superpose_cli.benchmark.notebook_loop import NotebookLoop
from superpose_cli.engines import ENGINES, choose_engine, device_of
from superpose_cli.engines.base import Engine
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import EngineConfig
from superpose_cli.experiment.fields import did_you_mean
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.experiment.sharding import MAX_INSTANCES

NOTEBOOK = "notebook"
JAX = "jax"
NAMES = (NOTEBOOK, JAX, *reversed(ENGINES))
"""Every rival, from the slowest to the fastest."""


class Trainer(Protocol):
    """A batch in training."""

    def advance(self, steps: int) -> object:
        """Train for so many steps; returns when they are done."""
        ...


@dataclass(frozen=True)
class Rival:
    """A way to train a batch."""

    name: str
    device: str
    numerics: str
    """The engine's; empty for what is no engine."""
    start: Callable[[InstanceBatch], Trainer]
    fill: Callable[[Family], int] = lambda family: 1
    """How many models keep its device busy, if it is an engine."""


class EngineTrainer:
    """An engine at work as in a run: in packs that suit it, of a shard or of as many as keep it busy.

    Every `advance` repeats the same first steps, so that its samples time the same work.
    """

    def __init__(self, engine: Engine, batch: InstanceBatch) -> None:
        memory = int(engine.free_memory() * EngineConfig().memory_fraction)
        most = max(MAX_INSTANCES, engine.fill(batch.family))
        count = -(-len(batch) // min(engine.pack_instances(batch.family, memory), most))
        parts = np.array_split(np.arange(len(batch)), count)
        packs = [batch.take(slice(part[0], part[-1] + 1)) for part in parts]
        self._engine = engine
        self._packs = [(pack, engine.initialise(pack)) for pack in packs]

    def advance(self, steps: int) -> None:
        """Train every pack from its initial weights."""
        for pack, state in self._packs:
            self._engine.advance(pack, state, steps)


def device_for(names: Sequence[str], device: str) -> str:
    """The device of a name; `auto` is a GPU where there is one, unless an engine is named that has none."""
    needs_cpu = any(ENGINES[name].devices == ("cpu",) for name in names if name in ENGINES)
    return "cpu" if device == "auto" and needs_cpu else device_of(device)


def find_rivals(
    names: Sequence[str], batch: InstanceBatch, device: str = "cpu"
) -> tuple[list[Rival], dict[str, str]]:
    """The rivals of these names on a device, or all that there are for no name; and why others are left out.

    Raises ConfigError for an unknown name, and for a named rival that is not there, works on other devices or
    refuses the batch.
    """
    for name in names:
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or f" Choose from {', '.join(NAMES)}."
            raise ConfigError(f"there is no engine '{name}' to time.{hint}")
    found: list[Rival] = []
    left_out: dict[str, str] = {}
    for name in NAMES:
        if names and name not in names:
            continue
        try:
            found.append(_find(name, batch, device))
        except ConfigError as error:
            if names:
                raise
            left_out[name] = str(error)
    return found, left_out


def _find(name: str, batch: InstanceBatch, device: str) -> Rival:
    if name == NOTEBOOK:
        return Rival(name, device, "", lambda batch: NotebookLoop(batch, device))
    if name == JAX:
        if importlib.util.find_spec("jax") is None:
            raise ConfigError("JAX is not installed here: pip install jax")
        loop = importlib.import_module("superpose_cli.benchmark.jax_loop")
        if (loop.DEVICE == "cpu") != (device == "cpu"):
            raise ConfigError(f"JAX computes on {loop.DEVICE} here, not on {device}")
        return Rival(name, loop.DEVICE, "", loop.JaxLoop)
    config = EngineConfig(name=name, device=device)
    engine = choose_engine(config, [batch.family]).engine
    return Rival(
        name, engine.device, engine.numerics, lambda batch: EngineTrainer(engine, batch), engine.fill
    )
