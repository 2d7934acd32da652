"""The plots over the grid: phase, success, spectrum."""

import numpy as np
import pytest

from superpose_cli.errors import RunError
from superpose_cli.plots.phase import select as select_phase
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import best_solution, phase_2_in_1, phase_3_in_2, phase_boundary, polygon
from tests.synthetic import write_run

P = "data.feature_probability"
R = "importance.last_importance"
STYLE = find_style("light")


def panel_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def pentagons(count: int) -> np.ndarray:
    """(5 * count, 2 * count): pentagons in orthogonal planes, every D_i = 2/5."""
    return np.kron(np.eye(count), polygon(5))


# ---------------------------------------------------------------- phase

SOLUTIONS_2 = {"ignored": [[1], [0]], "dedicated": [[0], [1]], "superposed": [[1], [-1]]}
SOLUTIONS_3 = {
    "ignored": [[1, 0], [0, 1], [0, 0]],
    "dedicated": [[1, 0], [0, 0], [0, 1]],
    "superposed": [[1, 0], [0, 1], [-1, 0]],
    "others_superposed": [[1, 0], [-1, 0], [0, 1]],
}
DENSITIES, IMPORTANCES = np.geomspace(1, 0.01, 10), np.geomspace(0.1, 10, 8)


def phase_run(tmp_path, theory=phase_2_in_1, solutions=SOLUTIONS_2, wrong=0, swap=False, **more):
    """W as theory wants it in each cell, but for the first `wrong` cells, which hold nothing."""
    axes = {P: DENSITIES.tolist(), R: IMPORTANCES.tolist()}
    p, r = np.meshgrid(DENSITIES, IMPORTANCES, indexing="ij")
    if swap:
        axes, p, r = dict(reversed(axes.items())), p.T, r.T
    best = best_solution(theory(p.ravel(), r.ravel()))
    W = np.array([solutions[str(name)] for name in best], np.float32)
    for cell in np.flatnonzero(best != "ignored")[:wrong]:
        W[cell] = solutions["ignored"]
    return load_run(write_run(tmp_path / "run", W, axes=axes, **more))


@pytest.mark.parametrize(
    ("theory", "solutions"), [(phase_2_in_1, SOLUTIONS_2), (phase_3_in_2, SOLUTIONS_3)], ids=["2in1", "3in2"]
)
def test_a_run_that_does_as_theory_says_agrees_everywhere(tmp_path, theory, solutions) -> None:
    words = PLOTS["phase"](phase_run(tmp_path, theory, solutions), STYLE).words
    assert "in 100 % (80 of 80) of the cells" in words.paragraphs[0]
    assert "Where they differ" not in words.paragraphs[0]
    assert f"among {len(solutions)} candidates" in words.paragraphs[2]


def test_phase_counts_the_cells_that_differ(tmp_path) -> None:
    words = PLOTS["phase"](phase_run(tmp_path, wrong=4), STYLE).words
    assert "in 95 % (76 of 80) of the cells" in words.paragraphs[0]
    assert "most often ignored instead of dedicated (" in words.paragraphs[0]


def phase_losses(loss_of_theory: np.ndarray, stderr: np.ndarray) -> dict:
    """Stored losses (means over 2 features) that are so many times the cheapest candidate's in each cell."""
    p, r = np.meshgrid(DENSITIES, IMPORTANCES, indexing="ij")
    cheapest = np.min(list(phase_2_in_1(p, r).values()), axis=0)
    loss = (loss_of_theory * cheapest / 2).ravel()
    return {"loss": loss, "objective": loss, "loss_stderr": stderr.ravel() * loss}


@pytest.mark.parametrize("swap", [False, True])
def test_phase_names_the_cells_where_training_failed(tmp_path, swap: bool) -> None:
    times, stderr = np.full((10, 8), 0.9), np.full((10, 8), 0.01)
    times[3, 2], times[9, 0], stderr[9, 5:] = 1.2, 34.0, 0.11
    times[9, 5] = 1.2  # within two standard errors
    columns = phase_losses(times, stderr)
    if swap:
        columns = {name: values.reshape(10, 8).T.ravel() for name, values in columns.items()}
    text = PLOTS["phase"](phase_run(tmp_path, swap=swap, columns=columns), STYLE).words.paragraphs[1]
    assert "In 2 cells the trained loss is more than 1.1 times" in text
    assert "The worst is 1/(1−S) = 100, p = 0.01, r = 0.1: 34 times." in text
    assert "exceeds 10 % of it in 3 cells." in text


def test_phase_says_that_no_training_failed_and_leaves_out_errors_of_exact_losses(tmp_path) -> None:
    times = np.full((10, 8), 0.9)
    times[0, 7] = 1.09
    columns = phase_losses(times, np.zeros((10, 8)))
    text = PLOTS["phase"](phase_run(tmp_path, columns=columns), STYLE).words.paragraphs[1]
    assert "In no cell is the trained loss more than 1.1 times" in text
    assert "at most 1.09 times (1/(1−S) = 1, p = 1, r = 10)" in text
    assert "standard error" not in text


