"""The shapes that features make: who interferes with whom, tegum factors and their names, and a common pose.

Factors and names follow from G = W W^T alone, which a rotation or reflection of the hidden space leaves as it
is. The features that interfere, directly or through others, lie in a subspace of their own, orthogonal to all
others: a factor of the tegum product that the paper decomposes solutions into ("The Geometry of
Superposition"). An octahedron is three digons, a triangular bipyramid a triangle and a digon, a square two
digons.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt

from superpose_cli.toy_model.metrics import F64, represented
from superpose_cli.toy_model.theory import polygon, simplex, square_antiprism

ANGLE = 10.0
"""Degrees by which angles may differ from those of the shape whose name they get: less than half of the 25
that part square antiprism and octagon, the nearest two of equally many features."""
NEARLY = 12.4
"""Degrees by which a solution may be off that is called nearly its shape: still less than half of the 25."""
ORTHOGONAL = float(np.sin(np.radians(ANGLE)))
"""Largest |cos| of two features that leave each other alone, right angles to within `ANGLE`. The shapes below
hang together by 0.31 and more (the pentagon's 72 degrees)."""
SHARE = 0.02
"""D_i may be this far from the shape's own fraction where the factor counts as regular: the plateaus of D_i
in a trained model lie within it, and 2/5 and 3/8 do not meet."""

MERGED = 0.97
"""Cosine above which the members of a set count as one direction: within 14 degrees."""

IRREGULAR, SINGLE = "irregular", "lone feature"
_SIMPLICES = {2: "digon", 3: "triangle", 4: "tetrahedron"}
_POLYGONS = {5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}
_PRODUCTS = {
    ("digon", "digon"): "square",
    ("digon", "triangle"): "triangular bipyramid",
    ("digon", "digon", "digon"): "octahedron",
}


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Features that interfere with one another and with no others."""

    features: tuple[int, ...]
    """Ascending."""
    name: str
    """lone feature, digon, triangle, tetrahedron, pentagon, hexagon, k-gon, square antiprism, d-simplex or
    irregular; by angles alone."""
    dimensionality: F64
    """D_i inside the factor, one per feature."""
    expected: float
    """D_i of every feature of a regular shape of this name; NaN for irregular ones."""

    @property
    def regular(self) -> bool:
        """Whether lengths fit too: every D_i is within `SHARE` of the shape's."""
        return bool((np.abs(self.dimensionality - self.expected) <= SHARE).all())


@dataclass(frozen=True)
class _Shape:
    name: str
    angles: F64  # (k, k) degrees between members
    dimensionality: float


def cosines(G: npt.ArrayLike) -> F64:
    """(n, n): cosines between features from G = W W^T (n, n); 0 beside a feature of length 0."""
    G = np.asarray(G, np.float64)
    length = np.sqrt(np.diag(G))
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return np.clip(G * inverse[:, None] * inverse, -1.0, 1.0)


def interference_graph(G: npt.ArrayLike, orthogonal: float = ORTHOGONAL) -> npt.NDArray[np.bool_]:
    """(n, n): whether features i != j are both represented and |cos(W_i, W_j)| exceeds `orthogonal`."""
    seen = represented(np.sqrt(np.diag(np.asarray(G, np.float64))))
    edges = (np.abs(cosines(G)) > orthogonal) & seen[:, None] & seen
    np.fill_diagonal(edges, False)
    return edges


def tegum_factors(G: npt.ArrayLike, angle: float = ANGLE) -> tuple[Factor, ...]:
    """The connected components of the represented features of a finite G = W W^T (n, n), largest first.

    Of equally large ones, the one with the lowest feature first. `angle`: degrees that right angles and those
    of a shape may be off.
    """
    G = np.asarray(G, np.float64)
    edges = interference_graph(G, float(np.sin(np.radians(angle))))
    seen = np.flatnonzero(represented(np.sqrt(np.diag(G))))
    members = sorted(_components(edges, seen.tolist()), key=lambda some: (-len(some), some))
    return tuple(_factor(G, some, angle) for some in members)


def nearest_name(G: npt.ArrayLike) -> str:
    """The solution of a finite G in words; `nearly` the name that it has within `NEARLY` only."""
    names = []
    for angle in (ANGLE, NEARLY):
        factors = tegum_factors(G, angle)
        names.append(solution_name(factors))
        if all(factor.name != IRREGULAR for factor in factors):
            return names[-1] if angle == ANGLE else f"nearly {names[-1]}"
    return names[0]


def solution_name(factors: Sequence[Factor]) -> str:
    """The whole solution in a few words: `octahedron`, or `2 pentagons, 3 digons and 1 lone feature`."""
    names = [factor.name for factor in factors]
    if (whole := _PRODUCTS.get(tuple(sorted(names)))) is not None:
        return whole
    if len(names) < 2:
        return names[0] if names else "no feature"
    # In the order of first appearance: the largest factors first.
    counts = [
        f"{count} {name}{'s' if count > 1 and name != IRREGULAR else ''}"
        for name, count in Counter(names).items()
    ]
    return " and ".join(filter(None, (", ".join(counts[:-1]), counts[-1])))


def canonical(W: npt.ArrayLike) -> F64:
    """W (n, m), finite, rotated and reflected so that equal solutions look equal; G stays what it is.

    The first represented feature lies along the first axis, the next that is off this line in the plane of
    the first two, with a positive second coordinate, and so on. Off means more than a tenth of its length;
    where no represented feature is, the one furthest off decides.
    """
    W = np.asarray(W, np.float64)
    length = np.linalg.norm(W, axis=1)
    seen = represented(length)
    rest, turned = W.copy(), np.zeros_like(W)
    for axis in range(min(W.shape)):
        off = np.linalg.norm(rest, axis=1)
        guides = np.flatnonzero(seen & (off > 0.1 * length))
        guide = int(guides[0]) if len(guides) else int(off.argmax())
        if off[guide] <= 1e-12 * length.max():
            break
        direction = rest[guide] / off[guide]
        turned[:, axis] = rest @ direction
        rest -= turned[:, axis, None] * direction
    return turned


def ring(points: F64) -> F64:
    """(k,): degrees from the direction of each of k points (k, 2) in the plane to the next one around.

    72 five times for a regular pentagon.
    """
    angle = np.sort(np.degrees(np.arctan2(points[:, 1], points[:, 0])))
    return np.diff(np.r_[angle, angle[0] + 360])


def set_cosines(W: npt.ArrayLike, set_size: int) -> F64:
    """The least cosine between two members of each set of consecutive features, ascending; W (n, m).

    A last set of one feature is left out; empty where W is not finite.
    """
    W = np.asarray(W, np.float64)
    if not np.isfinite(W).all():
        return np.empty(0)
    C = cosines(W @ W.T)
    starts = range(0, len(W) - 1, set_size)
    return np.sort([C[s : s + set_size, s : s + set_size].min() for s in starts if set_size > 1])


def on_fraction(points: F64, fraction: Fraction) -> tuple[int, bool]:
    """How many points lie within 0.005 of a fraction, and whether they form a line there.

    A line: at least 10, and at least twice as many as 0.0125 to either side, in windows of the same width.
    """

    def count(centre: float) -> int:
        return int((np.abs(points - centre) <= 0.005 + 1e-9).sum())

    here = count(float(fraction))
    beside = max(count(float(fraction) - 0.0125), count(float(fraction) + 0.0125))
    return here, here >= 10 and here >= 2 * beside


def _components(edges: npt.NDArray[np.bool_], nodes: list[int]) -> Iterable[tuple[int, ...]]:
    left = set(nodes)
    while left:
        found, frontier = set[int](), {min(left)}
        while frontier:
            found |= frontier
            frontier = set(np.flatnonzero(edges[sorted(frontier)].any(axis=0)).tolist()) - found
        left -= found
        yield tuple(sorted(found))


def _factor(G: F64, features: tuple[int, ...], angle: float) -> Factor:
    block = G[np.ix_(features, features)]
    own = np.square(np.diag(block)) / np.square(block).sum(axis=1)
    angles = np.degrees(np.arccos(cosines(block)))
    shape = next((shape for shape in _shapes(len(features)) if _fits(angles, shape.angles, angle)), None)
    return Factor(
        features=features,
        name=shape.name if shape else IRREGULAR,
        dimensionality=own,
        expected=shape.dimensionality if shape else np.nan,
    )


@cache
def _shapes(k: int) -> tuple[_Shape, ...]:
    """The regular shapes of k features that are one factor."""
    if k == 1:
        return (_Shape(SINGLE, np.zeros((1, 1)), 1.0),)
    shapes = [_shape(_SIMPLICES.get(k, f"{k - 1}-simplex"), simplex(k - 1))]
    if k >= 5:
        shapes.append(_shape(_POLYGONS.get(k, f"{k}-gon"), polygon(k)))
    if k == 8:
        shapes.append(_shape("square antiprism", square_antiprism()))
    return tuple(shapes)


def _shape(name: str, W: F64) -> _Shape:
    return _Shape(name, np.degrees(np.arccos(cosines(W @ W.T))), W.shape[1] / len(W))


def _fits(angles: F64, wanted: F64, angle: float) -> bool:
    """Whether some order of the features has all angles within `angle` degrees of those wanted.

    The members of these shapes are alike, so each has the same sorted row of angles: where a row does not
    fit, no order does. Else members are placed one by one, and taken back where they do not fit.
    """
    close = np.abs(np.sort(angles, axis=1) - np.sort(wanted[0])) <= angle
    if not close.all():
        return False
    k = len(angles)
    placed = [0]
    tried = [0] * k
    while 0 < len(placed) < k:
        at = len(placed)
        for feature in range(tried[at], k):
            if feature not in placed and (np.abs(angles[feature, placed] - wanted[at, :at]) <= angle).all():
                tried[at] = feature + 1
                placed.append(feature)
                break
        else:
            tried[at] = 0
            placed.pop()
    return len(placed) == k
