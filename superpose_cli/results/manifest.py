"""`manifest.json`: what a run is, how far it got, and on what it was computed."""

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from superpose_cli.errors import RunError
from superpose_cli.plain_yaml import read_plain
from superpose_cli.results.columns import SCHEMA_VERSION
from superpose_cli.results.layout import MANIFEST, REPAIR

MOST = 2**40
"""Cells, restarts, instances and shards of any run, at most."""

ReuseMode = Literal["same", "any-engine", "none"]
"""What may stand for a training: what this arithmetic trained, what any did, or nothing."""
Status = Literal["running", "submitted", "complete", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunAxis:
    """One axis of the grid. `values[i]` is aligned with `keys`, of which there are several when zipped."""

    keys: tuple[str, ...]
    """Dotted configuration keys, or a group's name."""
    columns: tuple[str, ...]
    """The columns of the instances table that hold the keys' values."""
    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest's keys. Times are UTC in ISO 8601; tables hold none, so that they compare bit for bit."""

    schema_version: int = SCHEMA_VERSION
    superpose: str
    """Version of superpose."""
    run_id: str
    """8 hex digits of the resolved experiment's hash."""
    experiment: str
    status: Status
    numerics: str
    engine: str
    device: str
    dtype: str
    host: str
    python: str
    torch: str
    numpy: str
    created: str
    updated: str
    seconds: float
    """Time spent on training and evaluation, summed over all sessions of the run."""
    axes: tuple[RunAxis, ...]
    overrides: tuple[str, ...]
    """What the user typed beyond the shipped configuration."""
    n_cells: int
    restarts: int
    n_instances: int
    """Instances of the whole grid, stored or not."""
    shards: int
    """Shards of the whole grid, stored or not."""
    shard_digest: str
    """Digest of the shards' boundaries: a version that cuts otherwise cannot continue the run."""
    counts: dict[str, int]
    """Stored instances by status: ok, dead, diverged."""
    plots: tuple[str, ...]
    """The plots that are drawn when none is named."""
    reuse: ReuseMode = "same"
    """What is taken over from other runs, also when the run is continued."""
    reuse_from: str = ""
    """The folder of those runs; "" for the usual one."""


def now() -> str:
    """The time of day as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def dump_manifest(manifest: Manifest) -> str:
    """JSON text, one key a line; `parse_manifest` gives the same manifest back."""
    return json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run folder; RunError if there is none or it cannot be used."""
    path = run / MANIFEST
    if not run.is_dir():
        raise RunError(f"{run} is not a folder: give the folder that `superpose sweep` printed last")
    try:
        text = read_plain(path)
    except FileNotFoundError:
        raise RunError(f"{run} holds no run ({MANIFEST} is missing): see `superpose list runs`") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error}") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): {REPAIR}") from None
    return parse_manifest(text, path)


def parse_manifest(text: str, path: Path) -> Manifest:
    """Check and convert JSON text; `path` is named in errors.

    Keys that this version does not know are ignored: a later version may add some. A raised
    `schema_version` says that an older reader would misunderstand the run, and is refused.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON ({error}): {REPAIR}") from None
    if not isinstance(record, dict) or type(record.get("schema_version")) is not int:
        raise RunError(f"{path} is not a superpose manifest: if the folder is one of superpose's, {REPAIR}")
    if record["schema_version"] > SCHEMA_VERSION:
        raise RunError(
            f"{path} was written by superpose {record.get('superpose')} (schema {record['schema_version']}; "
            f"this one reads up to {SCHEMA_VERSION}): upgrade superpose"
        )
    try:
        manifest = _build(Manifest, record)
        _check_sizes(manifest)
        return manifest
    except TypeError as error:
        raise RunError(f"{path} is damaged ({error}): {REPAIR}") from None


def _check_sizes(manifest: Manifest) -> None:
    """TypeError unless the counts of a manifest agree: arrays are made in the sizes that they tell."""
    for axis in manifest.axes:
        width = len(axis.keys)
        if not axis.values or len(axis.columns) != width or any(len(row) != width for row in axis.values):
            raise TypeError(f"the axis of {', '.join(axis.keys)} has values of another number of keys")
    n_cells = math.prod(len(axis.values) for axis in manifest.axes)
    if manifest.axes and manifest.n_cells != n_cells:
        raise TypeError(f"n_cells is {manifest.n_cells}, its axes have {n_cells}")
    for name in ("n_cells", "restarts", "n_instances", "shards"):
        if not 0 < getattr(manifest, name) <= MOST:
            raise TypeError(f"{name} is {getattr(manifest, name)}")
    if not 0 <= manifest.seconds < math.inf:
        raise TypeError(f"seconds is {manifest.seconds}")


def _build(kind: type[Any], record: Any, name: str = "it") -> Any:
    """A dataclass from a JSON object; keys that it has no field for are ignored."""
    if not isinstance(record, dict):
        raise TypeError(f"{name} holds {record!r}")
    if missing := [f.name for f in fields(kind) if f.name not in record and f.default is MISSING]:
        raise TypeError(f"{missing[0]} is missing")
    return kind(**{f.name: _typed(f.name, f.type, record[f.name]) for f in fields(kind) if f.name in record})


def _typed(name: str, kind: Any, value: Any) -> Any:
    """`value` as the annotation `kind` has it, lists as tuples; TypeError names the key."""
    if kind is Any:
        return tuple(_typed(name, Any, item) for item in value) if isinstance(value, list) else value
    if isinstance(kind, type) and is_dataclass(kind):
        return _build(kind, value, name)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_typed(name, get_args(kind)[0], item) for item in value)
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _typed(name, get_args(kind)[1], item) for key, item in value.items()}
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    raise TypeError(f"{name} is {value!r}")
