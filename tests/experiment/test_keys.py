"""Keys name stored instances: what enters one, what does not, and that none has changed."""

import math
import os
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.experiment import rules
from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.fields import FIELDS
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.experiment.keys import mix, record_hashes, run_id
from superpose_cli.experiment.rules import with_values
from tests.experiment.field_changes import CHANGES, INPUTS, NEEDS, OTHER, TRAINING
from tests.helpers import axis, config_of, everything, experiment_of

IDENTITIES = ("key", "generator_key", "table_key", "evaluation_key")


def batch_of(experiment: Experiment) -> InstanceBatch:
    """The only batch of an experiment."""
    (batch,) = everything(Grid(experiment))
    return batch


def identities(**fields) -> dict[str, int]:
    """All four 64-bit identities of the only instance of a config."""
    batch = batch_of(experiment_of(**fields))
    return {name: int(getattr(batch, name)[0]) for name in IDENTITIES}


def key_of(**fields) -> int:
    return identities(**fields)["key"]


def test_mix_is_splitmix64():
    # Known answers of the reference implementation for the seed 1234567 (prng.di.unimi.it, splitmix64.c).
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix(np.uint64(1234567), np.arange(5)).tolist() == expected


@given(state=st.integers(0, 2**64 - 1), start=st.integers(0, 2**62))
def test_mix_is_injective_in_the_word_and_in_the_state(state, start):
    words = start + np.arange(1000)
    assert len(np.unique(mix(np.uint64(state), words))) == 1000
    states = np.uint64(state) ^ np.arange(1000, dtype=np.uint64)
    assert len(np.unique(mix(states, np.full(1000, start)))) == 1000


def test_a_record_is_the_documented_bytes():
    fixed = {"model.tied": False, "model.n_features": 3, "model.target": "identity"}
    columns = {"importance": np.array([[1.0, 0.5, -0.0]]), "data.high": np.array([1.0])}
    said = b"superpose/inputs/1\nmodel.n_features=3\nmodel.tied=false\nimportance[3]\0"
    said += np.array([1.0, 0.5, 0.0], "<f8").tobytes()
    expected = int.from_bytes(blake2b(said, digest_size=8).digest(), "little")
    assert record_hashes("inputs", fixed, columns).tolist() == [expected]


def test_a_new_field_at_its_neutral_value_leaves_the_hash_alone():
    columns = {"data.feature_probability": np.full((1, 4), 0.1)}
    old = record_hashes("inputs", {"data.kind": "independent"}, columns)
    neutral = {"data.kind": "independent", "data.signed": False}
    assert record_hashes("inputs", neutral, columns | {"data.high": np.ones(1)}) == old
    assert record_hashes("inputs", neutral | {"data.signed": True}, columns) != old
    assert record_hashes("inputs", neutral, columns | {"data.high": np.full(1, 2.0)}) != old


@given(
    st.lists(
        st.tuples(st.sampled_from([0.5, 1.0]), st.sampled_from([0.0, 0.1, -0.0])), min_size=1, max_size=12
    )
)
def test_a_hash_does_not_depend_on_the_cells_beside_it(rows):
    values = np.array(rows)
    columns = {"data.high": values[:, 0], "model.hidden_l1": values[:, 1], "x": values[:, ::-1]}
    together = record_hashes("inputs", {}, columns)
    alone = [
        record_hashes("inputs", {}, {k: v[i : i + 1] for k, v in columns.items()})[0]
        for i in range(len(rows))
    ]
    assert together.tolist() == alone
    assert len(set(alone)) == len({(a, b + 0.0) for a, b in rows})


