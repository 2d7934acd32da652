import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.experiment import sharding
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config import HistoryConfig
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.leaves import Leaves
from superpose_cli.experiment.sharding import (
    COST_KEYS,
    MAX_BYTES,
    MAX_FLOPS,
    MAX_INSTANCES,
    MIN_INSTANCES,
    SHARD_BYTES,
    instance_bytes,
    instance_flops,
)
from tests.helpers import axis, experiment_of


def costs(experiment) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and FLOPs of every instance."""
    leaves, config = Leaves(experiment), experiment.variants[0]
    codes = leaves.codes(np.arange(leaves.n_cells))
    n_bytes = instance_bytes(leaves, codes, config.history)
    flops = instance_flops(leaves, codes, config.evaluation, config.history)
    return np.repeat(n_bytes, config.restarts), np.repeat(flops, config.restarts)


def check_shards(experiment) -> None:
    """Contiguous, complete, within the limits unless alone, and none could have been longer.

    The limit of arithmetic does not hold for the first MIN_INSTANCES.
    """
    grid, (n_bytes, flops) = Grid(experiment), costs(experiment)
    shards = list(grid.shards())
    assert shards[0][0] == 0
    assert shards[-1][1] == grid.n_instances
    assert all(a[1] == b[0] for a, b in itertools.pairwise(shards))
    for start, stop in shards:
        assert start < stop

        def fits(stop: int, start: int = start) -> bool:
            part = slice(start, stop)
            return (
                stop - start <= MAX_INSTANCES
                and n_bytes[part].sum() <= MAX_BYTES
                and (stop - start <= MIN_INSTANCES or flops[part].sum() <= MAX_FLOPS)
            )

        assert fits(stop) or stop == start + 1
        # A byte per instance is lost to whole numbers, so a shard may stop a little early.
        assert stop == grid.n_instances or not fits(stop + 1 + (stop - start) // 1000)


@settings(max_examples=15, deadline=None)
@given(
    n=st.lists(st.sampled_from([2, 5, 40, 1000]), min_size=1, max_size=3),
    steps=st.lists(st.sampled_from([10, 2000, 50_000]), min_size=1, max_size=2),
    restarts=st.sampled_from([1, 7, 3000]),
    weights=st.booleans(),
)
def test_shards(n, steps, restarts, weights):
    axes = [axis("train.steps", *steps), axis("data.high", *[1.0] * 9), axis("model.n_features", *n)]
    check_shards(experiment_of(*axes, restarts=restarts, history__weights=weights))


def test_shards_of_more_than_a_window():
    check_shards(experiment_of(axis("train.steps", 1, 2), restarts=200_000, history__every=0))


def test_an_instance_beyond_the_limits_is_a_shard_of_its_own():
    wide = axis("model.n_features", 1_000_000, 2)
    grid = Grid(experiment_of(wide, restarts=3, history__every=0))
    assert list(grid.shards()) == [(0, 1), (1, 2), (2, 3), (3, 6)]


def test_the_floor_is_above_the_limit_of_arithmetic_only(monkeypatch):
    long = experiment_of(axis("train.steps", 10**6, 10**6 + 1), restarts=20, history__every=0)
    even = experiment_of(train__steps=10**6, restarts=40, history__every=0)
    assert [stop for _, stop in Grid(long).shards()] == [16, 32, 40]
    assert [stop for _, stop in Grid(even).shards()] == [16, 32, 40]
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 15)
    assert [stop for _, stop in Grid(long).shards()] == [15, 30, 40]
    assert [stop for _, stop in Grid(even).shards()] == [15, 30, 40]
    monkeypatch.setattr(sharding, "MAX_BYTES", 8_000)
    assert len(Grid(long).shards()) == len(Grid(even).shards()) > 3


@given(
    seeds=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    steps=st.lists(st.integers(1, 2), min_size=1, max_size=2),
)
def test_the_digest_is_that_of_the_bounds(seeds, steps):
    axes = axis("seed", *seeds), axis("train.steps", *(10**5 * s for s in steps))
    shards, other = Grid(experiment_of(*axes)).shards(), Grid(experiment_of(axes[0])).shards()
    assert re.fullmatch("[0-9a-f]{8}", shards.digest)
    assert shards.digest == Grid(experiment_of(*axes, train__learning_rate=0.1)).shards().digest
    assert (shards.digest == other.digest) == (list(shards) == list(other))


def test_shipped_experiments_lose_little_to_an_interrupt():
    """A shard is a minute of a core's arithmetic at most, or as many instances as keep cores busy."""
    for name in ("neurons", "phase_3_in_2", "geometry"):
        experiment = load_experiment([f"experiment={name}"])
        check_shards(experiment)
        assert len(Grid(experiment).shards()) > 1


