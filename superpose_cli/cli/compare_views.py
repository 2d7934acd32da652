"""What `superpose compare` prints: a table of settings, a few sentences, a table of cells."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpose_cli.cli.live import counted
from superpose_cli.experiment.fields import shown
from superpose_cli.results.comparing import MEASURES, Comparison
from superpose_cli.results.run import Run

WIDEST_VALUE = 44
WITH_NORM = 100
"""Columns of a terminal that has room for ||W||^2 too."""
NOTABLE = 0.01
"""A loss that differs by less than this share is called equal."""


def facts(one: Run, other: Run, found: Comparison) -> dict[str, Any]:
    """The comparison as plain data, for `--json`."""
    cells = found.cells.astype(object).where(found.cells.notna(), None)
    return {
        "one": str(one.path),
        "other": str(other.path),
        "settings": [{"key": s.key, "one": _plain(s.one), "other": _plain(s.other)} for s in found.settings],
        "same_key": found.same_key,
        "same_loss": found.same_loss,
        "joined_by": list(found.joined_by),
        "cells_in_both": len(found.cells),
        "cells_only_in_one": found.only_one,
        "cells_only_in_other": found.only_other,
        "cells": [
            {
                **{name: row[name] for name in found.joined_by},
                **{name: [row[f"{name}_one"], row[f"{name}_other"]] for name in (*MEASURES, "regimes")},
            }
            for row in cells.to_dict("records")
        ],
    }


def print_comparison(console: Console, one: Run, other: Run, found: Comparison, most: int) -> None:
    """Settings first, then results."""
    for name, run in (("A", one), ("B", other)):
        console.print(Text.assemble((name, "bold"), f"  {run.path}"), soft_wrap=True)
    console.print()
    if found.settings:
        console.print(_settings(found))
    else:
        console.print("the same settings")
    for line in _sentences(found):
        console.print(line)
    if len(found.cells) and most:
        console.print()
        console.print(_cells(found, most, with_norm=console.width >= WITH_NORM))


def _settings(found: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("setting", "A", "B"):
        table.add_column(name, overflow="fold")
    for setting in found.settings:
        table.add_row(setting.key, _setting(setting.one), _setting(setting.other))
    return table


def _setting(value: Any) -> str:
    """A value, the ends of an axis, or a dash where nothing is set."""
    if value is None:
        return "-"
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} values, {_setting(value[0])} to {_setting(value[-1])}"
    if isinstance(value, tuple):
        return ", ".join(_setting(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else shown(str(value), WIDEST_VALUE)


def _sentences(found: Comparison) -> Iterator[str]:
    """What the tables do not show at a glance."""
    if found.same_key:
        alike = f"{counted(found.same_key, 'instance')} trained alike (same key)"
        yield f"{alike}, {found.same_loss:,} of them with the same bits in their loss"
    by = f" (by {', '.join(found.joined_by)})" if found.joined_by else ""
    yield (
        f"{counted(len(found.cells), 'cell')} in both{by}, {found.only_one:,} only in A, "
        f"{found.only_other:,} only in B"
    )
    if not len(found.cells):
        return
    change = _change(found.cells)
    lower, higher = int((change < -NOTABLE).sum()), int((change > NOTABLE).sum())
    known = change[np.isfinite(change)]
    middle = f"; the median changes by {np.median(known):+.2%}" if len(known) else ""
    yield (
        f"loss in B: lower in {lower:,}, higher in {higher:,}, within {NOTABLE:.0%} in "
        f"{int((np.abs(change) <= NOTABLE).sum()):,}{middle}"
    )
    moved = int(np.count_nonzero(found.cells["regimes_one"] != found.cells["regimes_other"]))
    yield f"other regimes (features dedicated, superposed, ignored) in {counted(moved, 'cell')}"


def _change(cells: pd.DataFrame) -> np.ndarray:
    """(loss in B) / (loss in A) - 1 of each cell; 0 where both are 0."""
    one, other = cells["loss_one"].to_numpy(), cells["loss_other"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(one == other, 0.0, other / one - 1)


def _cells(found: Comparison, most: int, with_norm: bool) -> Table:
    """The cells that changed most, in their order."""
    change = _change(found.cells)
    size = np.where(np.isnan(change), np.inf, np.abs(change))
    moved = (found.cells["regimes_one"] != found.cells["regimes_other"]).to_numpy()
    picked = np.sort(np.lexsort((-size, ~moved))[:most])
    title = "best restart of each cell"
    if len(picked) < len(found.cells):
        title += f": the {len(picked)} of {len(found.cells):,} that changed most"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    names = [name.replace("_", " ") for name in found.joined_by]
    for name in (*names, "loss A", "loss B", "change"):
        table.add_column(name, justify="right", min_width=max(8, *map(len, name.split())))
    for name in ("||W||²", "regimes") if with_norm else ("regimes",):
        table.add_column(name, no_wrap=True)
    for at in picked:
        row = found.cells.iloc[at]
        table.add_row(
            *(_number(row[name]) for name in found.joined_by),
            *(_number(row[f"loss_{side}"]) for side in ("one", "other")),
            "-" if math.isnan(change[at]) else f"{change[at]:+.1%}",
            *(
                [_both(*(_number(row[f"frobenius_norm_sq_{side}"]) for side in ("one", "other")))]
                if with_norm
                else []
            ),
            _both(*(_regimes(row[f"regimes_{side}"]) for side in ("one", "other"))),
            style="" if moved[at] or size[at] > NOTABLE else "dim",
        )
    table.caption = "A → B where they differ; regimes: d dedicated, s superposed, i ignored features"
    table.caption_justify = "left"
    return table


def _regimes(counts: Mapping[str, int]) -> str:
    return " ".join(f"{count}{name[0]}" for name, count in counts.items() if count)


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} → {other}"


def _number(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "-" if math.isnan(value) else f"{value:.3g}"
    return shown(str(value), WIDEST_VALUE)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
