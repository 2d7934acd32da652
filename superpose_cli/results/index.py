"""What is stored already: the keys of all usable instances in the runs under a folder, and where they lie."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from superpose_cli.engines.training import HISTORY_ROWS, history_steps
from superpose_cli.errors import ConfigError, RunError
from superpose_cli.experiment.config import EvaluationConfig, EvaluationMethod, HistoryConfig
from superpose_cli.experiment.fields import GROUPS, check_field
from superpose_cli.results import layout
from superpose_cli.results.manifest import read_manifest
from superpose_cli.results.reading import Tables

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How the instances of a run are measured: what decides the stored numbers beside the weights."""

    evaluation: EvaluationConfig
    history: HistoryConfig

    @property
    def judged(self) -> tuple[int | None, float | None]:
        """What the evaluation comes down to: its rows (None for an expectation), and the attack."""
        sampled = self.evaluation.method is EvaluationMethod.sampled
        rows = (self.evaluation.n_rows or HISTORY_ROWS) if sampled else None
        return rows, self.evaluation.attack

    @property
    def record_rows(self) -> int:
        """Rows that a recorded loss is measured on."""
        return min(HISTORY_ROWS, self.evaluation.n_rows or HISTORY_ROWS)

    def has_records(self, wanted: Self, steps: int, alike: bool) -> bool:
        """Whether the history of a training of `steps` updates holds all that `wanted` records.

        What is not `alike` holds other numbers, which cannot be measured anew.
        """
        records = set(history_steps(wanted.history, steps))
        if not records:
            return True
        return (
            alike
            and records <= set(history_steps(self.history, steps))
            and self.record_rows == wanted.record_rows
            and self.history.weights >= wanted.history.weights
        )


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run that holds instances which may be taken over."""

    path: Path
    measured: Measured


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredShard:
    """One committed shard of a run."""

    run: StoredRun
    shard: int
    exact: bool
    """Whether it is measured as wanted, by columns of the same meaning: its rows are copied."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """Usable stored instances by key, in ascending order of it, each key once: 16 bytes an instance."""

    shards: tuple[StoredShard, ...]
    key: U64
    shard: I32
    """(K,): position in `shards`."""
    row: I32
    """(K,): row of that shard's instances table."""

    @classmethod
    def empty(cls) -> Self:
        """Nothing is stored."""
        nothing = np.empty(0, np.int32)
        return cls(shards=(), key=np.empty(0, np.uint64), shard=nothing, row=nothing)

    def find(self, keys: U64) -> I64:
        """The position of each of `keys` in the index, or -1."""
        if not len(self.key):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        return np.where(self.key[at] == keys, at, -1)


def index_runs(
    root: Path,
    wanted: Measured,
    *,
    steps: Collection[int],
    numerics: str,
    any_engine: bool,
    besides: Path,
    said: Callable[[str], None],
) -> Index:
    """The instances under `root` whose weights (and records) serve a run that is measured as `wanted`.

    Only those of this `numerics` and of these numbers of `steps`; with `any_engine` also those of other
    numerics that were evaluated as wanted. `besides` is the run in the making, which is left out. Of several
    instances of one key one that was evaluated as wanted comes first. Runs that are damaged or none of ours
    are left out, with a line to `said` each.
    """
    shards: list[StoredShard] = []
    parts: list[tuple[U64, I32]] = []
    for path in run_folders(root):
        if path.resolve() == besides.resolve():
            continue
        try:
            if not any_engine and read_manifest(path).numerics != numerics:
                continue
            run = StoredRun(path=path, measured=_measured(path))
            for shard in sorted(layout.committed_shards(path) - layout.incomplete_shards(path)):
                tables = Tables(path, (shard,))
                alike = tables.are_measured_alike()
                exact = alike and run.measured.judged == wanted.judged
                serving = [count for count in steps if run.measured.has_records(wanted, count, alike)]
                parts.append(_usable(tables, serving, numerics, any_engine, exact))
                shards.append(StoredShard(run=run, shard=shard, exact=exact))
        except (RunError, ConfigError) as error:
            said(f"nothing is reused from {path}: {error}")
    order = sorted(range(len(parts)), key=lambda part: not shards[part].exact)
    keys = np.concatenate([np.empty(0, np.uint64), *(parts[i][0] for i in order)])
    rows = np.concatenate([np.empty(0, np.int32), *(parts[i][1] for i in order)])
    shard = np.repeat(np.array(order, np.int32), [len(parts[i][0]) for i in order])
    key, first = np.unique(keys, return_index=True)
    return Index(shards=tuple(shards), key=key, shard=shard[first], row=rows[first])


def run_folders(root: Path) -> list[Path]:
    """The run folders at `root`, in it, and one level below, by name."""
    found = (path for pattern in ("", "*/", "*/*/") for path in root.glob(f"{pattern}{layout.MANIFEST}"))
    return sorted({path.parent for path in found if path.is_file()})


def hex_keys(column: pa.ChunkedArray) -> U64:
    """Keys of 16 hex digits as numbers; ValueError for other text."""
    texts = column.to_pylist()
    if any(text is None or len(text) != 16 for text in texts):
        raise ValueError("a key is not 16 hex digits")
    numbers = np.frombuffer(bytes.fromhex("".join(texts)), ">u8").astype(np.uint64)
    if len(numbers) != len(texts):  # fromhex passes over blanks
        raise ValueError("a key is not 16 hex digits")
    return numbers


def _measured(path: Path) -> Measured:
    """How the instances of a run were measured, by its config.yaml; ConfigError for wrong settings."""
    config = layout.read_config(path)
    return Measured(
        evaluation=EvaluationConfig(**_group(config, "evaluation")),
        history=HistoryConfig(**_group(config, "history")),
    )


def _group(config: dict, group: str) -> dict:
    node = config.get(group) or {}
    if not isinstance(node, dict):
        raise ConfigError(f"{group} is not a mapping")
    return {leaf: check_field(f"{group}.{leaf}", node[leaf]) for leaf in GROUPS[group] if leaf in node}


def _usable(
    tables: Tables, steps: Collection[int], numerics: str, any_engine: bool, exact: bool
) -> tuple[U64, I32]:
    """Keys and row numbers of the instances of one shard that serve, if they took so many of `steps`.

    Stored weights are 32-bit: an evaluation can start from them only where they were trained so.
    """
    stored = tables.read("instances", ["key", "numerics", "steps"])
    try:
        keys = hex_keys(stored["key"])
    except ValueError as error:
        file = layout.shard_file(tables.run, "instances", tables.shards[0])
        raise RunError(f"{file} is damaged ({error})") from None
    names = stored["numerics"].combine_chunks()
    good = [
        (any_engine or name == numerics) if exact else (name == numerics and "/float32/" in name)
        for name in names.dictionary.to_pylist()
    ]
    usable = np.array([*good, False])[names.indices.fill_null(len(good)).to_numpy(zero_copy_only=False)]
    usable &= np.isin(stored["steps"].to_numpy(), list(steps))
    rows = np.flatnonzero(usable).astype(np.int32)
    return keys[rows], rows
