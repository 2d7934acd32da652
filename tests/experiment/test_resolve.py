"""From the fields of a cell to the numbers that are trained with."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.resolve import inverse_power
from tests.helpers import axis, config_of, everything, experiment_of


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
