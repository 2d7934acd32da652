"""Reading runs: frames, the best restart, dense weights, and folders that are no runs."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import RunError
from superpose_cli.results.columns import FEATURES, HISTORY, INSTANCES
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore
from tests.synthetic import shard_tables, synthetic_manifest, without, write_run

RNG = np.random.default_rng(0)
P = [1.0, 0.1, 0.01]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """3 cells x 2 restarts of 5 features in 2 dimensions, in shards of 2 instances, with a history."""
    W = RNG.normal(size=(6, 5, 2))
    objective = np.array([0.3, 0.2, 0.1, 0.4, 0.5, 0.6])
    return write_run(
        tmp_path / "run",
        W,
        axes={"data.feature_probability": P},
        restarts=2,
        instances_per_shard=2,
        columns={"objective": objective},
        steps=[0, 100],
        record_weights=True,
        plots=("arrows",),
    )


def test_what_a_run_says_of_itself(run: Path) -> None:
    loaded = load_run(str(run))
    assert (loaded.path, loaded.name, loaded.n_cells, loaded.restarts) == (run, "synthetic", 3, 2)
    assert loaded.config["experiment"] == "synthetic"
    assert loaded.manifest.plots == ("arrows",)
    (axis,) = loaded.axes
    assert axis.keys == ("data.feature_probability",)
    assert axis.columns == ("feature_probability",)
    assert axis.values == tuple((p,) for p in P)


def test_frames(run: Path) -> None:
    loaded = load_run(run)
    assert list(loaded.instances().columns) == [c.name for c in INSTANCES]
    assert list(loaded.features().columns) == [c.name for c in FEATURES]
    assert list(loaded.history().columns) == [c.name for c in HISTORY]
    instances = loaded.instances(["restart", "cell", "feature_probability"])
    assert list(instances.columns) == ["restart", "cell", "feature_probability"]
    assert instances["cell"].tolist() == [0, 0, 1, 1, 2, 2]
    assert instances["feature_probability"].tolist() == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert loaded.features(["feature"], cells=[1])["feature"].tolist() == [0, 1, 2, 3, 4] * 2
    assert loaded.features(["cell"], cells=np.array([2, 0]))["cell"].tolist() == [0] * 10 + [2] * 10
    assert loaded.history(["cell", "step"], cells=[2])["step"].tolist() == [0, 100] * 2
    assert len(loaded.features(["cell"], cells=[])) == len(loaded.history(["cell"], cells=[7])) == 0


def test_best_is_the_lowest_objective(run: Path) -> None:
    best = load_run(run).best(["cell", "restart", "objective"])
    assert best.to_numpy().tolist() == [[0, 1, 0.2], [1, 0, 0.1], [2, 0, 0.5]]
    assert best.index.tolist() == [0, 1, 2]
    assert len(load_run(run).best().columns) == len(INSTANCES)


def test_best_ignores_diverged_restarts_while_there_are_others(tmp_path: Path) -> None:
    status = np.array(["diverged", "ok", "diverged", "diverged", "dead", "diverged"])
    objective = np.array([0.1, 0.9, np.nan, 7.0, 0.5, 0.4])
    path = write_run(
        tmp_path / "run",
        np.ones((6, 2, 1)),
        axes={"data.feature_probability": P},
        restarts=2,
        columns={"status": status, "objective": objective},
    )
    best = load_run(path).best(["restart", "status"])
    assert best["restart"].tolist() == [1, 1, 0]
    assert best["status"].tolist() == ["ok", "diverged", "dead"]


def test_weights_of_the_best_and_of_all(run: Path) -> None:
    loaded = load_run(run)
    (everything,) = loaded.weights(best=False)
    assert everything.W.shape == (6, 5, 2)
    assert everything.W.dtype == everything.b.dtype == np.float32
    assert everything.cell.tolist() == [0, 0, 1, 1, 2, 2]
    assert everything.restart.tolist() == [0, 1, 0, 1, 0, 1]
    rows = np.stack(loaded.features(["W"])["W"].to_list()).reshape(6, 5, 2)
    np.testing.assert_array_equal(everything.W, rows)
    (best,) = loaded.weights()
    np.testing.assert_array_equal(best.W, everything.W[[1, 2, 4]])
    (some,) = loaded.weights(cells=[2, 1])
    assert some.cell.tolist() == [1, 2]
    np.testing.assert_array_equal(some.W, everything.W[[2, 4]])
    assert loaded.weights(cells=[9]) == []


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_weights_come_back_whatever_the_shapes_and_shards(data: st.DataObject) -> None:
    """Cells of random shape, tied or not, with or without biases, committed in random order."""
    shapes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=5))
    kinds = [data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans())) for _ in shapes]
    per_shard = data.draw(st.integers(1, len(shapes)))
    tables, stored = [], []
    for cell, ((n, m), (tied, bias, hidden_bias)) in enumerate(zip(shapes, kinds, strict=True)):
        W, W_dec = RNG.normal(size=(2, 2, n, m)).astype(np.float32)
        b, b_hidden = RNG.normal(size=(2, n)).astype(np.float32), RNG.normal(size=(2, m)).astype(np.float32)
        columns = {"b_hidden": b_hidden, "hidden_bias": True} if hidden_bias else {}
        options: dict[str, Any] = {
            "W_dec": None if tied else W_dec,
            "b": b if bias else None,
            "columns": columns,
        }
        tables.append(shard_tables(W, first=2 * cell, restarts=2, **options))
        stored.append(
            (W, None if tied else W_dec, b if bias else 0 * b, b_hidden if hidden_bias else 0 * b_hidden)
        )
    starts = range(0, len(shapes), per_shard)
    with tempfile.TemporaryDirectory() as folder:
        manifest = synthetic_manifest(n_cells=len(shapes), restarts=2, shards=len(starts))
        with RunStore.create_or_open(Path(folder) / "run", "{}", manifest) as store:
            for shard in data.draw(st.permutations(range(len(starts)))):
                parts = tables[starts[shard] : starts[shard] + per_shard]
                store.commit(
                    shard, **{name: pa.concat_tables([part[name] for part in parts]) for name in parts[0]}
                )
        blocks = load_run(Path(folder) / "run").weights(best=False)
    assert sum(len(block.cell) for block in blocks) == 2 * len(shapes)
    for block in blocks:
        for i, (cell, restart) in enumerate(zip(block.cell, block.restart, strict=True)):
            W, W_dec, b, b_hidden = stored[cell]
            np.testing.assert_array_equal(block.W[i], W[restart])
            np.testing.assert_array_equal(block.b[i], b[restart])
            np.testing.assert_array_equal(block.b_hidden[i], b_hidden[restart])
            assert (block.W_dec is None) == (W_dec is None)
            if block.W_dec is not None and W_dec is not None:
                np.testing.assert_array_equal(block.W_dec[i], W_dec[restart])


def test_only_the_shards_that_are_asked_for_are_read(run: Path) -> None:
    """The first column of shard 1's features, the keys, is overwritten; its footer is whole."""
    file = run / "features.parquet/shard-000001.parquet"
    size = pq.read_metadata(file).row_group(0).column(0).total_compressed_size
    file.write_bytes(b"PAR1" + b"\xff" * size + file.read_bytes()[4 + size :])
    loaded = load_run(run)
    assert len(loaded.features(["key", "W"], cells=[0, 2])) == 20
    assert loaded.weights(cells=[0, 2])[0].cell.tolist() == [0, 2]
    assert len(loaded.features(["W"])) == 30
    for read in (lambda: loaded.features(["key"]), lambda: loaded.features(cells=[1])):
        with pytest.raises(RunError, match=r"features.parquet/shard-000001\.parquet is damaged .*delete it"):
            read()


