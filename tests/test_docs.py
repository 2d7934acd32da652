"""The README keeps its word: its commands parse, its targets, files and Python exist."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image
from typer.testing import CliRunner

from superpose_cli.cli.app import app
from superpose_cli.experiment.axes import Experiment
from superpose_cli.experiment.grid import Grid
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAUNCHERS = (ROOT / "docs" / "launchers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for language, block in BLOCKS
        if language == "sh"
        for line in block.splitlines()
        if line.startswith("superpose ")
    }
    | {
        line.partition("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", LAUNCHERS, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("superpose sweep")
    }
    | {
        " ".join(text.split())
        for text in re.findall(r"`(superpose (?:sweep|train|plan) [^`\[]*=[^`]*)`", README)
    }
)


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the README's example of an experiment in my/."""
    monkeypatch.chdir(tmp_path)
    experiment = next(block for language, block in BLOCKS if language == "yaml")
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "pairs.yaml").write_text(experiment)
    return tmp_path


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in ("train", "sweep", "plan")])
def test_a_training_command_makes_a_grid(
    command: str, newcomer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = []

    def gathered(experiment: Experiment, **_: object) -> NoReturn:
        grids.append(Grid(experiment))
        raise KeyboardInterrupt

    monkeypatch.setattr("superpose_cli.pipeline.run_experiment", gathered)
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert (result.exit_code, len(grids)) == (130, 1), result.output


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in ("plot", "show")])
def test_a_looking_command_parses(command: str, newcomer: Path) -> None:
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert (result.exit_code, result.stderr.partition(" '")[0]) == (
        2,
        "superpose: error: there is no run",
    )


@pytest.mark.parametrize("command", ["train", "sweep", "plan", "plot", "show", "verify", "list", "bench"])
def test_every_command_is_documented(command: str) -> None:
    assert f"`superpose {command} " in README


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:.* ## ", makefile, re.MULTILINE), target


def test_named_files_and_columns_exist() -> None:
    for name in re.findall(r"superpose_cli/[a-z_/]+\.py|conf/[a-z_/]*(?:\.yaml)?", README):
        assert (ROOT / name).exists(), name


def test_python_examples_run(newcomer: Path) -> None:
    """With a sweep of the documented shape, shortened."""
    sweep = next(c for c in COMMANDS if "--out mine" in c)
    short = ["engine.name=torch", "train.steps=3", "evaluation.n_rows=256", "train.n_batch=16"]
    assert CliRunner().invoke(app, [*shlex.split(sweep)[1:], *short, "-q"]).exit_code == 0
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) == 2
    short_run = blocks[1].replace('"restarts=16"', ", ".join(f'"{word}"' for word in short))
    assert short_run != blocks[1]
    for block in (blocks[0], short_run):
        exec(compile(block, "README.md", "exec"), {})


def test_the_contact_sheet_shows_complete_runs_of_shipped_experiments(tmp_path, monkeypatch, capsys) -> None:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    write_run(tmp_path / "runs" / "a", polygon(5)[None], experiment="intro")
    write_run(tmp_path / "runs" / "b", polygon(5)[None], experiment="intro", status="interrupted")
    monkeypatch.setattr(figures, "DOCS", tmp_path)
    monkeypatch.setattr(figures.sys, "argv", ["figures.py", str(tmp_path / "runs")])
    figures.main()
    told = capsys.readouterr().err
    assert "no complete run of geometry" in told
    assert "plot history cannot show" in told
    text = (tmp_path / "figures.md").read_text(encoding="utf-8")
    assert "| 1 | `intro` | `arrows` | 5 features in the plane" in text
    with Image.open(tmp_path / "figures.png") as picture:
        assert picture.width == figures.GAP + figures.COLUMNS * (figures.WIDTH + figures.GAP)
