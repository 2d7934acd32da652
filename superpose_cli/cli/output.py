"""What commands leave behind: JSON or the run's folder on stdout, and an exit code."""

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from superpose_cli.pipeline import RunResult

INTERRUPTED = 130


def print_json(value: Any) -> None:
    """One JSON value on stdout; numbers that JSON lacks (NaN, infinity) become null."""
    typer.echo(in_json(value))


def in_json(value: Any) -> str:
    """One JSON value as text; numbers that JSON lacks (NaN, infinity) become null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False)


def continuing(path: Path) -> str:
    """The command that continues the run in a folder, with the launcher that it has."""
    from superpose_cli.results.layout import read_config
    from superpose_cli.results.manifest import read_manifest

    words = ["superpose", "sweep", "--config", str(path / "config.yaml"), "--out", str(path)]
    manifest = read_manifest(path)
    if manifest.reuse_from and manifest.reuse != "none":
        words += ["--reuse-from", manifest.reuse_from]
    launcher = read_config(path).get("launcher")
    if isinstance(launcher, dict) and launcher.get("name", "local") != "local":
        words += [f"launcher.{key}={value}" for key, value in launcher.items() if value is not None]
    return shlex.join(words)


def finish(result: "RunResult", *, json_: bool, quiet: bool) -> None:
    """Report where a run is; exit with 130 and the command that continues it if it was interrupted."""
    from superpose_cli.results.checkpoint_files import saved_checkpoints

    interrupted = result.status == "interrupted"
    resume = continuing(result.path)
    if not quiet:
        if result.status == "already done":
            typer.echo("already done; --fresh trains it anew", err=True)
        if result.failures:
            typer.echo(f"{result.failures:,} instances diverged; `superpose show` lists them", err=True)
    if result.status == "submitted":
        typer.echo(
            f"submitted; `superpose show {shlex.quote(str(result.path))}` tells how far it is", err=True
        )
    if interrupted:
        kept = f"{result.n_stored:,} of {result.n_instances:,} instances are stored"
        if begun := sum(saved.trained for saved in saved_checkpoints(result.path)):
            part = begun / (result.n_instances - result.n_stored)
            kept += f", and a checkpoint holds {100 * part:.3g} % of the others' training"
        typer.echo(f"interrupted; {kept}. To continue: {resume}", err=True)
    if json_:
        print_json(_record(result) | ({"resume": resume} if interrupted else {}))
    else:
        typer.echo(str(result.path))
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _record(result: "RunResult") -> dict[str, Any]:
    names = (
        "path",
        "status",
        "n_instances",
        "n_stored",
        "n_reused",
        "n_trained",
        "seconds",
        "engine",
        "failures",
    )
    return {name: getattr(result, name) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
