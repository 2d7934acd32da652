"""What claims read from a run: the best restart of each wanted cell, whole, and what a run must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from superpose_cli.claims.base import Inconclusive, Refuted
from superpose_cli.results.best import best_features, best_weights
from superpose_cli.results.run import Run
from superpose_cli.toy_model.geometry import Factor, cosines, tegum_factors
from superpose_cli.toy_model.metrics import F64, represented

SPACING = 1.35
"""The largest ratio of neighbouring densities between which a crossing is known well."""
FEATURE_COLUMNS = (
    *("feature_probability", "importance", "norm", "interference", "row_sum", "dimensionality"),
    *("leverage", "basis_alignment", "regime", "feature_loss"),
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """The best restart of a cell."""

    row: Mapping[str, Any]
    """Its row of the instances table."""
    features: Mapping[str, npt.NDArray[Any]]
    """`FEATURE_COLUMNS`, each (n,)."""
    W: F64
    """(n, m)."""
    decoder: F64
    """(n, m): W where tied."""
    b: F64
    """(n,); 0 without a bias."""

    @property
    def p(self) -> float:
        """The feature probability that all features share."""
        return float(self.row["feature_probability"])

    @property
    def n_hidden(self) -> int:
        """Hidden dimensions m."""
        return int(self.row["n_hidden"])

    @cached_property
    def represented(self) -> npt.NDArray[np.bool_]:
        """(n,): whether ||W_i||^2 > 0.25."""
        return represented(self.features["norm"])

    @cached_property
    def superposed(self) -> npt.NDArray[np.bool_]:
        """(n,): represented with D_i < 0.9."""
        return self.features["regime"].astype(str) == "superposed"

    @property
    def dedicated(self) -> npt.NDArray[np.bool_]:
        """(n,): represented with D_i of 0.9 and more."""
        return self.represented & ~self.superposed

    @cached_property
    def G(self) -> F64:
        """(n, n): W W_dec^T."""
        return self.W @ self.decoder.T

    @cached_property
    def cosines(self) -> F64:
        """(n, n), of the rows of W; 0 beside a row of zeros."""
        return cosines(self.W @ self.W.T)

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The tegum factors of the rows of W."""
        return tegum_factors(self.W @ self.W.T)


def models(run: Run, **settings: Any) -> list[Model]:
    """The best restart of each cell that has these values in these columns of the instances table, by cell.

    Inconclusive where there is no such cell, where one is not stored, or where all restarts of one diverged.
    """
    rows = _with(run.best(), settings)
    need(len(rows) > 0, f"no cell has {_told(settings)}")
    lost = rows.loc[rows["status"] == "diverged", "cell"].tolist()
    need(not lost, f"all restarts of cell {', '.join(map(str, lost))} diverged")
    cells = rows["cell"].to_numpy()
    weights = best_weights(run, cells)
    features = best_features(run, list(FEATURE_COLUMNS), cells)
    found = []
    for row in rows.to_dict("records"):
        cell = row["cell"]
        own = features["cell"] == cell
        W = weights[cell]
        found.append(
            Model(
                row={str(name): value for name, value in row.items()},
                features={name: features[name][own] for name in FEATURE_COLUMNS},
                W=W.W.astype(np.float64),
                decoder=W.decoder.astype(np.float64),
                b=W.b.astype(np.float64),
            )
        )
    return found


def restarts(run: Run, columns: Sequence[str], features: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Columns of all restarts but the diverged: (I,) of the instances table, (I, n) of the features table.

    Inconclusive where all diverged, or where models differ in n and columns of features are wanted.
    """
    rows = run.instances(["status", "n_features", *columns])
    usable = (rows["status"] != "diverged").to_numpy()
    need(bool(usable.any()), "all restarts diverged")
    found = {name: rows[name].to_numpy()[usable] for name in columns}
    if features:
        n = rows["n_features"].to_numpy()
        need(bool((n == n[0]).all()), "needs models of one number of features")
        # Rows of both tables lie in order: n of the features for each of the instances.
        table = run.features(list(features))
        found |= {name: table[name].to_numpy().reshape(-1, n[0])[usable] for name in features}
    return found


def restart_weights(run: Run, decoder: bool = False) -> F64:
    """W (I, n, m), or W_dec, of all restarts but the diverged, in the order of `restarts`.

    Inconclusive where models differ in shape.
    """
    blocks = run.weights(best=False)
    need(len(blocks) == 1, "needs models of one shape")
    (block,) = blocks
    chosen = block.W if block.W_dec is None or not decoder else block.W_dec
    return chosen[run.instances(["status"])["status"].to_numpy() != "diverged"].astype(np.float64)


def need(condition: bool, lacks: str) -> None:
    """Raise Inconclusive, with what the run lacks, unless the condition holds."""
    if not condition:
        raise Inconclusive(lacks)


def must(condition: bool, missing: str) -> None:
    """Raise Refuted, with what did not come out of training, unless the condition holds."""
    if not condition:
        raise Refuted(missing)


def need_setting(run: Run, *, restarts: int = 1, steps: int = 1, **settings: Any) -> None:
    """Inconclusive unless there are so many restarts and steps, and all cells have these values.

    The steps are those that a claim's model needs to come to rest; a shorter training decides nothing.
    """
    need(run.restarts >= restarts, f"needs {restarts} restarts a cell, the run has {run.restarts}")
    rows = run.best(["steps", *settings])
    least = int(rows["steps"].to_numpy().min())
    need(least >= steps, f"needs {steps:,} training steps, the run has {least:,}")
    for name, value in settings.items():
        stored = rows[name].to_numpy()
        others = dict.fromkeys(stored[~_equal(stored, value)].tolist())
        need(not others, f"needs {name} = {value}, the run has {', '.join(map(str, others))}")


def need_fine(densities: F64) -> None:
    """Inconclusive unless ascending densities are so near that they tell where branches cross."""
    apart = float((densities[1:] / densities[:-1]).max(initial=1))
    need(apart <= SPACING, f"needs densities at most {SPACING} times the next, the run has {apart:.2f} times")


def _with(rows: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these values; numbers agree to a part in 10^9."""
    for name, value in settings.items():
        rows = rows.loc[_equal(rows[name].to_numpy(), value)]
    return rows


def _equal(values: npt.NDArray[Any], wanted: Any) -> npt.NDArray[np.bool_]:
    if isinstance(wanted, bool | str):
        return values == wanted
    return np.isclose(values.astype(np.float64), float(wanted), rtol=1e-9, atol=0)


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items()) or "any setting"
