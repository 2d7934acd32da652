"""The plots of shapes: geometry_graph, polyhedron, trajectories, collapse, double_descent."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from superpose_cli.errors import RunError
from superpose_cli.plots.double_descent import MOST_PLANES, MOST_POINTS, planes_at
from superpose_cli.plots.graphs import graph_of
from superpose_cli.plots.polyhedron import hull_edges
from superpose_cli.plots.registry import PLOTS
from superpose_cli.plots.style import STYLES, find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.sampling import Law, finite_table
from superpose_cli.toy_model.theory import polygon, simplex, square_antiprism, triangular_bipyramid
from tests.helpers import mostly_slow
from tests.plots.test_registry import assert_fits
from tests.synthetic import write_run

P = "data.feature_probability"
STYLE = find_style("light")
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


def run_of(tmp_path, W, **more):
    return load_run(write_run(tmp_path / "run", np.asarray(W), **more))


def panel_axes(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.axison]


# ---------------------------------------------------------------- geometry_graph


def test_a_graph_has_the_represented_features_and_their_interference() -> None:
    W = np.zeros((8, 4))
    W[:5, :2], W[5:7, 2:3], W[7, 3] = polygon(5), simplex(1), 0.2
    graph = graph_of(W)
    assert (graph.name, graph.n_ignored) == ("1 pentagon and 1 digon", 1)
    assert len(graph.places) == 7
    assert graph.places.min() == 0
    assert len(graph.edges) == 10 + 1
    ring = graph.places[:5] - graph.places[:5].mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(ring, axis=1), np.linalg.norm(ring[0]))
    strong = {frozenset(edge) for edge, w in zip(graph.edges.tolist(), graph.weights, strict=True) if w > 0.5}
    lengths = {round(float(np.linalg.norm(np.subtract(*graph.places[list(edge)]))), 6) for edge in strong}
    assert len(strong) == 6, "five diagonals of the pentagon, and the digon"
    assert len(lengths) == 2, "what lies apart in the model lies apart on the ring"
    gaps = np.linalg.norm(graph.places[:, None] - graph.places[None], axis=2) + 9 * np.eye(7)
    assert gaps.min() > 0.5, "no two nodes meet"


def test_geometry_graph_draws_nodes_edges_and_names(tmp_path) -> None:
    W = [np.pad(polygon(5), ((0, 0), (0, 1))), np.pad(OCTAHEDRON[[0, 3, 1, 4]], ((0, 1), (0, 0)))]
    plotted = PLOTS["geometry_graph"](run_of(tmp_path, W, axes={P: [0.1, 0.3]}), STYLE)
    dense, sparse = sorted(panel_axes(plotted.figure), key=lambda ax: ax.get_title(), reverse=True)
    assert [ax.get_xlabel() for ax in (dense, sparse)] == ["square", "pentagon"]
    for ax, nodes, edges in ((dense, 4, 2), (sparse, 5, 10)):
        lines = next(c for c in ax.collections if isinstance(c, LineCollection))
        (dots,) = [c for c in ax.collections if not isinstance(c, LineCollection)]
        assert (len(dots.get_offsets()), len(lines.get_segments())) == (nodes, edges)
    text = plotted.words.paragraphs
    assert "p = 0.1: pentagon, D_i = 0.4." in text[0]
    assert "p = 0.3: square, D_i = 0.5." in text[0]
    assert "Of 3 factors, 100 % (3 of 3)" in text[1]
    assert "0 to 1 features a model are not represented" in text[1]


def test_geometry_graph_of_a_model_without_interference_has_nodes_alone(tmp_path) -> None:
    plotted = PLOTS["geometry_graph"](run_of(tmp_path, [np.eye(3)]), STYLE)
    (ax,) = panel_axes(plotted.figure)
    (dots,) = ax.collections
    assert len(dots.get_offsets()) == 3
    assert ax.get_xlabel() == "3 lone features"


# ---------------------------------------------------------------- polyhedron


@pytest.mark.parametrize(
    ("points", "n_edges"),
    [
        (simplex(3), 6),
        (OCTAHEDRON, 12),
        (square_antiprism(), 16),
        (triangular_bipyramid(), 9),
        (np.pad(polygon(5), ((0, 0), (0, 1))), 0),
        (np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)], float), 12),
        (np.concatenate([OCTAHEDRON, np.zeros((1, 3))]), 12),
    ],
)
def test_hulls_have_their_edges(points: np.ndarray, n_edges: int) -> None:
    """Euler's count, with no diagonals in flat faces and nothing inside."""
    edges = hull_edges(points)
    assert len(edges) == n_edges
    assert all(i < j < 8 for i, j in edges)


