"""What `show` and `train` print of a run: its summary, and a picture that suits its grid."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from superpose_cli.cli import drawings
from superpose_cli.cli.live import clock, counted
from superpose_cli.cli.output import continuing
from superpose_cli.cli.runs import status_of
from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.failures import failed_cells
from superpose_cli.results.manifest import Manifest, RunAxis
from superpose_cli.results.run import Run

SUCCESS = 1.10
"""A restart has reached the best one when its objective is at most this multiple of the best."""
MOST_ROWS = 40
MOST_EXAMPLES = 5
LAST_FEATURE = {"last_importance", "last_probability"}
"""Axes that vary the last feature alone: a map shows what becomes of it."""


def print_run(console: Console, run: Run) -> None:
    """The summary of a run, and its picture: one cell in detail, a table for one axis, maps for more."""
    _print_rows(console, _summary(run))
    for text in _failures(run):
        console.print(text, soft_wrap=True)  # a command is copied as one line
    axes = [axis for axis in run.axes if len(axis.values) > 1]
    picture = _maps if len(axes) > 1 else _axis_table if axes else _cell
    for part in picture(run, console):
        console.print()
        console.print(part)


def print_begun(console: Console, path: Path, manifest: Manifest) -> None:
    """What there is to tell of a run that has stored nothing yet."""
    status = status_of(path, manifest)
    rows = [
        ("run", f"{path}"),
        ("experiment", manifest.experiment),
        ("status", f"{status}, 0 of {manifest.n_instances:,} instances stored"),
        *_unfinished(path, status),
    ]
    _print_rows(console, rows)


def facts_begun(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The same as plain data; as much of `facts` as there is."""
    return {
        "path": str(path),
        "experiment": manifest.experiment,
        "run_id": manifest.run_id,
        "status": status_of(path, manifest),
        "n_instances": manifest.n_instances,
        "counts": {},
        "checkpoints": [asdict(saved) for saved in saved_checkpoints(path)],
    }


def facts(run: Run) -> dict[str, Any]:
    """The summary as plain data, for `--json`."""
    manifest, best = run.manifest, run.best(["loss", "loss_ratio"])
    return {
        "path": str(run.path),
        "experiment": run.name,
        "run_id": manifest.run_id,
        "status": status_of(run.path, manifest),
        "n_cells": run.n_cells,
        "restarts": run.restarts,
        "n_instances": manifest.n_instances,
        "counts": _counts(run),
        "failures": [asdict(cell) | {"retry": cell.retry(run.path)} for cell in failed_cells(run)],
        "checkpoints": [asdict(saved) for saved in saved_checkpoints(run.path)],
        "engine": manifest.engine,
        "device": manifest.device,
        "dtype": manifest.dtype,
        "seconds": manifest.seconds,
        "axes": [{"keys": list(axis.keys), "size": len(axis.values)} for axis in run.axes],
        "best_loss": _span(best["loss"].to_numpy()),
        "best_loss_ratio": _span(best["loss_ratio"].to_numpy()),
    }


def _summary(run: Run) -> list[tuple[str, str]]:
    manifest, counts = run.manifest, _counts(run)
    status = status_of(run.path, manifest)
    stored = sum(counts.values())
    rows = [
        ("run", f"{run.path}"),
        ("experiment", run.name),
        ("status", f"{status}, {stored:,} of {manifest.n_instances:,} instances stored"),
        *_unfinished(run.path, status),
        ("grid", f"{counted(run.n_cells, 'cell')} x {counted(run.restarts, 'restart')}"),
        *(("axis", _axis_text(axis)) for axis in run.axes),
        ("engine", f"{manifest.engine}, {manifest.dtype} on {manifest.device}"),
        ("time", clock(manifest.seconds)),
        ("instances", ", ".join(f"{count:,} {status}" for status, count in counts.items())),
    ]
    best = run.best(["loss", "loss_ratio"])
    rows.append(("best loss", _span_text(best["loss"].to_numpy())))
    rows.append(
        ("loss ratio", f"{_span_text(best['loss_ratio'].to_numpy())} of the best constant output's loss")
    )
    return rows


def _unfinished(path: Path, status: str) -> list[tuple[str, str]]:
    """The rows that tell how to go on with a run that is not complete, and from where."""
    saved = ", ".join(
        f"shard {one.shard}: {one.trained:,.1f} of {counted(one.n_instances, 'instance')} trained"
        for one in saved_checkpoints(path)
    )
    rows = [("checkpoint", saved)] if saved else []
    return rows + (
        [("to continue", continuing(path))]
        if status in ("stopped", "interrupted", "failed", "incomplete")
        else []
    )


