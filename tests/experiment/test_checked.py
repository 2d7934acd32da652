"""Experiments made by hand are held to the same field rules as those from files and command lines."""

import math
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis, Experiment, as_experiment
from superpose_cli.experiment.checked import checked
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config import Config, DataKind, ModelConfig, Spacing, TrainConfig
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.experiment.fields import FIELDS, check_field
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id
from tests.helpers import axis, config_of, experiment_of

P = "data.feature_probability"


def repeated(value: Any) -> Axis:
    """An axis of a thousand good learning rates and `value`."""
    return axis("train.learning_rate", *[0.1] * 1000, value)


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        (experiment_of(train__learning_rate=-1), "train.learning_rate must be a finite number > 0; got -1"),
        (experiment_of(train__steps=0), "train.steps must be"),
        (experiment_of(model__n_hidden=0), "model.n_hidden must be"),
        (experiment_of(model__n_features=5.5), "model.n_features must be an integer"),
        (experiment_of(model__n_features=True), "model.n_features must be an integer"),
        (experiment_of(data__feature_probability=2), "data.feature_probability must be a number in (0, 1]"),
        (experiment_of(data__feature_probability=(0.1, 2.0)), "data.feature_probability must be"),
        (experiment_of(data__feature_probability=()), "data.feature_probability is an empty list"),
        (experiment_of(data__kind="finit"), "Did you mean 'finite'?"),
        (experiment_of(restarts=0), "restarts must be"),
        (experiment_of(seed=2**63), "seed must be"),
        (experiment_of(engine__memory_fraction=2), "engine.memory_fraction must be"),
        (experiment_of(plots="wtw"), "plots must be a list"),
        (experiment_of(name="../x"), "experiment must be a letter"),
        (experiment_of(grid={P: "0.1,0.2"}), "give the axes to Experiment"),
        (experiment_of(variants=[config_of(), config_of({"train.steps": -1})]), "train.steps must be"),
        (experiment_of(repeated(-0.1)), "train.learning_rate must be"),
        (experiment_of(repeated(math.nan)), "train.learning_rate must be"),
        (experiment_of(repeated(math.inf)), "train.learning_rate must be"),
        (experiment_of(repeated("0.1")), "train.learning_rate must be"),
        (experiment_of(repeated(None)), "train.learning_rate cannot be null"),
        (experiment_of(repeated(10**400)), "train.learning_rate must be"),
        (experiment_of(axis("seed", 1, 2**63)), "seed must be"),
        (experiment_of(axis("train.steps", 1, 2**31)), "train.steps must be"),
        (experiment_of(axis(P, (0.1,) * 5, (0.1, 0.1, 0.1, 0.1, 0.0))), "data.feature_probability must be"),
        (experiment_of(axis("model.n_features", (3, 4), (5, 6))), "takes one value"),
        (experiment_of(axis("model.n_features,seed", (1, 2), (3,))), "one value for each key, 2 in all"),
    ],
)
def test_wrong_values_are_refused_on_one_line(experiment: Experiment, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Grid(experiment)
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


def test_values_take_the_type_of_their_field() -> None:
    loose = experiment_of(
        axis("model.n_hidden", 2.0, 3), axis("data.high", 1, 2), axis(P, [0.1] * 5, 1),
        model__n_features=5.0, data__kind="independent", history__spacing="log", train__weight_decay=-0.0,
        plots=("wtw",),
    )  # fmt: skip
    experiment = Grid(loose).experiment
    config = experiment.variants[0]
    assert (repr(config.model.n_features), config.plots) == ("5", ["wtw"])
    assert config.data.kind is DataKind.independent
    assert config.history.spacing is Spacing.log
    assert repr(config.train.weight_decay) == "0.0"
    assert repr([axis.values for axis in experiment.axes[:2]]) == "[((2,), (3,)), ((1.0,), (2.0,))]"
    assert experiment.axes[2].values == (((0.1,) * 5,), (1.0,))
    assert checked(experiment) is experiment
    assert run_id(experiment) == run_id(loose)


@given(
    key=st.sampled_from(sorted(FIELDS)),
    values=st.lists(
        st.none() | st.booleans() | st.integers() | st.floats() | st.integers(1, 9).map(float)
        | st.floats(0.1, 0.9) | st.sampled_from(["adam", "cpu"]) | st.lists(st.floats(0, 2)).map(tuple),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_a_column_is_its_values_checked_one_by_one(key: str, values: list[Any]) -> None:

    def outcome(check: Callable[[], list[Any]]) -> str:
        try:
            return repr(check())
        except ConfigError as error:
            return str(error)

    together = outcome(lambda: [v for (v,) in checked(experiment_of(axis(key, *values))).axes[0].values])
    assert together == outcome(lambda: [check_field(key, value) for value in values])


@pytest.mark.parametrize("name", [name for name, _ in list_experiments()])
def test_what_is_loaded_passes_unchanged(name: str) -> None:
    experiment = load_experiment([f"experiment={name}"])
    assert id(checked(experiment)) == id(experiment)


def test_a_config_is_an_experiment_without_axes() -> None:
    config = Config(data=config_of().data, train=TrainConfig(steps=3))
    assert as_experiment(config) == Experiment("custom", (), (config,))
    assert as_experiment(replace(config, experiment="mine")).name == "mine"
    experiment = experiment_of(axis("seed", 1, 2))
    assert as_experiment(experiment) is experiment
    wrong = replace(config, model=ModelConfig(n_hidden=0))
    with pytest.raises(ConfigError, match=r"model\.n_hidden"):
        Grid(as_experiment(wrong))


def test_a_million_values_take_no_time() -> None:
    values = np.linspace(1, 2, 10**6).tolist()
    experiment = experiment_of(axis("data.high", *values), axis("seed", *range(10**5)))
    began = perf_counter()
    unchanged = checked(experiment) is experiment
    assert perf_counter() - began < 3, "0.2 s on a quiet core"
    assert unchanged
