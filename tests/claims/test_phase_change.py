"""What the claims of the phase change say beside their verdicts."""

from pathlib import Path

from superpose_cli.claims.phase_change import phase_boundary_is_theorys, phase_change_is_first_order
from superpose_cli.results.run import load_run
from tests.claims.paper_specs import pairs_end, phase_2
from tests.claims.specs import Spec
from tests.synthetic import write_run


def measured(path: Path, spec: Spec) -> tuple[str, float]:
    run = load_run(write_run(path, **spec.arguments()))
    found = phase_change_is_first_order.check({"phase_2_in_1": run})
    return found.verdict, found.values["rows_with_pairs_beyond"]


def test_losses_that_cross_make_the_change_first_order_and_pairs_beyond_the_crossing_are_counted(
    tmp_path: Path,
) -> None:
    right = phase_2()
    assert measured(tmp_path / "both", right) == ("holds", 4)
    assert measured(tmp_path / "ends", pairs_end(right)) == ("holds", 0)


def test_a_coarse_map_does_not_tell_where_the_losses_cross(tmp_path: Path) -> None:
    coarse = load_run(write_run(tmp_path / "run", **phase_2(densities=10).arguments()))
    found = phase_boundary_is_theorys.check({"phase_2_in_1": coarse})
    assert found.verdict == "inconclusive"
    assert found.measured == "needs densities at most 1.35 times the next, the run has 1.67 times"
