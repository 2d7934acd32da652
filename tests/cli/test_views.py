"""What `show` prints of stored runs: of one cell, one axis, two axes, and of failures."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from superpose_cli.cli.app import app
from superpose_cli.cli.views import print_run
from superpose_cli.results.run import load_run
from tests.synthetic import write_run

ANGLES = 2 * np.pi * np.arange(5) / 5
PENTAGON = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def shown(path: Path, width: int = 80, colour: bool = False) -> str:
    """The text of `superpose show`."""
    system = "truecolor" if colour else None
    console = Console(width=width, record=True, color_system=system, force_terminal=colour, quiet=False)
    with console.capture() as capture:
        print_run(console, load_run(path))
    return capture.get()


def test_one_cell(tmp_path: Path) -> None:
    """The restarts by objective, the best one's features, and W^T W as numbers."""
    W = np.stack([0 * PENTAGON, PENTAGON])
    path = write_run(
        tmp_path / "run",
        W,
        restarts=2,
        b=-0.25,
        columns={"objective": np.array([0.3, 0.1]), "status": np.array(["dead", "ok"])},
    )
    text = shown(path)
    lines = [line.split() for line in text.splitlines()]
    assert "grid        1 cell x 2 restarts" in text
    assert "1 instance dead: cell 0 restart 0" in text
    assert lines.index(["1", "0.1", "0.01", "0.5", "5", "ok"]) < lines.index(
        ["0", "0.3", "0.01", "0.5", "0", "dead"]
    )
    assert "features of the best restart, 1" in text
    assert ["4", "1", "-0.25", "0.4", "1.5", "superposed"] in lines
    assert "0   1.00  0.31 -0.81 -0.81  0.31" in text


def test_an_untied_model_shows_the_product_with_its_decoder(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", np.ones((1, 2, 1)), W_dec=np.array([[[2.0], [3.0]]]), b=None)
    text = shown(path)
    assert "W W_dec^T" in text
    assert "0   2.00  3.00" in text
    assert "bias" not in text


def test_a_large_model_is_a_picture_that_says_what_it_leaves_out(tmp_path: Path) -> None:
    W = np.eye(100)[None, :, :50]
    path = write_run(tmp_path / "run", W)
    text = shown(path)
    assert "W^T W of the first 77 of 100 features" in text
    assert "features (the first 40 of 100)" in text
    lines = [line for line in text.splitlines() if not line.startswith("run ")]  # its path is never folded
    assert max(map(len, lines)) <= 80
    assert "W^T W (# + positive" in shown(path, width=160)
    assert "▀" in shown(path, width=160, colour=True)


def test_one_axis(tmp_path: Path) -> None:
    """A row for each cell with the share of restarts that reached the best; diverged ones never do."""
    path = write_run(
        tmp_path / "run",
        np.stack([PENTAGON] * 8),
        restarts=4,
        axes={"data.feature_probability": [0.5, 0.05]},
        columns={
            "objective": np.array([1.0, 1.09, 1.2, 0.5, 3.0, 2.0, 4.0, 5.0]),
            "status": np.array(["ok", "ok", "ok", "diverged", "ok", "ok", "ok", "ok"]),
        },
    )
    rows = [line.split() for line in shown(path).splitlines()]
    assert ["0.5", "0.01", "0.5", "5", "0.4", "0.5", "ok"] in rows
    assert ["0.05", "0.01", "0.5", "5", "0.4", "0.25", "ok"] in rows
    assert ["1", "instance", "diverged,", "in", "1", "cell:"] in rows
    assert ["cell", "0", "(data.feature_probability=0.5),", "restart", "3"] in rows


def test_a_long_axis_is_thinned(tmp_path: Path) -> None:
    values = np.linspace(0.01, 1, 100).tolist()
    path = write_run(tmp_path / "run", np.stack([PENTAGON] * 100), axes={"data.feature_probability": values})
    assert "40 of 100 cells, evenly spaced" in shown(path)


def phase_run(path: Path) -> Path:
    """2 x 3 cells whose last feature is ignored, superposed and dedicated in both rows."""
    models = [[[1.0, 0], [0, 0]], [[1.0, 0], [-1, 0]], [[1.0, 0], [0, 1]]]
    axes = {"data.feature_probability": [1.0, 0.1], "importance.last_importance": [0.1, 1.0, 10.0]}
    return write_run(path, np.array(models * 2), axes=axes, columns={"loss_ratio": np.linspace(0, 1, 6)})


def test_two_axes_of_the_last_feature(tmp_path: Path) -> None:
    lines = shown(phase_run(tmp_path / "run")).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("the last feature"))
    assert lines[start + 1] == "rows: data.feature_probability; columns: importance.last_importance"
    assert lines[start + 2 : start + 4] == ["  1 ..oo##", "0.1 ..oo##"]
    assert lines[start + 4].split() == ["0.1", "10"]


def test_maps_of_three_axes_name_what_is_fixed(tmp_path: Path) -> None:
    axes = {"seed": [7, 8], "data.feature_probability": [1.0, 0.5, 0.1], "train.steps": [1, 2, 3, 4]}
    path = write_run(tmp_path / "run", np.stack([PENTAGON] * 24), axes=axes)
    text = shown(path)
    assert "rows: data.feature_probability; columns: train.steps; seed = 7" in text
    assert "features represented (. 0, @ 5)" in text
    assert "  1 @@@@@@@@" in text


def test_a_partial_run_leaves_its_missing_cells_open(tmp_path: Path) -> None:
    path = phase_run(tmp_path / "run")
    write_run(
        tmp_path / "sharded",
        np.ones((4, 2, 1)),
        instances_per_shard=2,
        axes={"data.feature_probability": [1.0, 0.1], "importance.last_importance": [1.0, 2.0]},
    )
    (tmp_path / "sharded" / "instances.parquet" / "shard-000001.parquet").unlink()
    text = shown(tmp_path / "sharded")
    assert "2 of 4 instances stored" in text
    assert "0.1 ????" in text
    assert "?" not in shown(path)


def test_colour_and_its_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = phase_run(tmp_path / "run")
    assert "\x1b[48;2;213;94;0m" in shown(path, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "48;2" not in shown(path, colour=True)
    assert "..oo##" in shown(path, colour=True)


def test_the_json_summary(tmp_path: Path) -> None:
    path = phase_run(tmp_path / "run")
    result = CliRunner().invoke(app, ["show", str(path), "--json"])
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["n_cells"] == 6
    assert record["counts"] == {"ok": 6}
    assert record["best_loss_ratio"] == [0.0, 1.0]
    assert record["axes"][1] == {"keys": ["importance.last_importance"], "size": 3}
