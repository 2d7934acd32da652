"""What an analysis of a stored model needs beside its weights: the law of its inputs, and rows of it."""

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from superpose_cli.plots.stored import best_cells, best_features, by_cell, refuse
from superpose_cli.results.run import Run
from superpose_cli.toy_model.model import Model, forward
from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import Law, draw

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

KEY = np.array([0x616E616C79736973], np.uint64)
"""The Philox key of rows for analyses: one for all runs, so that models are compared on the same draws."""
LAW = ("data_kind", "value", "high", "signed", "set_size", "correlation", "k")
MODEL = ("hidden_activation", "output_activation", "target", "status")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The best restart of a cell with all that it computes."""

    model: Model
    W: F64
    """(n, m)."""
    decoder: F64
    """(n, m): W where tied."""
    b: F64
    """(n,)."""
    b_hidden: F64
    """(m,)."""
    law: Law
    high: float
    correlation: float
    feature_probability: F64
    """(n,)."""
    dimensionality: F64
    """(n,): D_i."""
    regime: tuple[str, ...]
    """Of each feature."""

    def rows(self, count: int) -> F64:
        """(count, n): inputs by the law that the model was trained on; those of finite data unscaled."""
        x = draw(
            np,
            self.law,
            key=KEY,
            stream=Stream.evaluation,
            set_stream=Stream.evaluation_sets,
            step=0,
            rows=(0, count),
            feature_probability=self.feature_probability[None],
            high=np.array([self.high]),
            correlation=np.array([self.correlation]),
        )
        return x[0].astype(np.float64)

    def hidden(self, x: F64) -> F64:
        """h (rows, m) of the inputs x (rows, n)."""
        parameters = {"W": self.W[None], "b_hidden": self.b_hidden[None]}
        return forward(x[None], parameters, self.model)[0][0]

    def outputs(self, x: F64) -> F64:
        """y (rows, n) of the inputs x (rows, n)."""
        parameters = {"W": self.W, "W_dec": self.decoder, "b": self.b, "b_hidden": self.b_hidden}
        return forward(x[None], {name: array[None] for name, array in parameters.items()}, self.model)[1][0]


def stored_models(run: Run, cells: I64) -> dict[int, Stored]:
    """By cell number, of each stored cell among `cells` whose best restart did not diverge."""
    rows = best_cells(run, [*LAW, *MODEL])
    at = {int(cell): i for i, cell in enumerate(rows["cell"])}
    features = best_features(run, ["feature_probability", "dimensionality", "regime"], cells=cells)
    p, own, regime = (
        by_cell(features["cell"], features[name])
        for name in ("feature_probability", "dimensionality", "regime")
    )
    found = {}
    for block in run.weights(cells=cells, best=True):
        decoder = block.W if block.W_dec is None else block.W_dec
        for i, cell in enumerate(block.cell.tolist()):
            row = {name: rows[name][at[cell]] for name in (*LAW, *MODEL)}
            if row["status"] == "diverged":
                continue
            unused = {
                name: 0 if _absent(row[name]) else row[name] for name in ("set_size", "correlation", "k")
            }
            found[cell] = Stored(
                model=Model(**{name: str(row[name]) for name in MODEL if name != "status"}),
                W=block.W[i].astype(np.float64),
                decoder=decoder[i].astype(np.float64),
                b=block.b[i].astype(np.float64),
                b_hidden=block.b_hidden[i].astype(np.float64),
                law=Law(
                    kind=str(row["data_kind"]),
                    value=str(row["value"]),
                    signed=bool(row["signed"]),
                    set_size=int(unused["set_size"]),
                    k=int(unused["k"]),
                ),
                high=float(row["high"]),
                correlation=float(unused["correlation"]),
                feature_probability=p[cell].astype(np.float64),
                dimensionality=own[cell].astype(np.float64),
                regime=tuple(map(str, regime[cell])),
            )
    return found


def _absent(value: object) -> bool:
    return value is None or value != value


def fitted(plot: str, run: Run) -> ModuleType:
    """What scikit-learn fits, imported when it is asked for; RunError where that is not installed."""
    try:
        return importlib.import_module("superpose_cli.plots.fitted")
    except ModuleNotFoundError as error:
        refuse(plot, run, f"{error.name} is not installed", "pip install 'superpose[analysis]'")
