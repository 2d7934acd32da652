"""What is stored stands for training: the tables of a run that reuses are those of one that does not."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.cli.output import continuing
from superpose_cli.engines import choose_engine, training
from superpose_cli.errors import ConfigError
from superpose_cli.experiment import sharding
from superpose_cli.experiment.fields import FIELDS
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.rules import with_values
from superpose_cli.pipeline import load_run, run_experiment
from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.reuse import Reuse
from tests.experiment.field_changes import CHANGES, INPUTS, NEEDS, TRAINING
from tests.helpers import Listener, config_of, digests, experiment_of, mostly_slow
from tests.results.reusing import DENSITIES, TINY, experiment, run

pytestmark = pytest.mark.usefixtures("small_shards")

FINITE = ("data=finite", "data.n_rows=8", "data.unit_norm=false", "train.n_batch=null")
MIXED = (
    "model=linear,relu_hidden,absolute_value", "model.tied=true,false", "model.hidden_bias=true",
    "train.optimizer=sgd", "train.learning_rate=0.01,1e30", "data.feature_probability=0.3",
)  # fmt: skip
PAIRS = {
    # name: (overrides of the stored run, of the new run, instances reused)
    "other cells and restarts": (
        (DENSITIES, "restarts=2"), ("data.feature_probability=0.2,0.5,0.1", "restarts=3"), 4),
    "another axis first": (
        (DENSITIES, "model.n_hidden=2,3"), ("model.n_hidden=3,4", "data.feature_probability=0.7,0.1"), 2),
    "said in another way": (
        (DENSITIES,), (DENSITIES, "importance=geometric", "importance.decay=1"), 3),
    "group and list axes": (
        ("data.feature_probability=0.1", "model=relu_output,linear"),
        ("data.feature_probability=[0.1,0.1,0.1,0.1,0.1],[0.5,0.1,0.1,0.1,0.1]", "model=linear,relu_output"),
        2),
    "fewer records": ((DENSITIES,), (DENSITIES, "restarts=2", "history.every=8"), 3),
    "no records": ((DENSITIES,), (DENSITIES, "history.every=0", "restarts=2"), 3),
    "more records": ((DENSITIES,), (DENSITIES, "history.every=3"), 0),
    "records without weights": (
        (DENSITIES, "history.weights=true"), (DENSITIES, "history.every=8", "restarts=2"), 3),
    "records with weights": (
        (DENSITIES, "history.weights=true"), (DENSITIES, "history.weights=true", "history.every=8"), 3),
    "weights that were not recorded": ((DENSITIES,), (DENSITIES, "history.weights=true"), 0),
    "another evaluation": (
        (DENSITIES, "history.every=0"), (DENSITIES, "history.every=0", "evaluation.n_rows=77"), 3),
    "another evaluation, the same records": (
        (DENSITIES, "evaluation.n_rows=5000"), (DENSITIES, "evaluation.n_rows=6000", "restarts=2"), 3),
    "another evaluation, other records": ((DENSITIES,), (DENSITIES, "evaluation.n_rows=77"), 0),
    "an exact evaluation": (
        (DENSITIES, "history.every=0"), (DENSITIES, "evaluation.method=population", "history.every=0"), 3),
    "attacked at last": (
        (DENSITIES, "history.every=0"), (DENSITIES, "evaluation.attack=0.1", "history.every=0"), 3),
    "attacked and measured so": ((DENSITIES, "evaluation.attack=0.1"),
        (DENSITIES, "evaluation.attack=0.1", "history.every=8"), 3),
    "all kinds, all states": (MIXED, (*MIXED, "restarts=2"), 12),
    "all kinds, all states, another evaluation": (
        (*MIXED, "history.every=0"), (*MIXED, "history.every=0", "evaluation.n_rows=77", "restarts=2"), 12),
    "finite data": (
        (*FINITE, DENSITIES), (*FINITE, "data.feature_probability=0.4,0.5", "restarts=2"), 1),
    "finite data, another evaluation": (
        (*FINITE, DENSITIES, "history.every=0"),
        (*FINITE, DENSITIES, "history.every=0", "evaluation.n_rows=77"), 3),
}  # fmt: skip


QUICK = ("other cells and restarts", "group and list axes", "fewer records", "records without weights",
         "another evaluation", "attacked at last", "all kinds, all states", "finite data")  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(PAIRS, QUICK))
def test_reuse_changes_no_byte(name, tmp_path):
    stored, wanted, count = PAIRS[name]
    run(tmp_path / "a", *stored)
    reusing, said = run(tmp_path / "a", *wanted)
    anew, _ = run(tmp_path / "b", *wanted, reuse="none")
    assert digests(reusing.path) == digests(anew.path)
    assert (reusing.n_reused, reusing.n_trained) == (count, anew.n_trained - count)
    told = [line for line in said if f"{count} of {anew.n_instances} reused" in line]
    assert len(told) == (count > 0)
    assert not [line for line in said if line.startswith("nothing is reused")], "no run is damaged"
    assert all(f"{anew.n_instances - count} to run" in line for line in told)


def test_the_compiled_engine_reuses_and_measures_anew(tmp_path):
    wanted = (DENSITIES, "history.every=0", "restarts=2", "engine.name=numba", "model.n_features=5,12")
    run(tmp_path / "a", *wanted)
    for evaluation, count in (("evaluation.n_rows=100", 12), ("evaluation.n_rows=99", 18)):
        more = (*wanted, evaluation, "restarts=3")
        reusing, said = run(tmp_path / "a", *more)
        anew, _ = run(tmp_path / "b", *more, reuse="none")
        assert digests(reusing.path) == digests(anew.path)
        assert reusing.n_reused == count
    assert "18 of 18 reused" in said[0]
    assert "18 of them evaluated anew" in said[0]


@settings(max_examples=6, deadline=None)
@given(
    *(st.lists(st.sampled_from([0.1, 0.2, 0.5, 1.0]), min_size=1, max_size=3, unique=True),) * 2,
    *(st.integers(1, 5),) * 2,
)
def test_what_two_grids_share_is_trained_once(tmp_path_factory, one, other, restarts, more):
    folder = tmp_path_factory.mktemp("runs")

    def words(densities, count):
        return ("data.feature_probability=" + ",".join(map(str, densities)), f"restarts={count}")

    first, _ = run(folder, *words(one, restarts))
    second, _ = run(folder, *words(other, more))
    if second.path != first.path:
        assert second.n_reused == len({*one} & {*other}) * min(restarts, more)
    anew, _ = run(folder / "b", *words(other, more), reuse="none")
    assert digests(second.path) == digests(anew.path)


def reused(key: str, folder: Path) -> tuple[int, int]:
    """Of a stored instance, after one field has changed: (1 if it is reused, 1 if it is evaluated anew)."""
    tiny = {"train.steps": 12, "train.n_batch": 16, "evaluation.n_rows": 50, "history.every": 0,
            "engine.name": "torch"}  # fmt: skip
    base, value = CHANGES[key]
    config = config_of(tiny | base)
    run_experiment(experiment_of(variants=[config]), outputs=folder)
    value = {"engine.name": "numba", "train.steps": 13}.get(key, value)
    changed = with_values(config, {key: value} | NEEDS.get(key, {}))
    grid = Grid(experiment_of(variants=[changed]))
    engine = choose_engine(changed.engine, grid.families()).engine
    found = Reuse.find(folder, "same", grid, engine.numerics, folder / "none", print)
    return found.count(range(len(grid.shards())))[:2]


EVALUATED_ANEW = {"evaluation.method", "evaluation.n_rows", "evaluation.attack"}
TRAINED_ANEW = {*INPUTS, *TRAINING, "seed", "paired", "engine.name", "engine.dtype"} | {
    "history.every",  # from no records to some
}
COPIED = {"history.spacing", "history.weights", "engine.device", "engine.memory_fraction", "restarts",
          "experiment", "plots", *(key for key in FIELDS if key.startswith("launcher."))}  # fmt: skip


def test_every_field_is_on_one_side_of_reuse():
    assert {*EVALUATED_ANEW, *TRAINED_ANEW, *COPIED} == set(FIELDS)
    assert len(EVALUATED_ANEW) + len(TRAINED_ANEW) + len(COPIED) == len(FIELDS)


SOME = ("model.tied", "data.feature_probability", "train.beta2", "seed", "restarts", *EVALUATED_ANEW)


@pytest.mark.parametrize("key", mostly_slow(FIELDS, SOME))
def test_a_changed_field_is_reused_evaluated_or_trained_anew(key, tmp_path):
    if key == "train.objective":
        pytest.skip("engine torch trains on drawn rows only; the key is another, as test_keys shows")
    expected = (0, 0) if key in TRAINED_ANEW else (1, 1) if key in EVALUATED_ANEW else (1, 0)
    assert reused(key, tmp_path) == expected


def test_an_unfinished_run_is_a_source_and_a_sink(tmp_path):
    wanted = (DENSITIES, "restarts=4")

    class StopAfter(Listener):
        def __init__(self, instances):
            super().__init__()
            self.instances = instances

        def committed(self, instances):
            if instances >= self.instances:
                raise KeyboardInterrupt

    source = experiment(*TINY, *wanted, "history.every=1")
    with pytest.raises(KeyboardInterrupt):
        run_experiment(source, outputs=tmp_path / "a", watch=StopAfter(8))
    sink = experiment(*TINY, *wanted)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(sink, outputs=tmp_path / "a", watch=StopAfter(4))
    rest, said = run(tmp_path / "a", *wanted)
    assert (rest.status, rest.n_reused, rest.n_trained) == ("complete", 4, 4)
    assert any("4 of 12 reused" in line and "4 to run" in line for line in said)
    assert digests(rest.path) == digests(run(tmp_path / "b", *wanted)[0].path)


class StopTraining(Listener):
    """Stops like a killed process, once so many instances' worth of steps are done."""

    def __init__(self, instances: float) -> None:
        super().__init__()
        self.instances = instances

    def progressed(self, instances, loss, instance_steps):
        if instances >= self.instances:
            raise KeyboardInterrupt


