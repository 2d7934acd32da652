"""The commands end to end, on runs that take a second."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from superpose_cli.cli.app import app

SMALL = "engine.name=torch train.steps=40 train.n_batch=32 evaluation.n_rows=256 history.every=20 "
GRID = SMALL + "data.feature_probability=0.5,0.1 restarts=2 "


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def superpose(line: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result


def test_sweep_prints_the_folder_and_does_not_train_twice() -> None:
    first = superpose("sweep " + GRID)
    folder = Path(first.stdout.strip())
    assert folder.parent == Path("outputs/custom")
    assert "4 instances; engine" in first.stderr
    assert "complete after" in first.stderr
    assert len(pd.read_parquet(folder / "instances.parquet")) == 4
    again = superpose("sweep " + GRID)
    assert again.stdout == first.stdout
    assert "already done" in again.stderr


def test_fresh_takes_another_folder() -> None:
    first, second = (superpose(f"sweep -q {GRID} {option}").stdout.strip() for option in ("", "--fresh"))
    assert second == f"{first}-2"


def test_the_stored_config_gives_the_same_run_again() -> None:
    folder = superpose("sweep -q " + GRID).stdout.strip()
    superpose(f"sweep -q --config {folder}/config.yaml --out copy")
    names = ["key", "cell", "restart", "loss"]
    one, two = (pd.read_parquet(f"{run}/instances.parquet", columns=names) for run in (folder, "copy"))
    pd.testing.assert_frame_equal(one, two)


def test_quiet_is_quiet() -> None:
    result = superpose("sweep --quiet --out here " + GRID)
    assert (result.stdout, result.stderr) == ("here\n", "")


def test_json_is_one_object_on_stdout() -> None:
    result = superpose("sweep --json --out here " + GRID)
    record = json.loads(result.stdout)
    assert record["path"] == "here"
    assert (record["status"], record["n_instances"], record["n_trained"]) == ("complete", 4, 4)


def test_train_shows_the_model_and_ends_with_the_folder() -> None:
    result = superpose("train restarts=2 " + SMALL)
    assert "features of the best restart" in result.stdout
    assert "W^T W" in result.stdout
    assert Path(result.stdout.splitlines()[-1]).is_dir()


def test_train_of_a_fixed_experiment_is_one_cell() -> None:
    result = superpose("train -q experiment=intro data.feature_probability=0.5 restarts=1 " + SMALL)
    record = json.loads(superpose(f"show --json {result.stdout.strip()}").stdout)
    assert (record["n_cells"], record["n_instances"], record["status"]) == (1, 1, "complete")


def test_plan_writes_nothing() -> None:
    text = superpose("plan " + GRID).stdout
    assert "2 cells x 2 restarts" in text
    assert "4, of which 0 are stored already" in text
    record = json.loads(superpose("plan --json " + GRID).stdout)
    assert (record["n_cells"], record["n_instances"], record["n_stored"]) == (2, 4, 0)
    assert record["memory_bytes"] > 0
    assert list(Path.cwd().iterdir()) == []


def test_plan_knows_what_is_stored() -> None:
    superpose("sweep -q " + GRID)
    assert json.loads(superpose("plan --json " + GRID).stdout)["n_stored"] == 4


def test_out_of_time_is_interrupted_and_can_be_continued() -> None:
    result = superpose("sweep --max-seconds 0 --out here " + GRID, exit_code=130)
    assert result.stdout == "here\n"
    resume = result.stderr.strip().rpartition("To continue: ")[2]
    assert resume == "superpose sweep --config here/config.yaml --out here"
    done = superpose(resume.removeprefix("superpose "))
    assert "complete after" in done.stderr
    assert len(pd.read_parquet("here/instances.parquet")) == 4
    record = json.loads(superpose("sweep --json --max-seconds 0 --out there " + GRID, exit_code=130).stdout)
    assert record["resume"].endswith("--out there")


def test_ctrl_c_is_interrupted_and_keeps_the_run() -> None:
    line = f"sweep --out here {GRID} train.steps=100000000"
    process = subprocess.Popen(
        [sys.executable, "-m", "superpose_cli", *shlex.split(line)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "superpose sweep --config here/config.yaml --out here" in stderr
    assert "Traceback" not in stderr


def test_ctrl_c_while_the_program_is_loaded_is_silent() -> None:
    """Its imports take a tenth of a second: a process that is stopped at any moment of it says nothing."""
    run = """
