"""`superpose verify`: the table, the plain lines, JSON, exit codes, and one line for what is wrong."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from superpose_cli.claims.registry import claims, select
from superpose_cli.claims.verify import verify
from superpose_cli.cli.app import app
from superpose_cli.cli.verify_views import print_verified
from superpose_cli.results.run import load_run
from tests.claims.paper_specs import intro, two_axes
from tests.synthetic import write_run


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["verify", *arguments])


def right(path: Path) -> Path:
    return write_run(path, **intro().arguments())


def wrong(path: Path) -> Path:
    return write_run(path, **two_axes(intro()).arguments())


def test_without_runs_every_claim_is_not_run_and_that_is_no_failure(outside: Path) -> None:
    done = invoke("--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [one["id"] for one in found["claims"]] == [one.id for one in claims()]
    assert found["counts"] == {"holds": 0, "fails": 0, "inconclusive": 0, "not run": len(claims())}
    assert all(one["command"].startswith("superpose sweep experiment=") for one in found["claims"])


def test_the_newest_run_under_outputs_is_measured(outside: Path) -> None:
    run = right(outside / "outputs" / "intro" / "0000")
    done = invoke("--json", "--claim", "axes-square-pentagon")
    (one,) = json.loads(done.stdout)["claims"]
    assert (done.exit_code, one["verdict"], one["restarts"]) == (0, "holds", 4)
    assert one["runs"] == {"intro": str(run.relative_to(outside))}
    assert one["command"] is None
    assert "square" in one["measured"]


def test_a_failed_claim_is_exit_code_1(outside: Path) -> None:
    run = wrong(outside / "run")
    done = invoke(str(run))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("fails         axes-square-pentagon  2 lone features at p = 1")
    assert lines[1:] == ["1 claim: 1 fails"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no run 'nowhere'"),
        (["."], "is not a run"),
        (["--claim", "sticky-hafl"], "did you mean 'sticky-half'?"),
        (["--section", "phase chance"], "did you mean 'superposition as a phase change'?"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, outside: Path) -> None:
    (outside / "file").touch()
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_the_terminal(width: int, tmp_path: Path) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=width, force_terminal=True, color_system=None)
    print_verified(console, verify([load_run(right(tmp_path / "run"))], select(section="background")))
    print_verified(console, verify([], select(["incidental-polysemanticity"])))
    text = shown.getvalue()
    rows = [line for line in text.splitlines() if "superpose sweep" not in line]
    assert max(map(len, rows)) <= width
    for word in ("Background and Motivation", "axes-square-pentagon", "holds", "expected", "measured"):
        assert word in text
    assert "to run: superpose sweep experiment=incidental" in text


def test_run_trains_what_is_missing(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the training: what is asked for is what the claims lack, in order."""
    asked = []

    def trained(experiment, *, watch):
        asked.append(experiment.name)
        path = Path("outputs") / experiment.name / "0000"
        arguments = intro().arguments() | {"experiment": experiment.name}
        result = type("Result", (), {"status": "complete", "path": write_run(path, **arguments)})
        return result

    monkeypatch.setattr("superpose_cli.pipeline.run_experiment", trained)
    done = invoke("--run", "--claim", "axes-square-pentagon", "--json", "-q")
    assert asked == ["intro"]
    assert json.loads(done.stdout)["claims"][0]["verdict"] == "holds"
    invoke("--run", "--claim", "axes-square-pentagon", "--json", "-q")
    assert asked == ["intro"]
    invoke("intro", "--run", "--json", "-q")
    assert asked == ["intro"], "claims about other experiments were not asked about"
