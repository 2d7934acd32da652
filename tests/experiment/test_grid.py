import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.experiment.resolve import inverse_power
from tests.helpers import axis, config_of, experiment_of

IDENTITIES = ("key", "generator_key", "table_key", "evaluation_key")


def everything(grid: Grid) -> list[InstanceBatch]:
    return grid.batches(0, grid.n_instances)


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
    columns = grid.cell_columns(np.arange(grid.n_cells))
    found = {tuple(columns[name][cell] for name in names): [] for cell in range(grid.n_cells)}
    for batch in everything(grid):
        for cell, key in zip(batch.cell, batch.key, strict=True):
            found[tuple(columns[name][cell] for name in names)].append(int(key))
    return found


# Expansion


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
    columns = grid.cell_columns(np.arange(grid.n_cells))
    names = [key.split(".")[1] for key, _ in sizes]
    assert list(zip(*(columns[name].tolist() for name in names), strict=True)) == expected
    for batch in everything(grid):
        assert batch.family.n_hidden == columns["n_hidden"][batch.cell[0]]
        np.testing.assert_array_equal(batch.high, columns["high"][batch.cell])
        np.testing.assert_array_equal(batch.learning_rate, columns["learning_rate"][batch.cell])


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
    assert grid.cell_columns(np.arange(4))["model"].tolist() == ["linear", "relu_output"] * 2


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


# Resolution


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0.1] * 4),
        ({"data.feature_probability": (0.1, 0.2, 0.3, 0.4)}, [0.1, 0.2, 0.3, 0.4]),
        ({"data.last_probability": 0.5}, [0.1, 0.1, 0.1, 0.5]),
        ({"data.power": 1.0}, [0.1, 0.1 * 0.5, 0.1 * float(Fraction(1, 3)), 0.1 * 0.25]),
        ({"data.power": 0.5, "data.last_probability": 1.0},
         [0.1, 0.1 * math.sqrt(0.5), 0.1 * 0.5773502691896257, 1.0]),
        ({"data.kind": "exactly_k", "data.feature_probability": None, "data.k": 3}, [0.75] * 4),
    ],
)  # fmt: skip
def test_probabilities(fields, expected):
    (batch,) = everything(Grid(experiment_of(variants=[config_of({"model.n_features": 4} | fields)])))
    assert batch.feature_probability.tolist() == [expected]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "uniform"}, [1, 1, 1]),
        ({"kind": "geometric", "decay": 0.7}, [1, 0.7, 0.7 * 0.7]),
        ({"kind": "last", "last_importance": 10.0}, [1, 1, 10]),
        ({"kind": "explicit", "values": (3.0, 0.0, 2.0)}, [3, 0, 2]),
    ],
)
def test_importances(fields, expected):
    config = config_of(
        {"model.n_features": 3} | {f"importance.{name}": value for name, value in fields.items()}
    )
    (batch,) = everything(Grid(experiment_of(variants=[config])))
    assert batch.importance.tolist() == [expected]


@given(base=st.integers(1, 10_000), power=st.integers(0, 12))
def test_inverse_powers_are_the_nearest_doubles(base, power):
    assert inverse_power(base, float(power)) == float(Fraction(1, base**power))


def test_initial_deviations():
    config = config_of({"init.std": 0.2, "init.n_instances": 10})
    grid = Grid(experiment_of(axis("init.kind", "xavier_normal", "normal", "notebook"), variants=[config]))
    (batch,) = everything(grid)
    assert batch.init_std.tolist() == [math.sqrt(2 / (5 + 2)), 0.2, math.sqrt(2 / (2 * (5 + 10)))]


def test_unused_fields_are_neutral_in_a_batch():
    config = config_of(
        {"train.momentum": 0.9, "train.beta1": 0.8, "data.set_size": 5, "data.correlation": 0.5}
    )
    grid = Grid(
        experiment_of(
            axis("train.optimizer", "adam", "sgd"),
            axis("data.kind", "independent", "correlated"),
            variants=[config],
        )
    )
    found = {(str(b.family.optimizer), str(b.family.data)): b for b in everything(grid)}
    assert [found["adam", "independent"].momentum[0], found["sgd", "independent"].momentum[0]] == [0, 0.9]
    assert [found["adam", "independent"].beta1[0], found["sgd", "independent"].beta1[0]] == [0.8, 0.9]
    assert [found["adam", "independent"].correlation[0], found["adam", "correlated"].correlation[0]] == [
        0,
        0.5,
    ]
    assert [found["adam", "independent"].family.set_size, found["adam", "correlated"].family.set_size] == [
        0,
        5,
    ]


