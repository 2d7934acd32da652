"""What the tests of reuse share: tiny runs, and what they say."""

from functools import cache
from pathlib import Path

from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.pipeline import RunResult, run_experiment
from tests.helpers import Listener

TINY = ("train.steps=8", "train.n_batch=16", "evaluation.n_rows=100", "history.every=4", "engine=torch")
DENSITIES = "data.feature_probability=0.1,0.5,0.7"


def run(outputs: Path, *overrides: str, **options) -> tuple[RunResult, list[str]]:
    """A run of a tiny experiment, and what it said."""
    watch = Listener()
    done = run_experiment(experiment(*TINY, *overrides), outputs=outputs, watch=watch, **options)
    return done, watch.lines


@cache
def experiment(*overrides: str) -> Experiment:
    """The experiment, composed once."""
    return load_experiment(overrides)
