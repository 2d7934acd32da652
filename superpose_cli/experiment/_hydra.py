"""The only module that imports hydra and omegaconf: texts, files and folders in, plain values out.

Nothing in a configuration is executed: no `_target_`, no resolvers (`${oc.env:...}`), no YAML tags.
References such as `${train.steps}` are allowed.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from superpose_cli.errors import ConfigError
from superpose_cli.experiment import sweeps
from superpose_cli.experiment.config_dir import search_path
from superpose_cli.experiment.fields import CHOICES, FIELDS, did_you_mean, shown
from superpose_cli.experiment.sweeps import Sweep
from superpose_cli.plain_yaml import check_plain, read_plain

_CONFIG_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, RecursionError)
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
Number = int | float


# The functions of the sweep grammar. The parser checks arguments against these annotations.
def _choice(*args: Any) -> Sweep:
    return sweeps.flattened(args)


def _range(start: Number, stop: Number | None = None, step: Number = 1) -> Sweep:
    first, last = (0, start) if stop is None else (start, stop)
    return sweeps.arithmetic_range(first, last, step)


def _linspace(start: Number, stop: Number, num: Number) -> Sweep:
    return sweeps.linspace(start, stop, _count("linspace", num))


def _geomspace(start: Number, stop: Number, num: Number) -> Sweep:
    return sweeps.geomspace(start, stop, _count("geomspace", num))


def _count(name: str, num: Number) -> int:
    if not math.isfinite(num) or num != int(num):
        raise ConfigError(f"{name} makes a whole number of values; got {num}")
    return int(num)


_SIGNATURES = "linspace(FIRST,LAST,COUNT), geomspace(FIRST,LAST,COUNT) or range(START,STOP,STEP)"
_FUNCTIONS = {"choice": _choice, "range": _range, "linspace": _linspace, "geomspace": _geomspace}
_REFUSED = {
    "interval": "an interval has no values of its own: write linspace(START,STOP,COUNT)",
    "glob": "name the options: OPTION,OPTION",
    "shuffle": "the order of an axis has no effect on training: list the values in the order to show",
    "sort": "list the values in the order to show",
    "logspace": "write geomspace(FIRST,LAST,COUNT) with the values themselves, not their exponents",
}


def _parser() -> OverridesParser:
    functions = create_functions()
    functions.definitions.clear()
    for name, function in _FUNCTIONS.items():
        functions.register(name, function)
    return OverridesParser(functions)


_PARSER = _parser()


def parse_value(key: str, text: str) -> Any:
    """The right-hand side of KEY=TEXT in Hydra's grammar: a plain value, or a `Sweep` of them.

    Raises ConfigError that names `key`.
    """
    called = re.match(r"\s*([A-Za-z_]\w*)\s*\(", text)
    if called and called[1] in _REFUSED:
        raise ConfigError(f"{key}={shown(text)}: {called[1]} is not supported; {_REFUSED[called[1]]}")
    if called and called[1] not in _FUNCTIONS:
        known = list(_FUNCTIONS)
        hint = did_you_mean(called[1], known) or f" Functions: {', '.join(known)}."
        raise ConfigError(f"{key}={shown(text)}: unknown function '{called[1]}'.{hint}")
    try:
        value = _PARSER.parse_override(f"x={text}").value()
        return _plain(value)
    except ConfigError as error:
        raise ConfigError(f"{key}={shown(text)}: {error}") from error
    except _CONFIG_ERRORS as error:
        raise ConfigError(f"{key}={shown(text)}: {_syntax_hint(text, error)}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, ChoiceSweep):
        return sweeps.flattened(_plain(item) for item in value.list)
    if isinstance(value, Sweep):
        return sweeps.flattened(_plain(item) for item in value.values)
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        if any(isinstance(item, Sweep) for item in items):
            raise ConfigError(
                "a sweep cannot stand inside brackets: a bracket is one value, a number per feature"
            )
        return items
    return value


def _syntax_hint(text: str, error: BaseException) -> str:
    """What is wrong with the syntax, in words of a user rather than of the parser."""
    root: BaseException | None = error
    while root is not None:
        if isinstance(root, ConfigError):
            return str(root)
        if isinstance(root, TypeError):
            return f"{one_line(root)}; write {_SIGNATURES}"
        root = root.__cause__
    examples = "write 1,2,3 or [1,2] or linspace(0.1,1,5), and quote the whole argument in the shell"
    if text.count("(") != text.count(")"):
        return f"unbalanced parentheses; {examples}"
    if text.count("[") != text.count("]"):
        return f"unbalanced brackets; {examples}"
    if text.lstrip().startswith("("):
        return f"parentheses need a function in front of them, and lists have brackets; {examples}"
    return f"not a value or a sweep; {examples}"


def quoted(text: str) -> str:
    """`text` as a quoted string of the override grammar."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - trailing :]}'"


