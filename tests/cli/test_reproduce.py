"""`superpose reproduce`: its lines, its JSON, its exit codes."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from superpose_cli import reproduce as module
from superpose_cli.claims.base import Measured, claim
from superpose_cli.cli.app import app
from superpose_cli.cli.stages import StageBar
from superpose_cli.reproduce import Part
from superpose_cli.results.run import Run

TINY = ("engine=torch", "train.steps=8", "train.n_batch=32", "restarts=1", "history.every=4", "plots=[wtw]",
        "evaluation.method=sampled", "evaluation.n_rows=128", "data.feature_probability=0.5")  # fmt: skip


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(module, "shipped", lambda: {"intro": TINY, "energy_levels": TINY})


def superpose(*line: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(line))
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result


def decided(monkeypatch: pytest.MonkeyPatch, *, holds: bool) -> None:
    """One claim, about intro, whose measurement says this."""

    @claim(
        "the-claim", section="S", source="theory", citation="c", experiment="intro", expected="one cell",
        tolerance="none",
    )  # fmt: skip
    def one(run: Run) -> Measured:
        """So."""
        return Measured(holds, f"{run.n_cells} cell", {})

    monkeypatch.setattr(module, "claims", lambda: (one,))


def test_it_ends_with_the_claims_and_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    decided(monkeypatch, holds=True)
    done = superpose("reproduce", "--quick")
    *claims, page = done.stdout.splitlines()
    assert page == "outputs/quick/reproduce.html"
    assert Path(page).is_file()
    assert claims == [
        "holds         the-claim  1 cell (expected: one cell; restarts: 1)",
        "1 claim: 1 holds",
    ]
    lines = done.stderr.splitlines()
    assert lines[0] == "1/2 intro: 1 instance; engine torch"
    assert any(line.startswith("2/2 energy_levels: complete after") for line in lines)
    assert lines[-1].startswith("complete after")
    again = superpose("reproduce", "--quick", "--only", "intro", "--quiet")
    assert again.stderr == ""


def test_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    decided(monkeypatch, holds=True)
    record = json.loads(superpose("reproduce", "--quick", "--json", "--out", "here/page.html").stdout)
    assert record["report"] == "here/page.html"
    assert [part["status"] for part in record["experiments"]] == ["complete", "complete"]
    assert record["experiments"][0]["n_trained"] == 1
    assert record["experiments"][0]["figures"][0].endswith("figures/wtw.png")
    assert record["counts"]["holds"] == 1


def test_a_claim_that_fails_or_an_experiment_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    decided(monkeypatch, holds=False)
    assert "fails" in superpose("reproduce", "--quick", "--only", "intro", exit_code=1).stdout
    decided(monkeypatch, holds=True)
    monkeypatch.setattr(module, "shipped", lambda: {"intro": TINY, "energy_levels": ("model.n_hidden=-1",)})
    failed = superpose("reproduce", "--quick", exit_code=1)
    assert "failed: energy_levels" in failed.stderr
    assert failed.stdout.splitlines()[-1] == "outputs/quick/reproduce.html"


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_a_stop_prints_the_command_that_goes_on(json_: list[str]) -> None:
    line = ["reproduce", "--quick", "--only", "intro", "--engine", "torch", "--max-seconds", "0", *json_]
    stopped = superpose(*line, exit_code=130)
    resume = "superpose reproduce --quick --only intro --engine torch"
    assert f"to continue: {resume}\n" in stopped.stderr
    assert not json_ or json.loads(stopped.stdout) == {
        "status": "interrupted",
        "experiments": [],
        "resume": resume,
    }


def test_ctrl_c_between_trainings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "verify", stop)
    stopped = superpose("reproduce", "--quick", exit_code=130)
    assert "to continue: superpose reproduce --quick\n" in stopped.stderr
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (("--only", "intros"), "Did you mean 'intro'"),
        (("--out", "."), "is a folder"),
        (("--max-seconds", "-1"), "--max-seconds"),
        (("--engine", "fast"), "no engine 'fast'"),
        (("--engine", ""), "no engine ''"),
        (("--device", "gpu"), "must be auto, cpu, cuda"),
        (("--only", ","), "no experiment is named"),
        (("--only", ""), "no experiment is named"),
    ],
)
def test_wrong_use_is_one_line(line: tuple[str, ...], told: str) -> None:
    refused = superpose("reproduce", "--max-seconds=0", *line, exit_code=2)
    (only,) = refused.stderr.splitlines()
    assert told in only
    assert not Path("outputs").exists()


def test_a_place_for_no_run_is_told_once() -> None:
    Path("outputs").touch()
    refused = superpose("reproduce", "--quick", exit_code=2)
    (line,) = refused.stderr.splitlines()
    assert "outputs is a file" in line


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_a_page_that_cannot_be_written_is_told_after_the_claims(
    monkeypatch: pytest.MonkeyPatch, json_: list[str]
) -> None:
    decided(monkeypatch, holds=True)
    page = "a" * 250  # no file beside it has a longer name: the draft cannot be made
    done = superpose("reproduce", "--quick", "--only", "intro", "--out", page, *json_, exit_code=1)
    if json_:
        record = json.loads(done.stdout)
        assert (record["status"], record["report"], record["counts"]["holds"]) == ("complete", None, 1)
    else:
        assert done.stdout.splitlines()[-1] == "1 claim: 1 holds"
    assert done.stderr.splitlines()[-1].startswith(f"superpose: error: cannot write {page}: ")


def test_a_name_that_is_given_twice_counts_once() -> None:
    line = ["--only", "energy_levels,intro,", "--only", "intro", "--max-seconds", "0"]
    stopped = superpose("reproduce", *line, exit_code=130)
    assert "to continue: superpose reproduce --only energy_levels,intro\n" in stopped.stderr


def test_one_bar_tells_of_the_experiment_at_hand() -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120)
    with StageBar(terminal) as bar:
        bar.entered(2, 5, "geometry")
        bar.started(40, 10, "numba", "")
        bar.progressed(15, 0.01, 1000)
        task = bar.progress.tasks[0]
        assert (task.total, task.completed) == (5, 1 + 25 / 40)
        assert task.description.startswith("2/5 geometry  25/40 instances")
        bar.compiling(None)
        bar.compiling(2.0)
        bar.doing("drawing")
        assert task.description == "2/5 geometry  drawing"
        bar.left(Part(name="geometry", result=None, error="no room"))
        bar.ended("complete")
    output = shown.getvalue()
    assert "2/5 geometry: failed: no room" in output
    assert "2.0 s of them compiling (once)" in output


@pytest.mark.parametrize(("width", "kept"), [(140, "30.0k steps"), (100, "loss 0.01"), (80, "")])
def test_a_narrow_terminal_keeps_the_bar_and_the_time_left(
    width: int, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    with StageBar(Console(file=io.StringIO(), force_terminal=True, width=width)) as bar:
        bar.entered(25, 28, "memorization_reduced")
        bar.started(40, 10, "numba", "")
        bar.progressed(5, 0.01, 10_000)
        bar.pace.first = (time.monotonic() - 10, 5, 10_000)
        bar.progressed(15, 0.01, 30_000)
        (task,) = bar.progress.tasks
        told = task.description
    assert told.startswith("25/28 memorization_reduced  25/40 instances  ")
    assert told.endswith(" s left")
    assert kept in told
    assert len(told) <= width - StageBar.BAR_WIDTH
