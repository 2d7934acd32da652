"""What an engine is given: one `Family` and a struct of arrays over its instances.

An *instance* is one model to train: a cell of the grid times a restart. A `Family` holds what all
instances of a batch share exactly (kinds, shapes, step counts), so that an engine can compile or shape its
loops for it; everything that may differ from instance to instance is an array with one entry (or one row)
per instance. Sizes are never padded: a batch has one n and one m.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from superpose_cli.experiment.config import (
    Activation,
    DataKind,
    Objective,
    Optimizer,
    Reduction,
    Schedule,
    Target,
    ValueKind,
)
from superpose_cli.toy_model.model import Model
from superpose_cli.toy_model.sampling import Law

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What every instance of a batch shares. Hashable; equal families may be trained together."""

    n_features: int
    n_hidden: int
    hidden_activation: Activation
    output_activation: Activation
    tied: bool
    bias: bool
    hidden_bias: bool
    target: Target
    data: DataKind
    value: ValueKind
    signed: bool
    set_size: int
    """Features in a set; 0 where the data kind has no sets."""
    k: int
    """Features on in each row (exactly_k); else 0."""
    n_rows: int
    """Rows of the fixed table (finite); else 0."""
    unit_norm: bool
    optimizer: Optimizer
    schedule: Schedule
    warmup_steps: int
    steps: int
    n_batch: int
    """Rows a step; 0: the whole table (finite), or none needed (population objective)."""
    loss_reduction: Reduction
    objective: Objective

    @property
    def law(self) -> Law:
        """Which features are on together, in the terms of the samplers."""
        return Law(kind=self.data, value=self.value, signed=self.signed, set_size=self.set_size, k=self.k)

    @property
    def model(self) -> Model:
        """Which member of the model family it is."""
        return Model(
            hidden_activation=self.hidden_activation,
            output_activation=self.output_activation,
            target=self.target,
        )


@dataclass(frozen=True, kw_only=True)
class InstanceBatch:
    """The instances of one family, as arrays of length I (or (I, n)). Read-only by convention."""

    family: Family
    cell: I64
    """Cell number in the grid."""
    restart: I32
    seed: I64
    key: U64
    """Hash of all that determines the trained weights."""
    generator_key: U64
    """Philox key of the initial weights and of the training rows."""
    table_key: U64
    """Philox key of the finite table: the generator key without the restart."""
    evaluation_key: U64
    """Philox key of the evaluation rows: a hash of the seed alone."""
    feature_probability: F64
    """(I, n): P(x_i != 0)."""
    importance: F64
    """(I, n)."""
    correlation: F64
    """In [0, 1]; 0 where unused."""
    high: F64
    init_std: F64
    """Standard deviation of the initial weights, whatever init kind gave it."""
    hidden_l1: F64
    learning_rate: F64
    weight_decay: F64
    momentum: F64
    beta1: F64
    beta2: F64
    eps: F64

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: slice | npt.NDArray[np.int64]) -> Self:
        """The instances at `index`, in that order."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "family"}
        return type(self)(family=self.family, **arrays)
