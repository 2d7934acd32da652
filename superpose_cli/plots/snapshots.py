"""The rows of W at single records of a training: which records, in which pose, and the small pictures."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from superpose_cli.plots.polyhedron import VIEW
from superpose_cli.plots.style import Style
from superpose_cli.toy_model.geometry import canonical

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FEWEST = 4


def stretches(covered: Mask) -> list[tuple[int, int]]:
    """The runs of covered intervals, (T - 1,), as records: the one each begins at and the one it ends at."""
    edges = np.diff(covered.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def before_and_after(loss: F64, covered: Mask, most: int) -> tuple[int, ...]:
    """At most `most` >= FEWEST records of a positive loss (T,): the first, the last, and the ends of jumps.

    Of many stretches of jumps (`covered`, (T - 1,)) those count in which the loss falls most. Where that
    makes fewer than FEWEST, the loss decides: where it first is down by a third and by two thirds, in logs.
    """
    down = np.log(loss[0] / loss)
    by_fall = sorted(stretches(covered), key=lambda ends: down[ends[0]] - down[ends[1]])
    chosen = {0, len(loss) - 1, *(at for ends in by_fall[: (most - 2) // 2] for at in ends)}
    if len(chosen) < FEWEST:
        chosen |= {int((down >= share * down.max()).argmax()) for share in (1 / 3, 2 / 3)}
    return tuple(sorted(chosen))


def posed(W: F64) -> F64:
    """(T, n, 2): the rows of W (T, n, m) as they are seen; (T, n, n), W W^T, where m > 3.

    All records are turned alike, by what takes the last one to its common pose.
    """
    if W.shape[2] > 3:
        return W @ W.swapaxes(1, 2)
    left, _, right = np.linalg.svd(W[-1].T @ canonical(W[-1]))
    turned = W @ (left @ right)
    if W.shape[2] == 3:
        return turned @ VIEW[:2].T
    return np.pad(turned, ((0, 0), (0, 0), (0, 2 - W.shape[2])))


def snapshot(
    ax: Axes, W: F64, colours: Sequence[Any], style: Style, edges: Iterable[tuple[int, int]] = ()
) -> list[Artist]:
    """Rows (n, 2) as lines from the origin, and lines between the pairs `edges`; or the matrix (n, n)."""
    if W.shape[1] != 2:
        return [ax.imshow(W, cmap=style.diverging, vmin=-1.2, vmax=1.2, interpolation="nearest")]
    drawn: list[Artist] = []
    for i, j in edges:
        drawn += ax.plot(*W[[i, j]].T, color=style.muted, lw=0.5 * style.line, alpha=0.5)
    for (x, y), colour in zip(W, colours, strict=True):
        drawn += ax.plot([0, x], [0, y], color=colour, lw=1.1 * style.line)
        drawn += ax.plot(x, y, "o", color=colour, ms=2.6 * style.line)
    return drawn