def test_seeds_beyond_the_doubles_stay_exact():
    seeds = [2**63 - 1, 2**53 + 1]
    (batch,) = everything(Grid(experiment_of(axis("seed", *seeds))))
    assert batch.seed.tolist() == seeds


# Keys over grids


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


# Columns


def test_columns_are_null_where_a_kind_does_not_use_the_field():
    config = config_of({"train.momentum": 0.9, "data.k": 1, "data.feature_probability": 0.1})
    grid = Grid(
        experiment_of(
            axis("data.kind", "independent", "exactly_k"),
            axis("train.optimizer", "adam", "sgd"),
            variants=[config],
        )
    )
    columns = grid.cell_columns(np.arange(4))
    assert columns["data_kind"].tolist() == ["independent"] * 2 + ["exactly_k"] * 2
    assert columns["k"].tolist() == [None, None, 1, 1]
    assert columns["feature_probability"].tolist() == [0.1, 0.1, 0.2, 0.2]
    assert columns["momentum"].tolist() == [None, 0.9, None, 0.9]
    assert columns["beta1"].tolist() == [0.9, None, 0.9, None]
    assert columns["decay"].tolist() == [None] * 4
    assert (columns["n_features"].dtype, columns["high"].dtype, columns["tied"].dtype) == (
        np.int64,
        np.float64,
        np.bool_,
    )
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
    columns = grid.cell_columns(np.arange(grid.n_cells))
    held = list(zip(*(columns[a["columns"][0]].tolist() for a in told), strict=True))
    assert held == list(itertools.product(*([v for (v,) in a["values"]] for a in told)))
    assert columns["feature_probability"].tolist()[:8] == [0.5] * 4 + [None] * 4


# Refusals

