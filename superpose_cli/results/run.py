"""Reading a run: the columns that are asked for as data frames, and weights as dense arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from superpose_cli.errors import RunError
from superpose_cli.results import layout
from superpose_cli.results.manifest import Manifest, RunAxis, read_manifest
from superpose_cli.results.reading import Cells, Tables
from superpose_cli.toy_model.metrics import best_restart

Shape = tuple[int, int, bool]
"""(n, m, tied)."""


@dataclass(frozen=True, kw_only=True)
class WeightBlock:
    """The weights of all instances of one shape, in order of cell and restart."""

    cell: npt.NDArray[np.int64]
    """(I,)."""
    restart: npt.NDArray[np.int32]
    """(I,)."""
    W: npt.NDArray[np.float32]
    """(I, n, m)."""
    W_dec: npt.NDArray[np.float32] | None
    """(I, n, m); None for tied models."""
    b: npt.NDArray[np.float32]
    """(I, n); 0 where the model has no output bias."""
    b_hidden: npt.NDArray[np.float32]
    """(I, m); 0 where the model has no hidden bias."""


@dataclass(frozen=True)
class Run:
    """A stored run: the shards that were committed when it was loaded. Tables are read when asked for."""

    path: Path
    manifest: Manifest
    config: dict[str, Any]
    """The resolved configuration, as `config.yaml` has it."""
    tables: Tables

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.manifest.experiment

    @property
    def axes(self) -> tuple[RunAxis, ...]:
        """The grid's axes, the slowest first."""
        return self.manifest.axes

    @property
    def n_cells(self) -> int:
        """Cells of the whole grid, stored or not."""
        return self.manifest.n_cells

    @property
    def restarts(self) -> int:
        """Restarts of each cell."""
        return self.manifest.restarts

    def instances(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One row per stored instance, by cell and restart; all columns, or those named, in that order.

        Text columns are categoricals (`key` is plain text), nulls are NaN or None. RunError for a column
        that the run lacks and for a damaged file.
        """
        return self.tables.read("instances", columns).to_pandas()

    def features(self, columns: Sequence[str] | None = None, cells: Cells | None = None) -> pd.DataFrame:
        """One row per stored instance and feature, of all cells or of some; for `W` see `weights`."""
        return self.tables.read("features", columns, cells).to_pandas()

    def history(self, columns: Sequence[str] | None = None, cells: Cells | None = None) -> pd.DataFrame:
        """One row per stored instance and recorded step, of all cells or of some."""
        return self.tables.read("history", columns, cells).to_pandas()

    def best(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One row per stored cell, in order: the restart of the lowest objective (never the test loss).

        A diverged restart is taken only where a cell has no other; its `status` then says so.
        """
        return self.tables.read("instances", columns).take(self._best_rows).to_pandas()

    def weights(self, cells: Cells | None = None, best: bool = True) -> list[WeightBlock]:
        """Dense weights of the best restart of each cell, or of all restarts: a block per (n, m, tied)."""
        parts: dict[Shape, list[WeightBlock]] = {}
        for shape, block in self._blocks(cells, best):
            parts.setdefault(shape, []).append(block)
        return [_join(blocks) for _, blocks in sorted(parts.items())]

    @cached_property
    def _best_rows(self) -> npt.NDArray[np.intp]:
        """(cells,) row numbers of the instances table."""
        frame = self.instances(["cell", "objective", "status"])
        if not frame["cell"].between(0, self.n_cells - 1).all():
            raise RunError(
                f"{layout.table_folder(self.path, 'instances')} is damaged (it has cells that are not in the "
                f"grid of {self.n_cells:,}): delete it and run the same sweep again"
            )
        return best_restart(frame["objective"], frame["cell"], frame["status"] == "diverged")

    def _blocks(self, cells: Cells | None, best: bool) -> Iterator[tuple[Shape, WeightBlock]]:
        """The wanted instances of each shard, by shape; shards without any are not read."""
        index = self.tables.read(
            "instances", ["cell", "restart", "n_features", "n_hidden", "tied", "b_hidden"]
        )
        wanted = np.zeros(len(index), bool)
        wanted[self._best_rows if best else slice(None)] = True
        if cells is not None:
            wanted &= np.isin(index["cell"].to_numpy(), np.asarray(cells))
        start = 0
        for shard, length in zip(self.tables.shards, self.tables.lengths("instances"), strict=True):
            here = wanted[start : start + length]
            if here.any():
                rows = self.tables.read("features", ["W", "W_dec", "bias"], shards=(shard,))
                try:
                    yield from _shard_blocks(index.slice(start, length), here, rows)
                except ValueError as error:
                    file = layout.shard_file(self.path, "features", shard)
                    raise RunError(f"{file} is damaged: delete it and run the same sweep again") from error
            start += length


def load_run(path: Path | str) -> Run:
    """Open a run folder for reading, complete or not.

    RunError if it is none, if nothing is stored yet, or if a newer superpose wrote it.
    """
    path = Path(path)
    manifest = read_manifest(path)
    config = layout.read_config(path)
    shards = tuple(sorted(layout.committed_shards(path)))
    if not shards:
        raise RunError(f"{path} has no stored results yet: run the same sweep again to continue it")
    return Run(path, manifest, config, Tables(path, shards))


def _shard_blocks(
    index: pa.Table, wanted: npt.NDArray[np.bool_], rows: pa.Table
) -> Iterator[tuple[Shape, WeightBlock]]:
    """The wanted instances of a shard, by shape. Its rows lie in order: n feature rows an instance."""
    n, m, tied = (index[name].to_numpy() for name in ("n_features", "n_hidden", "tied"))
    has_hidden_bias = index["b_hidden"].is_valid().to_numpy()
    W = _Flat(rows["W"], n * m)
    W_dec = _Flat(rows["W_dec"], np.where(tied, 0, n * m))
    b = _Flat(rows["bias"].fill_null(0.0), n)
    b_hidden = _Flat(index["b_hidden"], np.where(has_hidden_bias, m, 0))
    for shape in {*zip(n[wanted].tolist(), m[wanted].tolist(), tied[wanted].tolist(), strict=True)}:
        at = np.flatnonzero(wanted & (n == shape[0]) & (m == shape[1]) & (tied == shape[2]))
        hidden = np.zeros((len(at), shape[1]), np.float32)
        biased = has_hidden_bias[at]
        hidden[biased] = b_hidden.take(at[biased], (shape[1],))
        yield (
            shape,
            WeightBlock(
                cell=index["cell"].to_numpy()[at],
                restart=index["restart"].to_numpy()[at],
                W=W.take(at, shape[:2]),
                W_dec=None if shape[2] else W_dec.take(at, shape[:2]),
                b=b.take(at, shape[:1]),
                b_hidden=hidden,
            ),
        )


class _Flat:
    """The numbers of a column in one array, of which each instance has a run of known length."""

    def __init__(self, column: pa.ChunkedArray, lengths: npt.NDArray[np.int64]) -> None:
        flat = column.combine_chunks()
        self.values = (flat.flatten() if pa.types.is_list(flat.type) else flat).to_numpy(zero_copy_only=False)
        self.starts = np.cumsum(lengths) - lengths
        if len(self.values) != lengths.sum():
            raise ValueError(f"{lengths.sum()} numbers are expected, {len(self.values)} are stored")

    def take(self, at: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """(len(at), *shape): the numbers of the instances `at`, which have `prod(shape)` each."""
        size = int(np.prod(shape))
        return self.values[self.starts[at][:, None] + np.arange(size)].reshape(len(at), *shape)


def _join(blocks: list[WeightBlock]) -> WeightBlock:
    untied = blocks[0].W_dec is not None
    return WeightBlock(
        cell=np.concatenate([block.cell for block in blocks]),
        restart=np.concatenate([block.restart for block in blocks]),
        W=np.concatenate([block.W for block in blocks]),
        W_dec=np.concatenate([block.W_dec for block in blocks if block.W_dec is not None])
        if untied
        else None,
        b=np.concatenate([block.b for block in blocks]),
        b_hidden=np.concatenate([block.b_hidden for block in blocks]),
    )
