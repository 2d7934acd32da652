"""The hidden units of the best restarts, in the order in which plots show them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.stored import (
    Weights,
    best_cells,
    best_features,
    best_weights,
    by_cell,
    refuse_if_all_diverged,
)
from superpose_cli.results.run import Run
from superpose_cli.toy_model.metrics import F64
from superpose_cli.toy_model.neurons import neuron_kinds


@dataclass(frozen=True, kw_only=True)
class Units:
    """The hidden units of a cell's best restart in order: one feature's, several features', silent ones."""

    W: F64
    """(n, m); not finite where it diverged."""
    W_dec: F64
    """(n, m): W where tied."""
    kinds: npt.NDArray[np.int8]
    """(m,): codes of `neuron_kinds`; all silent where it diverged."""
    order: npt.NDArray[np.intp]
    """(m,): the model's own unit behind each."""
    tied: bool

    @property
    def diverged(self) -> bool:
        """Whether training left numbers that are none."""
        return not (np.isfinite(self.W).all() and np.isfinite(self.W_dec).all())


@dataclass(frozen=True, kw_only=True)
class UnitPanels:
    """What the plots of hidden units draw: one panel per cell, its best restart."""

    panels: Panels
    units: tuple[Units, ...]
    """Per shown cell."""
    tied: bool
    """Whether in all models the output weights are the input weights."""
    privileged: bool
    """Whether in all models a ReLU or an L1 penalty on the hidden layer sets its units apart."""
    restarts: int


def unit_panels(plot: str, run: Run) -> UnitPanels:
    """The best restart of each cell; RunError, in the name of `plot`, where all diverged."""
    layout = panels(run)
    units = best_neurons(run, layout.shown)
    refuse_if_all_diverged(plot, run, [one.W for one in units])
    return UnitPanels(
        panels=layout,
        units=tuple(units),
        tied=all(one.tied for one in units),
        privileged=is_privileged(run),
        restarts=run.restarts,
    )


def best_neurons(run: Run, cells: npt.NDArray[np.int64]) -> list[Units]:
    """The hidden units of each of these cells' best restart."""
    weights = best_weights(run, cells)
    features = best_features(run, ["importance"], cells)
    importance = by_cell(features["cell"], features["importance"])
    return [units_of(weights[cell], importance[cell]) for cell in cells.tolist()]


def units_of(weights: Weights, importance: npt.ArrayLike) -> Units:
    """The units by kind (mono-, polysemantic, silent), then by the largest feature of their inputs."""
    W, W_dec = weights.W.astype(np.float64), weights.decoder.astype(np.float64)
    kinds = np.zeros(W.shape[1], np.int8)
    order = np.arange(W.shape[1])
    if np.isfinite(W).all() and np.isfinite(W_dec).all():
        kinds = neuron_kinds(W, W_dec, importance)
        order = np.lexsort((np.abs(W).argmax(axis=0), np.where(kinds == 0, 3, kinds)))
    return Units(W=W[:, order], W_dec=W_dec[:, order], kinds=kinds[order], order=order, tied=weights.tied)


def is_privileged(run: Run) -> bool:
    """Whether in all models a ReLU or an L1 penalty on the hidden layer sets its units apart."""
    best = best_cells(run, ["hidden_activation", "hidden_l1"])
    return bool(((best["hidden_activation"] == "relu") | (best["hidden_l1"] > 0)).all())