def test_polyhedron_shows_solids_and_refuses_other_dimensions(tmp_path) -> None:
    plotted = PLOTS["polyhedron"](run_of(tmp_path, [1.2 * OCTAHEDRON]), STYLE)
    (ax,) = panel_axes(plotted.figure)
    assert ax.get_xlabel() == "octahedron"
    assert sorted(text.get_text() for text in ax.texts) == list("012345")
    assert "octahedron; ‖W_i‖² = 1.44, D_i = 0.5." in plotted.words.paragraphs[0]
    flat = load_run(write_run(tmp_path / "flat", np.ones((1, 4, 2))))
    with pytest.raises(RunError, match=r"n_hidden = 2; train with model\.n_hidden=3"):
        PLOTS["polyhedron"](flat, STYLE)
    axes = {"model.n_hidden": [2, 3, 4], P: [0.1, 0.2]}
    W = [np.eye(6, m) if m != 3 else OCTAHEDRON for m in (2, 3, 4) for _ in range(2)]
    mixed = load_run(write_run(tmp_path / "mixed", W, axes=axes))
    assert PLOTS["polyhedron"].select(mixed).panels.shown.tolist() == [3, 2]
    assert [ax.get_xlabel() for ax in panel_axes(PLOTS["polyhedron"](mixed, STYLE).figure)] == [
        "octahedron"
    ] * 2


# ---------------------------------------------------------------- trajectories


def test_trajectories_show_every_record_and_need_weights(tmp_path) -> None:
    run = run_of(tmp_path, [1.1 * polygon(5)], steps=list(range(0, 500, 10)), record_weights=True)
    plotted = PLOTS["trajectories"](run, STYLE)
    top, bottom = panel_axes(plotted.figure)
    courses = [[line for line in ax.lines if len(line.get_xdata()) == 50] for ax in (top, bottom)]
    assert [len(lines) for lines in courses] == [5, 1]
    np.testing.assert_allclose(top.lines[0].get_ydata()[1:], 0.4, atol=1e-6)
    assert "it ends in pentagon" in plotted.words.paragraphs[0]
    bare = load_run(write_run(tmp_path / "bare", np.ones((1, 4, 2)), steps=[0, 10, 20]))
    with pytest.raises(RunError, match=r"no weights were recorded .*history\.weights=true"):
        PLOTS["trajectories"](bare, STYLE)


def test_trajectories_show_the_median_start(tmp_path) -> None:
    """The best start may be the one that skips what the others go through."""
    W = [np.eye(5, 2), polygon(5), 1.2 * np.eye(5, 2), np.full((5, 2), np.nan)]
    columns = {"objective": np.array([3.0, 2.0, 1.0, 0.5]), "status": np.array([*["ok"] * 3, "diverged"])}
    run = run_of(tmp_path, W, restarts=4, steps=[0, 10, 20], record_weights=True, columns=columns)
    plotted = PLOTS["trajectories"](run, STYLE)
    np.testing.assert_allclose(panel_axes(plotted.figure)[0].lines[0].get_ydata()[1:], 0.4, atol=1e-6)
    assert "the start of the median objective of 4 is shown" in plotted.words.paragraphs[0]
    assert "it ends in pentagon" in plotted.words.paragraphs[0]


# ---------------------------------------------------------------- collapse


def test_collapse_counts_merged_sets(tmp_path) -> None:
    merged = polygon(3)[[0, 0, 1, 1, 2, 2]]
    half = np.concatenate([merged[:4], polygon(6)[[3, 4]]])
    run = run_of(
        tmp_path, [merged, half, polygon(6)], axes={P: [0.5, 0.2, 0.05]},
        columns={"data_kind": "correlated", "set_size": 2, "correlation": 1.0},
    )  # fmt: skip
    plotted = PLOTS["collapse"](run, STYLE)
    top, bottom = panel_axes(plotted.figure)
    cosine = np.sort([line.get_ydata() for line in top.lines[:3]], axis=0)
    np.testing.assert_allclose(cosine, [[1, 0.5, 0.5], [1, 1, 0.5], [1, 1, 0.5]], atol=1e-6)
    assert len(bottom.lines) == 1
    assert "3 from 1/(1−S) = 2, p = 0.5, 2 from 1/(1−S) = 5, p = 0.2, 0 from" in plotted.words.paragraphs[0]
    assert "never fewer in denser data" in plotted.words.paragraphs[0]
    with pytest.raises(RunError, match="data=correlated"):
        PLOTS["collapse"](load_run(write_run(tmp_path / "other", np.ones((1, 4, 2)))), STYLE)


# ---------------------------------------------------------------- double_descent


