"""Checkpoints: how far a shard is, so that a process that dies costs half a minute of work at most.

What one may hold follows from the shard that it is for: which arrays, of which types and shapes. A file of
any other size is refused before it is read.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from superpose_cli.engines.base import Evaluation, State, initial_state
from superpose_cli.engines.packs import Pack
from superpose_cli.engines.training import history_steps
from superpose_cli.experiment.config import DataKind, HistoryConfig
from superpose_cli.experiment.instances import U64, Family, InstanceBatch
from superpose_cli.results import layout
from superpose_cli.results.checkpoint_files import (
    UnusableCheckpoint,
    check_content,
    checkpoint_file,
    open_checkpoint,
    read_header,
    write_checkpoint,
)
from superpose_cli.toy_model.model import PARAMETERS

ENTRY = ("batch", "start", "stop", "step", "records", "done")
Arrays = dict[str, npt.NDArray[Any]]
Record = TypeVar("Record", State, Evaluation)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The checkpoint of one shard, whether it is there or not."""

    run: Path
    shard: int
    run_id: str
    numerics: str
    dtype: str
    """`engine.dtype`: a state is of float64 or, whatever its products are rounded to, of float32."""
    history: HistoryConfig
    batches: Sequence[InstanceBatch]
    """What the shard trains: first what it is a checkpoint of, if it is there."""

    @property
    def file(self) -> Path:
        """Where it lies."""
        return checkpoint_file(self.run, self.shard)

    def save(self, packs: Sequence[Pack]) -> None:
        """Replace the file by one with these packs, atomically; SuperposeError if the disk refuses."""
        begun = [pack for pack in packs if pack.state is not None]
        told = {"n_instances": sum(map(len, self.batches)), "trained": self.trained(begun)}
        header = self._label | told | {"keys": self._keys, "packs": [_entry(pack) for pack in begun]}
        arrays = (array for pack in begun for array in _arrays(pack).values())
        write_checkpoint(
            self.run,
            self.shard,
            header,
            (np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays),
        )

    def load(self) -> list[Pack]:
        """The packs that were saved, none if nothing was; UnusableCheckpoint for what cannot be trusted.

        Takes no more memory than this shard's own checkpoint would, whatever the file holds.
        """
        if not os.path.lexists(self.file):
            return []
        try:
            with open_checkpoint(self.file) as file:
                header = read_header(file)
                _check_label(header, self._label)
                if (keys := header.get("keys")) != self._keys[: len(keys) if isinstance(keys, list) else 0]:
                    raise UnusableCheckpoint("it has other keys")
                entries = self._entries(header)
                models = self._models(entries)
                shapes = [_shapes(*pair) for pair in zip(entries, models, strict=True)]
                content = sum(d.itemsize * math.prod(s) for each in shapes for d, s in each.values())
                check_content(file, file.tell() + content)
                return [
                    _pack(entry, model, {name: _read(file, *form) for name, form in each.items()})
                    for entry, model, each in zip(entries, models, shapes, strict=True)
                ]
        except (OSError, ValueError) as error:
            raise UnusableCheckpoint(str(error)) from error

    def load_or_discard(self, said: Callable[[str], None]) -> list[Pack]:
        """`load`, told; what cannot be trusted is deleted, told too."""
        try:
            packs = self.load()
        except UnusableCheckpoint as error:
            said(f"{self.file} is of no use ({error}): this shard starts anew")
            layout.remove(self.file)
            return []
        if packs:
            share = self.trained(packs) / sum(map(len, self.batches))
            said(f"going on from a checkpoint, with {100 * share:.3g} % of a shard trained")
        return packs

    def trained(self, packs: Sequence[Pack]) -> float:
        """How many instances are trained, with fractions."""
        return sum(len(pack) * pack.step / self.batches[pack.batch].family.steps for pack in packs)

    @property
    def _label(self) -> dict[str, Any]:
        return _label(self.shard, self.run_id, self.numerics)

    @property
    def _keys(self) -> list[str]:
        """Which instances the packs of each batch are of."""
        return [batch.key.astype("<u8").tobytes().hex() for batch in self.batches]

    def _entries(self, header: Mapping[str, Any]) -> list[dict[str, int]]:
        """The packs of the header, if there can be such packs, in order and apart."""
        entries = _plain_entries(header)
        for entry in entries:
            if entry["batch"] >= len(header["keys"]) or entry["stop"] > len(self.batches[entry["batch"]]):
                raise UnusableCheckpoint("it has instances that this shard lacks")
            steps = self.batches[entry["batch"]].family.steps
            recorded = np.array(history_steps(self.history, steps))
            least, most = np.sum(recorded < entry["step"]), np.sum(recorded <= entry["step"])
            ended = entry["step"] == steps and entry["records"] == len(recorded)
            if entry["step"] > steps or not least <= entry["records"] <= most or entry["done"] > ended:
                raise UnusableCheckpoint("its steps and records contradict each other")
        order = [(entry["batch"], entry["start"], entry["stop"]) for entry in entries]
        if any(a[0] > b[0] or (a[0] == b[0] and a[2] > b[1]) for a, b in pairwise(order)):
            raise UnusableCheckpoint("its packs overlap")
        return entries

    def _models(self, entries: Sequence[Mapping[str, int]]) -> list[Pack]:
        """For each pack one of a single instance, with arrays as its own."""
        made: dict[tuple[int, int], Pack] = {}
        dtype = "float64" if self.dtype == "float64" else "float32"
        for entry in entries:
            kind = entry["batch"], entry["done"]
            if kind not in made:
                one = self.batches[entry["batch"]].take(slice(1))
                made[kind] = _model(one, dtype, self.history.weights, bool(entry["done"]))
        return [made[entry["batch"], entry["done"]] for entry in entries]


