"""Shards that are trained together have the bits that they have alone, in whatever groups."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from superpose_cli.engines import watch
from superpose_cli.engines.base import State
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.experiment import sharding
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family, InstanceBatch
from superpose_cli.launchers import together as module
from superpose_cli.launchers.together import Together
from superpose_cli.pipeline import run_experiment
from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.layout import TABLES, committed_shards, shard_file

SWEEP = ("model.n_features=2,3", "restarts=6", "data.feature_probability=0.3", "data=finite", "data.n_rows=9",
         "train.n_batch=null", "train.steps=4", "history.every=2", "history.weights=true",
         "evaluation.n_rows=40", "engine=torch", "engine.device=cpu")  # fmt: skip


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 2)
    monkeypatch.setattr(sharding, "MIN_INSTANCES", 1)


def content(run: Path) -> dict[str, bytes]:
    shards = sorted(committed_shards(run))
    assert len(shards) == 6
    return {f"{table} {s}": shard_file(run, table, s).read_bytes() for table in TABLES for s in shards}


def test_groups_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment(SWEEP)
    run_experiment(experiment, out=tmp_path / "alone", reuse="none")
    batches: list[int] = []
    advance = TorchEngine.advance

    def noted(self: TorchEngine, batch: InstanceBatch, *arguments: object) -> object:
        batches.append(len(batch))
        return advance(self, batch, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(TorchEngine, "advance", noted)
    monkeypatch.setattr(TorchEngine, "fill", lambda self, family: 7)
    run_experiment(experiment, out=tmp_path / "together", reuse="none")
    assert 6 in batches, "six instances of one family, of three shards"
    assert content(tmp_path / "together") == content(tmp_path / "alone")


def test_groups_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(load_experiment(SWEEP))
    engine = TorchEngine("cpu", "float32")
    monkeypatch.setattr(TorchEngine, "fill", lambda self, family: 1000)
    each = [grid.shard_bytes(shard) for shard in range(6)]
    assert min(each) > 0
    for room, members in ((1, 1), (1.5 * each[0], 2), (1e9, 3)):
        monkeypatch.setattr(module, "GROUP_BYTES", room)
        assert len(Together(grid, engine).group(range(6))) == members


INTERLEAVED = ("restarts=2", "data.feature_probability=0.3,0.4,0.5", "model.n_features=2,3")


@pytest.mark.parametrize(
    ("fills", "axes"), [((7, 7), ()), ((7, 1), ()), ((1, 7), ()), ((7, 7), INTERLEAVED)], ids=str
)
def test_interrupted_groups_go_on(
    fills: tuple[int, int], axes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that have time for two calls: none repeats a step, in groups, alone, or now and then."""
    kept = [s for s in SWEEP if not axes or s.split("=")[0] not in {a.split("=")[0] for a in axes}]
    experiment, run = load_experiment([*kept, *axes]), tmp_path / "run"
    run_experiment(experiment, out=tmp_path / "whole", reuse="none")
    advance, now, steps = TorchEngine.advance, 0.0, 0

    def timed(self: TorchEngine, batch: InstanceBatch, state: State, stop_step: int) -> State:
        nonlocal now, steps
        now, steps = now + 1, steps + len(batch) * (stop_step - state.step)
        return advance(self, batch, state, stop_step)

    monkeypatch.setattr(TorchEngine, "advance", timed)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now))
    for session in range(30):
        monkeypatch.setattr(TorchEngine, "fill", lambda self, family, fill=fills[session % 2]: fill)
        if run_experiment(experiment, out=run, reuse="none", max_seconds=1.5).status == "complete":
            break
    assert 1 < session < 29
    assert steps == 12 * 4
    assert content(run) == content(tmp_path / "whole")
    assert not saved_checkpoints(run)


def test_a_group_ends_where_the_engine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(load_experiment(SWEEP))
    engine = TorchEngine()
    together = Together(grid, engine)
    assert list(together.group([1, 2, 3])) == [1], "on a CPU each shard is enough"

    def fill(family: Family) -> int:
        return 4 if family.n_features == 2 else 3

    monkeypatch.setattr(engine, "fill", fill)
    assert list(together.group([0, 1, 2, 3])) == [0, 1]
    assert list(together.group([2, 4, 5])) == [2], "another family is trained before or after"
    assert list(together.group([3, 0, 1, 2, 4, 5])) == [3, 4]
    assert list(together.group([5])) == [5]
    monkeypatch.setattr(module, "MOST_STRANGERS", 2)
    assert list(together.group([3, 0, 1, 2, 4, 5])) == [3]