def test_a_run_may_grow_columns(run: Path) -> None:
    """A shard of an older superpose that lacks a column reads as null."""
    file = run / "instances.parquet/shard-000001.parquet"
    pq.write_table(without(pq.read_table(file), "loss_ratio"), file)
    assert load_run(run).instances(["loss_ratio"])["loss_ratio"].isna().tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def edit_schema(file: Path, notes: dict[str, str]) -> None:
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata(notes), file)


def retype(file: Path) -> None:
    table = pq.read_table(file)
    at = table.column_names.index("loss")
    pq.write_table(table.set_column(at, "loss", table["loss"].cast(pa.string())), file)


WRONG: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "instances",
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        "is damaged .*delete it and run the same",
    ),
    ("instances", lambda file: file.write_bytes(b""), "is damaged"),
    ("instances", lambda file: file.write_text("cell,loss\n0,1\n"), "is damaged"),
    (
        "instances",
        lambda file: pq.write_table(pa.table({"cell": [1]}), file),
        "is not superpose's instances table",
    ),
    (
        "instances",
        lambda file: edit_schema(file, {"superpose_table": "features"}),
        "is not superpose's instances table",
    ),
    (
        "instances",
        lambda file: edit_schema(file, {"superpose_table": "instances", "superpose_schema": "2"}),
        "written by a newer superpose: upgrade",
    ),
    ("instances", retype, "differ in their columns .*--fresh"),
    ("features", lambda file: file.unlink(), "is missing: run the same sweep again"),
    ("features", lambda file: pq.write_table(pq.read_table(file).slice(1), file), "is damaged"),
]


