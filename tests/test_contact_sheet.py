"""docs/figures.md names the figures of the experiments as they are shipped."""

import re
from pathlib import Path

from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import list_experiments

FIGURES = Path(__file__).parents[1] / "docs" / "figures.md"
ROW = re.compile(r"^\| \d+ \| `(\w+)` \| `(\w+)` \| ", re.MULTILINE)


def test_the_contact_sheet_has_every_plot_of_every_experiment_that_two_cores_run() -> None:
    """Not those of the published sizes. Where it fails: `make contact-sheet`."""
    shown = ROW.findall(FIGURES.read_text(encoding="utf-8"))
    names = [name for name, _ in list_experiments() if not name.endswith("_published")]
    listed = [
        (name, plot) for name in names for plot in load_experiment([f"experiment={name}"]).variants[0].plots
    ]
    assert len(listed) > 60
    assert sorted(shown) == sorted(listed)
