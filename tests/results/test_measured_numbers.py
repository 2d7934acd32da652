"""The numbers that columns say of given weights: whoever changes them raises MEASURES_VERSION."""

import json
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.experiment.compose import load_experiment
from superpose_cli.pipeline import run_experiment
from superpose_cli.results.columns import FEATURES, HISTORY, IDENTITY, MEASURED, MEASURES_VERSION
from superpose_cli.results.run import load_run

RECORDED = Path(__file__).with_name("measured_numbers.json")
"""Table -> column -> mean of |x| over what is known of it."""
RUN = (
    "data.feature_probability=0.3",
    "model.hidden_bias=true",
    "model.tied=true,false",
    "engine=torch",
    "engine.dtype=float64",
    "train.steps=40",
    "train.n_batch=64",
    "evaluation.n_rows=500",
    "evaluation.attack=0.1",
    "history.every=20",
    "history.weights=true",
    "restarts=2",
)


def means(values: np.ndarray) -> float:
    """Over numbers, or the numbers of lists."""
    flat = np.concatenate([np.ravel(value) for value in values if value is not None])
    known = np.abs(flat.astype(np.float64))
    return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0


def test_the_measured_numbers_are_the_recorded_ones(tmp_path: Path) -> None:
    done = run_experiment(load_experiment(RUN), out=tmp_path / "run")
    run, identity = load_run(done.path), {column.name for column in IDENTITY}
    found = {
        table: {
            column.name: means(frame[column.name].to_numpy())
            for column in columns
            if column.name not in identity and column.type not in ("str", "hex")
        }
        for table, columns, frame in (
            ("instances", MEASURED, run.instances()),
            ("features", FEATURES, run.features()),
            ("history", HISTORY, run.history()),
        )
    }
    recorded = json.loads(RECORDED.read_text())
    told = f"raise MEASURES_VERSION, now {MEASURES_VERSION}, and record {json.dumps(found, indent=1)}"
    for table, numbers in recorded.items():
        assert found[table] == pytest.approx(numbers, rel=1e-6, abs=1e-9), told
