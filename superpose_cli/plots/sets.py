"""Sets of correlated and anticorrelated features: who is in which, their colours and angles."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from superpose_cli.plots.stored import best_cells
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import span
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import cosines
from superpose_cli.toy_model.metrics import F64, represented

I64 = npt.NDArray[np.int64]
Sets = tuple[I64, ...]
"""Per shown cell, (n,): the set of each feature; empty where features come in no sets."""

MOST = 7
"""Sets that have a colour each: of more, none has."""
ALIKE = 10.0
"""Degrees: angles this near to one another are counted as the same."""
READING = (
    " Features of one colour are one set: members of a correlated set tend to be on together, of an "
    "anticorrelated one two never are."
)


def sets_of(run: Run, cells: I64) -> Sets:
    """The sets of consecutive features of each of `cells`; all empty where a cell has more than `MOST`."""
    best = best_cells(run, ["set_size", "n_features"])
    sizes, counts = (
        dict(zip(best["cell"].tolist(), best[name].astype(np.float64).tolist(), strict=True))
        for name in ("set_size", "n_features")
    )
    none = np.empty(0, np.int64)
    found = tuple(
        np.arange(int(counts[cell])) // int(sizes[cell]) if np.isfinite(sizes[cell]) else none
        for cell in cells.tolist()
    )
    return found if max(map(_count, found)) <= MOST else (none,) * len(found)


def set_colours(sets: I64, style: Style) -> list[str]:
    """The colour of each feature, (n,)."""
    return [style.series[i] for i in sets.tolist()]


def set_legend(figure: Figure, sets: Sets, style: Style) -> None:
    """Which colour is which set, at the upper right; nothing where there are none."""
    handles = [Patch(color=style.series[i], label=f"set {i}") for i in range(max(map(_count, sets)))]
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def tell_angles(places: Sequence[str], weights: Sequence[F64], sets: Sets) -> str:
    """A sentence on the angles between represented members of one set, or '' without sets.

    `places` and `weights`, W (n, m) or empty where a cell diverged, per shown cell.
    """
    told = []
    for place, W, own in zip(places, weights, sets, strict=True):
        if len(own) and len(W):
            inside = _angles(W, own)
            text = f"{span(inside)}°" if len(inside) else "no two of them represented"
            told.append(f"{text}{' at ' + place if place else ''}")
    return f"Between members of one set there are {'; '.join(told)}." if told else ""


def tell_starts(run: Run, cells: I64, places: Sequence[str], weights: Sequence[F64], sets: Sets) -> str:
    """How many starts of each cell end with the shown one's angles inside the sets; '' where there is one.

    An arrangement that the sets prefer is more frequent than where they do not matter. See `tell_angles`.
    """
    told = []
    for cell, place, W, own in zip(cells.tolist(), places, weights, sets, strict=True):
        if run.restarts > 1 and len(own) and len(W):
            shown = np.sort(_angles(W, own))
            (block,) = run.weights([cell], best=False)
            ends = [np.sort(_angles(start, own)) for start in block.W.astype(np.float64)]
            alike = [len(end) == len(shown) and bool((np.abs(end - shown) <= ALIKE).all()) for end in ends]
            told.append(f"{sum(alike)} of {len(alike)}{' at ' + place if place else ''}")
    return f"Starts that end with these angles, to within {ALIKE:g}°: {'; '.join(told)}." if told else ""


def _angles(W: F64, sets: I64) -> F64:
    """Degrees between every two represented rows of W (n, m) in one set."""
    seen = represented(np.linalg.norm(W, axis=1))
    pairs = np.triu((sets[:, None] == sets) & seen[:, None] & seen, 1)
    return np.degrees(np.arccos(cosines(W @ W.T)[pairs]))


def _count(sets: I64) -> int:
    return int(sets.max(initial=-1)) + 1