def test_double_descent_averages_data_sets(tmp_path) -> None:
    loss = np.array([0.2, 0.2, 0.3, 0.5, 0.1, 0.1])[
        :, None
    ]  # (T, seed) = (5, 50, 500) x 2; the mean over n = 5
    run = run_of(
        tmp_path, np.tile(polygon(5), (6, 1, 1)), axes={"data.n_rows": [5, 50, 500], "seed": [0, 1]},
        feature_loss=loss, columns={"data_kind": "finite", "unit_norm": True, "train_loss": loss[:, 0] / 2},
    )  # fmt: skip
    plotted = PLOTS["double_descent"](run, STYLE)
    left, right = [ax for ax in plotted.figure.axes if ax.get_title() in ("test", "training")]
    np.testing.assert_allclose(left.lines[0].get_ydata(), [1, 2, 0.5])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0.5, 1, 0.25])
    text = plotted.words.paragraphs[0]
    assert "averaged over 2 data sets" in text
    assert "The test loss is worst, 2, at T = 50, and 0.5 at T = 500." in text
    assert len([ax for ax in plotted.figure.axes if ax.get_title().startswith("T = ")]) == 3
    partial = load_run(
        write_run(
            tmp_path / "partial", np.tile(polygon(5), (8, 1, 1)), instances_per_shard=2,
            axes={"train.weight_decay": [0.01, 1.0], "data.n_rows": [5, 50], "seed": [0, 1]},
            columns={"data_kind": "finite", "unit_norm": True},
        )
    )  # fmt: skip
    for table in ("features", "history", "instances"):
        (partial.path / f"{table}.parquet" / "shard-000003.parquet").unlink()
    assert_fits(PLOTS["double_descent"], load_run(partial.path), STYLE)
    with pytest.raises(RunError, match=r"no axis data\.n_rows"):
        PLOTS["double_descent"](load_run(write_run(tmp_path / "other", np.ones((1, 4, 2)))), STYLE)


@pytest.mark.parametrize("worst", [0, 2, 7, 8, 10])
def test_the_pentagon_of_data_points_and_the_worst_test_loss_are_in_the_plane(worst: int) -> None:
    rows = np.array([3.0, 4, 5, 6, 7, 8, 25, 50, 100, 250, 500])
    test = np.ones(11)
    test[worst], test[3] = 2, np.nan
    chosen = planes_at(rows, test)
    assert {0, 2, worst, 10} <= set(chosen)
    assert len(chosen) == MOST_PLANES
    assert chosen == sorted(set(chosen))
    assert planes_at(rows[:3], np.full(3, np.nan)) == [0, 1, 2]


def test_data_points_lie_below_the_features_turned_alike(tmp_path) -> None:
    """Each is a row of the table that its key draws, of norm 1, times W."""
    keys = np.array([7, 8], dtype=np.uint64)
    W = np.tile(polygon(5) @ np.array([[0.6, 0.8], [-0.8, 0.6]]), (2, 1, 1))
    run = run_of(
        tmp_path, W, axes={"data.n_rows": [4, 300]}, feature_probability=0.4,
        columns={"data_kind": "finite", "unit_norm": True, "train_loss": 0.1, "table_key": keys},
    )  # fmt: skip
    data = PLOTS["double_descent"].select(run)
    for key, points, count in zip(keys, data.points, (4, MOST_POINTS), strict=True):
        rows = finite_table(
            np, Law(kind="finite"), key=np.array([key]), n_rows=count,
            feature_probability=np.full((1, 5), 0.4), high=np.ones(1), unit_norm=True,
        )[0]  # fmt: skip
        np.testing.assert_allclose(points, rows @ polygon(5), atol=1e-6)
    for style in STYLES:
        assert_fits(PLOTS["double_descent"], run, find_style(style))
    figure = PLOTS["double_descent"](run, STYLE).figure
    panels = [ax for ax in figure.axes if ax.get_ylabel() == "data points"]
    assert len(panels) == 1
    (legend,) = [legend for part in figure.subfigs for legend in part.legends]
    assert len(legend.get_texts()) == 3, "what the colours of the dots mean"
    assert len(panels[0].lines) == 2 + 4 + 1, "axes, a line to each of four points, and the points"


# ---------------------------------------------------------------- explainers


TURN = np.array([[0.6, 0.8], [-0.8, 0.6]])


def written(ax) -> list[float]:
    return [float(text.get_text().replace("−", "-")) for text in ax.texts]