@pytest.mark.parametrize("swap", [False, True])
def test_phase_map_lies_right_whatever_the_order_of_the_axes(tmp_path, swap: bool) -> None:
    run = phase_run(tmp_path, swap=swap)
    data = select_phase(run)
    np.testing.assert_allclose(data.x.positions, 1 / DENSITIES)
    np.testing.assert_allclose(data.y.positions, IMPORTANCES)
    assert data.regime[-1, 0] == "dedicated"  # dense, important
    assert data.regime[0, 0] == "ignored"  # dense, unimportant
    assert (data.regime[:, -1] == "superposed").all()  # sparse
    trained, theory, legend = PLOTS["phase"](run, STYLE).figure.axes
    colours = np.asarray(trained.collections[0].get_array())
    np.testing.assert_allclose(colours, STYLE.sharing_and_norm(data.interference, data.norm), atol=1e-6)
    np.testing.assert_allclose(colours[0, 0], 1, atol=1e-6)  # blank
    assert (trained.get_xscale(), trained.get_yscale()) == ("log", "log")
    assert trained.get_xlabel() == theory.get_xlabel() == "sparsity 1/(1−S)"
    assert "relative importance" in trained.get_ylabel()
    assert "superposition" in legend.get_xlabel()


def test_phase_overlays_the_theoretical_boundary_on_both_maps(tmp_path) -> None:
    figure = PLOTS["phase"](phase_run(tmp_path), STYLE).figure
    for ax in figure.axes[:2]:
        points = np.concatenate(
            [
                path.vertices
                for lines in ax.collections[1:]
                for path in lines.get_paths()
                if len(path.vertices)
            ]
        )
        density, r = 1 / points[:, 0], points[:, 1]
        on_curve = np.abs(density / phase_boundary(r) - 1) < 0.02
        on_axis = (np.abs(np.log(r)) < 0.02) & (density > 0.98 * 4 / 7)
        assert (on_curve | on_axis).all()
        assert on_curve.sum() > 100


def test_phase_shows_what_is_there_of_a_partial_run(tmp_path) -> None:
    run = phase_run(tmp_path, instances_per_shard=8)
    for table in ("features", "history", "instances"):
        (run.path / f"{table}.parquet" / "shard-000009.parquet").unlink()
    plotted = PLOTS["phase"](load_run(run.path), STYLE)
    assert "(72 of 72) of the cells" in plotted.words.paragraphs[0]
    assert "8 cells not trained yet, shown grey." in plotted.words.paragraphs[2]


def test_phase_refuses_other_grids_and_sizes(tmp_path) -> None:
    W = np.ones((2, 2, 1))
    one_axis = load_run(write_run(tmp_path / "a", W, axes={P: [1.0, 0.1]}))
    with pytest.raises(
        RunError, match=r"plot phase .*two axes.*feature_probability; use experiment=phase_2_in_1"
    ):
        select_phase(one_axis)
    axes = {P: [1.0, 0.1], R: [0.1, 10.0]}
    larger = load_run(write_run(tmp_path / "b", np.ones((4, 5, 2)), axes=axes))
    with pytest.raises(RunError, match="not n_features=5, n_hidden=2"):
        select_phase(larger)
    correlated = load_run(
        write_run(tmp_path / "c", np.ones((4, 2, 1)), axes=axes, columns={"data_kind": "correlated"})
    )
    with pytest.raises(RunError, match="independent features only"):
        select_phase(correlated)
    signed = load_run(write_run(tmp_path / "d", np.ones((4, 2, 1)), axes=axes, columns={"signed": True}))
    with pytest.raises(RunError, match="uniform and positive only"):
        select_phase(signed)


# ---------------------------------------------------------------- success


def success_run(tmp_path, axes, objective, status="ok"):
    objective = np.asarray(objective, float)
    W = np.tile(np.eye(3, 2), (objective.size, 1, 1))
    columns = {"objective": objective.ravel(), "status": status}
    return load_run(write_run(tmp_path / "run", W, axes=axes, restarts=objective.shape[-1], columns=columns))


def test_success_over_one_axis(tmp_path) -> None:
    objective = [[1, 1, 1.09, 1], [2, 2.19, 2.3, 4], [1, 9, 9, 9]]
    plotted = PLOTS["success"](success_run(tmp_path, {P: [1.0, 0.1, 0.01]}, objective), STYLE)
    (ax,) = panel_axes(plotted.figure)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 10, 100])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 0.5, 0.25])
    low, high = ax.get_ylim()
    assert low <= 0 < 1 <= high
    text = plotted.words.paragraphs[0]
    assert "58.3 % (7 of 12) of the restarts do" in text
    assert "hardest cell is 1/(1−S) = 100, p = 0.01: 25 %" in text
    assert "33.3 % (1 of 3)" in text
    assert "17 restarts find such a solution" in text  # ceil(log .01 / log .75)


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ([[1, 1], [1, 1]], "All shown cells have the same share, 100 %."),
        ([[1, 2], [1, 3], [1, 1]], "The lowest share, 50 %, is that of 2 cells."),
        ([[1, 2], [1, 1]], "The hardest cell is 1/(1−S) = 1, p = 1: 50 %."),
    ],
)
def test_success_names_the_hardest_cell_only_where_there_is_one(tmp_path, objective, told: str) -> None:
    axes = {P: np.geomspace(1, 0.1, len(objective)).tolist()}
    text = PLOTS["success"](success_run(tmp_path, axes, objective), STYLE).words.paragraphs[0]
    assert told in text
    assert ("hardest" in text) == ("hardest" in told)
    assert "up to 0.1 % of it." in text  # loss_stderr 1e-5 of 0.01


