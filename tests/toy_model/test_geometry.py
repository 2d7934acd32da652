"""Shapes and factors against closed forms, and the laws that make them properties of G alone."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.toy_model import theory
from superpose_cli.toy_model.geometry import (
    canonical,
    cosines,
    interference_graph,
    nearest_name,
    on_fraction,
    set_cosines,
    solution_name,
    tegum_factors,
)
from superpose_cli.toy_model.metrics import dimensionality, leverage

SHAPES = {
    "lone feature": (np.eye(1), 1.0),
    "digon": (theory.simplex(1), 1 / 2),
    "triangle": (theory.polygon(3), 2 / 3),
    "tetrahedron": (theory.simplex(3), 3 / 4),
    "pentagon": (theory.polygon(5), 2 / 5),
    "4-simplex": (theory.simplex(4), 4 / 5),
    "hexagon": (theory.polygon(6), 1 / 3),
    "heptagon": (theory.polygon(7), 2 / 7),
    "octagon": (theory.polygon(8), 1 / 4),
    "square antiprism": (theory.square_antiprism(), 3 / 8),
    "11-gon": (theory.polygon(11), 2 / 11),
}


def blocks(*parts: np.ndarray) -> np.ndarray:
    """The parts in orthogonal spaces."""
    W = np.zeros((sum(len(part) for part in parts), sum(part.shape[1] for part in parts)))
    row = column = 0
    for part in parts:
        W[row : row + len(part), column : column + part.shape[1]] = part
        row, column = row + len(part), column + part.shape[1]
    return W


def rotation(rng: np.random.Generator, m: int) -> np.ndarray:
    """An orthogonal matrix; a reflection as often as not."""
    return np.linalg.qr(rng.normal(size=(m, m)))[0]


def names(W: np.ndarray) -> list[str]:
    return [factor.name for factor in tegum_factors(W @ W.T)]


@pytest.mark.parametrize("name", SHAPES)
def test_closed_forms_have_their_names_and_shares(name: str) -> None:
    W, share = SHAPES[name]
    (factor,) = tegum_factors(1.3 * W @ W.T)
    assert factor.name == name
    assert factor.features == tuple(range(len(W)))
    assert factor.expected == pytest.approx(share)
    assert factor.regular
    np.testing.assert_allclose(factor.dimensionality, share, atol=1e-12)
    np.testing.assert_allclose(factor.dimensionality, dimensionality(W[None])[0], atol=1e-12)
    np.testing.assert_allclose(factor.dimensionality, leverage(W[None])[0], atol=1e-9)  # T5: tight frames


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ((theory.polygon(4),), "square"),
        ((theory.triangular_bipyramid(),), "triangular bipyramid"),
        ((theory.simplex(1),) * 3, "octahedron"),
        ((theory.simplex(1),) * 4, "4 digons"),
        (
            (theory.polygon(5), theory.simplex(1), theory.simplex(1), np.eye(1)),
            "1 pentagon, 2 digons and 1 lone feature",
        ),
        ((np.eye(2),), "2 lone features"),
        ((np.zeros((3, 2)),), "no feature"),
    ],
)
def test_solutions_are_products_of_factors(parts: tuple[np.ndarray, ...], name: str) -> None:
    W = blocks(*parts)
    assert solution_name(tegum_factors(W @ W.T)) == name


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=5))
def test_factors_follow_permutations_and_ignore_rotations(seed: int, chosen: list[str]) -> None:
    """Nothing but the numbers of the features changes, whatever the pose and the overall scale."""
    rng = np.random.default_rng(seed)
    W = blocks(*(SHAPES[name][0] for name in chosen), np.zeros((2, 1)))
    W = rng.uniform(0.8, 3) * W @ rotation(rng, W.shape[1])
    order = rng.permutation(len(W))
    found = tegum_factors(W[order] @ W[order].T)
    assert sorted(factor.name for factor in found) == sorted(chosen)
    moved = {tuple(sorted(order[list(factor.features)].tolist())) for factor in found}
    assert moved == {factor.features for factor in tegum_factors(W @ W.T)}
    assert sorted(i for factor in found for i in factor.features) == sorted(
        np.flatnonzero(np.linalg.norm(W[order], axis=1) > 0.5).tolist()
    )


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(set(SHAPES) - {"lone feature", "11-gon"})))
def test_a_slightly_disturbed_shape_keeps_its_name(seed: int, name: str) -> None:
    """Directions off by up to two degrees change no angle by more than four."""
    rng = np.random.default_rng(seed)
    W, _ = SHAPES[name]
    shift = rng.normal(size=W.shape)
    W = W + np.tan(np.radians(2)) * rng.uniform() * shift / np.linalg.norm(shift, axis=1, keepdims=True)
    (factor,) = tegum_factors(W @ W.T)
    assert factor.name == name


def turned(W: np.ndarray, i: int, degrees: float) -> np.ndarray:
    """Row i turned in the plane of the first two dimensions."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    W = W.copy()
    W[i, :2] = W[i, :2] @ np.array([[c, s], [-s, c]])
    return W


