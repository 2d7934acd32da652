"""Which of the stored runs claims are measured on."""

from collections.abc import Callable
from pathlib import Path

from superpose_cli.errors import RunError, SuperposeError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.keys import run_id
from superpose_cli.results.layout import MANIFEST
from superpose_cli.results.manifest import Manifest, read_manifest
from superpose_cli.results.run import Run, load_run


def speaking(outputs: Path, said: Callable[[str], None] = lambda line: None) -> list[Run]:
    """Of each experiment the run under `outputs` that claims are measured on.

    That is the shipped one where it is complete, else the complete run that was written last; `said` is told
    of those, and of what cannot be read.
    """
    complete: dict[str, list[tuple[Path, Manifest]]] = {}
    for path in sorted(path.parent for path in outputs.glob(f"*/*/{MANIFEST}")):
        try:
            manifest = read_manifest(path)
        except RunError as error:
            said(f"left out: {error}")
            continue
        if manifest.status == "complete":
            complete.setdefault(manifest.experiment, []).append((path, manifest))
    found = []
    for name, runs in complete.items():
        path, manifest = max(runs, key=lambda run: run[1].updated)
        if len(runs) > 1 or _changes(manifest):
            wanted = _shipped_id(name)
            path, manifest = next((run for run in runs if run[1].run_id == wanted), (path, manifest))
        if changes := _changes(manifest):
            said(
                f"{path} is {name} with {' '.join(changes)}: claims are about the experiment as it is shipped"
            )
        try:
            found.append(load_run(path))
        except RunError as error:
            said(f"left out: {error}")
    return found


def _changes(manifest: Manifest) -> list[str]:
    """What the user changed of an experiment, beyond who computes it."""
    return [
        line for line in manifest.overrides if not line.lstrip("+~").startswith(("experiment=", "engine"))
    ]


def _shipped_id(name: str) -> str:
    """The id of the run of an experiment as it is shipped; "" where there is none of that name."""
    try:
        return run_id(load_experiment([f"experiment={name}"]))
    except SuperposeError:
        return ""
