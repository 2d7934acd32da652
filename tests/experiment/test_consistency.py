"""What the fields of a grid must satisfy together; a refusal names the first bad cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from tests.helpers import axis, config_of, everything, experiment_of

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
