"""How options turn into overrides, and what the shell completes."""

from pathlib import Path

import pytest
import typer

from superpose_cli.cli import options
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Experiment


def read(*overrides: str, engine: str | None = None, device: str | None = None) -> Experiment:
    return options.read_experiment(overrides, config=None, config_dir=None, engine=engine, device=device)


def test_engine_and_device_are_overrides() -> None:
    engine = read("train.steps=7", engine="torch", device="cpu").variants[0].engine
    assert (engine.name, engine.device) == ("torch", "cpu")


def test_saying_the_same_twice_is_fine() -> None:
    assert read("engine.device=cpu", device="cpu").variants[0].engine.device == "cpu"


@pytest.mark.parametrize(
    ("override", "given"),
    [("engine.name=numba", {"engine": "torch"}), ("engine.device=cuda", {"device": "cpu"})],
)
def test_a_contradiction_is_refused(override: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"contradicts {override}"):
        read(override, **given)


def test_a_file_does_not_decide_where_work_is_sent(tmp_path: Path) -> None:
    """A stranger's would have this machine join a stranger's cluster."""
    file = tmp_path / "config.yaml"
    file.write_text("data: {feature_probability: 0.1}\nlauncher: {name: ray, address: '10.0.0.1:1'}\n")

    def launcher(*overrides: str, name: str | None = None) -> tuple[str, str | None]:
        given = options.read_experiment(
            overrides, config=file, config_dir=None, engine=None, device=None, launcher=name
        )
        found = given.variants[0].launcher
        return found.name, found.address

    for name in (None, "ray"):
        with pytest.raises(ConfigError, match=r"asks for launcher=ray launcher\.address.*--launcher local"):
            launcher(name=name)
    assert launcher(name="local")[0] == "local"
    assert launcher("launcher.name=ray", "launcher.address=auto") == ("ray", "auto")


def test_a_folder_that_can_be_made_is_writable(tmp_path: Path) -> None:
    assert options.writable(None) is None
    assert options.writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(typer.BadParameter, match="is a file"):
        options.writable(tmp_path / "file" / "below")


def test_completion_of_overrides_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "experiment=intro" in options.complete_override("experiment=in")
    assert "model.n_hidden=" in options.complete_override("model.n_")
    monkeypatch.chdir(tmp_path)
    for name in ("intro/aa", "intro/bb", "phase/cc"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "manifest.json").touch()
    assert options.complete_run("") == ["intro", "phase"]
    assert options.complete_run("ph") == ["phase"]