import sys

class Stop:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop())
from superpose_cli.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_complete_run_that_lost_files_is_told_and_completed_again() -> None:
    superpose("sweep --out here " + GRID)
    for file in Path("here/instances.parquet").iterdir():
        file.unlink()
    shown = superpose("show here").stdout
    assert "incomplete, 0 of 4 instances stored" in shown
    assert "superpose sweep --config here/config.yaml --out here" in shown
    assert "incomplete" in superpose("list runs --outputs .").stdout
    superpose("sweep --config here/config.yaml --out here")
    assert "complete, 4 of 4" in superpose("show here").stdout


def test_a_complete_run_in_a_read_only_place_is_already_done(monkeypatch) -> None:
    superpose("sweep --out here " + GRID)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert "already done" in superpose("sweep --out here " + GRID).stderr
    assert "cannot be written to" in superpose("sweep --out there " + GRID, exit_code=2).stderr


def test_another_experiment_is_not_written_into_a_run() -> None:
    superpose("sweep -q --out here " + GRID)
    result = superpose("sweep --out here seed=1 " + GRID, exit_code=2)
    assert result.stderr.startswith("superpose: error: ")
    assert "seed" in result.stderr
    planned = superpose("plan --out here seed=1 " + GRID, exit_code=2)
    assert "another experiment" in planned.stderr


def test_plot_draws_the_default_and_the_named_plots() -> None:
    superpose("sweep -q --out here " + GRID)
    figures = superpose("plot here").stdout.split()
    assert "here/figures/arrows.png" in figures
    assert all(Path(figure).stat().st_size > 0 for figure in figures)
    named = superpose(
        "plot here --plot history --plot wtw --plot wtw --format svg,pdf --style paper --out drawn"
    )
    assert named.stdout.split() == [
        f"drawn/{name}" for name in ("history.svg", "history.pdf", "wtw.svg", "wtw.pdf")
    ]
    assert Path("drawn/history.md").read_text().startswith("# ")
    record = json.loads(superpose("plot here --plot wtw --json").stdout)
    assert record == {"run": "here", "figures": ["here/figures/wtw.png"]}


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("plot here --plot arows", "arrows"),
        ("plot here --plot phase", "last_importance"),
        ("plot here --style drak", "dark"),
        ("plot here --format gif", "png"),
    ],
)
def test_plots_that_cannot_be_drawn(line: str, hint: str) -> None:
    superpose("sweep -q --out here " + GRID)
    result = superpose(line, exit_code=2)
    assert hint in result.stderr
    assert not Path("here/figures").exists()


def test_no_figure_among_the_files_of_a_table() -> None:
    run = Path(superpose("sweep -q " + GRID).stdout.strip())
    for inside in ("features.parquet", "instances.parquet/figures"):
        said = superpose(f"plot {run} --plot dims --out {run / inside}", exit_code=2).stderr
        assert "a table's folder, which holds nothing else: choose another --out" in said
    assert not list(run.glob("*.parquet/*.png"))


def test_list() -> None:
    assert "intro" in superpose("list experiments").stdout
    assert superpose("list plots").stdout.startswith("arrows")
    assert "torch" in superpose("list engines").stdout
    assert "no runs in outputs/ yet" in superpose("list runs").stderr
    folder = superpose("sweep -q " + GRID).stdout.strip()
    record = json.loads(superpose("list runs --json").stdout)["runs"][0]
    assert (record["path"], record["status"], record["instances"]) == (folder, "complete", "4/4")


def test_list_finds_experiments_of_ones_own() -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/tiny.yaml").write_text("# @package _global_\n# A very small one.\nrestarts: 2\n")
    lines = superpose("list experiments --config-dir mine").stdout.splitlines()
    assert ["tiny", "A very small one."] in [line.split(maxsplit=1) for line in lines]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("superpose_cli.pipeline.run_experiment", broken)
    result = superpose("sweep", exit_code=1)
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_failure_that_is_no_usage_error_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from superpose_cli.errors import SuperposeError

    def full(*_: object, **__: object) -> None:
        raise SuperposeError("the disk is full:\nmake room")

    monkeypatch.setattr("superpose_cli.pipeline.run_experiment", full)
    assert superpose("sweep", exit_code=1).stderr == "superpose: error: the disk is full: make room\n"


def test_nothing_typed_is_help() -> None:
    assert superpose("").stdout == superpose("--help").stdout