def test_shards_are_a_sequence():
    shards = Grid(
        experiment_of(restarts=40_000, train__steps=1, history__every=0, evaluation__n_rows=2)
    ).shards()
    assert len(shards) == 3
    assert shards[-1] == (2 * MAX_INSTANCES, 40_000)
    assert shards[:2] == [(0, MAX_INSTANCES), (MAX_INSTANCES, 2 * MAX_INSTANCES)]
    with pytest.raises(IndexError):
        shards[3]


def test_shards_depend_on_nothing_but_the_grid():
    axes = (axis("model.n_features", 3, 30), axis("data.feature_probability", 0.1, 0.2))
    one = Grid(experiment_of(*axes, restarts=9000))
    other = Grid(experiment_of(*axes, restarts=9000, engine__memory_fraction=0.1, engine__dtype="float64"))
    assert list(one.shards()) == list(other.shards())


def test_a_hundred_million_instances_are_cut_in_no_time():
    grid = Grid(
        experiment_of(
            axis("data.high", *[1.0] * 1000), axis("train.learning_rate", *[0.1] * 1000), restarts=100
        )
    )
    assert grid.shards()[-1][1] == 10**8


@given(
    n=st.lists(st.integers(1, 50), min_size=1, max_size=3),
    restarts=st.integers(1, 5),
    every=st.integers(0, 60),
)
def test_table_bytes_is_the_sum_over_instances(n, restarts, every):
    axes = [axis("model.n_features", *n), axis("data.high", 1.0, 2.0), axis("model.tied", True, False)]
    experiment = experiment_of(*axes, restarts=restarts, history__every=every, train__steps=50)
    alone = [
        Grid(experiment_of(*axes[1:], model__n_features=value, restarts=restarts, history__every=every,
                           train__steps=50))
        for value in n
    ]  # fmt: skip

    def rows(grid):
        return grid.table_bytes() - SHARD_BYTES * len(grid.shards())

    assert abs(rows(Grid(experiment)) - sum(map(rows, alone))) <= len(n)


def test_costs_follow_the_rows_of_a_step():
    alone = {"train__steps": 3, "evaluation__method": "population", "history__every": 0}
    kinds = [
        ({"data__kind": "finite", "data__n_rows": 100, "train__n_batch": None}, 100),
        ({"data__kind": "finite", "data__n_rows": 100, "train__n_batch": 10}, 10),
        ({"train__n_batch": 256}, 256),
    ]
    for fields, rows in kinds:
        _, flops = costs(experiment_of(model__output_activation="identity", **alone, **fields))
        assert flops.tolist() == [(10 * 5 * 2 + 60 * 5) * rows * 3]


def test_costs_of_the_population_are_its_integrals():
    """Per output: 1 for up to one feature on, 6 * 8^(c-2) for c of them; at most a million a step."""
    expected = {1: 2, 2: 2 * (1 + 2 + 6), 3: 3 * (1 + 3 + 3 * 6 + 48), 40: 1e6}
    for n, integrals in expected.items():
        fields = {"train__objective": "population", "history__every": 0, "evaluation__n_rows": 1}
        _, flops = costs(experiment_of(model__n_features=n, train__steps=3, **fields))
        assert flops == pytest.approx([3 * 30 * integrals + 6 * n * 2 + 40 * n])
    _, flops = costs(
        experiment_of(evaluation__method="population", train__steps=1, train__n_batch=1, history__every=0)
    )
    assert flops == pytest.approx(
        [10 * 5 * 2 + 60 * 5 + 30 * 5 * (1 + 5 + 10 * 6 + 10 * 48 + 5 * 384 + 3072)]
    )


def test_costs_count_the_rows_that_judge():
    training = (10 * 5 * 2 + 60 * 5) * 1024 * 1000
    judging = [
        ({"history__every": 0}, 65_536),
        ({"history__every": 0, "evaluation__n_rows": 100}, 100),
        ({"history__every": 300, "evaluation__n_rows": 1}, 1 + 5 * 4096),
        ({"history__every": 1000, "evaluation__n_rows": 100}, 100 + 2 * 4096),
    ]
    for fields, rows in judging:
        _, flops = costs(experiment_of(train__steps=1000, **fields))
        assert flops.tolist() == [training + (6 * 5 * 2 + 40 * 5) * rows]


def test_history_of_weights_counts():
    leaves = Leaves(experiment_of(train__steps=1000))
    (codes,) = leaves.combinations(COST_KEYS)
    bare, each, weights = (
        instance_bytes(leaves, codes, HistoryConfig(every=every, weights=w))[0]
        for every, w in ((0, False), (100, False), (100, True))
    )
    assert bare < each < weights
    assert weights - each == 11 * 5 * (4 + 4 * 2)
