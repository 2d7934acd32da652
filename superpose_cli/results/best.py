"""Of the best restart of each cell: its weights, its row, its features, and the data it was fitted to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import F64
from superpose_cli.toy_model.sampling import Law, finite_table


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The best restart of one cell."""

    W: npt.NDArray[np.float32]
    """(n, m)."""
    decoder: npt.NDArray[np.float32]
    """(n, m): W where tied."""
    b: npt.NDArray[np.float32]
    """(n,); 0 without a bias."""
    tied: bool


def best_weights(run: Run, cells: npt.NDArray[np.int64]) -> dict[int, Weights]:
    """By cell number; the numbers of a diverged instance may not be finite."""
    found = {}
    for block in run.weights(cells=cells, best=True):
        for i, cell in enumerate(block.cell):
            decoder = block.W if block.W_dec is None else block.W_dec
            found[int(cell)] = Weights(
                W=block.W[i], decoder=decoder[i], b=block.b[i], tied=block.W_dec is None
            )
    return found


def best_cells(run: Run, columns: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Columns of the instances table for each stored cell's best restart; with `cell`, ascending."""
    frame = run.best(columns=["cell", *columns])
    return {str(name): frame[name].to_numpy() for name in frame}


def best_features(
    run: Run, columns: list[str], cells: npt.NDArray[np.int64] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Columns of the features table for each cell's best restart; with `cell` and `feature`, ascending."""
    best = run.best(columns=["cell", "restart"])
    rows = run.features(columns=["cell", "restart", "feature", *columns], cells=cells)
    rows = rows.merge(best, on=["cell", "restart"]).sort_values(["cell", "feature"])
    return {str(name): rows[name].to_numpy() for name in rows}


def by_cell(cell: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> dict[int, npt.NDArray[Any]]:
    """`values` cut where the ascending `cell` changes."""
    cells, starts = np.unique(cell, return_index=True)
    return dict(zip(cells.tolist(), np.split(values, starts[1:]), strict=True))


def data_points(run: Run, cells: npt.NDArray[np.int64], most: int) -> dict[int, F64]:
    """By cell number, (T, n): at most `most` first rows of its fixed table, drawn again from their key.

    Cells without such a table are left out, and those that an older superpose stored without its key.
    """
    if "table_key" not in run.tables.schema("instances").names:
        return {}
    names = ["table_key", "value", "high", "signed", "n_rows", "unit_norm"]
    rows = best_cells(run, names)
    features = best_features(run, ["feature_probability"], cells=cells)
    p = by_cell(features["cell"], features["feature_probability"])
    found = {}
    for i in np.flatnonzero(np.isin(rows["cell"], cells)):
        row = {name: rows[name][i] for name in names}
        cell = int(rows["cell"][i])
        if not isinstance(row["table_key"], str):
            continue
        table = finite_table(
            np,
            Law(kind="finite", value=str(row["value"]), signed=bool(row["signed"])),
            key=np.array([int(row["table_key"], 16)], np.uint64),
            n_rows=min(int(row["n_rows"]), most),
            feature_probability=p[cell][None].astype(np.float64),
            high=np.array([row["high"]], np.float64),
            unit_norm=bool(row["unit_norm"]),
        )
        found[cell] = table[0].astype(np.float64)
    return found
