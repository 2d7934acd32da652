"""Tables that are not what their place says, or that nobody lets us read."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from superpose_cli.errors import RunError
from superpose_cli.results import reading
from superpose_cli.results.reading import stored_instances
from superpose_cli.results.run import load_run
from tests.synthetic import write_run


def write(path: Path) -> Path:
    """Four instances in two shards."""
    W = np.random.default_rng(0).normal(size=(4, 5, 2))
    return write_run(path, W, restarts=4, instances_per_shard=2)


@pytest.mark.parametrize("table", ["instances", "features"])
def test_a_shard_in_the_place_of_another_is_told(table: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    shutil.copy(run / f"{table}.parquet/shard-000000.parquet", run / f"{table}.parquet/shard-000001.parquet")
    with pytest.raises(RunError, match=rf"{table}\.parquet/shard-000001\.parquet is shard 0 of run"):
        getattr(load_run(run), table)()


def test_shards_of_another_run_are_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text()) | {"run_id": "ffffffff"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"shard 0 of run 00000000, out of place: delete it"):
        stored_instances(run)


@pytest.mark.parametrize("name", ["loss_ratio", "status", "norm"])
def test_one_bit_in_the_name_of_a_column_is_damage(name: str, tmp_path: Path) -> None:
    """Pages have checksums, a footer has none: the column would be one that an older superpose lacks."""
    run = write(tmp_path / "run")
    file = run / ("features.parquet" if name == "norm" else "instances.parquet") / "shard-000001.parquet"
    content = file.read_bytes()
    at = [i for i in range(len(content)) if content.startswith(name.encode(), i)]
    for start in at:
        file.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
        if pq.read_schema(file).names != pq.read_schema(run / file.parent / "shard-000000.parquet").names:
            with pytest.raises(RunError, match=r"shard-000001\.parquet is damaged"):
                load_run(run).features() if name == "norm" else load_run(run).instances()
            break
    else:
        pytest.fail("no flip changes a name")


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EACCES, "ask its owner"), (errno.EIO, "once its disk answers")]
)
def test_what_cannot_be_read_is_not_to_be_deleted(
    number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> None:
        raise OSError(number, os.strerror(number), str(file))

    run = load_run(write(tmp_path / "run"))
    monkeypatch.setattr(pq, "read_metadata", refuse)
    with pytest.raises(RunError, match=rf"cannot read .*shard-000000\.parquet .*{advice}") as caught:
        run.instances()
    assert "delete" not in str(caught.value)


def test_a_folder_named_like_a_home_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(load_run(write(Path("~") / "run")).instances()) == 4
    assert (tmp_path / "~" / "run" / "instances.parquet" / "shard-000001.parquet").is_file()


def test_more_rows_than_fit_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(write(tmp_path / "run"))
    monkeypatch.setattr(reading, "free_memory", lambda: 100)
    with pytest.raises(RunError, match=r"instances\.parquet has 4 rows, more than the 0\.0 GB"):
        run.instances()
    assert len(run.instances(["cell"])) == 4
