"""What an experiment is: axes over resolved configurations."""

from dataclasses import dataclass, field
from typing import Any

from superpose_cli.experiment.config import Config


@dataclass(frozen=True)
class Axis:
    """One direction of a grid: positions at which one key, or several zipped keys, take given values.

    A key is dotted (`data.feature_probability`), or the name of a group (`model`) whose values are names of
    options. Lists (one number per feature) are tuples.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    """One entry per position, aligned with `keys`."""

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Experiment:
    """All that is to be trained: the product of `axes`, over configs that differ only by the group axes."""

    name: str
    """Names the folder under outputs/."""
    axes: tuple[Axis, ...]
    """In order of declaration; cell numbers are row-major, so the first varies slowest."""
    variants: tuple[Config, ...]
    """One per combination of the positions of the axes over groups, row-major in their order; one if there is
    none. Where an axis sets a field, they hold the value of its first position (where the axis is over a
    group as well, of their own position)."""
    overrides: tuple[str, ...] = field(default=(), compare=False)
    """What the user typed; a record only."""


def as_experiment(config: Config | Experiment) -> Experiment:
    """An experiment as it is; a config as the experiment without axes that trains it and its restarts."""
    if isinstance(config, Experiment):
        return config
    return Experiment(config.experiment or "custom", axes=(), variants=(config,))