def begun_keys(run: Path, shard: int, run_id: str, numerics: str) -> list[U64]:
    """The keys of the instances that a checkpoint is of, a list for each batch; none without a usable one.

    What is under way goes on: other runs may hold these instances by now, or no longer hold others.
    """
    try:
        with open_checkpoint(checkpoint_file(run, shard)) as file:
            header = read_header(file)
        _check_label(header, _label(shard, run_id, numerics))
        found = [np.frombuffer(bytes.fromhex(keys), "<u8").astype(np.uint64) for keys in header["keys"]]
        _check_once(found)
        return found
    except (OSError, UnusableCheckpoint, LookupError, TypeError, ValueError):
        return []


def _check_once(keys: Sequence[U64]) -> None:
    """UnusableCheckpoint where two batches name one instance: each would train it."""
    together = np.concatenate([np.empty(0, np.uint64), *map(np.unique, keys)])
    if len(np.unique(together)) < len(together):
        raise UnusableCheckpoint("two of its batches name one instance")


def _label(shard: int, run_id: str, numerics: str) -> dict[str, Any]:
    """What must be the same there and here."""
    return {"run_id": run_id, "shard": shard, "numerics": numerics}


def _check_label(header: Mapping[str, Any], label: Mapping[str, Any]) -> None:
    for name, value in label.items():
        if header.get(name) != value:
            raise UnusableCheckpoint(f"it has another {name}")


def _entry(pack: Pack) -> dict[str, int]:
    return {
        "batch": pack.batch,
        "start": pack.start,
        "stop": pack.stop,
        "step": pack.step,
        "records": pack.records,
        "done": int(pack.found is not None),
    }


def _plain_entries(header: Mapping[str, Any]) -> list[dict[str, int]]:
    """The packs of a header as numbers that are at least no nonsense."""
    entries = header.get("packs")
    if not isinstance(entries, list):
        raise UnusableCheckpoint("it lists no packs")
    for entry in entries:
        numbers = isinstance(entry, dict) and [entry.get(name) for name in ENTRY]
        if not numbers or any(type(number) is not int or number < 0 for number in numbers):
            raise UnusableCheckpoint("it lists packs that are none")
        if entry["start"] >= entry["stop"] or entry["done"] > 1:
            raise UnusableCheckpoint("it lists packs that cannot be")
    return entries