GOLDEN = {
    "plain": (experiment_of(), ["99df50ca040f6f84 77478d044c14917b"]),
    "finite, sgd, seed": (
        experiment_of(
            data__kind="finite", data__n_rows=20, data__unit_norm=True, train__n_batch=None,
            seed=7, restarts=2, train__optimizer="sgd", train__momentum=0.5, train__loss_reduction="sum",
        ),
        ["dc942f197bfacd10 286acf97218de6d4", "e6e71ec0499fc11f d5920feb00bef017"],
    ),
    "ragged": (
        experiment_of(
            axis("model.n_features", 3, 4), axis("model.n_hidden", 1, 2),
            importance__kind="geometric", importance__decay=0.7, data__power=0.5,
        ),
        ["8ec1b3f70e7e1c83 8500ed1c8122d28c", "d56be666d5fcce1f 37ac11299cf5eb8b",
         "0ac6dae9512212dc 7d1a8e8521c33be7", "703adb048ec564fa 8e0abc559dbd28fc"],
    ),
    "zipped lists": (
        experiment_of(
            axis("model.n_features,data.feature_probability", (2, (0.1, 0.2)), (3, (0.1, 0.2, 0.3))),
        ),
        ["14da9813f5c72177 7c20e1511936b09e", "b8f86b0c242aabb4 3f514425c047c152"],
    ),
    "untied, exactly k, paired": (
        experiment_of(
            data__kind="exactly_k", data__k=1, data__feature_probability=None, paired=True,
            model__tied=False, model__hidden_activation="relu", model__hidden_l1=0.01,
            init__kind="normal", init__std=0.1,
        ),
        ["426f000b16c17806 9c9dbd0c9be1022a"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_keys(name, monkeypatch):
    """Keys name stored instances: a change here orphans everybody's results."""
    monkeypatch.setattr(rules, "MAX_EMPTY", 0.6)  # one of them was trained before there was such a limit
    experiment, expected = GOLDEN[name]
    assert [
        f"{key:016x} {draws:016x}"
        for b in everything(Grid(experiment))
        for key, draws in zip(b.key, b.generator_key, strict=True)
    ] == expected


def test_golden_table_and_evaluation_keys():
    found = identities(seed=3)
    assert f"{found['table_key']:016x} {found['evaluation_key']:016x}" == "f44e311b03e3bf23 6f9fb04b092bd30a"


SAME = {
    "uniform and geometric decay=1": ({}, {"importance__kind": "geometric", "importance__decay": 1.0}),
    "uniform and explicit ones": ({}, {"importance__kind": "explicit", "importance__values": (1.0,) * 5}),
    "uniform and last=1": ({}, {"importance__kind": "last", "importance__last_importance": 1.0}),
    "xavier and normal": ({}, {"init__kind": "normal", "init__std": math.sqrt(2 / 7)}),
    "a number and a list": ({}, {"data__feature_probability": (0.1,) * 5}),
    "last_probability as the others": ({}, {"data__last_probability": 0.1}),
    "power 0": ({}, {"data__power": 0.0}),
    "Adam's defaults": ({}, {"train__beta1": 0.9, "train__beta2": 0.999, "train__eps": 1e-8}),
    "momentum 0": ({"train__optimizer": "sgd"}, {"train__optimizer": "sgd", "train__momentum": 0.0}),
    "no batches in the population": (
        {"train__objective": "population"},
        {"train__objective": "population", "train__n_batch": None},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_equal_models_have_equal_keys(name):
    one, other = SAME[name]
    assert identities(**one) == identities(**other)


def before_and_after(key: str) -> tuple[InstanceBatch, InstanceBatch]:
    base, value = CHANGES[key]
    config = config_of(base)
    changed = with_values(config, {key: value} | NEEDS.get(key, {}))
    one, two = (batch_of(experiment_of(variants=[c])) for c in (config, changed))
    return one, two


def changed_identities(key: str) -> set[str]:
    one, two = before_and_after(key)
    return {name for name in IDENTITIES if getattr(one, name)[0] != getattr(two, name)[0]}


def test_every_field_is_on_one_side():
    assert {*INPUTS, *TRAINING, *OTHER, "seed", "paired"} == set(FIELDS)


@pytest.mark.parametrize("key", INPUTS)
def test_inputs_change_draws_and_key(key):
    assert changed_identities(key) == {"key", "generator_key", "table_key"}


@pytest.mark.parametrize("key", TRAINING)
def test_training_changes_the_key_alone(key):
    assert changed_identities(key) == {"key"}


@pytest.mark.parametrize("key", OTHER)
def test_where_and_how_change_nothing(key):
    assert changed_identities(key) == set()


def test_seed_changes_all_and_paired_all_but_the_evaluation():
    assert changed_identities("seed") == set(IDENTITIES)
    assert changed_identities("paired") == {"key", "generator_key", "table_key"}


def test_restarts_share_the_table_and_the_evaluation_rows_only():
    batch = batch_of(experiment_of(restarts=5))
    assert len(set(batch.key)) == len(set(batch.generator_key)) == 5
    assert len(set(batch.table_key)) == len(set(batch.evaluation_key)) == 1
    assert not set(batch.table_key) & set(batch.generator_key)


def test_paired_cells_share_the_draws_of_a_restart():
    batch = batch_of(experiment_of(axis("data.feature_probability", 0.1, 0.2, 0.3), restarts=4, paired=True))
    draws = batch.generator_key.reshape(3, 4)
    assert (draws == draws[0]).all()
    assert len(set(draws[0])) == 4
    assert len(set(batch.key)) == 12
    assert len(set(batch.table_key)) == 1


def test_train_axes_share_the_draws():
    batch = batch_of(
        experiment_of(
            axis("train.learning_rate", 1e-3, 1e-2), axis("init.std", 0.1, 0.2), init__kind="normal"
        )
    )
    assert len(set(batch.generator_key)) == 1
    assert len(set(batch.key)) == 4


def test_keys_and_run_ids_are_the_same_in_every_process():
    code = (
        "from tests.helpers import axis, experiment_of\n"
        "from superpose_cli.experiment.grid import Grid\n"
        "from superpose_cli.experiment.keys import run_id\n"
        "e = experiment_of(axis('model.n_hidden', 1, 2), axis('data.power', 0.0, 0.3), restarts=2)\n"
        "print(run_id(e), [b.key.tolist() for b in Grid(e).batches(0, 8)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("key", [*(k for k in OTHER if k.startswith(("engine", "launcher"))), "plots"])
def test_run_id_ignores_where_and_how(key):
    changed = with_values(config_of(), {key: OTHER[key]} | NEEDS.get(key, {}))
    assert run_id(experiment_of(variants=[changed])) == run_id(experiment_of())


@pytest.mark.parametrize(
    "key",
    [*INPUTS, *TRAINING, "seed", "paired", "restarts", *(k for k in OTHER if k.startswith(("eval", "hist")))],
)
def test_run_id_covers_what_decides_the_content(key):
    base, value = CHANGES[key]
    config = config_of(base)
    assert run_id(experiment_of(variants=[with_values(config, {key: value})])) != run_id(
        experiment_of(variants=[config])
    )


def test_run_id_covers_name_axes_and_their_order():
    a, b = axis("model.n_hidden", 1, 2), axis("data.feature_probability", 0.1, 1.0)
    experiments = [
        experiment_of(),
        experiment_of(name="other"),
        experiment_of(a),
        experiment_of(a, b),
        experiment_of(b, a),
        experiment_of(a, axis("data.feature_probability", 1.0, 0.1)),
    ]
    assert len({run_id(experiment) for experiment in experiments}) == len(experiments)
    assert run_id(experiment_of(a, axis("data.feature_probability", 0.1, 1))) == run_id(experiment_of(a, b))
    assert all(
        len(run_id(experiment)) == 8 and int(run_id(experiment), 16) >= 0 for experiment in experiments
    )