@pytest.mark.parametrize(("table", "damage", "message"), WRONG)
def test_wrong_files(run: Path, table: str, damage: Callable[[Path], object], message: str) -> None:
    damage(run / f"{table}.parquet" / "shard-000001.parquet")
    loaded = load_run(run)
    with pytest.raises(RunError, match=message) as caught:
        loaded.weights(best=False)
    assert f"{table}.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_instances_than_the_grid_has_are_not_read(run: Path) -> None:
    file = run / "instances.parquet" / "shard-000001.parquet"
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table] * 4), file)
    with pytest.raises(RunError, match="it has 12 instances, the grid 6"):
        load_run(run).instances(["loss"])


@pytest.mark.parametrize("table", ["instances", "features", "history"])
def test_no_flipped_bit_makes_another_number(run: Path, table: str) -> None:
    """Wherever in the pages of a table: it is told, or it changes nothing."""
    file, draw = run / f"{table}.parquet" / "shard-000001.parquet", np.random.default_rng(1)
    good, whole = file.read_bytes(), getattr(load_run(run), table)()
    pages = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    told: list[str] = []
    for at in draw.choice(np.arange(4, pages), 60, replace=False):
        bad = bytearray(good)
        bad[at] ^= 1 << draw.integers(8)
        file.write_bytes(bad)
        try:
            pd.testing.assert_frame_equal(getattr(load_run(run), table)(), whole)
        except RunError as error:
            told.append(str(error))
    assert len(told) > 30
    assert all(f"{file} is damaged" in line for line in told)


def test_unknown_columns(run: Path) -> None:
    with pytest.raises(RunError, match=r"instances\.parquet has no column lost: did you mean loss\?"):
        load_run(run).instances(["lost"])
    with pytest.raises(RunError, match=r"history\.parquet has no column xyz: it has key, cell, "):
        load_run(run).history(["xyz"])


def test_folders_that_are_no_runs(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="is not a folder"):
        load_run(run / "manifest.json")
    with pytest.raises(RunError, match="holds no run"):
        load_run(tmp_path)
    RunStore.create_or_open(tmp_path / "new", "{}", synthetic_manifest()).close()
    with pytest.raises(RunError, match="no stored results yet"):
        load_run(tmp_path / "new")


@pytest.mark.parametrize("text", ["- a list", "a: [", "", None])
def test_a_damaged_config(run: Path, text: str | None) -> None:
    (run / "config.yaml").unlink()
    if text is not None:
        (run / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml.*run the same sweep again") as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


MILLION = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from superpose_cli.results.run import load_run
from superpose_cli.results.store import RunStore
from tests.synthetic import shard_tables, synthetic_manifest

path, size, shards = Path(sys.argv[1]), 15625, 64
report = {}
def measure(name, start):
    report[name] = round(time.perf_counter() - start, 2)
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    report[name + " peak MiB"] = int(peak[1]) // 1024
measure("imports", time.perf_counter())
if sys.argv[2] == "write":
    manifest = synthetic_manifest(n_cells=125000, restarts=8, n_instances=size * shards, shards=shards)
    rng = np.random.default_rng(0)
    with RunStore.create_or_open(path, "{}", manifest) as store:
        committing = 0.0
        start = time.perf_counter()
        for shard in range(shards):
            W = rng.normal(size=(size, 2, 1))
            tables = shard_tables(W, first=shard * size, restarts=8, columns={"objective": rng.random(size)})
            before = time.perf_counter()
            store.commit(shard, **tables)
            committing += time.perf_counter() - before
        measure("write", start)
        report["commit"] = round(committing, 2)
else:
    run = load_run(path)
    start = time.perf_counter()
    (best,) = run.weights()
    measure("best weights", start)
    start = time.perf_counter()
    (block,) = run.weights(best=False)
    measure("all weights", start)
    start = time.perf_counter()
    frame = run.instances(["cell", "restart", "objective", "status", "numerics"])
    measure("five columns", start)
    start = time.perf_counter()
    some = run.features(["norm", "regime"], cells=[62500])
    measure("one cell", start)
    report["sizes"] = [len(best.W), len(block.W), len(frame), len(some)]
print(json.dumps(report))
"""


@pytest.mark.slow
def test_a_million_instances_in_bounded_memory(tmp_path: Path) -> None:
    reports = {}
    for step in ("write", "read"):
        command = [sys.executable, "-c", MILLION, str(tmp_path / "run"), step]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
        )
        reports[step] = json.loads(done.stdout)
        print(step, reports[step])  # noqa: T201
    write, read = reports["write"], reports["read"]
    assert read["sizes"] == [125_000, 1_000_000, 1_000_000, 16]
    # One shard is held at a time; the whole run would take more than 1 GiB as tables.
    assert write["write peak MiB"] - write["imports peak MiB"] < 300
    assert read["five columns peak MiB"] - read["imports peak MiB"] < 500
