"""From what a user writes (overrides, config files, `grid:`) to an `Experiment`, and back to one file.

Authority, lowest first: the defaults in `config.py`, conf/config.yaml with its groups, the experiment's file,
overrides. Sweeps never reach Hydra: they are taken out first and become axes.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from superpose_cli.errors import ConfigError
from superpose_cli.experiment._hydra import references, resolved
from superpose_cli.experiment.axes import Axis, Experiment
from superpose_cli.experiment.config import Config
from superpose_cli.experiment.fields import AXIS_GROUPS, FIELDS, GROUPS, check_field, check_key, shown
from superpose_cli.experiment.grid_syntax import axes_of
from superpose_cli.experiment.overrides import parse_overrides
from superpose_cli.experiment.rules import with_values
from superpose_cli.experiment.sources import ComposedSource, FileSource, Source

_DEFAULTS = asdict(Config())
_HEADER = "# A resolved experiment. Train it again:  superpose sweep --config THIS_FILE  (overrides on top)\n"


def load_experiment(
    overrides: Sequence[str],
    *,
    config_dirs: Sequence[Path] = (),
    config_file: Path | None = None,
    zips: Sequence[str] = (),
) -> Experiment:
    """The experiment that `overrides` ask for, on top of the shipped defaults or of `config_file`.

    overrides: KEY=VALUE, KEY=SWEEP, GROUP=OPTION[,OPTION], experiment=NAME; config_dirs: folders like conf/
    with options of the user's own; config_file: a config.yaml of a run, or one written by hand; zips: texts
    KEY,KEY of axes that advance together. Raises ConfigError: one line that says what to do.
    What fields must satisfy together is checked where the `Grid` is built.
    """
    request = parse_overrides(overrides)
    source: Source
    if config_file is None:
        source = ComposedSource(request.options, config_dirs)
    else:
        source = FileSource(config_file, request.options, config_dirs)
    try:
        axes = axes_of(source.grid, request, zips)
        variants = _variants(source, request.values, axes)
    except ConfigError as error:
        raise source.explained(error) from error
    experiment = Experiment(name=source.name, axes=axes, variants=variants, overrides=tuple(overrides))
    _option_nodes(experiment)
    return experiment


def dump_experiment(experiment: Experiment) -> str:
    """YAML from which `load_experiment([], config_file=...)` makes the same experiment, with no other file.

    Holds every field but those that are unset, `grid` with one mapping per axis, and in `options` the whole
    content of each option of the axes over groups.
    """
    body: dict[str, Any] = _node(experiment.variants[0])
    body["grid"] = [
        {key: [_plain(row[i]) for row in axis.values] for i, key in enumerate(axis.keys)}
        for axis in experiment.axes
    ]
    body["options"] = _option_nodes(experiment)
    body = {key: value for key, value in body.items() if value not in ([], {}, None)}
    return _HEADER + yaml.safe_dump(body, sort_keys=False, default_flow_style=None, width=110)


def _variants(source: Source, values: Mapping[str, Any], axes: Sequence[Axis]) -> tuple[Config, ...]:
    """The config of each combination of options, with the first values of the other axes."""
    firsts: dict[str, Any] = {}
    for axis in axes:
        if not _is_over_groups(axis):
            firsts |= zip(axis.keys, axis.values[0], strict=True)
    axis_keys = [key for axis in axes for key in axis.keys]
    variants = []
    for position in _group_positions(axes):
        container = source.container({key: position[key] for key in position if key in GROUPS})
        container = _with_values(container, values)
        fixed = firsts | {key: position[key] for key in position if key not in GROUPS}
        variants.append(_config(container, fixed, axis_keys, source.name))
    return tuple(variants)


def _is_over_groups(axis: Axis) -> bool:
    return any(key in AXIS_GROUPS for key in axis.keys)


def _group_positions(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Key -> value at each combination of positions of the axes over groups, row-major."""
    over_groups = [axis for axis in axes if _is_over_groups(axis)]
    for rows in itertools.product(*(axis.values for axis in over_groups)):
        position: dict[str, Any] = {}
        for axis, row in zip(over_groups, rows, strict=True):
            position |= zip(axis.keys, row, strict=True)
        yield position


def _with_values(container: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The container with single values of the command line in it."""
    for key, value in values.items():
        group, _, leaf = key.rpartition(".")
        if group:
            node = container.get(group) or {}
            if not isinstance(node, dict):
                raise ConfigError(f"{group} must be a mapping of its fields; got {shown(node)}")
            container[group] = node | {leaf: value}
        else:
            container[leaf] = value
    return container


def _config(
    container: Mapping[str, Any], axis_values: Mapping[str, Any], axis_keys: Sequence[str], name: str
) -> Config:
    """The typed config of a tree of plain values: unknown keys refused, references followed, all checked."""
    tree = deepcopy(_DEFAULTS)
    for top, node in container.items():
        if top not in GROUPS:
            check_key(top)
            tree[top] = node
            continue
        if node is not None and not isinstance(node, dict):
            raise ConfigError(f"{top} must be a mapping of its fields; got {shown(node)}")
        for leaf, value in (node or {}).items():
            check_key(f"{top}.{leaf}")
            tree[top][leaf] = value
    tree["experiment"] = name
    targets = list(references(tree))
    for key, target in targets:
        if target in axis_keys:
            raise ConfigError(f"{key} refers to {target}, which is an axis: zip the two, or write a value")
    tree = resolved(tree) if targets else tree
    values = {k: axis_values[k] if k in axis_values else check_field(k, _at(tree, k)) for k in FIELDS}
    return with_values(Config(), values | {"plots": list(values["plots"])})


def _at(tree: Mapping[str, Any], key: str) -> Any:
    group, _, leaf = key.rpartition(".")
    return tree[group][leaf] if group else tree[leaf]


def _option_nodes(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Group -> option -> the content of its node, for the axes over groups.

    Raises ConfigError where the content of a node hangs on more than its own option, since then it could
    not be told apart from the rest.
    """
    axis_keys = {key for axis in experiment.axes for key in axis.keys}
    nodes: dict[str, dict[str, Any]] = {}
    fixed = _node(experiment.variants[0])
    for position, config in zip(_group_positions(experiment.axes), experiment.variants, strict=True):
        for top, node in _node(config).items():
            option = position.get(top)
            known = nodes.setdefault(top, {}).setdefault(option, node) if option else fixed[top]
            if _still(top, known, axis_keys) != _still(top, node, axis_keys):
                raise ConfigError(
                    f"{top} depends on the option of another group, by a reference or a global option: "
                    "write its values out, or use one experiment for each option"
                )
    return nodes


def _still(top: str, node: Any, axis_keys: set[str]) -> Any:
    """What of a node no axis moves."""
    return (
        {k: v for k, v in node.items() if f"{top}.{k}" not in axis_keys} if isinstance(node, dict) else node
    )


def _node(config: Config) -> dict[str, Any]:
    """The config as plain values without unset fields; top-level values before the groups."""
    tree = {top: value for top, value in asdict(config).items() if top != "grid"}
    for group in GROUPS:
        tree[group] = {
            leaf: _plain(value)
            for leaf, value in tree[group].items()
            if value is not None or _DEFAULTS[group][leaf] is not None
        }
    order = ["experiment", "seed", "restarts", "paired", *GROUPS, "plots"]
    return {top: tree[top] for top in order}


def _plain(value: Any) -> Any:
    """`value` in types that YAML has."""
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, Enum) else value
