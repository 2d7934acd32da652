"""What the claims of correlated features are measured on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from superpose_cli.claims.correlated import correlated_side_by_side
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.claims.correlated_specs import correlated_sets
from tests.synthetic import write_run


def test_a_dead_feature_is_no_partner_on_the_other_side(tmp_path: Path) -> None:
    """A row of W that is all but 0 has a direction, and what it costs is the price of the feature."""
    spec = correlated_sets()
    assert spec.all_W is not None
    weights = list(spec.all_W)
    hexagon = polygon(6)
    weights[97] = np.vstack([hexagon[:5], -1e-4 * hexagon[4:5]])  # beside the best of the six features
    right = load_run(write_run(tmp_path / "right", **spec.arguments()))
    dead = load_run(write_run(tmp_path / "dead", **replace(spec, all_W=weights).arguments()))
    found = [correlated_side_by_side.check({"correlated_sets": run}) for run in (right, dead)]
    assert [one.verdict for one in found] == ["holds", "holds"]
    assert [(one.values["apart"], one.values["whole"]) for one in found] == [(1, 4), (0, 3)]