def compose_options(
    options: Mapping[str, str], config_dirs: Sequence[Path] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """What Hydra composes of conf/config.yaml and the chosen options, and all options that are in it.

    The values are plain, references unresolved.
    """
    shipped, *users = search_path(config_dirs)
    overrides = [f"{group}={quoted(option)}" for group, option in options.items()]
    if users:
        entries = ",".join(quoted(f"file://{folder}") for folder in users)
        overrides.append(f"hydra.searchpath=[{entries}]")
    try:
        with initialize_config_dir(str(shipped), version_base="1.3"):
            composed = _container(compose("config", overrides, return_hydra_config=True))
        choices = composed.pop("hydra")["runtime"]["choices"]
        return composed, {
            group: name for group, name in choices.items() if group in CHOICES and isinstance(name, str)
        }
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_message(error)) from error
    except (*_CONFIG_ERRORS, OSError) as error:
        text = one_line(error).replace(" raised while composing config", "").partition(" full_key:")[0]
        chosen = ", ".join(f"{group}={option}" for group, option in options.items()) or "conf/config.yaml"
        raise ConfigError(f"{chosen}: {text}: correct that configuration file") from error


def load_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, references unresolved. Raises ConfigError with the file and the line."""
    try:
        check_plain(read_plain(path))
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise ConfigError(f"{path} must hold a mapping of keys to values")
        return _container(loaded)
    except ConfigError:
        raise
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_message(error, path)) from error
    except (*_CONFIG_ERRORS, OSError) as error:
        raise ConfigError(f"cannot read {path}: {one_line(error)}") from error


def _container(config: Any) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def references(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted key, reference) of each `${...}` in a container two levels deep.

    Raises ConfigError for all but references to fields: resolvers would read the environment or run code.
    """
    for top, node in container.items():
        leaves = (
            {f"{top}.{leaf}": value for leaf, value in node.items()}
            if isinstance(node, dict)
            else {top: node}
        )
        for key, value in leaves.items():
            text = str(value)
            if "${" not in text:
                continue
            found = _REFERENCE.findall(text)
            unknown = [name for name in found if name not in FIELDS]
            if unknown or not found:
                hint = did_you_mean(unknown[0], list(FIELDS)) if unknown else ""
                raise ConfigError(
                    f"{key}={shown(text)}: only references to fields, such as ${{train.steps}}, are allowed, "
                    f"neither resolvers nor the environment: write the value.{hint}"
                )
            yield from ((key, name) for name in found)


def resolved(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container with its references replaced by the values they name."""
    try:
        plain = OmegaConf.to_container(OmegaConf.create(dict(container)), resolve=True)
    except _CONFIG_ERRORS as error:
        raise ConfigError(f"references lead nowhere ({one_line(error)}): write the value") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def one_line(error: BaseException) -> str:
    """The message of an error (or of its cause, where it has none) on one line."""
    text = str(error) or str(error.__cause__ or type(error).__name__)
    return shown(" ".join(text.split()), limit=400)


def _yaml_message(error: yaml.YAMLError, path: Path | None = None) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or one_line(error)
    name = path or (mark.name if mark else "a configuration file")
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else str(name)
    return f"{where}: invalid YAML: {shown(' '.join(problem.split()), limit=200)}: correct that line"