@pytest.mark.parametrize("event", ["appears", "goes", "both"])
def test_a_checkpoint_outlives_what_neighbouring_runs_come_to_hold(event, tmp_path, monkeypatch):
    """What is under way goes on, whatever else is stored by then; the rest is reused or trained."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1.0)
    monkeypatch.setattr(training, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 12)
    long = ("train.steps=400", "history.every=100")
    wanted = (*long, DENSITIES, "restarts=4")
    few = run(tmp_path / "a", *long, "data.feature_probability=0.5", "restarts=2")[0]
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment(*TINY, *wanted), outputs=tmp_path / "a", watch=StopTraining(5))
    saved = [
        one for path in (tmp_path / "a").rglob("manifest.json") for one in saved_checkpoints(path.parent)
    ]
    assert [(one.n_instances, one.trained > 2) for one in saved] == [(10, True)]
    if event != "goes":
        run(tmp_path / "a", *long, "data.feature_probability=0.1,0.7", "restarts=3")
    if event != "appears":
        shutil.rmtree(few.path)
    rest, said = run(tmp_path / "a", *wanted)
    assert any("going on from a checkpoint" in line for line in said), said
    assert rest.status == "complete"
    assert rest.n_reused == (2 if event == "appears" else 0)
    assert digests(rest.path) == digests(run(tmp_path / "b", *wanted)[0].path)


def test_other_arithmetic_is_taken_only_when_asked_for_and_says_so(tmp_path):
    double = run(tmp_path, DENSITIES, "engine.dtype=float64", "history.every=0")[0]
    single = run(tmp_path, DENSITIES, "restarts=2", "history.every=0", reuse="any-engine")
    assert (single[0].n_reused, single[0].n_trained) == (3, 3)
    assert "whatever trained them" in single[1][0]
    rows = load_run(single[0].path).instances(["restart", "numerics", "loss"])
    assert [name.split("/")[1] for name in rows["numerics"]] == ["float64", "float32"] * 3
    there = load_run(double.path).instances(["loss"])["loss"]
    assert rows["loss"][rows["restart"] == 0].tolist() == there.tolist()
    assert run(tmp_path, DENSITIES, "restarts=3", "history.every=0")[0].n_reused == 3, "the float32 ones"
    # Numbers of two engines are not mixed in one row: what numba trained, torch does not evaluate.
    sparse = ("data.feature_probability=0.05", "history.every=0")
    run(tmp_path, *sparse, "engine.name=numba")
    assert run(tmp_path, *sparse, "evaluation.n_rows=77", reuse="any-engine")[0].n_reused == 0
    assert run(tmp_path, *sparse, "restarts=2", reuse="any-engine")[0].n_reused == 1
    # Stored weights have 32 bits: those of a float64 training are not enough to evaluate it anew.
    again = (DENSITIES, "engine.dtype=float64", "history.every=0", "evaluation.n_rows=77")
    assert run(tmp_path, *again)[0].n_reused == 0


def test_a_run_goes_on_as_it_began(tmp_path):
    """What it may take over is part of it, whatever the command that continues it."""
    done, _ = run(tmp_path / "a", DENSITIES)
    for begun, reused in (({"fresh": True}, 0), ({"reuse": "none"}, 0), ({"reuse_from": done.path}, 3)):
        out = tmp_path / "-".join(begun)
        stopped, _ = run(tmp_path / "a", DENSITIES, "restarts=2", out=out, max_seconds=0, **begun)
        assert (stopped.status, stopped.n_stored) == ("interrupted", 0)
        continued, _ = run(tmp_path / "a", DENSITIES, "restarts=2", out=out)
        assert (continued.status, continued.n_reused) == ("complete", reused)


def test_a_folder_elsewhere_is_named_again(tmp_path):
    """A stranger's run folder does not choose what is read."""
    run(tmp_path / "a", DENSITIES)
    far, out = tmp_path / "a", tmp_path / "b" / "out"
    run(tmp_path / "b", DENSITIES, "restarts=2", out=out, max_seconds=0, reuse_from=far)
    with pytest.raises(ConfigError, match=r"--reuse-from .*: give that again, or --reuse none"):
        run(tmp_path / "b", DENSITIES, "restarts=2", out=out)
    assert f"--reuse-from {far}" in continuing(out)
    assert run(tmp_path / "b", DENSITIES, "restarts=2", out=out, reuse_from=far)[0].n_reused == 3
