"""`superpose report`: where the page goes, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from superpose_cli.cli.app import app
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run


@pytest.fixture(autouse=True)
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_run(Path("outputs") / name / "00000000", polygon(5)[None], experiment=name, plots=("arrows",))


def superpose(*line: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(line))
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result


def test_the_page_of_a_run_lies_in_its_folder_and_harms_nothing_there() -> None:
    page = Path(superpose("report", "one").stdout.strip())
    assert page == Path("outputs/one/00000000/report.html")
    assert page.read_text(encoding="utf-8").count("<img ") == 1
    assert not (page.parent / "figures").exists()
    assert len(load_run(page.parent).instances()) == 1
    assert "outputs/one" in superpose("list", "runs").stdout


def test_the_page_of_several_runs_lies_beside_them() -> None:
    done = superpose("report", "one", "two", "one")
    assert done.stdout == "outputs/report.html\n"
    page = Path("outputs/report.html").read_text(encoding="utf-8")
    assert page.count('class="run"') == page.count("<img ") == 2


def test_json_tells_what_is_in_it() -> None:
    write_run(Path("flat"), np.ones((1, 3, 2)), plots=("arrows", "phase"))
    record = json.loads(superpose("report", "flat", "--out", "new/page.html", "--json").stdout)
    assert record["report"] == "new/page.html"
    (run,) = record["runs"]
    assert (run["run"], run["figures"]) == ("flat", ["arrows"])
    assert run["left_out"][0].startswith("plot phase cannot show run")
    assert record["claims"] == {}


def test_a_link_in_the_place_of_the_page_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    page = Path("outputs/one/00000000/report.html")
    page.symlink_to(target)
    superpose("report", "one")
    assert target.read_text() == "kept"
    assert not page.is_symlink()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (("oen",), "Did you mean 'one'?"),
        (("one", "--out", "outputs"), "outputs is a folder"),
        (("one", "--out", "precious/page.html"), "is a file"),
        ((), "RUN"),
    ],
)
def test_wrong_use_is_one_line(line: tuple[str, ...], told: str) -> None:
    Path("precious").write_text("")
    refused = superpose("report", *line, exit_code=2)
    assert told in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