def _print_rows(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Each on a line of its own, however long: paths and commands are copied whole."""
    width = 2 + max(len(name) for name, _ in rows)
    for name, text in rows:
        console.print(Text.assemble((name.ljust(width), "bold"), text), soft_wrap=True)


def _counts(run: Run) -> dict[str, int]:
    counts = run.instances(["status"])["status"].astype(str).value_counts()
    return {str(status): int(count) for status, count in counts.items()}


def _failures(run: Run) -> Iterator[Text]:
    """Each kind of failure, with the first few places, and commands to retry what diverged."""
    cells = failed_cells(run)
    if cells:
        instances = counted(sum(len(cell.restarts) for cell in cells), "instance")
        yield Text(f"{instances} diverged, in {counted(len(cells), 'cell')}:", "yellow")
        for cell in cells[:MOST_EXAMPLES]:
            yield Text(f"  {cell.told()}", "yellow")
            yield Text(f"    to retry: {cell.retry(run.path)}")
        if len(cells) > MOST_EXAMPLES:
            yield Text(f"  and {len(cells) - MOST_EXAMPLES:,} more cells: `superpose show --json` lists all")
    rows = run.instances(["cell", "restart", "status"])
    dead = rows.loc[rows["status"] == "dead", ["cell", "restart"]].to_numpy().tolist()
    if dead:
        places = "; ".join(f"cell {cell} restart {restart}" for cell, restart in dead[:MOST_EXAMPLES])
        more = ", ..." if len(dead) > MOST_EXAMPLES else ""
        yield Text(f"{counted(len(dead), 'instance')} dead: {places}{more}", "yellow")


def _cell(run: Run, console: Console) -> Iterator[RenderableType]:
    """One cell: its restarts, the features of the best one, and W^T W."""
    columns = ["restart", "objective", "loss", "loss_ratio", "n_represented", "status"]
    if run.restarts > 1:
        yield _table("restarts", run.instances(columns).sort_values(["objective", "restart"]))
    best = int(run.best(["restart"])["restart"].iloc[0])
    names = ["restart", "feature", "norm", "bias", "dimensionality", "interference", "regime"]
    features = run.features(names)
    features = features.loc[features["restart"] == best].drop(columns="restart")
    title = "features" if run.restarts == 1 else f"features of the best restart, {best}"
    title += f" (the first {MOST_ROWS} of {len(features)})" * (len(features) > MOST_ROWS)
    yield _table(title, features.head(MOST_ROWS))
    block = run.weights()[0]
    decoder = block.W if block.W_dec is None else block.W_dec
    yield from _gram(block.W[0] @ decoder[0].T, "W^T W" if block.W_dec is None else "W W_dec^T", console)


def _gram(gram: np.ndarray, name: str, console: Console) -> Iterator[RenderableType]:
    """The matrix of who reads whom: as numbers where they fit, else as a picture."""
    colour = drawings.has_colour(console)
    n = len(gram)
    labels = [str(i) for i in range(n)]
    width = console.width - len(labels[-1]) - 1
    values = gram.astype(np.float64)
    if n * drawings.NUMBER_WIDTH <= width and n <= MOST_ROWS // 2:
        lines = drawings.number_matrix(values, drawings.signed(values, 1.0), colour=colour)
        yield _titled(name, drawings.labelled(lines, labels))
        return
    shown = min(n, width)
    values = values[:shown, :shown]
    lines = drawings.picture(drawings.signed(values, 1.0), width=width, colour=colour)
    name += f" of the first {shown} of {n} features" * (shown < n)
    key = "blue positive, orange negative" if colour else "# + positive, = - negative, . near 0"
    yield _titled(f"{name} ({key})", drawings.labelled(lines, labels[:shown], ("0", labels[shown - 1])))


def _titled(title: str, lines: Sequence[Text]) -> Text:
    return Text("\n").join([Text(title, "bold"), *lines])


def _axis_table(run: Run, _console: Console) -> Iterator[RenderableType]:
    """One axis: a row for each cell, thinned to what fits a screen."""
    columns = [column for axis in run.axes if len(axis.values) > 1 for column in axis.columns]
    measured = ["loss", "loss_ratio", "n_represented", "dims_per_feature", "status"]
    best = run.best(["cell", *columns, *measured])
    if run.restarts > 1:
        reached = _reached(run)
        best.insert(len(best.columns) - 1, "reached", [reached[cell] for cell in best["cell"]])
    keep = drawings.thin(len(best), MOST_ROWS)
    title = "best restart of each cell"
    title += f" ({len(keep)} of {len(best)} cells, evenly spaced)" * (len(keep) < len(best))
    yield _table(title, best.iloc[keep].drop(columns="cell"))


def _reached(run: Run) -> dict[int, float]:
    """By cell: the share of restarts within `SUCCESS` of the best objective; no diverged one is."""
    rows = run.instances(["cell", "objective", "status"])
    objective = np.where(rows["status"] == "diverged", np.inf, rows["objective"])
    cells, number = np.unique(rows["cell"].to_numpy(), return_inverse=True)
    least = np.full(len(cells), np.inf)
    np.minimum.at(least, number, objective)
    reached = np.isfinite(objective) & (objective <= SUCCESS * least[number])
    share = np.bincount(number, weights=reached) / np.bincount(number)
    return dict(zip(cells.tolist(), share.tolist(), strict=True))


def _maps(run: Run, console: Console) -> Iterator[RenderableType]:
    """Maps over the two longest axes; further axes stay at their first value, and the title says so."""
    sizes = [len(axis.values) for axis in run.axes]
    down, across = sorted(sorted(range(len(sizes)), key=lambda k: (-sizes[k], k))[:2])
    fixed = [k for k in range(len(sizes)) if k not in (down, across) and sizes[k] > 1]
    corner = tuple(slice(None) if k in (down, across) else 0 for k in range(len(sizes)))
    cells = np.arange(math.prod(sizes)).reshape(sizes)[corner]
    labels = [[_value_text(value) for value in run.axes[k].values] for k in (down, across)]
    margin = max(len(label) for label in labels[0]) + 1
    rows = drawings.thin(cells.shape[0], 2 * drawings.MOST_LINES)
    columns = drawings.thin(cells.shape[1], console.width - margin)
    cells = cells[np.ix_(rows, columns)]
    note = "".join(f"; {_keys(run.axes[k])} = {_value_text(run.axes[k].values[0])}" for k in fixed)
    down_name, across_name = _keys(run.axes[down]), _keys(run.axes[across])
    heading = f"rows: {down_name}; columns: {across_name}{note}"
    row_labels = [labels[0][k] for k in rows]
    footer = (labels[1][columns[0]], labels[1][columns[-1]])
    colour = drawings.has_colour(console)
    for title, scale in _map_scales(run, cells, colour):
        lines = drawings.picture(scale, width=console.width - margin, colour=colour)
        yield _titled(title, [Text(heading), *drawings.labelled(lines, row_labels, footer)])


def _map_scales(run: Run, cells: np.ndarray, colour: bool) -> Iterator[tuple[str, drawings.Scale]]:
    """The quantities that are mapped, with their titles."""
    best = run.best(["cell", "restart", "loss_ratio", "n_represented"]).set_index("cell")
    ratio = best["loss_ratio"].reindex(cells.ravel()).to_numpy(np.float64).reshape(cells.shape)
    ramp = "dark 0, light 1" if colour else f"{drawings.RAMP[0]} 0, {drawings.RAMP[-1]} 1"
    yield f"loss ratio ({ramp})", drawings.sequential(ratio, 0.0, 1.0)
    if LAST_FEATURE & {column for axis in run.axes for column in axis.columns}:
        key = (
            "dark ignored, orange superposed, blue dedicated"
            if colour
            else ". ignored, o superposed, # dedicated"
        )
        yield f"the last feature ({key})", drawings.regimes(_last_regimes(run, cells))
    else:
        count = best["n_represented"].reindex(cells.ravel()).to_numpy(np.float64).reshape(cells.shape)
        most = float(np.nanmax(count, initial=1.0))
        ramp = (
            f"dark 0, light {most:.0f}" if colour else f"{drawings.RAMP[0]} 0, {drawings.RAMP[-1]} {most:.0f}"
        )
        yield f"features represented ({ramp})", drawings.sequential(count, 0.0, most)


def _last_regimes(run: Run, cells: np.ndarray) -> np.ndarray:
    """The regime of the last feature in the best restart of each cell; '' where none is stored."""
    best = run.best(["cell", "restart"])
    rows = run.features(["cell", "restart", "feature", "regime"], cells=cells.ravel())
    rows = rows.merge(best, on=["cell", "restart"]).sort_values("feature").groupby("cell").last()
    regimes = rows["regime"].astype(object).reindex(cells.ravel())
    return regimes.fillna("").to_numpy(object).reshape(cells.shape)


def _table(title: str, frame: pd.DataFrame) -> Table:
    """A data frame, numbers in three digits and right-aligned; columns that are all null are left out."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    shown = frame.dropna(axis="columns", how="all")
    for name in shown.columns:
        numeric = pd.api.types.is_numeric_dtype(shown[name])
        words = str(name).split("_")
        table.add_column(
            " ".join(words), justify="right" if numeric else "left", min_width=max(map(len, words))
        )
    for row in shown.itertuples(index=False):
        table.add_row(*(_value_text((value,)) for value in row))
    return table


def _span_text(values: np.ndarray) -> str:
    low, high = map(_number, _span(values))
    return low if low == high else f"{low} to {high}"


def _axis_text(axis: RunAxis) -> str:
    ends = " to ".join(_value_text(axis.values[k]) for k in (0, -1)[: min(2, len(axis.values))])
    return f"{_keys(axis)}: {len(axis.values)} values, {ends}"


def _keys(axis: RunAxis) -> str:
    return ", ".join(axis.keys)


def _value_text(values: Sequence[Any]) -> str:
    """One position of an axis, or one entry of a table."""
    return ", ".join(
        _number(float(value)) if isinstance(value, float | np.floating) else str(value) for value in values
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _span(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest known value; NaN where none is."""
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if len(known) else (math.nan, math.nan)
