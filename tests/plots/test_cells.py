"""What is laid out where: axes, panels, lines, thinning, and cells that are not there yet."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.plots.cells import (
    Coordinate,
    around,
    coordinates,
    evenly,
    lines_over,
    over_one_axis,
    panels,
)
from superpose_cli.plots.panels import stretches, tell
from superpose_cli.results.run import load_run
from tests.synthetic import write_run

P = "data.feature_probability"


def make(tmp_path, axes, restarts=1):
    count = math.prod(len(values) for values in axes.values()) * restarts
    W = np.tile(np.eye(3, 2), (count, 1, 1))
    return load_run(write_run(tmp_path / "run", W, axes=axes, restarts=restarts))


def keep_cells(run, stop: int):
    """Drop the shards (one cell each) from `stop` on, as if the run had been interrupted."""
    for table in ("features", "history", "instances"):
        for file in sorted((run.path / f"{table}.parquet").iterdir())[stop:]:
            file.unlink()
    return load_run(run.path)


def test_density_is_shown_as_one_over_one_minus_s(tmp_path) -> None:
    (axis,) = coordinates(make(tmp_path, {P: [1.0, 0.3, 0.05]}))
    assert axis.is_density
    assert axis.log
    assert axis.label == "sparsity 1/(1−S)"
    np.testing.assert_allclose(axis.positions, [1, 1 / 0.3, 20])
    assert axis.texts == ("1/(1−S) = 1\np = 1", "1/(1−S) = 3.33\np = 0.3", "1/(1−S) = 20\np = 0.05")


def test_names_have_no_scale_and_single_values_are_no_axis(tmp_path) -> None:
    run = make(tmp_path, {"model": ["linear", "relu_output"], P: [0.1], "train.learning_rate": [0.1, 0.001]})
    model, rate = coordinates(run)
    assert model.named
    assert model.texts == ("linear", "ReLU output")
    assert rate.log
    assert rate.texts == ("learning rate = 0.1", "learning rate = 0.001")


def test_what_a_cell_leaves_unset_is_not_denied_of_it(tmp_path) -> None:
    """Anticorrelated data has no `correlation`: "no correlation" would say that it is independent."""
    run = make(tmp_path, {"data": ["correlated", "anticorrelated"]})
    axis = replace(
        run.manifest.axes[0],
        keys=("data", "data.correlation"),
        values=(("correlated", 0.5), ("anticorrelated", None)),
    )
    zipped = replace(run, manifest=replace(run.manifest, axes=(axis,)))
    assert coordinates(zipped)[0].texts == ("correlated\ncorrelation = 0.5", "anticorrelated")


@given(st.integers(1, 500), st.integers(2, 50))
def test_evenly_keeps_the_ends_and_the_spacing(count: int, most: int) -> None:
    chosen = evenly(count, most)
    assert len(chosen) == min(count, most)
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 1 else True


@given(st.integers(1, 200), st.integers(3, 20), st.integers(0, 199))
def test_around_keeps_the_ends_and_the_peak(count: int, most: int, peak: int) -> None:
    peak %= count
    chosen = around(count, most, peak).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, most)
    assert {0, peak, count - 1} <= set(chosen)


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (7, (1, 7)), (9, (2, 5)), (40, (5, 8)), (100, (5, 8))]
)
def test_one_axis_wraps(tmp_path, count: int, shape: tuple[int, int]) -> None:
    layout = panels(make(tmp_path, {P: np.geomspace(1, 0.01, count).tolist()}))
    assert layout.cells.shape == shape
    assert layout.shown.tolist() == evenly(count, 40).tolist()
    assert layout.note == ("40 of 100 cells shown, evenly spaced" if count == 100 else "")
    assert layout.titles[0] == "1/(1−S) = 1\np = 1"
    assert list(layout.places) == layout.shown.tolist()


def test_several_axes_make_rows_and_columns_with_the_density_across(tmp_path) -> None:
    run = make(tmp_path, {P: [1.0, 0.1, 0.01], "model": ["linear", "relu_output"], "seed": [0, 1]})
    layout = panels(run)
    assert layout.cells.tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert layout.row_labels[2] == "ReLU output, seed = 0"
    assert layout.titles[3:] == ("",) * 9


def test_a_large_grid_is_thinned_to_forty_panels(tmp_path) -> None:
    layout = panels(make(tmp_path, {P: np.geomspace(1, 0.01, 20).tolist(), "seed": list(range(20))}))
    assert layout.cells.shape == (5, 8)
    assert layout.note == "40 of 400 cells shown, evenly spaced"


def test_lines_run_along_ascending_positions(tmp_path) -> None:
    lines = over_one_axis(make(tmp_path, {P: [0.1, 1.0, 0.01], "seed": [5, 6]}))
    np.testing.assert_allclose(lines.x.positions, [1, 10, 100])
    assert lines.cells.tolist() == [[2, 0, 4], [3, 1, 5]]
    assert lines.labels == ("seed = 5", "seed = 6")


def test_cells_that_are_not_stored_are_blank_and_told(tmp_path) -> None:
    W = np.tile(np.eye(3, 2), (4, 1, 1))
    path = write_run(tmp_path / "run", W, axes={P: [1.0, 0.5, 0.2, 0.1]}, instances_per_shard=1)
    layout = panels(keep_cells(load_run(path), 3))
    assert layout.cells.tolist() == [[0, 1, 2, -1]]
    assert layout.note == "1 cell not trained yet"
    assert len(layout.places) == 3


def test_keys_that_advance_together_share_an_axis(tmp_path) -> None:
    run = make(tmp_path, {"model.n_features": [3, 3], P: [1.0, 0.1]})
    axes = run.axes
    zipped = replace(
        axes[0],
        keys=("train.steps", P),
        columns=("steps", "feature_probability"),
        values=((10, 0.5), (20, 0.2)),
    )
    run = replace(run, manifest=replace(run.manifest, axes=(zipped,)))
    (axis,) = coordinates(run)
    assert axis.is_density
    assert axis.texts == ("1/(1−S) = 2\np = 0.5\nsteps = 10", "1/(1−S) = 5\np = 0.2\nsteps = 20")


def test_equal_densities_told_apart_by_another_key_are_names(tmp_path) -> None:
    run = make(tmp_path, {P: [0.5, 0.1, 0.1]})
    zipped = replace(run.axes[0], keys=(P, "model.n_hidden"), columns=("feature_probability", "n_hidden"),
                     values=((0.5, 2), (0.1, 2), (0.1, 3)))  # fmt: skip
    (axis,) = coordinates(replace(run, manifest=replace(run.manifest, axes=(zipped,))))
    assert axis.named
    assert not axis.is_density
    assert axis.positions.tolist() == [0, 1, 2]
    assert axis.inline[2] == "1/(1−S) = 10, p = 0.1, m = 3"


@pytest.mark.parametrize("inner", [("b",), ("a", "c"), ("c", "b", "a")])
def test_lines_over_keep_every_cell_in_its_place(inner: tuple[str, ...]) -> None:
    """Each cell number says where it is on all axes; the first inner axis ascends."""
    sizes = {"a": 2, "b": 3, "c": 4}
    axes = [
        Coordinate(name=name, label="", positions=-np.arange(float(size)), log=False, named=False,
                   texts=tuple(f"{name}{k}" for k in range(size)))
        for name, size in sizes.items()
    ]  # fmt: skip
    found, cells, labels = lines_over(axes, *inner)
    others = [name for name in sizes if name not in inner]
    assert [axis.name for axis in found] == list(inner)
    assert found[0].positions.tolist() == sorted(found[0].positions)
    for place, cell in np.ndenumerate(cells):
        at = dict(zip(sizes, np.unravel_index(cell, tuple(sizes.values())), strict=True))
        for axis, k in zip(found, place[1:], strict=True):
            assert axis.texts[k] == f"{axis.name}{at[axis.name]}"
        assert labels[place[0]] == ", ".join(f"{name}{at[name]}" for name in others)
    assert sorted(cells.ravel().tolist()) == list(range(24))


def test_lists_are_names(tmp_path) -> None:
    run = make(tmp_path, {P: [1.0, 0.1]})
    axis = replace(run.axes[0], values=(("[1.0,0.5]",), ("[0.1,0.1]",)))
    (shown,) = coordinates(replace(run, manifest=replace(run.manifest, axes=(axis,))))
    assert shown.named
    assert not shown.is_density
    assert shown.texts == ("p = [1.0, 0.5]", "p = [0.1, 0.1]")


def test_starts_are_said_to_be_that_with_the_std_that_is_set(tmp_path) -> None:
    columns = {"init_std": np.array([np.nan, 0.01])}
    W = np.tile(np.eye(3, 2), (2, 1, 1))
    axes = {"init": ["xavier_normal", "normal"]}
    run = load_run(write_run(tmp_path / "run", W, axes=axes, columns=columns))
    (shown,) = coordinates(run)
    assert shown.inline == ("Xavier normal start", "normal start, std = 0.01")


def test_at_most_ten_stretches_are_told(tmp_path) -> None:
    layout = panels(make(tmp_path, {P: np.geomspace(1, 0.01, 25).tolist()}))
    text = tell(layout, [str(i) for i in range(25)], lambda where, name, _: f"{where}: {name}.")
    assert text.startswith("At 1/(1−S) = 1, p = 1: 0. ")
    assert text.endswith("p = 0.01: 24. (10 of 25 such stretches are told, evenly spaced.)")


def test_neighbours_of_one_name_are_told_together(tmp_path) -> None:
    layout = panels(make(tmp_path, {"model": ["linear", "relu_output"], P: [1.0, 0.5, 0.1]}))
    told = [(where, name, members) for where, name, members in stretches(layout, list("aababb"))]
    assert told == [
        ("Linear, from 1/(1−S) = 1, p = 1 to 1/(1−S) = 2, p = 0.5 (2 cells)", "a", [0, 1]),
        ("Linear, at 1/(1−S) = 10, p = 0.1", "b", [2]),
        ("ReLU output, at 1/(1−S) = 1, p = 1", "a", [3]),
        ("ReLU output, from 1/(1−S) = 2, p = 0.5 to 1/(1−S) = 10, p = 0.1 (2 cells)", "b", [4, 5]),
    ]
