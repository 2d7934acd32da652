"""Which stored runs speak for an experiment: the shipped one, else the newest, and what is told of others."""

import json
from pathlib import Path
from typing import Any

from superpose_cli.evidence import speaking
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.keys import run_id
from superpose_cli.results.run import Run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

SHIPPED = run_id(load_experiment(["experiment=intro"]))


def stored(folder: Path, name: str, updated: str, **changes: Any) -> Path:
    run = write_run(folder / "intro" / name, polygon(5)[None], experiment="intro")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest |= {"run_id": name, "updated": f"2026-01-{updated}T00:00:00+00:00"} | changes
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return run


def of(folder: Path) -> tuple[list[str], list[str]]:
    told: list[str] = []
    found: list[Run] = speaking(folder, told.append)
    return [run.path.name for run in found], told


def test_the_newest_complete_run_speaks(tmp_path: Path) -> None:
    stored(tmp_path, "0000000a", "01")
    stored(tmp_path, "0000000b", "03", overrides=["experiment=intro", "engine.name=torch"])
    stored(tmp_path, "0000000c", "02")
    stored(tmp_path, "0000000d", "04", status="interrupted")
    assert of(tmp_path) == (["0000000b"], [])


def test_the_shipped_run_speaks_though_another_is_newer(tmp_path: Path) -> None:
    stored(tmp_path, SHIPPED, "01")
    stored(tmp_path, "0000000b", "03", overrides=["experiment=intro", "train.steps=3"])
    assert of(tmp_path) == ([SHIPPED], [])


def test_a_changed_run_that_is_alone_is_told(tmp_path: Path) -> None:
    run = stored(tmp_path, "0000000b", "03", overrides=["experiment=intro", "train.steps=3"])
    assert of(tmp_path) == (
        ["0000000b"],
        [f"{run} is intro with train.steps=3: claims are about the experiment as it is shipped"],
    )


def test_what_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    stored(tmp_path, "0000000a", "01")
    run = stored(tmp_path, "0000000b", "03")
    (run / "manifest.json").write_text("{", encoding="utf-8")
    found, (line,) = of(tmp_path)
    assert found == ["0000000a"]
    assert line.startswith("left out: ")