def test_success_over_two_axes_is_a_map(tmp_path) -> None:
    objective = np.ones((3, 2, 2))
    objective[2, 1, 1] = 5.0
    run = success_run(tmp_path, {P: [1.0, 0.1, 0.01], R: [10.0, 0.1]}, objective.reshape(6, 2))
    figure = PLOTS["success"](run, STYLE).figure
    ax = panel_axes(figure)[0]
    # rows: r ascending (0.1 first), columns: 1/(1-S) ascending
    np.testing.assert_allclose(
        np.asarray(ax.collections[0].get_array()).reshape(2, 3), [[1, 1, 0.5], [1, 1, 1]]
    )
    assert ax.collections[0].get_clim() == (0, 1)
    assert sorted(text.get_text() for text in ax.texts) == ["0.50"] + ["1.00"] * 5
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_success_of_one_cell_shows_every_restart_and_counts_the_diverged(tmp_path) -> None:
    status = np.array(["ok", "ok", "ok", "diverged"])
    plotted = PLOTS["success"](success_run(tmp_path, {}, [[1, 1.05, 3, np.nan]], status), STYLE)
    (ax,) = panel_axes(plotted.figure)
    assert ax.get_title() == "2 of 4 within 10 %"
    assert "50 % (2 of 4) of the restarts do" in plotted.words.paragraphs[0]
    assert "1 restart diverged" in plotted.words.paragraphs[0]


def test_below_rounding_all_restarts_succeed(tmp_path) -> None:
    """1e-12 and 1e-9 of the constant's loss are one solution, 1e-4 is not."""
    W = np.tile(np.eye(3, 2), (4, 1, 1))
    loss = np.array([1e-12, 1e-9, 1e-4, 2e-4]) / 5
    columns = {"objective": loss, "loss": loss, "loss_ratio": 5 * loss}
    plotted = PLOTS["success"](load_run(write_run(tmp_path / "run", W, restarts=4, columns=columns)), STYLE)
    assert panel_axes(plotted.figure)[0].get_title() == "2 of 4 within 10 %"
    assert "or below 1e−6 of the loss of the best constant output" in plotted.words.paragraphs[0]
    assert "(2 restarts). 50 % (2 of 4) of the restarts do" in plotted.words.paragraphs[0]


def test_success_needs_restarts(tmp_path) -> None:
    run = load_run(write_run(tmp_path / "run", np.ones((1, 3, 2))))
    with pytest.raises(RunError, match=r"plot success .*trained once; train with restarts=8"):
        PLOTS["success"](run, STYLE)


# ---------------------------------------------------------------- spectrum


def test_spectrum_of_a_tight_frame_is_flat_and_of_full_rank(tmp_path) -> None:
    flat, thin = pentagons(1), polygon(5) * [1.0, 0.0]
    run = load_run(write_run(tmp_path / "run", np.stack([flat, thin]), axes={P: [1.0, 0.1]}))
    plotted = PLOTS["spectrum"](run, STYLE)
    singular, shares, ranks = panel_axes(plotted.figure)
    np.testing.assert_allclose(singular.lines[0].get_ydata(), np.sqrt([2.5, 2.5]), rtol=1e-5)
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(shares.lines[1].get_ydata(), [1, 0], atol=1e-5)
    for line in ranks.lines[:2]:
        np.testing.assert_allclose(line.get_ydata(), [2, 1], rtol=1e-5)
        np.testing.assert_allclose(line.get_xdata(), [1, 10])
    assert ranks.get_xscale() == "log"
    assert "effective rank of W goes from 2 to 1 of 2 dimensions" in plotted.words.paragraphs[0]


def test_spectrum_of_one_cell_has_no_axis_to_run_along(tmp_path) -> None:
    plotted = PLOTS["spectrum"](load_run(write_run(tmp_path / "run", polygon(5)[None])), STYLE)
    assert len(panel_axes(plotted.figure)) == 2
    assert "effective rank of W is 2 of 2 dimensions" in plotted.words.paragraphs[0]


def test_spectrum_needs_finite_weights(tmp_path) -> None:
    with pytest.raises(RunError, match=r"plot spectrum .*no shown cell"):
        PLOTS["spectrum"](load_run(write_run(tmp_path / "run", np.zeros((1, 3, 2)))), STYLE)