LISTS = axis("data.feature_probability", (0.1, 0.2), (0.1, 0.2, 0.3))
SETS = {"data.kind": "anticorrelated", "data.set_size": 3}
REFUSED = {
    "k > n": ([axis("model.n_features", 5, 2)],
              {"data.kind": "exactly_k", "data.k": 3, "data.feature_probability": None},
              r"data.k=3 .*\(at model.n_features=2\)"),
    "set > n": ([axis("model.n_features", 2, 3)], SETS, r"data.set_size=3 .*\(at model.n_features=2\)"),
    "set room": ([axis("data.feature_probability", 0.3, 0.4)], SETS,
                 r"data.set_size=3 times .*\(at data.feature_probability=0.4\)"),
    "unequal in a set": ([axis("data.power", 0.0, 1.0)], SETS,
                         r"equal probabilities.*\(at data.power=1.0\)"),
    "unequal last": ([], SETS | {"data.last_probability": 0.2}, "equal probabilities"),
    "power below 2^-20": ([axis("data.power", 1.0, 10.0, 11.0)], {}, r"data.power.*\(at data.power=10.0\)"),
    "list length": ([], {"data.feature_probability": (0.1, 0.2)}, "2 entries and model.n_features=5"),
    "lists not zipped": ([axis("model.n_features", 2, 3), LISTS], {},
                         r"zip.*\(at model.n_features=2, data.feature_probability=\[0.1,0.2,0.3\]\)"),
    "importances length": ([], {"importance.kind": "explicit", "importance.values": (1.0,)},
                           "values has 1"),
    "no importance": ([], {"importance.kind": "explicit", "importance.values": (0.0,) * 5},
                      "all importances"),
    "importance overflow": ([axis("importance.decay", 1.0, 1e100)], {"importance.kind": "geometric"},
                            r"overflows.*\(at importance.decay=1e\+100\)"),
    "warm-up": ([axis("train.warmup_steps", 0, 10), axis("train.steps", 10, 5)], {},
                r"warmup_steps=10 .*train.steps=5.*\(at train.warmup_steps=10, train.steps=5\)"),
    "null batch": ([axis("train.n_batch", 8, None)], {}, r"n_batch=null.*\(at train.n_batch=null\)"),
    "population of a table": ([], {"data.kind": "finite", "data.n_rows": 4, "train.objective": "population"},
                              "n_batch=null"),
    "batches of a population": ([axis("train.n_batch", 8, 16)], {"train.objective": "population"},
                                "remove the axis"),
    "unused": ([], {"data.k": 3}, "data.k is used by"),
    "unused axis": ([axis("importance.decay", 0.5, 1.0)], {}, "importance.decay is used by"),
    "needed": ([], {"data.kind": "exactly_k", "data.feature_probability": None}, "needs data.k"),
    "huge W": ([axis("model.n_features", 2, 100_000)], {"model.n_hidden": 50_000},
               r"19 GiB: lower .*\(at model.n_features=100000\)"),
    "huge table": ([], {"data.kind": "finite", "data.n_rows": 10**9}, "19 GiB: lower data.n_rows"),
    "huge batch": ([axis("train.n_batch", 8, 10**9)], {}, "19 GiB: lower train.n_batch"),
    "not an axis": ([axis("evaluation.n_rows", 8, 16)], {}, "evaluation.n_rows cannot be an axis"),
    "empty": ([Axis(("model.n_hidden",), ())], {}, "no values"),
    "twice": ([axis("model.n_hidden", 1, 2), axis("model.n_hidden", 1)], {}, "two axes"),
    "too many cells": ([axis(key, *[0.1] * 2**14) for key in ("train.eps", "data.high", "init.std")], {},
                       r"4,398,046,511,104 cells \(16384 x 16384 x 16384\)"),
    "too many instances": ([axis("data.high", *[1.0] * 2**14)], {"restarts": 2**31 - 1}, "restarts"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_cell_on_one_line(name):
    axes, fields, said = REFUSED[name]
    with pytest.raises(ConfigError, match=said) as refusal:
        Grid(experiment_of(*axes, variants=[config_of(fields)]))
    assert "\n" not in str(refusal.value)


ALLOWED = {
    "a field that some kinds use": ([axis("data.kind", "independent", "exactly_k")], {"data.k": 3}),
    "a bad value that no kind uses there": (
        [axis("data.kind", "independent", "exactly_k"), axis("data.k", 3, 5)],
        {},
    ),
    "sets of 1/3 rounded up": ([axis("data.feature_probability", 0.333333333334)], SETS),
    "unequal p in sets of one": ([], {"data.kind": "anticorrelated", "data.set_size": 1, "data.power": 1.0}),
    "an odd one out alone in its set": ([], SETS | {"model.n_features": 4, "data.last_probability": 0.2}),
    "the whole table": ([], {"data.kind": "finite", "data.n_rows": 4, "train.n_batch": None}),
    "a population has no batches": ([], {"train.objective": "population"}),
    "batches for some": (
        [axis("train.objective", "sampled", "population"), axis("train.n_batch", 8, 16)],
        {},
    ),
    "p of the least": ([], {"data.feature_probability": 2.0**-20}),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name):
    axes, fields = ALLOWED[name]
    grid = Grid(experiment_of(*axes, variants=[config_of(fields)]))
    assert sum(len(batch) for batch in everything(grid)) == grid.n_instances


def test_a_smaller_last_set_is_a_warning():
    sets = config_of({"data.kind": "correlated", "data.set_size": 2, "data.correlation": 1.0})
    grid = Grid(experiment_of(axis("model.n_features", 4, 5), variants=[sets]))
    assert grid.warnings == ["the last set has 1 features, the others 2 (at model.n_features=5)"]
    assert Grid(experiment_of(axis("model.n_features", 4, 6), variants=[sets])).warnings == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.objective=population", "train.n_batch=64"], ["train.n_batch is not used"]),
        (["train.objective=population"], []),
        (["train.objective=population,sampled", "train.n_batch=64"], []),
    ],
)
def test_a_batch_size_that_nothing_draws_is_told(overrides, said):
    warnings = Grid(load_experiment(overrides)).warnings
    assert [warning.split(":")[0] for warning in warnings] == said


@given(decade=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_named_cell_is_the_first_bad_one(decade, seed):
    values = np.random.default_rng(seed).permutation(np.arange(1, 10 * decade + 1)).tolist()
    first = next(v for v in values if v > 3)
    with pytest.raises(ConfigError, match=rf"data.k={first} .*\(at data.k={first}\)$"):
        Grid(
            experiment_of(
                axis("data.k", *values),
                data__kind="exactly_k", data__feature_probability=None, model__n_features=3,
            )
        )  # fmt: skip


# A million cells


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
