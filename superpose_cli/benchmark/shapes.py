"""The shapes of the paper that engines are timed on, as batches that a user's experiment would make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.fields import did_you_mean
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch

N_BATCH = 1024
"""Rows a step: the 2022 notebook's."""


@dataclass(frozen=True)
class Shape:
    """So many models of n features in m dimensions, trained at once."""

    name: str
    n_features: int
    n_hidden: int
    instances: int

    @property
    def flops(self) -> int:
        """Floating-point operations of one model's step on dense rows: 10 n m a row.

        Five products of n m multiply-adds: h = x W, y = h W^T, dh = dy W, and x^T dh + dy^T h for W.
        """
        return 10 * self.n_features * self.n_hidden * N_BATCH


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("intro", 5, 2, 10),
        Shape("basic", 20, 5, 10),
        Shape("varying", 100, 20, 20),
        Shape("geometry", 400, 30, 100),
        Shape("phase", 2, 1, 1000),
    )
}
"""The paper's notebook, its larger models, and its phase diagrams."""

SCALE = tuple(replace(SHAPES["phase"], instances=count) for count in (10, 1000, 100_000, 1_000_000))
"""One shape in growing numbers: the cost of a model's step should not depend on how many there are."""


def find_shapes(names: Sequence[str]) -> list[Shape]:
    """The shapes of these names in the order of `SHAPES`; all of them for no name. ConfigError for others."""
    for name in names:
        if name not in SHAPES:
            hint = did_you_mean(name, list(SHAPES)) or f" Choose from {', '.join(SHAPES)}."
            raise ConfigError(f"there is no shape '{name}'.{hint}")
    return [shape for name, shape in SHAPES.items() if name in names or not names]


def batch_of(shape: Shape, feature_probability: float) -> InstanceBatch:
    """The shape's models as the 2022 notebook trains them: AdamW at a constant rate, 1,024 rows a step."""
    experiment = load_experiment(
        [
            f"model.n_features={shape.n_features}",
            f"model.n_hidden={shape.n_hidden}",
            f"data.feature_probability={feature_probability}",
            f"restarts={shape.instances}",
            "init=notebook",
            "train=paper_2022",
            f"train.n_batch={N_BATCH}",
            # No end in sight: a constant rate does not depend on the number of steps.
            "train.steps=1000000000",
        ]
    )
    (batch,) = Grid(experiment).batches(0, shape.instances)
    return batch
