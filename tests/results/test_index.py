"""Which stored runs stand for training: all under the outputs folder that are sound."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from superpose_cli.pipeline import RunResult
from tests.helpers import digests
from tests.results.reusing import DENSITIES, run
from tests.synthetic import without

pytestmark = pytest.mark.usefixtures("small_shards")


def test_fresh_and_another_folder(tmp_path):
    first, _ = run(tmp_path / "a", DENSITIES)
    fresh, said = run(tmp_path / "a", DENSITIES, fresh=True)
    assert (fresh.n_reused, fresh.n_trained) == (0, 3)
    assert any("--fresh" in line and "not reused" in line for line in said)
    elsewhere, _ = run(tmp_path / "b", DENSITIES, "restarts=2")
    assert elsewhere.n_reused == 0, "nothing outside the outputs folder is looked at"
    for number, where in enumerate((tmp_path / "a", first.path.parent, first.path)):
        done, _ = run(tmp_path / str(number), DENSITIES, "restarts=3", reuse_from=where)
        assert done.n_reused == 3


def truncate(folder: Path) -> None:
    shard = folder / "features.parquet" / "shard-000000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])


def swap(folder: Path) -> None:
    shards = [folder / "features.parquet" / f"shard-{number:06d}.parquet" for number in (0, 1)]
    contents = [shard.read_bytes() for shard in shards]
    for shard, content in zip(shards, reversed(contents), strict=True):
        shard.write_bytes(content)


def lose_history(folder: Path) -> None:
    (folder / "history.parquet" / "shard-000000.parquet").unlink()


def nest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def settings_of_another(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("every: 4", "every: 2"))


def wrong_settings(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("every: 4", "every: many"))


@pytest.mark.parametrize(
    "damage",
    [truncate, swap, lose_history, nest, settings_of_another, wrong_settings],
    ids=lambda d: d.__name__,
)
def test_damaged_runs_are_left_out_with_a_line(damage, tmp_path):
    run(tmp_path / "a", DENSITIES)
    bad, _ = run(tmp_path / "a", "data.feature_probability=0.2,0.3,0.6", "restarts=3")
    damage(bad.path)
    wanted = ("data.feature_probability=0.1,0.2,0.3,0.6", "restarts=3")
    done, said = run(tmp_path / "a", *wanted)
    assert digests(done.path) == digests(run(tmp_path / "b", *wanted)[0].path)
    assert 1 <= done.n_reused < 10
    if damage is not lose_history:
        about = [
            line for line in said if "nothing is reused from" in line or "nothing of it is reused" in line
        ]
        assert about
        short = [line.replace(str(bad.path), "RUN") for line in about]
        assert all("RUN" in line and "\n" not in line and len(line) < 300 for line in short)


def test_a_run_that_is_no_run_is_not_looked_at(tmp_path):
    (tmp_path / "a" / "x" / "y" / "manifest.json").mkdir(parents=True)
    (tmp_path / "a" / "z").mkdir()
    (tmp_path / "a" / "z" / "manifest.json").symlink_to(tmp_path / "nowhere")
    done, said = run(tmp_path / "a", DENSITIES)
    assert done.n_reused == 0
    assert not [line for line in said if "reused" in line]


def test_the_first_of_equal_instances_is_the_one_measured_as_wanted(tmp_path):
    """Two runs hold the same instances: no evaluation is repeated that one of them has."""
    for rows in ("evaluation.n_rows=77", "evaluation.n_rows=100", "evaluation.n_rows=55"):
        run(tmp_path, DENSITIES, "history.every=0", rows, reuse="none")
    _, said = run(tmp_path, DENSITIES, "history.every=0", "restarts=2")
    assert "3 of 6 reused" in said[0]
    assert "anew" not in said[0]


def rewrite(run: RunResult, change: Callable[[pa.Table], pa.Table]) -> None:
    for shard in (run.path / "instances.parquet").iterdir():
        pq.write_table(change(pq.read_table(shard)), shard)


def measured_otherwise(table: pa.Table) -> pa.Table:
    """As a superpose left it whose columns were others."""
    return without(table, "vulnerability", {b"superpose_measures": b"0"})


@pytest.mark.parametrize(("records", "count"), [("history.every=0", 3), ("history.every=4", 0)])
def test_what_was_measured_otherwise_is_measured_anew(records, count, tmp_path):
    """From its weights; a history cannot be."""
    old, _ = run(tmp_path / "a", DENSITIES, records)
    rewrite(old, measured_otherwise)
    reusing, said = run(tmp_path / "a", DENSITIES, records, "restarts=2")
    assert reusing.n_reused == count
    assert any("3 of them evaluated anew" in line for line in said) == bool(count)
    assert digests(reusing.path) == digests(
        run(tmp_path / "b", DENSITIES, records, "restarts=2", reuse="none")[0].path
    )


def test_a_column_that_is_not_there_is_told(tmp_path):
    old, _ = run(tmp_path / "a", DENSITIES)
    rewrite(old, lambda table: without(table, "hidden_l1_mean"))
    reusing, said = run(tmp_path / "a", DENSITIES, "restarts=2")
    assert reusing.n_reused == 0
    assert [line for line in said if "nothing of it is reused" in line and "hidden_l1_mean" in line], said


def test_a_moved_run_is_still_a_source(tmp_path):
    """Nothing in a run folder depends on where it lies."""
    done, _ = run(tmp_path / "a", DENSITIES)
    shutil.move(done.path, tmp_path / "b" / "somewhere")
    assert run(tmp_path / "b", DENSITIES, "restarts=2")[0].n_reused == 3
