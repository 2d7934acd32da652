"""Whatever is typed or written in a file ends well or with one line: no traceback, no broken run."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from superpose_cli.cli.app import app
from superpose_cli.experiment.fields import FIELDS
from superpose_cli.results.layout import committed_shards
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.run import load_run

BASE = ("train.steps=2", "train.n_batch=4", "evaluation.n_rows=8", "history.every=1", "engine=torch")
KEYS = st.sampled_from([*FIELDS, "model", "data", "train", "importance", "init", "grid", "modl.n_hidden", ""])
WORDS = st.sampled_from([
    "linear", "relu_output", "finite", "correlated", "sgd", "adamw", "population", "true", "null", "nan",
    "inf", "-1", "0", "1", "2", "3", "0.5", "1e-3", "1e400", "99999999999999999999", "[0.1,0.2]", "[]", "{}",
    "[[1]]",
    "{a: 1}", "${seed}", "${oc.env:HOME}", "../x", "/x", "a b", "'", '"', "(", "!!python/name:os.system",
])  # fmt: skip
SWEEPS = st.sampled_from([
    "1,2", "0.1,0.5", "range(0,3)", "range(0,1e12)", "linspace(0.1,1,3)", "geomspace(1,0.1,3)",
    "geomspace(0,1,3)", "linspace(0,1,1000000000)", "choice(1,2)", "shuffle(1,2)", "interval(0,1)", "glob(*)",
    "linear,relu_output", "[0.1,0.1],[0.2,0.2]", "1,1", "1,", ",", "range(3,0)", "range(0,1,0)",
])  # fmt: skip
VALUES = WORDS | SWEEPS | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)
OVERRIDES = st.lists(
    st.one_of(
        st.tuples(KEYS, VALUES).map("=".join),
        st.tuples(st.sampled_from(["+", "~", "++", ""]), KEYS).map("".join),
        st.text(max_size=20),
    ),
    max_size=4,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | SWEEPS | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
LEAVES = [key.partition(".")[2] for key in FIELDS if "." in key]
CONFIGS = st.dictionaries(
    st.sampled_from(["model", "init", "data", "importance", "train", "evaluation", "history", "engine",
                     "grid", "options", "seed", "restarts", "experiment", "plots", "defaults", "_target_"]),
    TREES | st.dictionaries(st.sampled_from([*LEAVES, *FIELDS, "zip"]), TREES, max_size=3),
    max_size=4,
)  # fmt: skip


def assert_ends_well(arguments: list[str]) -> None:
    """Run one command line in this process, and look at all run folders afterwards."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
    assert done.exit_code in (0, 1, 2, 130), arguments
    if done.exit_code in (1, 2):
        said = [line for line in done.stderr.splitlines() if line.startswith("superpose: error: ")]
        assert len(said) == 1, (arguments, done.stderr)
    entries = [path.name for path in Path.cwd().iterdir()]
    assert set(entries) <= {"outputs", "given.yaml"}, (arguments, entries)
    for manifest in Path("outputs").glob("*/*/manifest.json"):
        run = manifest.parent
        if read_manifest(run).status == "complete":
            assert len(load_run(run).instances()) == read_manifest(run).n_instances
        elif committed_shards(run):
            load_run(run).instances()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield
    os.chdir(before)


def given_examples(count: int):
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def with_overrides(typed: list[str], command: str) -> list[str]:
    """A command line with what was typed first: what keeps a training short holds where it is not an axis."""
    return [command, *typed, "data.feature_probability=0.5", *BASE, "--max-seconds", "1", "-q"]


def with_file(config: dict) -> list[str]:
    """A command line that reads these settings, which are written to a file."""
    Path("given.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return ["sweep", "--config", "given.yaml", *BASE, "--max-seconds", "1", "-q"]


@given_examples(25)
@given(OVERRIDES, st.sampled_from(["sweep", "train"]))
def test_any_overrides(typed, command):
    assert_ends_well(with_overrides(typed, command))


@given_examples(25)
@given(CONFIGS)
def test_any_config_file(config):
    assert_ends_well(with_file(config))


@pytest.mark.slow
@given_examples(600)
@given(OVERRIDES, st.sampled_from(["sweep", "train"]))
def test_very_many_overrides(typed, command):
    assert_ends_well(with_overrides(typed, command))


@pytest.mark.slow
@given_examples(600)
@given(CONFIGS)
def test_very_many_config_files(config):
    assert_ends_well(with_file(config))
