"""Cells and restarts as numbers: the product of the axes, batches by family, the same keys in every grid."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from tests.helpers import axis, cell_values, config_of, everything, experiment_of


def rows_of(batches: list[InstanceBatch]) -> dict[tuple[int, int], tuple]:
    """(cell, restart) -> all that its batch says of the instance."""
    found = {}
    for batch in batches:
        for i in range(len(batch)):
            arrays = [
                np.asarray(value[i]).tolist()
                for name, value in sorted(vars(batch).items())
                if name != "family"
            ]
            found[int(batch.cell[i]), int(batch.restart[i])] = (batch.family, *map(str, arrays))
    assert len(found) == sum(len(batch) for batch in batches)
    return found


def keys_by(experiment: Experiment, *names: str) -> dict[tuple, list[int]]:
    """Config columns of each cell -> the keys of its restarts."""
    grid = Grid(experiment)
    columns = cell_values(grid)
    found = {tuple(columns[name][cell] for name in names): [] for cell in range(grid.n_cells)}
    for batch in everything(grid):
        for cell, key in zip(batch.cell, batch.key, strict=True):
            found[tuple(columns[name][cell] for name in names)].append(int(key))
    return found


@given(
    sizes=st.permutations(
        [("model.n_hidden", 3), ("train.learning_rate", 2), ("data.high", 4), ("train.steps", 2)]
    ),
    restarts=st.integers(1, 3),
)
def test_cells_are_the_product_of_the_axes_first_slowest(sizes, restarts):
    axes = [
        axis(key, *(float(v) if key != "model.n_hidden" else v for v in range(1, n + 1))) for key, n in sizes
    ]
    axes = [
        axis(a.keys[0], *(int(v) for (v,) in a.values)) if a.keys[0] == "train.steps" else a for a in axes
    ]
    grid = Grid(experiment_of(*axes, restarts=restarts))
    expected = list(itertools.product(*([v for (v,) in a.values] for a in axes)))
    assert (grid.n_cells, grid.n_instances) == (len(expected), len(expected) * restarts)
    columns = cell_values(grid)
    names = [key.split(".")[1] for key, _ in sizes]
    assert list(zip(*(columns[name] for name in names), strict=True)) == expected
    for batch in everything(grid):
        assert batch.family.n_hidden == columns["n_hidden"][batch.cell[0]]
        np.testing.assert_array_equal(batch.high, np.array(columns["high"])[batch.cell])
        np.testing.assert_array_equal(batch.learning_rate, np.array(columns["learning_rate"])[batch.cell])


@settings(max_examples=30, deadline=None)
@given(data=st.data(), restarts=st.integers(1, 4))
def test_any_range_of_instances_is_a_slice_of_the_whole(data, restarts):
    grid = Grid(
        experiment_of(
            axis("model.n_features", 2, 3),
            axis("data.feature_probability", 0.1, 0.5),
            axis("model.n_hidden", 1, 2),
            restarts=restarts,
        )
    )  # fmt: skip
    whole = rows_of(everything(grid))
    assert set(whole) == set(itertools.product(range(8), range(restarts)))
    start = data.draw(st.integers(0, grid.n_instances))
    stop = data.draw(st.integers(start, grid.n_instances))
    part = rows_of(grid.batches(start, stop))
    assert part == {(c, r): row for (c, r), row in whole.items() if start <= c * restarts + r < stop}
    assert all((np.diff(b.cell * restarts + b.restart) > 0).all() for b in grid.batches(start, stop))


def test_ragged_sizes_make_a_batch_per_exact_shape():
    grid = Grid(
        experiment_of(
            axis("model.n_features", 3, 5), axis("model.n_hidden", 2, 1), axis("data.high", 1.0, 2.0)
        )
    )
    batches = everything(grid)
    assert [(b.family.n_features, b.family.n_hidden) for b in batches] == [(3, 2), (3, 1), (5, 2), (5, 1)]
    assert [b.feature_probability.shape for b in batches] == [(2, 3), (2, 3), (2, 5), (2, 5)]
    assert grid.families() == [b.family for b in batches]


def test_zipped_axes_advance_together():
    lists = axis("model.n_features,data.feature_probability", (2, (0.1, 0.2)), (3, (0.1, 0.2, 0.3)), (2, 0.5))
    grid = Grid(experiment_of(lists, axis("train.learning_rate", 1e-3, 1e-2)))
    two, three = everything(grid)
    assert two.cell.tolist() == [0, 1, 4, 5]
    assert two.feature_probability.tolist() == [[0.1, 0.2]] * 2 + [[0.5, 0.5]] * 2
    assert three.feature_probability.tolist() == [[0.1, 0.2, 0.3]] * 2


def test_a_group_axis_selects_a_variant_and_value_axes_overwrite_its_fields():
    variants = [
        config_of({"model.output_activation": "identity", "model.hidden_l1": 0.1}),
        config_of({"model.output_activation": "relu"}),
    ]
    grid = Grid(
        experiment_of(axis("train.steps", 10, 20), axis("model", "linear", "relu_output"), variants=variants)
    )
    found = [
        (b.cell.tolist(), b.family.output_activation, b.family.steps, b.hidden_l1[0])
        for b in everything(grid)
    ]
    assert found == [
        ([0], "identity", 10, 0.1),
        ([1], "relu", 10, 0),
        ([2], "identity", 20, 0.1),
        ([3], "relu", 20, 0),
    ]
    assert cell_values(grid)["model"] == ["linear", "relu_output"] * 2


def test_two_group_axes_select_from_their_product():
    variants = [
        config_of({"data.high": 1.0 + 10 * i + j, "model.hidden_l1": float(i)})
        for i in range(2)
        for j in range(3)
    ]
    grid = Grid(
        experiment_of(
            axis("model", "a", "b"),
            axis("train.eps", 0.1, 0.2),
            axis("data", "a", "b", "c"),
            variants=variants,
        )
    )
    (batch,) = everything(grid)
    assert batch.high.tolist() == [1, 2, 3, 1, 2, 3, 11, 12, 13, 11, 12, 13]
    assert batch.eps.tolist() == [0.1] * 3 + [0.2] * 3 + [0.1] * 3 + [0.2] * 3
    bad = [
        config_of({"data.kind": "exactly_k", "data.k": k, "data.feature_probability": None})
        for k in (1, 2, 9, 3)
    ]
    experiment = experiment_of(axis("model", "a", "b"), axis("data", "a", "b"), variants=bad)
    with pytest.raises(ConfigError, match=r"data.k=9 .*\(at model=b, data=a\)"):
        Grid(experiment)


def test_lists_of_one_length_share_a_batch():
    lists = [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)]
    (batch,) = everything(Grid(experiment_of(axis("data.feature_probability", *lists), model__n_features=2)))
    assert batch.feature_probability.tolist() == [list(values) for values in lists]


def test_a_field_zipped_with_a_group_goes_with_it():
    variants = [config_of({"train.optimizer": name, "train.steps": 10}) for name in ("adam", "sgd")]
    grid = Grid(
        experiment_of(
            axis("train,train.steps", ("a", 10), ("b", 20)), axis("data.high", 1.0, 2.0), variants=variants
        )
    )
    found = {(str(b.family.optimizer), b.family.steps, tuple(b.cell.tolist())) for b in everything(grid)}
    assert found == {("adam", 10, (0, 1)), ("sgd", 20, (2, 3))}


def test_cells_of_one_family_are_one_batch_across_kinds_that_it_does_not_hold():
    config = config_of({"importance.decay": 0.5, "init.std": 0.3})
    grid = Grid(
        experiment_of(
            axis("data.high", 1.0, 2.0),
            axis("importance.kind", "uniform", "geometric"),
            axis("init.kind", "normal", "xavier_normal"),
            variants=[config],
        )
    )
    (batch,) = everything(grid)
    assert batch.cell.tolist() == list(range(8))
    assert batch.high.tolist() == [1] * 4 + [2] * 4
    assert batch.importance[:, 1].tolist() == [1, 1, 0.5, 0.5] * 2
    assert batch.init_std.tolist() == [0.3, math.sqrt(2 / 7)] * 4


@settings(max_examples=25, deadline=None)
@given(
    p=st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 1.0]), min_size=1, max_size=5, unique=True),
    m=st.lists(st.integers(1, 5), min_size=1, max_size=4, unique=True),
    restarts=st.integers(1, 3),
)
def test_a_cell_keeps_its_keys_in_whatever_grid_it_stands(p, m, restarts):
    full = keys_by(
        experiment_of(
            axis("data.feature_probability", 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
            axis("model.n_hidden", *range(1, 6)),
            restarts=3,
        ),
        "feature_probability", "n_hidden",
    )  # fmt: skip
    assert len({key for keys in full.values() for key in keys}) == 90
    part = keys_by(
        experiment_of(axis("model.n_hidden", *m), axis("data.feature_probability", *p), restarts=restarts),
        "feature_probability", "n_hidden",
    )  # fmt: skip
    assert part == {cell: full[cell][:restarts] for cell in part}


def test_keys_are_unique_over_many_cells_and_restarts():
    grid = Grid(
        experiment_of(
            axis("data.feature_probability", *np.linspace(0.1, 1, 40).tolist()),
            axis("train.learning_rate", *np.linspace(0.001, 0.1, 40).tolist()),
            axis("seed", 0, 1, 2),
            restarts=5,
        )
    )
    (batch,) = everything(grid)
    assert len(np.unique(batch.key)) == grid.n_instances == 24_000
    assert len(np.unique(batch.generator_key)) == 40 * 3 * 5
    assert len(np.unique(batch.evaluation_key)) == 3


def test_a_million_cells_cost_what_their_axes_cost():
    grid = Grid(
        experiment_of(
            axis("data.feature_probability", *np.geomspace(1, 0.01, 1000).round(12).tolist()),
            axis("importance.last_importance", *np.geomspace(0.1, 10, 1000).round(12).tolist()),
            importance__kind="last",
        )
    )
    assert grid.n_cells == 10**6
    start, stop = grid.shards()[-1]
    (batch,) = grid.batches(start, stop)
    assert stop == 10**6
    assert batch.cell.tolist() == list(range(start, stop))
    assert batch.feature_probability[-1].tolist() == [0.01] * 5
    assert batch.importance[-1].tolist() == [1, 1, 1, 1, 10]


def test_the_laws_of_a_grid_are_those_of_its_instances():
    """All of them, and no more, however many cells share one."""
    grid = Grid(
        experiment_of(
            axis("data.kind", "independent", "correlated"),
            axis("data.feature_probability", 0.1, 0.2, (0.1, 0.2, 0.3, 0.4, 0.5)),
            axis("data.correlation,model.hidden_l1", (0.5, 0.0), (1.0, 0.1)),
            axis("train.learning_rate", 1e-3, 1e-2),
            axis("model.n_hidden,train.steps", (2, 10), (3, 20)),
            variants=[config_of({"data.set_size": 1})],
            restarts=3,
        )
    )

    def laws(batches: Iterable[InstanceBatch]) -> list[tuple]:
        return [
            (batch.family, *p, correlation, penalty)
            for batch in batches
            for p, correlation, penalty in zip(
                batch.feature_probability.tolist(), batch.correlation, batch.hidden_l1, strict=True
            )
        ]

    found = laws(grid.laws())
    assert set(found) == set(laws(everything(grid)))
    assert len(found) == grid.n_cells / 2, "one for both learning rates"
