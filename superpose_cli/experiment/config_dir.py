"""Where configurations are: the shipped `conf/`, and folders of the user's own beside it."""

from collections.abc import Sequence
from pathlib import Path

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.fields import did_you_mean, shown

_GLOBAL_PACKAGE = "# @package _global_"


def config_dir() -> Path:
    """The shipped folder: `superpose_cli/conf` of an installed wheel, or `conf/` beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"no conf/ folder in or beside {package}: install superpose again")


def search_path(config_dirs: Sequence[Path] = ()) -> list[Path]:
    """The shipped folder and then the user's, as absolute paths; of two equal names the first counts.

    Raises ConfigError for a folder that does not exist.
    """
    folders = [config_dir()]
    for folder in config_dirs:
        if not folder.is_dir():
            raise ConfigError(
                f"--config-dir {shown(str(folder))} is not a folder: create it or correct the path"
            )
        folders.append(folder.resolve())
    return folders


def group_options(group: str, config_dirs: Sequence[Path] = ()) -> dict[str, Path]:
    """The options of a config group (`experiment`, `model`, ...) by name, shipped ones first."""
    options: dict[str, Path] = {}
    for folder in search_path(config_dirs):
        for path in sorted((folder / group).rglob("*.yaml")):
            options.setdefault(path.relative_to(folder / group).with_suffix("").as_posix(), path)
    return options


def option_file(group: str, option: object, config_dirs: Sequence[Path] = ()) -> Path:
    """The file of one option. Raises ConfigError, with the nearest name, if there is none."""
    options = group_options(group, config_dirs)
    if not isinstance(option, str) or option not in options:
        near = did_you_mean(str(option), list(options))
        raise ConfigError(
            f"{group}={shown(str(option))}: no such option.{near} Available: {', '.join(options)}."
        )
    path = options[option]
    if group == "experiment" and _GLOBAL_PACKAGE not in _read(path).splitlines():
        raise ConfigError(f"{path} must start with the line '{_GLOBAL_PACKAGE}': add it")
    return path


def list_experiments(config_dirs: Sequence[Path] = ()) -> list[tuple[str, str]]:
    """The name and the one-line description (the file's first comment) of every experiment."""
    return [(name, _description(path)) for name, path in group_options("experiment", config_dirs).items()]


def _description(path: Path) -> str:
    for line in _read(path).splitlines():
        if line.startswith("#") and line != _GLOBAL_PACKAGE:
            return line.lstrip("# ").strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
