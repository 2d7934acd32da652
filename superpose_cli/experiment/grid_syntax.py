"""The axes of an experiment: those of its `grid:`, changed by those of the command line.

`grid:` is a mapping of keys to sweep strings or lists, with `zip:` holding a list of mappings whose keys
advance together:

    grid:
      data.feature_probability: geomspace(1,0.01,20)
      zip: [{model.n_features: [5, 20], model.n_hidden: [2, 5]}]

or, where the order of zipped axes among others matters, a list of mappings, one per axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from superpose_cli.errors import ConfigError
from superpose_cli.experiment._hydra import parse_value
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.fields import AXIS_GROUPS, check_field, shown
from superpose_cli.experiment.overrides import Request, check_axis_key
from superpose_cli.experiment.sweeps import MOST_VALUES, Sweep, rounded


def axes_of(grid: Any, request: Request, zips: Sequence[str] = ()) -> tuple[Axis, ...]:
    """The axes in order of declaration: those of `grid` that are left, then those of the command line.

    An axis of the command line takes the place of the one with its key; a single value removes it. `zips`
    holds texts `KEY,KEY`. Raises ConfigError.
    """
    axes = _without(_grid_axes(grid), {*request.options, *request.values})
    axes = _with(axes, request.axes)
    for text in zips:
        axes = _zipped(axes, [key.strip() for key in text.split(",")])
    for axis in axes:
        _check_distinct(axis)
    return tuple(axes)


def _axis(columns: Mapping[str, Sequence[Any]]) -> Axis:
    """The axis with these columns (one, or several that advance together), each value checked once."""
    lengths = {key: len(values) for key, values in columns.items()}
    for key, length in lengths.items():
        check_axis_key(key)
        if length == 0:
            raise ConfigError(f"the axis {key} has no values: give at least one")
        if length > MOST_VALUES:
            raise ConfigError(f"the axis {key} has {length:,} values and may have {MOST_VALUES:,}: use fewer")
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ConfigError(f"zipped axes must be equally long, and {sizes}: add or remove values")
    checked = [[_axis_value(key, value) for value in values] for key, values in columns.items()]
    return Axis(keys=tuple(columns), values=tuple(zip(*checked, strict=True)))


def _check_distinct(axis: Axis) -> None:
    seen = set()
    for row in axis.values:
        if row in seen:
            repeated = ", ".join(f"{key}={shown(value)}" for key, value in zip(axis.keys, row, strict=True))
            raise ConfigError(f"an axis has {repeated} twice: remove one (restarts=N trains a cell N times)")
        seen.add(row)


def _axis_value(key: str, value: Any) -> Any:
    if key not in AXIS_GROUPS:
        return check_field(key, rounded(value))
    if not isinstance(value, str):
        raise ConfigError(
            f"{key}={shown(value)}: '{key}' is a config group: name its options, as in {key}=A,B"
        )
    return value


def _grid_axes(grid: Any) -> list[Axis]:
    """The axes of a `grid:` node."""
    axes: list[Axis] = []
    for entry in _entries(grid):
        if not isinstance(entry, dict) or not entry:
            raise ConfigError(f"grid: each axis must be a mapping, as in {{KEY: [1, 2]}}; got {shown(entry)}")
        axis = _axis({str(key): _column(str(key), values) for key, values in entry.items()})
        for key in axis.keys:
            if any(key in other.keys for other in axes):
                raise ConfigError(f"{key} is in two axes of grid: remove it from one of them")
        axes.append(axis)
    return axes


def _entries(grid: Any) -> list[Any]:
    """One mapping per axis, whichever form `grid` has."""
    if grid is None:
        return []
    if isinstance(grid, list):
        return grid
    if not isinstance(grid, dict):
        raise ConfigError(f"grid must be a mapping of keys to values, as in KEY: [1, 2]; got {shown(grid)}")
    zips = grid.get("zip", [])
    if not isinstance(zips, list):
        raise ConfigError("grid: zip must be a list of mappings, as in zip: [{KEY: [1, 2], KEY: [3, 4]}]")
    entries = (zips if key == "zip" else [{key: values}] for key, values in grid.items())
    return [entry for group in entries for entry in group]


def _column(key: str, values: Any) -> Sequence[Any]:
    """The values of one entry of `grid:`, which is a list or the text of a sweep."""
    check_axis_key(key)
    if isinstance(values, list):
        return values
    parsed = parse_value(key, values) if isinstance(values, str) else values
    if not isinstance(parsed, Sweep):
        raise ConfigError(
            f"grid: {key} must be a list or a sweep such as 1,2,3 or linspace(0.1,1,5); got {shown(values)}"
        )
    return parsed.values


def _without(axes: Sequence[Axis], fixed: set[str]) -> list[Axis]:
    """The axes without those whose keys have one value now."""
    left = []
    for axis in axes:
        loose = [key for key in axis.keys if key not in fixed]
        if len(loose) == len(axis.keys):
            left.append(axis)
        elif loose:
            key = next(key for key in axis.keys if key in fixed)
            raise ConfigError(
                f"{key} is zipped with {' and '.join(loose)} ({_name(axis)}), so it cannot be fixed alone: "
                "give the others one value too"
            )
    return left


def _with(axes: Sequence[Axis], given: Mapping[str, Sequence[Any]]) -> list[Axis]:
    """The axes with these values for their keys, in their old places; those of other keys at the end."""
    changed = []
    for axis in axes:
        own = {key: given[key] for key in axis.keys if key in given}
        for key, values in own.items():
            if len(values) != len(axis) and len(own) < len(axis.keys):
                raise ConfigError(
                    f"{key} has {len(values)} values and its zip ({_name(axis)}) has {len(axis)}: "
                    "give as many, or values for all of its keys"
                )
        columns = dict(zip(axis.keys, zip(*axis.values, strict=True), strict=True)) | own
        changed.append(_axis(columns) if own else axis)
    known = {key for axis in axes for key in axis.keys}
    return changed + [_axis({key: values}) for key, values in given.items() if key not in known]


def _zipped(axes: Sequence[Axis], keys: Sequence[str]) -> list[Axis]:
    """The axes with those of `keys` made one, in the place of the first."""
    by_key = {axis.keys[0]: axis for axis in axes if len(axis.keys) == 1}
    for key in keys:
        if key not in by_key:
            check_axis_key(key)
            raise ConfigError(
                f"--zip: {shown(key)} is no axis that is free to zip: give it values, as in {key}=1,2"
            )
    if len(set(keys)) < 2 or len(set(keys)) < len(keys):
        raise ConfigError(
            f"--zip needs two or more different keys, as in --zip KEY,KEY; got {','.join(keys)}"
        )
    together = _axis({key: [row[0] for row in by_key[key].values] for key in keys})
    members = [by_key[key] for key in keys]
    place = min(axes.index(axis) for axis in members)
    return [
        together if i == place else axis for i, axis in enumerate(axes) if i == place or axis not in members
    ]


def _name(axis: Axis) -> str:
    return f"zip {','.join(axis.keys)}"