def _arrays(pack: Pack) -> Arrays:
    """All arrays of a pack that is begun, in the order in which they are written."""
    assert pack.state is not None
    assert pack.first is not None
    found = {} if pack.found is None else _fields(pack.found, "found")
    table = {} if pack.table is None else _fields(pack.table, "table")
    history = {f"history.{name}": np.stack(pack.history[name]) for name in sorted(pack.history)}
    return {**_fields(pack.state, "state"), "first": pack.first, **history, **found, **table}


def _fields(record: State | Evaluation, prefix: str) -> Arrays:
    """The arrays of a record by dotted name."""
    arrays: Arrays = {}
    for field in fields(record):
        value = getattr(record, field.name)
        named = value if isinstance(value, dict) else {"": value}
        for name, array in named.items():
            if isinstance(array, np.ndarray):
                arrays[f"{prefix}.{field.name}.{name}"] = array
    return arrays


def _filled(model: Record, prefix: str, arrays: Arrays) -> Record:
    """The record with these arrays in the places of the model's own."""
    changes: dict[str, Any] = {}
    for field in fields(model):
        value = getattr(model, field.name)
        if isinstance(value, dict):
            changes[field.name] = {name: arrays[f"{prefix}.{field.name}.{name}"] for name in value}
        elif isinstance(value, np.ndarray):
            changes[field.name] = arrays[f"{prefix}.{field.name}."]
    return replace(model, **changes)


def _model(one: InstanceBatch, dtype: str, weights: bool, done: bool) -> Pack:
    """A pack of one instance with one record, whose arrays have the types and shapes of any such pack's."""
    finite, state = one.family.data is DataKind.finite, initial_state(one, dtype)
    history: dict[str, list[npt.NDArray[Any]]] = {"loss": [np.zeros(1)]}
    if finite:
        history["train_loss"] = [np.zeros(1)]
    if weights:
        parameters = ((name, getattr(state, name)) for name in PARAMETERS)
        history |= {name: [value] for name, value in parameters if value is not None}
    return Pack(
        batch=0,
        start=0,
        stop=1,
        state=state,
        first=np.zeros(1),
        history=history,
        found=_blank_evaluation(one.family) if done else None,
        table=_blank_evaluation(one.family) if done and finite else None,
    )


def _blank_evaluation(family: Family) -> Evaluation:
    n, m = family.n_features, family.n_hidden
    return Evaluation(
        loss=np.zeros(1),
        loss_stderr=np.zeros(1),
        feature_loss=np.zeros((1, n)),
        hidden_l1=np.zeros(1),
        hidden_mean=np.zeros((1, m)),
        hidden_cov=np.zeros((1, m, m)),
        target_mean=np.zeros((1, n)) if family.unit_norm else None,
        target_square=np.zeros((1, n)) if family.unit_norm else None,
        dead=np.zeros(1, np.bool_),
    )


def _shapes(entry: Mapping[str, int], model: Pack) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of each array of a pack."""
    count, records = entry["stop"] - entry["start"], entry["records"]
    return {
        name: (array.dtype, (records, count, *array.shape[2:]))
        if name.startswith("history.")
        else (array.dtype, (count, *array.shape[1:]))
        for name, array in _arrays(model).items()
    }


def _pack(entry: Mapping[str, int], model: Pack, arrays: Arrays) -> Pack:
    assert model.state is not None
    return Pack(
        batch=entry["batch"],
        start=entry["start"],
        stop=entry["stop"],
        state=replace(_filled(model.state, "state", arrays), step=entry["step"]),
        first=arrays["first"],
        history={name: list(arrays[f"history.{name}"]) for name in model.history if entry["records"]},
        found=None if model.found is None else _filled(model.found, "found", arrays),
        table=None if model.table is None else _filled(model.table, "table", arrays),
    )


def _read(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)
