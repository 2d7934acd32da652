"""The shapes that are timed."""

import numpy as np
import pytest

from superpose_cli.benchmark.shapes import N_BATCH, SCALE, SHAPES, Shape, batch_of, find_shapes
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Optimizer, Schedule


def test_flops_are_those_of_the_five_products() -> None:
    """Counted product by product: (rows, inner) @ (inner, columns) takes 2 rows inner columns operations."""
    n, m, rows = 400, 30, N_BATCH
    products = [(rows, n, m), (rows, m, n), (rows, n, m), (n, rows, m), (n, rows, m)]
    assert SHAPES["geometry"].flops == sum(2 * a * b * c for a, b, c in products) == 122_880_000


def test_a_batch_is_trained_as_the_notebook_trains() -> None:
    batch = batch_of(SHAPES["basic"], 0.1)
    family = batch.family
    assert (len(batch), family.n_features, family.n_hidden, family.n_batch) == (10, 20, 5, 1024)
    assert (family.optimizer, family.schedule) == (Optimizer.adamw, Schedule.constant)
    assert (set(batch.learning_rate), set(batch.weight_decay)) == ({1e-3}, {1e-2})
    assert (batch.feature_probability == 0.1).all()
    assert len(np.unique(batch.generator_key)) == 10


def test_growing_numbers_are_one_shape() -> None:
    assert [shape.instances for shape in SCALE] == [10, 1000, 100_000, 1_000_000]
    assert {shape.flops for shape in SCALE} == {SHAPES["phase"].flops}


def test_shapes_by_name() -> None:
    assert [shape.name for shape in find_shapes(())] == ["intro", "basic", "varying", "geometry", "phase"]
    assert find_shapes(["phase", "intro", "phase"]) == [SHAPES["intro"], SHAPES["phase"]]
    assert find_shapes(["intro"]) == [Shape("intro", 5, 2, 10)]
    with pytest.raises(ConfigError, match=r"no shape 'intor'\. Did you mean 'intro'\?"):
        find_shapes(["phase", "intor"])
    with pytest.raises(ConfigError, match="Choose from intro, basic"):
        find_shapes(["x"])
