"""`compare`, `clean` and `list runs` as a user sees them."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from superpose_cli.cli.app import app
from tests.synthetic import write_run

DENSITY = "data.feature_probability"


def superpose(line: str, **options) -> Result:
    return CliRunner().invoke(app, shlex.split(line), **options)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs over one axis, of other losses, widths and names."""
    monkeypatch.chdir(tmp_path)
    W = np.ones((40, 2, 1))
    densities = np.geomspace(1, 0.01, 40).tolist()
    for name, loss, steps in (("some/aa000001", 1.0, 10), ("some/bb000002", 1.5, 20)):
        write_run(
            Path("outputs") / name,
            W * loss,
            axes={DENSITY: densities},
            columns={"loss": loss * np.linspace(0.1, 0.2, 40)},
            config={"train": {"steps": steps}, "model": {"n_features": 2}},
        )
    return tmp_path


@pytest.mark.parametrize("columns", [80, 130])
def test_a_comparison_fits_its_terminal(runs: Path, columns: int) -> None:
    done = superpose("compare aa00 bb00", env={"COLUMNS": str(columns)})
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    text = done.stdout
    assert text.index("train.steps") < text.index("40 cells in both")
    assert "the 30 of 40 that changed most" in text
    assert text.count("+50.0%") >= 30
    assert ("||W||²" in text) == (columns > 100)
    assert "2s" in text
    assert "…" not in text


def test_a_comparison_as_json(runs: Path) -> None:
    found = json.loads(superpose("compare aa00 bb00 --json").stdout)
    assert found["settings"] == [{"key": "train.steps", "one": 10, "other": 20}]
    assert (found["cells_in_both"], len(found["cells"]), found["same_key"]) == (40, 40, 40)
    assert found["cells"][0]["loss"] == pytest.approx([0.1, 0.15])
    assert found["joined_by"] == ["feature_probability"]


def test_a_run_compared_with_itself_is_the_same(runs: Path) -> None:
    text = superpose("compare aa00 aa00 --cells 0").stdout
    assert "the same settings" in text
    assert "40 of them with the same bits" in text
    assert "within 1% in 40" in text


def test_cleaning_asks_first(runs: Path) -> None:
    left = runs / "outputs" / "some" / "aa000001" / ".staging" / "partial-1"
    left.write_bytes(bytes(1500))
    asked = superpose("clean", input="n\n")
    assert asked.exit_code == 0
    assert "1.5 kB" in asked.stdout
    assert "Remove 1 leftover (1.5 kB)?" in asked.stderr
    assert left.exists()
    assert json.loads(superpose("clean --json").stdout)["freed_bytes"] == 0
    assert left.exists()
    assert "1.5 kB freed" in superpose("clean --yes").stderr
    assert not left.exists()
    assert "nothing to clean in outputs" in superpose("clean").stderr


def test_nobody_to_ask_is_no(runs: Path) -> None:
    left = runs / "outputs" / "some" / "aa000001" / ".staging" / "partial-1"
    left.touch()
    assert superpose("clean", input="").exit_code != 0
    assert left.exists()


def test_runs_are_listed_where_they_are_looked_for(runs: Path) -> None:
    assert superpose("list runs").stdout.count("40/40") == 2
    assert superpose("list runs --outputs outputs/some --json").exit_code == 0
    assert "no runs in elsewhere/ yet" in superpose("list runs --outputs elsewhere").stderr
    (runs / "outputs/some/aa000001/manifest.json").write_text("{")
    listed = superpose("list runs")
    assert listed.exit_code == 0
    assert listed.stdout.count("40/40") == 1
    assert "unreadable" in listed.stdout
    assert "is not valid JSON" in listed.stderr


def test_clean_without_an_answer_removes_nothing(runs: Path) -> None:
    partial = runs / "outputs/some/aa000001/.staging/partial-0"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"x")
    done = superpose("clean", input="")
    assert done.exit_code == 130
    assert "superpose: error: nothing was done; --yes does not ask" in done.output
    assert partial.exists()