def test_explainers_draw_the_model_that_represents_most_as_it_is_stored(tmp_path) -> None:
    stored = polygon(5) @ TURN
    run = run_of(tmp_path, [np.eye(5, 2), stored], axes={P: [1.0, 0.1]}, b=-0.2)
    plotted = PLOTS["explainers"](run, STYLE)
    axes = plotted.figure.axes
    assert len(axes) == 12
    np.testing.assert_allclose(np.reshape(written(axes[2]), (5, 2)), stored, atol=0.005)
    one, other = stored[0], stored[4]
    entry = [*one, *other, *(one * other), one @ other]
    np.testing.assert_allclose(written(axes[3]), entry, atol=0.005, err_msg="one entry, unit by unit")
    np.testing.assert_allclose(np.reshape(written(axes[4]), (5, 5)), polygon(5) @ polygon(5).T, atol=0.005)
    assert axes[4].patches[0].get_xy() == (3.5, -0.5), "the entry that was worked out is framed"
    heights = [bar.get_height() for bar in axes[5].patches[:5]]
    np.testing.assert_allclose(heights, np.maximum(np.cos(2 * np.pi * np.arange(5) / 5) - 0.2, 0), atol=1e-6)
    titles = " ".join(ax.get_title() for ax in axes)
    for word in ("decomposab", "linear", "superposition", "orthogonal", "interference", "polysemantic",
                 "distributed"):  # fmt: skip
        assert word in titles
        assert word in plotted.words.markdown().lower()
    text = plotted.words.paragraphs
    assert text[0].startswith("The model is the best one at 1/(1−S) = 10, p = 0.1: pentagon.")
    assert "W_0 · W_4 = (0.60) · (0.95) + (0.80) · (−0.32) = 0.309" in text[1]
    assert "leave 0.8 at its own output and at most 0.109 elsewhere" in text[1]
    assert "some unit serves several in any axes" in text[3]
    for style in STYLES:
        assert_fits(PLOTS["explainers"], run, find_style(style))


def test_axes_alone_make_orthogonal_features_polysemantic_and_distributed(tmp_path) -> None:
    """Two orthogonal features off the axes: a turn leaves each on its own unit, and W W^T as it was."""
    run = run_of(tmp_path, [np.eye(3, 2) @ TURN])
    data = PLOTS["explainers"].select(run)
    np.testing.assert_allclose(np.abs(data.turned), np.eye(3, 2), atol=1e-7)
    np.testing.assert_allclose(data.turned @ data.turned.T, data.G, atol=1e-7)
    assert data.on_units(data.W).sum(axis=0).tolist() == [2, 2]
    assert data.on_units(data.turned).sum(axis=0).tolist() == [1, 1]
    plotted = PLOTS["explainers"](run, STYLE)
    titles = [ax.get_title() for ax in plotted.figure.axes]
    assert titles[6:8] == [
        "no superposition:\n2 directions, 2 units", "orthogonality would be 90°:\nhere 90°"
    ]  # fmt: skip
    assert titles[10] == "polysemanticity, of axes:\n2 features on unit 0, turned 1"
    assert titles[11] == "distributed representation, of\naxes: on 2 units, turned on 1"
    assert "arbitrary axes" in plotted.words.paragraphs[3]
    assert "in any axes" not in plotted.words.paragraphs[3]


@pytest.mark.parametrize(
    "more",
    [{"hidden_activation": "relu"}, {"output_activation": "identity"}, {"output_activation": "relu"}],
)
def test_explainers_refuse_models_of_other_words(tmp_path, more) -> None:
    """A hidden ReLU, no ReLU at the output, three dimensions."""
    W = np.ones((1, 4, 3)) if more == {"output_activation": "relu"} else polygon(5)[None]
    with pytest.raises(RunError, match=r"a tied ReLU output model .*; draw it from experiment=intro"):
        PLOTS["explainers"].select(run_of(tmp_path, W, columns=more))


# ---------------------------------------------------------------- all


@pytest.mark.parametrize("style", mostly_slow(STYLES, ("light",)))
@pytest.mark.parametrize("count", [1, 40])
def test_one_and_forty_panels_fit(tmp_path, style: str, count: int) -> None:
    W = np.tile(OCTAHEDRON, (count, 1, 1))
    run = run_of(
        tmp_path, W, axes={P: np.geomspace(1, 0.01, count).tolist()}, steps=list(range(0, 400, 20)),
        record_weights=True, columns={"data_kind": "correlated", "set_size": 3, "correlation": 1.0},
    )  # fmt: skip
    for name in ("geometry_graph", "polyhedron", "neurons", "trajectories", "collapse"):
        assert_fits(PLOTS[name], run, find_style(style))


@pytest.mark.parametrize("name", ["geometry_graph", "polyhedron", "neurons", "collapse"])
def test_a_diverged_cell_is_left_out(tmp_path, name: str) -> None:
    W = np.stack([np.full((6, 3), np.nan), OCTAHEDRON])
    run = run_of(
        tmp_path, W, axes={P: [1.0, 0.1]},
        columns={"status": np.array(["diverged", "ok"]), "data_kind": "correlated", "set_size": 3},
    )  # fmt: skip
    plotted = PLOTS[name](run, STYLE)
    assert plotted.words.paragraphs[0]
