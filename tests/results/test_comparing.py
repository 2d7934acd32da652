"""Two runs side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpose_cli.results.comparing import Comparison, compare_runs
from superpose_cli.results.run import load_run
from tests.synthetic import write_run

DENSITY = "data.feature_probability"


def pair(tmp_path: Path, one: dict[str, Any], other: dict[str, Any]) -> Comparison:
    return compare_runs(*(load_run(write_run(tmp_path / name, **words)) for name, words in
                          (("one", one), ("other", other))))  # fmt: skip


def test_cells_meet_by_their_values_not_by_their_numbers(tmp_path):
    W = np.zeros((4, 2, 1))
    W[:, 0] = np.arange(1, 5)[:, None]
    losses = np.array([0.1, 0.2, 0.3, 0.4])
    found = pair(
        tmp_path,
        {"W": W, "axes": {DENSITY: [0.1, 0.2, 0.3, 0.4]}, "columns": {"loss": losses}},
        {"W": W[:2], "axes": {DENSITY: [0.4, 0.2]}, "columns": {"loss": losses[:2]}},
    )
    assert found.joined_by == ("feature_probability",)
    assert (found.only_one, found.only_other) == (2, 0)
    cells = found.cells.set_index("feature_probability")
    assert cells["loss_one"].to_dict() == {0.2: 0.2, 0.4: 0.4}
    assert cells["loss_other"].to_dict() == {0.2: 0.2, 0.4: 0.1}
    assert cells["frobenius_norm_sq_one"].to_dict() == pytest.approx({0.2: 4, 0.4: 16})
    assert cells["frobenius_norm_sq_other"].to_dict() == pytest.approx({0.2: 4, 0.4: 1})
    assert cells["regimes_one"][0.2] == {"dedicated": 1, "superposed": 0, "ignored": 1}
    assert [setting.key for setting in found.settings] == [DENSITY]
    assert found.settings[0].other == (0.4, 0.2)


def test_an_axis_of_one_meets_the_setting_of_the_other(tmp_path):
    W = np.ones((3, 2, 1))
    found = pair(
        tmp_path,
        {"W": W, "axes": {"train.learning_rate": [1e-3, 3e-3, 1e-2]}},
        {"W": W[:1], "columns": {"learning_rate": 3e-3}},
    )
    assert found.joined_by == ("learning_rate",)
    assert found.cells["learning_rate"].tolist() == [3e-3]


def test_the_best_restart_stands_for_its_cell(tmp_path):
    W = np.stack([np.full((2, 1), 1.0), np.full((2, 1), 2.0)])
    columns = {"objective": np.array([0.5, 0.4]), "loss": np.array([0.1, 0.9])}
    found = pair(
        tmp_path,
        {"W": W, "restarts": 2, "columns": columns},
        {"W": W[:1], "columns": {"loss": np.array([0.7])}},
    )
    assert found.cells[["loss_one", "loss_other"]].to_numpy().tolist() == [[0.9, 0.7]]


def test_instances_trained_alike_are_compared_by_bits(tmp_path):
    """The synthetic keys are 0, 1, 2, ...: two of the three are in both runs, one with another loss."""
    W = np.ones((3, 2, 1))
    found = pair(
        tmp_path,
        {"W": W, "restarts": 3, "columns": {"loss": np.array([0.1, 0.2, 0.3])}},
        {"W": W[:2], "restarts": 2, "columns": {"loss": np.array([0.1, np.nextafter(0.2, 1)])}},
    )
    assert (found.same_key, found.same_loss) == (2, 1)


def test_settings_that_differ_are_named(tmp_path):
    W = np.ones((1, 2, 1))
    found = pair(
        tmp_path,
        {"W": W, "config": {"train": {"steps": 10, "n_batch": 5}, "seed": 1}},
        {"W": W, "config": {"train": {"steps": 20, "n_batch": 5}, "seed": 1, "evaluation": {"n_rows": 9}}},
    )
    assert [(s.key, s.one, s.other) for s in found.settings] == [
        ("train.steps", 10, 20),
        ("evaluation.n_rows", None, 9),
    ]