@pytest.mark.parametrize("name", ["triangle", "tetrahedron", "pentagon", "hexagon", "square antiprism"])
def test_near_misses_are_irregular(name: str) -> None:
    W = SHAPES[name][0]
    assert names(turned(W, 0, 9 if name != "square antiprism" else 7)) == [name]
    assert names(turned(W, 0, 20)) == ["irregular"]
    (factor,) = tegum_factors(turned(W, 0, 20) @ turned(W, 0, 20).T)
    assert np.isnan(factor.expected)
    assert not factor.regular


def test_a_shape_with_one_member_missing_or_one_too_many_is_irregular() -> None:
    assert names(theory.polygon(5)[:4]) == ["irregular"]
    assert names(theory.square_antiprism()[:7]) == ["irregular"]
    assert names(np.vstack([theory.polygon(5), theory.polygon(5)[:1]])) == ["irregular"]
    assert names(np.array([[1.0, 0], [1.0, 0.1]])) == ["irregular"]  # the same direction is no digon


def test_a_cube_is_no_antiprism() -> None:
    """Eight unit vectors in three dimensions, a tight frame with all D = 3/8 too: only angles tell."""
    cube = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)]) / np.sqrt(3)
    np.testing.assert_allclose(dimensionality(cube[None]), 3 / 8)
    assert names(cube) == ["irregular"]


def test_unequal_lengths_keep_the_name_but_are_not_regular() -> None:
    W = theory.simplex(1) * np.array([[1.0], [0.8]])
    (factor,) = tegum_factors(W @ W.T)
    assert (factor.name, factor.regular) == ("digon", False)
    np.testing.assert_allclose(factor.dimensionality, [1 / 1.64, 0.64 / 1.64])


def test_the_graph_has_represented_features_and_their_interference() -> None:
    W = np.array([[1.0, 0], [0.05, 1.0], [0.0, -0.3], [0.3, 1.0]])
    edges = interference_graph(W @ W.T)
    assert np.argwhere(edges).tolist() == [[0, 3], [1, 3], [3, 0], [3, 1]]
    assert interference_graph(W @ W.T, orthogonal=0.04)[0, 1]
    assert not cosines(np.zeros((2, 2))).any()


def test_an_octahedron_that_is_a_little_askew_is_nearly_one() -> None:
    """Twelve degrees off, as trained on correlated triples; fifteen are too many."""

    def askew(degrees: float) -> np.ndarray:
        W = np.concatenate([np.eye(3), -np.eye(3)])
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        W[3] = [-c, s, 0]
        return W @ W.T

    assert nearest_name(askew(0)) == "octahedron"
    assert nearest_name(askew(12)) == "nearly octahedron"
    assert "nearly" not in nearest_name(askew(15))
    assert "irregular" in nearest_name(askew(15))
    assert nearest_name(np.zeros((3, 3))) == "no feature"


# ---------------------------------------------------------------- a common pose


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 4))
def test_the_pose_forgets_rotations_and_reflections_and_keeps_g(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n, m))
    posed = canonical(W)
    np.testing.assert_allclose(posed @ posed.T, W @ W.T, atol=1e-9)
    np.testing.assert_allclose(canonical(W @ rotation(rng, m)), posed, atol=1e-8)


def test_the_pose_puts_the_first_represented_features_on_the_axes() -> None:
    W = np.array([[0.1, 0.1, 0.1], [0, 0, -2.0], [0.02, 0, 1.0], [0, -1.0, -1.0], [3.0, 1.0, 1.0]])
    posed = canonical(W)
    np.testing.assert_allclose(posed[1], [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(posed[3], [1, 1, 0], atol=1e-12)
    assert posed[4, 2] > 0
    assert not canonical(np.zeros((3, 2))).any()
    np.testing.assert_allclose(
        canonical(np.array([[0.1, 0.0], [0.0, -0.2]])), [[0, 0.1], [0.2, 0]], atol=1e-15
    )


def test_set_cosines_take_the_least_inside_each_set() -> None:
    W = np.array([[1, 0], [1, 0.1], [0, 1], [0, -1], [1, 1.0]])
    np.testing.assert_allclose(set_cosines(W, 2), [-1, 1 / np.sqrt(1.01)])
    np.testing.assert_allclose(set_cosines(W, 5), [-1])
    assert len(set_cosines(np.full((4, 2), np.nan), 2)) == 0


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([0.5] * 10, True),
        ([0.5] * 9, False),
        ([0.5] * 10 + [0.4875] * 5, True),
        ([0.5] * 10 + [0.4875] * 6, False),
        ([0.5] * 10 + [0.5125] * 6, False),
        ([0.494] * 20, False),
    ],
)
def test_a_line_needs_ten_points_and_twice_its_neighbourhood(points: list[float], line: bool) -> None:
    assert on_fraction(np.array(points), Fraction(1, 2))[1] is line
