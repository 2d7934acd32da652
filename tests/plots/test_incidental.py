"""`incidental`: polysemantic neurons of each restart beside n^2/(4m)."""

import numpy as np
import pytest

from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.stored import Lacks
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

PLOT = PLOTS["incidental"]
ONE_ON = {"data_kind": "exactly_k", "k": 1}


def shared(m: int, count: int, n: int = 8) -> np.ndarray:
    """n features of which 2 x count sit in pairs on count neurons, with opposite signs; the rest alone."""
    W = np.zeros((n, m))
    for pair in range(count):
        W[2 * pair, pair], W[2 * pair + 1, pair] = 1, -1
    for i in range(2 * count, n):
        W[i, i] = 1
    return W


@pytest.fixture
def run(tmp_path):
    W = [*(shared(12, count) for count in (1, 2, 3)), *(shared(16, count) for count in (1, 1, 1))]
    return load_run(
        write_run(tmp_path / "run", W, axes={"model.n_hidden": [12, 16]}, restarts=3, columns=ONE_ON)
    )


def test_counts_means_and_expectation(run) -> None:
    data = PLOT.select(run)
    assert [(width.n, width.m, width.counts.tolist()) for width in data.widths] == [
        (8, 12, [1, 2, 3]),
        (8, 16, [1, 1, 1]),
    ]
    assert [width.expected for width in data.widths] == pytest.approx([64 / 48, 1])
    assert data.widths[0].error == pytest.approx(1 / np.sqrt(3))
    plotted = PLOT(run, find_style("light"))
    (ax,) = plotted.figure.axes
    curve = ax.lines[0].get_xydata()
    np.testing.assert_allclose(curve[:, 1], 16 / curve[:, 0])
    dots = sorted(y for line in ax.lines if line.get_marker() == "o" for y in line.get_ydata())
    assert dots == [1, 1, 1, 1, 2, 3]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["12", "16"]
    assert "n = 8, m = 12: 2 ± 0.58 (1 to 3 in 3 restarts), n²/4m = 1.33" in plotted.words.paragraphs[0]
    for style in STYLES:
        assert_fits(PLOT, run, find_style(style))


def test_a_diverged_restart_is_left_out(tmp_path) -> None:
    W = [shared(12, 2), np.full((8, 12), np.nan), shared(16, 1), shared(16, 1)]
    status = np.array(["ok", "diverged", "ok", "ok"])
    path = write_run(
        tmp_path / "run",
        W,
        axes={"model.n_hidden": [12, 16]},
        restarts=2,
        columns=ONE_ON | {"status": status},
    )
    widths = PLOT.select(load_run(path)).widths
    assert [width.counts.tolist() for width in widths] == [[2], [1, 1]]
    assert np.isnan(widths[0].error)


@pytest.mark.parametrize(
    ("axis", "columns", "message"),
    [
        ({"seed": [0, 1]}, ONE_ON, r"no axis model\.n_hidden; sweep experiment=incidental"),
        ({"model.n_hidden": [12, 16]}, {}, "exactly one feature on"),
        ({"model.n_hidden": [4, 6]}, ONE_ON, "sharing is no accident"),
    ],
)
def test_which_runs_are_refused(tmp_path, axis, columns, message: str) -> None:
    W = [np.ones((8, m if m > 2 else 12)) for m in next(iter(axis.values()))]
    run = load_run(write_run(tmp_path / "run", W, axes=axis, columns=columns))
    with pytest.raises(Lacks, match=message):
        PLOT.select(run)
