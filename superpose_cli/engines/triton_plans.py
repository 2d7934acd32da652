"""Which kernel trains or measures a batch, and in programs of which shape."""

from dataclasses import dataclass
from typing import Any

from superpose_cli.engines.triton_measure import measure
from superpose_cli.engines.triton_spec import (
    PANEL_BYTES,
    PRECISIONS,
    Spec,
    is_tiny,
    lane_numbers,
    padded,
    spec_of,
)
from superpose_cli.engines.triton_tiles import train_panel, train_wide
from superpose_cli.engines.triton_tiny import INSTANCES, LANES, train_tiny
from superpose_cli.experiment.config import DataKind
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.toy_model.philox import Stream

PANEL_NUMBERS = 1024
"""Models whose W, padded, holds at most so many numbers train with x of a row block in registers at once."""
PANEL_FEATURES = 64
"""Likewise, at most so many features (padded); TILE_FEATURES where a program shares less than PANEL_BYTES."""
TILE_FEATURES = 32
"""Features of a tile of wider models."""
WARP_NUMBERS = 128
"""Numbers of a padded W for each warp of a panel: 2, 4 or 8 warps. With 2 a panel of 32 x 16 spills three
times as much as with 4; with 8 a model takes 1.4 times the instructions, and half as many are resident."""
TINY_CAPS = {80: 26, 128: 74, 168: 106}
"""Registers of a thread -> `lane_numbers` of models that do with them. Without a bound the compiler takes
more than it needs, and 20 instances share a multiprocessor where 24 could, or 12 instead of 16."""
INTERPRETED = (16, 64)
"""Instances and counters of a tiny program on a CPU, where any operation takes half a millisecond."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A kernel, and how it is launched."""

    kernel: Any
    spec: Spec
    per_program: int
    """Instances of a program."""
    constants: tuple[Any, ...]
    """The kernel's last arguments, from the spec on."""
    warps: int
    registers: int | None = None
    """Of a thread at most; None: what the compiler takes."""

    @property
    def options(self) -> dict[str, Any]:
        """Triton's. One stage: it then fetches nothing ahead of a loop that may still write it."""
        return {"num_warps": self.warps, "num_stages": 1, "maxnreg": self.registers}

    def grid(self, count: int) -> tuple[int]:
        """Programs for `count` instances."""
        return (-(-count // self.per_program),)


def plan_training(batch: InstanceBatch, device: str, dtype: str, shared: int) -> Plan:
    """How `batch` is trained on a kind of device (cuda, or cpu for the interpreter).

    `shared`: the bytes that a program may share there.
    """
    family = batch.family
    instances, lanes = INTERPRETED if device == "cpu" else (INSTANCES, LANES)
    spec = spec_of(
        family,
        ragged=(family.n_batch or family.n_rows) % (4 * lanes) != 0,
        stream=Stream.data,
        set_stream=Stream.sets,
        table=family.data is DataKind.finite,
        in_order=not family.n_batch,
        l1=bool(batch.hidden_l1.any()),
        precision=PRECISIONS[dtype],
    )
    if is_tiny(family):
        constants = (spec, instances, lanes)
        return Plan(
            kernel=train_tiny,
            spec=spec,
            per_program=instances,
            constants=constants,
            warps=INSTANCES,
            registers=next((cap for cap, most in TINY_CAPS.items() if lane_numbers(family) <= most), None),
        )
    if is_wide(family, shared):
        return Plan(kernel=train_wide, spec=spec, per_program=1, constants=(spec, *_tiles(family)), warps=8)
    N, M = padded(family.n_features), padded(family.n_hidden)
    warps = N * M // WARP_NUMBERS
    return Plan(kernel=train_panel, spec=spec, per_program=1, constants=(spec, N, M), warps=warps)


def plan_measure(batch: InstanceBatch, *, drawn: bool) -> Plan:
    """How `batch` is measured: on evaluation rows that are drawn, or on rows of tables."""
    spec = spec_of(
        batch.family,
        ragged=True,
        stream=Stream.evaluation,
        set_stream=Stream.evaluation_sets,
        table=not drawn,
        in_order=True,
        l1=bool(batch.hidden_l1.any()),
        precision=PRECISIONS["float32"],
    )
    return Plan(kernel=measure, spec=spec, per_program=1, constants=(spec, *_tiles(batch.family)), warps=8)


def is_wide(family: Family, shared: int) -> bool:
    """Whether x of a row block and the gradient are too many numbers to be held at once."""
    N, M = padded(family.n_features), padded(family.n_hidden)
    most = PANEL_FEATURES if shared >= PANEL_BYTES else TILE_FEATURES
    return not is_tiny(family) and (most < N or N * M > PANEL_NUMBERS)


def _tiles(family: Family) -> tuple[int, int, int]:
    """(N, M, TILES): features of a tile, hidden dimensions, both padded, and tiles."""
    N = min(padded(family.n_features), TILE_FEATURES)
    return N, padded(family.n_hidden), -(-family.n_features // N)
