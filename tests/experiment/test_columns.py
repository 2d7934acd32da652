"""The configuration of each cell as table columns, and its axes by those columns."""

import itertools
import json

import numpy as np

from superpose_cli.experiment.grid import Grid
from tests.helpers import axis, cell_values, config_of, experiment_of


def test_columns_are_null_where_a_kind_does_not_use_the_field():
    config = config_of({"train.momentum": 0.9, "data.k": 1, "data.feature_probability": 0.1})
    grid = Grid(
        experiment_of(
            axis("data.kind", "independent", "exactly_k"),
            axis("train.optimizer", "adam", "sgd"),
            variants=[config],
        )
    )
    found, columns = grid.cell_columns(np.arange(4)), cell_values(grid)
    assert columns["data_kind"] == ["independent"] * 2 + ["exactly_k"] * 2
    assert columns["k"] == [None, None, 1, 1]
    assert columns["feature_probability"] == [0.1, 0.1, 0.2, 0.2]
    assert columns["momentum"] == [None, 0.9, None, 0.9]
    assert columns["beta1"] == [0.9, None, 0.9, None]
    assert columns["decay"] == [None] * 4
    assert [type(found[name]) for name in ("n_features", "high", "tied", "hidden_activation")] == [
        int,
        float,
        bool,
        str,
    ]
    assert type(columns["data_kind"][0]) is str
    assert not {"seed", "values", "objective", "std", "n_instances"} & set(columns)


def test_axes_are_told_by_the_columns_that_hold_them():
    variants = [config_of({"importance.values": (1.0,) * 5}) for _ in range(2)]
    grid = Grid(
        experiment_of(
            axis("model", "linear", "relu_output"),
            axis("data.feature_probability", 0.5, (0.1, 0.2, 0.3, 0.4, 0.5)),
            axis("importance.kind", "uniform", "explicit"),
            axis("train.n_batch", 8, 16),
            variants=variants,
        )
    )
    told = grid.axis_columns()
    assert json.loads(json.dumps(told)) == told
    assert [a["columns"] for a in told] == [
        ["model"],
        ["feature_probability_label"],
        ["importance_kind"],
        ["n_batch"],
    ]
    assert told[1]["values"] == [["0.5"], ["[0.1,0.2,0.3,0.4,0.5]"]]
    columns = cell_values(grid)
    held = list(zip(*(columns[a["columns"][0]] for a in told), strict=True))
    assert held == list(itertools.product(*([v for (v,) in a["values"]] for a in told)))
    assert columns["feature_probability"][:8] == [0.5] * 4 + [None] * 4
