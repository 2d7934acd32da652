"""Options that several commands share, and how they turn into an experiment."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superpose_cli.errors import ConfigError

if TYPE_CHECKING:
    from superpose_cli.experiment.axes import Experiment

OUTPUTS = Path("outputs")
"""Where runs go and are looked up, seen from the working directory."""


def complete_override(incomplete: str) -> list[str]:
    """What the shell offers for a half-typed override."""
    from superpose_cli.experiment import completion

    return completion.complete_override(incomplete)


def complete_run(incomplete: str) -> list[str]:
    """What the shell offers for a half-typed run: the experiments that have runs."""
    return sorted(
        {m.parts[-3] for m in OUTPUTS.glob("*/*/manifest.json") if m.parts[-3].startswith(incomplete)}
    )


def writable(path: Path | None) -> Path | None:
    """`path`, if a folder can be made there; `typer.BadParameter` otherwise."""
    if path is not None:
        nearest = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise typer.BadParameter(f"{nearest} is a file; choose another folder.")
        # A run that is complete is left alone, wherever it lies.
        if not os.access(nearest, os.W_OK) and not (path / "manifest.json").is_file():
            raise typer.BadParameter(f"{nearest} cannot be written to; choose another folder.")
    return path


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE",
        help="KEY=VALUE in Hydra's syntax: train.steps=2000, experiment=intro, data=correlated. "
        "An axis: model.n_hidden=2,3,5 or 'data.feature_probability=geomspace(1,0.01,40)' (with the quotes).",
        show_default=False,
        autocompletion=complete_override,
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, its id, or an experiment's name (its newest run) under outputs/.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="The run's folder. Default: outputs/EXPERIMENT/RUN_ID.",
        show_default=False,
        callback=writable,
        rich_help_panel="Where",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Start from this file, such as a run's config.yaml; overrides go on top.",
        exists=True,
        show_default=False,
        rich_help_panel="What",
    ),
]
ConfigDir = Annotated[
    list[Path] | None,
    typer.Option(
        "--config-dir",
        metavar="DIR",
        help="A folder with more configs (experiment/NAME.yaml, model/NAME.yaml, ...). Repeatable.",
        exists=True,
        file_okay=False,
        show_default=False,
        rich_help_panel="What",
    ),
]
Zip = Annotated[
    list[str] | None,
    typer.Option(
        "--zip",
        metavar="KEY,KEY",
        help="Let these axes advance together instead of crossing. Repeatable.",
        show_default=False,
        rich_help_panel="What",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Short for engine.name=NAME; see `superpose list engines`.",
        show_default=False,
        rich_help_panel="How",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Short for engine.device=NAME: cpu, cuda or cuda:N.",
        show_default=False,
        rich_help_panel="How",
    ),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        metavar="NAME",
        help="Short for launcher=NAME: local, ray or slurm, or a file launcher/NAME.yaml of a --config-dir.",
        show_default=False,
        rich_help_panel="How",
    ),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option(
        "--max-seconds",
        metavar="SECONDS",
        help="Stop after this time, keep what is finished, and exit with 130.",
        min=0,
        show_default=False,
        rich_help_panel="How",
    ),
]
FailFast = Annotated[
    bool,
    typer.Option(
        "--fail-fast",
        help="Stop at the first stored shard with a diverged model, and exit with 1.",
        show_default=False,
        rich_help_panel="How",
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Train all anew in a new folder.", show_default=False, rich_help_panel="Where"
    ),
]


class ReuseMode(StrEnum):
    """Which stored instances may stand for training."""

    same = "same"
    any_engine = "any-engine"
    none = "none"


Reuse = Annotated[
    ReuseMode | None,
    typer.Option(
        "--reuse",
        help="Take over instances of other runs: those with the same arithmetic (default), of any engine, "
        "or none.",
        show_default=False,
        rich_help_panel="Where",
    ),
]
ReuseFrom = Annotated[
    Path | None,
    typer.Option(
        "--reuse-from",
        metavar="DIR",
        help="Where those runs are: a run's folder, or one of runs. Default: outputs/.",
        exists=True,
        file_okay=False,
        show_default=False,
        rich_help_panel="Where",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout, nothing else.", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", show_default=False)]


def read_experiment(
    overrides: Sequence[str] | None,
    config: Path | None,
    config_dir: Sequence[Path] | None,
    *,
    zips: Sequence[str] | None = None,
    engine: str | None,
    device: str | None,
    launcher: str | None = None,
) -> "Experiment":
    """The experiment that the command line asks for; `ConfigError` where it contradicts itself."""
    from superpose_cli.experiment.compose import load_experiment

    if config is not None and config.is_dir():
        raise ConfigError(f"--config {config} is a folder: give a file, such as {config / 'config.yaml'}")
    texts = list(overrides or ())
    for option, key, value in (
        ("--engine", "engine.name", engine),
        ("--device", "engine.device", device),
        ("--launcher", "launcher", launcher),
    ):
        if value is None:
            continue
        same = [text for text in texts if text.startswith(f"{key}=") and text != f"{key}={value}"]
        if same:
            raise ConfigError(f"{option} {value} contradicts {same[-1]}: keep one of them.")
        texts.append(f"{key}={value}")
    experiment = load_experiment(
        texts, config_dirs=tuple(config_dir or ()), config_file=config, zips=tuple(zips or ())
    )
    asked = experiment.variants[0].launcher
    needed = ["launcher"] + ["launcher.address="] * (asked.address is not None)
    typed = all(any(text.startswith(key) for text in texts) for key in needed)
    if config is not None and asked.name != "local" and not typed:
        address = f" launcher.address={asked.address}" if asked.address else ""
        raise ConfigError(
            f"{config} asks for launcher={asked.name}{address}, and a file alone does not decide where work "
            f"is sent: type --launcher {asked.name}{address} too, or --launcher local"
        )
    return experiment
