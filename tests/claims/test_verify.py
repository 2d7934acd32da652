"""Which runs are measured, what is left open, and how claims are found."""

from pathlib import Path
from typing import Any

import pytest

from superpose_cli.claims.base import Inconclusive, Measured, claim
from superpose_cli.claims.registry import claims, experiments, sections, select
from superpose_cli.claims.verify import newest_runs, verify
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.results.run import Run, load_run
from tests.claims.paper_specs import intro
from tests.synthetic import write_run


def stored(path: Path, **changes: Any) -> Run:
    return load_run(write_run(path, **intro().arguments() | changes))


def made(measure):
    """A claim about `intro` that is measured so."""
    words = dict.fromkeys(("section", "citation", "expected", "tolerance"), "words")
    return claim("made", **words, source="theory", experiment="intro")(measure)


def test_there_are_forty_claims_and_more_each_complete_and_about_shipped_experiments() -> None:
    found = claims()
    shipped = {name for name, _ in list_experiments()}
    assert len(found) >= 40
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert one.id == one.id.lower().replace(" ", "-")
        assert one.statement.endswith(".")
        assert all((one.section, one.citation, one.expected, one.tolerance))
        assert one.source in ("theory", "paper", "measured")
        assert set(one.experiments) <= shipped
    assert set(experiments()) == {name for one in found for name in one.experiments}


def test_claims_are_found_by_id_and_section() -> None:
    assert [one.id for one in select(["sticky-half"])] == ["sticky-half"]
    some = select(section="phase change")
    assert {one.section for one in some} == {"Superposition as a Phase Change"}
    assert select(section=sections()[0].upper())
    assert select() == claims()
    with pytest.raises(ConfigError, match="did you mean 'sticky-half'"):
        select(["sticky-hafl"])
    with pytest.raises(ConfigError, match="did you mean 'computation in superposition'"):
        select(section="computing in superposition")


def test_every_claim_is_listed_and_those_without_runs_name_the_command(tmp_path: Path) -> None:
    found = verify([stored(tmp_path / "run")])
    assert [one.claim for one in found] == list(claims())
    (measured,) = [one for one in found if one.runs]
    assert (measured.claim.id, measured.outcome.verdict) == ("axes-square-pentagon", "holds")
    assert (measured.runs, measured.missing, measured.command) == ({"intro": tmp_path / "run"}, (), "")
    by_id = {one.claim.id: one for one in found}
    both = by_id["linear-never-superposes"]
    assert (both.outcome.verdict, both.runs) == ("not run", {})
    assert both.command == (
        "superpose sweep experiment=basic_small && superpose sweep experiment=basic_large"
    )
    assert sum(one.outcome.verdict == "not run" for one in found) == len(found) - 1


def test_the_newest_complete_run_of_an_experiment_is_measured(tmp_path: Path) -> None:
    runs = [
        stored(tmp_path / str(i), status=status) for i, status in enumerate(["complete"] * 2 + ["running"])
    ]
    times = ["2026-01-03", "2026-01-02", "2026-01-04"]
    for run, time in zip(runs, times, strict=True):
        object.__setattr__(run.manifest, "updated", f"{time}T00:00:00+00:00")
    assert newest_runs(runs) == {"intro": runs[0]}
    assert newest_runs(runs[::-1]) == {"intro": runs[0]}
    assert newest_runs(runs[2:]) == {}


def test_what_a_run_lacks_leaves_a_claim_open(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")

    def lacks(run: Run) -> Measured:
        raise Inconclusive("needs a miracle")

    def unknown_column(run: Run) -> Measured:
        run.best(["no_such_column"])
        raise AssertionError

    assert made(lacks).check({"intro": run}).measured == "needs a miracle"
    found = made(unknown_column).check({"intro": run})
    assert found.verdict == "inconclusive"
    assert "no_such_column" in found.measured
