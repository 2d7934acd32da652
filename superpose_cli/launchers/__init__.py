"""The launchers by name: who trains the shards of a run. One's module is imported when it is asked for."""

import importlib

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import LauncherConfig, LauncherName
from superpose_cli.launchers.base import Remote

REMOTE = {
    LauncherName.ray: ("superpose_cli.launchers.ray", "RayLauncher"),
    LauncherName.slurm: ("superpose_cli.launchers.slurm", "SlurmLauncher"),
}
"""Launchers of other processes: module and class. Each needs the extra of its name."""


def remote_launcher(config: LauncherConfig) -> Remote | None:
    """The launcher that `config` asks for, None for this process; ConfigError if it is not installed."""
    if config.name is LauncherName.local:
        return None
    module, name = REMOTE[config.name]
    try:
        return getattr(importlib.import_module(module), name)(config)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the launcher {config.name} needs {error.name}, which is not installed: "
            f"pip install 'superpose[{config.name}]'"
        ) from error
