"""Two runs side by side: which settings differ, and what that did to each cell that both have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superpose_cli.experiment.fields import FIELDS
from superpose_cli.results.manifest import RunAxis
from superpose_cli.results.run import Run

MEASURES = ("loss", "loss_ratio", "frobenius_norm_sq", "n_represented", "status")
"""What is compared of the best restart of a cell, beside its regimes."""
REGIMES = ("dedicated", "superposed", "ignored")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting that differs; None where a run leaves it unset. An axis is told as its values."""

    key: str
    one: Any
    other: Any


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between two runs."""

    settings: tuple[Setting, ...]
    same_key: int
    """Instances of one key: trained alike in both runs."""
    same_loss: int
    """Those of them whose stored loss has the same bits."""
    joined_by: tuple[str, ...]
    """The columns that name a cell in both runs."""
    cells: pd.DataFrame
    """A row for each cell that both have, by its best restart: the columns of `joined_by`, then each of
    MEASURES and `regimes` with the suffixes _one and _other."""
    only_one: int
    """Cells of the first run without a partner."""
    only_other: int


def compare_runs(one: Run, other: Run) -> Comparison:
    """Compare by key (the same training) and by axes (the same place in the grid, by its columns' values)."""
    keys = [run.instances(["key", "loss"]).drop_duplicates("key") for run in (one, other)]
    both = keys[0].merge(keys[1], on="key", suffixes=("_one", "_other"))
    bits = [both[f"loss_{side}"].to_numpy().view(np.int64) for side in ("one", "other")]
    columns = _join_columns(one, other)
    frames = [_best_cells(run, columns) for run in (one, other)]
    # A cell that these columns do not tell from others has no one partner.
    single = [frame.drop_duplicates(columns, keep=False) for frame in frames] if columns else frames
    cells = (
        single[0].merge(single[1], on=columns, suffixes=("_one", "_other"))
        if columns
        else single[0].merge(single[1], how="cross", suffixes=("_one", "_other"))
    )
    return Comparison(
        settings=tuple(_settings(one, other)),
        same_key=len(both),
        same_loss=int((bits[0] == bits[1]).sum()),
        joined_by=tuple(columns),
        cells=cells,
        only_one=len(frames[0]) - len(cells),
        only_other=len(frames[1]) - len(cells),
    )


def _settings(one: Run, other: Run) -> list[Setting]:
    """Settings that differ, what decides the results first."""
    found = []
    for key in FIELDS:
        if key in ("experiment", "plots"):
            continue
        values = [_value(run, key) for run in (one, other)]
        if values[0] != values[1]:
            found.append(Setting(key=key, one=values[0], other=values[1]))
    for group in ("model", "init", "data", "importance", "train"):
        values = [_axis_values(run, group) for run in (one, other)]
        if values[0] != values[1]:
            found.append(Setting(key=group, one=values[0], other=values[1]))
    for name in ("numerics", "superpose"):
        values = [getattr(run.manifest, name) for run in (one, other)]
        if values[0] != values[1]:
            found.append(Setting(key=name, one=values[0], other=values[1]))
    return found


def _value(run: Run, key: str) -> Any:
    """The value of a setting, or the list of its values where it is an axis."""
    axis = _axis_values(run, key)
    if axis is not None:
        return axis
    group, _, leaf = key.rpartition(".")
    node = run.config.get(group) if group else run.config
    return node.get(leaf) if isinstance(node, Mapping) else None


def _axis_values(run: Run, key: str) -> tuple[Any, ...] | None:
    for axis in run.axes:
        if key in axis.keys:
            return tuple(row[axis.keys.index(key)] for row in axis.values)
    return None


def _join_columns(one: Run, other: Run) -> list[str]:
    """The columns of the axes of either run, as far as both have them."""
    axes: tuple[RunAxis, ...] = one.axes + other.axes
    names = dict.fromkeys(column for axis in axes for column in axis.columns)
    there = [set(run.tables.schema("instances").names) for run in (one, other)]
    return [name for name in names if name in there[0] & there[1]]


def _best_cells(run: Run, columns: list[str]) -> pd.DataFrame:
    """The best restart of each cell: where it is, what was measured, and its features by regime."""
    best = run.best([*dict.fromkeys(["cell", "restart", *columns, *MEASURES])])
    for name in [*columns, "status"]:
        if isinstance(best[name].dtype, pd.CategoricalDtype):
            best[name] = best[name].astype(object)
    features = run.features(["cell", "restart", "regime"]).merge(best[["cell", "restart"]])
    counts = pd.crosstab(features["cell"], features["regime"].astype(str))
    counts = counts.reindex(index=best["cell"], columns=list(REGIMES), fill_value=0)
    best["regimes"] = [dict(zip(REGIMES, row, strict=True)) for row in counts.to_numpy().tolist()]
    return best.drop(columns=["cell", "restart"])
