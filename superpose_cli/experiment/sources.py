"""Where configurations come from: conf/ through Hydra, or one file that holds all."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from superpose_cli.errors import ConfigError
from superpose_cli.experiment._hydra import compose_options, load_file
from superpose_cli.experiment.config_dir import option_file, search_path
from superpose_cli.experiment.fields import shown
from superpose_cli.experiment.rules import KIND_FIELDS


class Source(Protocol):
    """A name, the `grid:` node, and plain values for each choice of options."""

    name: str
    grid: Any

    def container(self, options: Mapping[str, str]) -> dict[str, Any]:
        """A new tree of plain values, without grid, in which these groups have these options."""
        ...

    def explained(self, error: ConfigError) -> ConfigError:
        """The error, with the file in which its cause stands if that can be found."""
        ...


class ComposedSource:
    """conf/config.yaml, its groups and an experiment, composed by Hydra."""

    def __init__(self, options: Mapping[str, str], config_dirs: Sequence[Path]) -> None:
        self._dirs = config_dirs
        self._files = [search_path(config_dirs)[0] / "config.yaml"]
        self._files += [option_file(group, option, config_dirs) for group, option in options.items()]
        self._base, self._choices = compose_options(options, config_dirs)
        self._nodes: dict[tuple[str, str], Any] = {}
        self.name = options.get("experiment", "custom").replace("/", "-")
        self.grid = self._base.get("grid")

    def container(self, options: Mapping[str, str]) -> dict[str, Any]:
        tree = deepcopy({top: node for top, node in self._base.items() if top != "grid"})
        for group, option in options.items():
            if self._choices.get(group) != option:
                tree[group] = deepcopy(self._node(group, option))
        return tree

    def _node(self, group: str, option: str) -> Any:
        """The node of `group` with another option than the base has; Hydra composes it once."""
        if (group, option) not in self._nodes:
            self._files.append(option_file(group, option, self._dirs))
            composed, _ = compose_options({**self._choices, group: option}, self._dirs)
            if any(composed.get(top) != self._base.get(top) for top in {*composed, *self._base} - {group}):
                raise ConfigError(
                    f"{group}={option} changes more than {group}, so it cannot be on an axis: choose it alone"
                )
            self._nodes[group, option] = composed.get(group)
        return self._nodes[group, option]

    def explained(self, error: ConfigError) -> ConfigError:
        chosen = [option_file(group, option, self._dirs) for group, option in self._choices.items()]
        return _located(error, [*chosen, *self._files])


class FileSource:
    """A file with all values: the config.yaml of a run, or one written by hand; options may overlay it."""

    def __init__(self, path: Path, options: Mapping[str, str], config_dirs: Sequence[Path]) -> None:
        if "experiment" in options:
            raise ConfigError("--config and experiment=NAME are two sources: choose one")
        self._path = path
        self._dirs = config_dirs
        self._fixed = dict(options)
        self._tree = load_file(path)
        if "defaults" in self._tree:
            raise ConfigError(
                f"{path}: a --config file has no defaults list: write the values, or put it as "
                "experiment/NAME.yaml into a folder and give --config-dir FOLDER experiment=NAME"
            )
        self.grid = self._tree.pop("grid", None)
        self._options = self._tree.pop("options", None) or {}
        if not isinstance(self._options, dict):
            raise ConfigError(f"{path}: options must be a mapping of groups to options and their fields")
        self.name = self._tree.get("experiment") or "custom"

    def container(self, options: Mapping[str, str]) -> dict[str, Any]:
        tree = deepcopy(self._tree)
        for group, option in (self._fixed | dict(options)).items():
            tree[group] = self._node(group, option, tree.get(group) or {})
        return tree

    def _node(self, group: str, option: str, node: Any) -> dict[str, Any]:
        """The stored content of an option; else what is in the file, overlaid by what conf/ says of it."""
        stored = self._options.get(group)
        if isinstance(stored, dict) and isinstance(stored.get(option), dict):
            return deepcopy(stored[option])
        option_file(group, option, self._dirs)
        shipped = compose_options({group: option}, self._dirs)[0].get(group) or {}
        merged = (node if isinstance(node, dict) else {}) | shipped
        return {leaf: value for leaf, value in merged.items() if leaf not in _unused(group, merged)}

    def explained(self, error: ConfigError) -> ConfigError:
        return _located(error, [self._path])


def _unused(group: str, node: Mapping[str, Any]) -> set[str]:
    """The fields that are special to other kinds than that of the node."""
    unused: set[str] = set()
    for kind_key, kinds in KIND_FIELDS.items():
        owner, _, leaf = kind_key.partition(".")
        kind = str(node.get(leaf))
        if owner == group and kind in kinds:
            special = {key for keys in kinds.values() for key in keys}
            unused |= {key.partition(".")[2] for key in special - set(kinds[kind])}
    return unused


def _located(error: ConfigError, files: Sequence[Path]) -> ConfigError:
    """The error after `FILE:LINE`, where a file has the unknown key that it complains of."""
    unknown = re.match(r"unknown key '([^']*)'", str(error))
    if not unknown:
        return error
    leaf = re.compile(rf"""(^|[\s,{{'".]){re.escape(unknown[1].rpartition(".")[2])}['"]?\s*:""")
    for path in reversed(files):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if leaf.search(line.partition("#")[0]):
                return ConfigError(f"{shown(str(path), limit=200)}:{number}: {error}")
    return error
