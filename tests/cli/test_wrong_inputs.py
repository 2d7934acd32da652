"""Whatever the user gets wrong: exit code 2, one line that helps on stderr, no traceback, nothing written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from superpose_cli.cli.app import app

WRONG_CONFIGURATIONS = [
    # keys
    ("model.n_hiden=3", "Did you mean"),
    ("modle.n_hidden=3", "Did you mean"),
    ("n_hidden=3", "model.n_hidden"),
    ("+model.extra=3", "model.extra"),
    ("model.n_hidden", "="),
    ("=3", ""),
    ("model=3,linear", "3"),
    ("~model.n_hidden", ""),
    # groups
    ("experiment=intor", "Did you mean 'intro'"),
    ("model=relu_outptu", "Did you mean 'relu_output'"),
    ("data=sparse", "independent"),
    ("train=adam", "lab"),
    # types
    ("train.steps=abc", "train.steps"),
    ("train.steps=1.5", "train.steps"),
    ("model.tied=maybe", "model.tied"),
    ("model.output_activation=rleu", "relu"),
    ("train.optimizer=adamm", "adam"),
    ("plots=arrows", "[a,b]"),
    ("plots=[arows]", "use one of arrows"),
    # ranges
    ("data.feature_probability=0", "data.feature_probability"),
    ("data.feature_probability=1.5", "data.feature_probability"),
    ("data.feature_probability=nan", "data.feature_probability"),
    ("data.feature_probability=1e-9", "data.feature_probability"),
    ("model.n_hidden=0", "model.n_hidden"),
    ("model.n_features=-1", "model.n_features"),
    ("train.steps=0", "train.steps"),
    ("train.learning_rate=-1", "train.learning_rate"),
    ("train.learning_rate=inf", "train.learning_rate"),
    ("train.n_batch=0", "train.n_batch"),
    ("train.beta1=1", "train.beta1"),
    ("restarts=0", "restarts"),
    ("seed=-1", "seed"),
    ("engine.memory_fraction=2", "engine.memory_fraction"),
    ("evaluation.n_rows=0", "evaluation.n_rows"),
    ("model.hidden_l1=-1", "model.hidden_l1"),
    # rules between fields
    ("data.feature_probability=[0.1,0.2]", "feature_probability"),
    ("data.set_size=2", "data.set_size"),
    ("train.n_batch=null", "train.n_batch"),
    ("train.momentum=0.9", "train.momentum"),
    ("importance=explicit importance.values=[1,-1,1,1,1]", "importance.values"),
    ("data=exactly_k data.k=9", "data.k"),
    ("data=anticorrelated data.set_size=5 data.feature_probability=0.5", "data.set_size"),
    # sweeps
    ("train.steps=interval(1,9)", "interval"),
    ("train.steps=linspase(1,9,3)", "Did you mean 'linspace'"),
    ("data.feature_probability=geomspace(1,0,5)", "geomspace"),
    ("data.feature_probability=geomspace(1,0.1)", "geomspace"),
    ("train.learning_rate=(1,2", "train.learning_rate"),
    ("model.n_hidden=range(3,1)", "model.n_hidden"),
    ("train.stepz=1,2", "Did you mean"),
    ("experiment=intro,phase_2_in_1", "experiment"),
    ("restarts=1,2", "restarts"),
    ("model.n_hidden=2,2", "model.n_hidden"),
    # what the machine has not got
    ("engine.name=trch", "torch"),
    ("engine.device=gpu", "engine.device"),
    ("engine.device=cuda:99", "cuda"),
    ("restarts=10000000 model.n_features=4000 model.n_hidden=1000", "GB"),
]

WRONG_COMMANDS = [
    ("swep", "Did you mean 'sweep'"),
    ("sweep --devcie cpu", "--device"),
    ("sweep --max-seconds soon", "--max-seconds"),
    ("sweep --max-seconds -1", "--max-seconds"),
    ("sweep --reuse foo", "for '--reuse': 'foo' is not one of 'same', 'any-engine', 'none'."),
    ("sweep --config missing.yaml", "missing.yaml"),
    ("sweep --config-dir missing", "missing"),
    ("sweep --out {file}", "is a file"),
    ("sweep --out {file}/below", "is a file"),
    ("sweep --config {file}", "{file}"),
    ("sweep --engine torch engine.name=numba", "contradicts engine.name=numba"),
    ("sweep --device cpu engine.device=cuda", "contradicts engine.device=cuda"),
    ("sweep --engine trch", "torch"),
    ("sweep --zip model.n_hidden model.n_hidden=2,3", "model.n_hidden"),
    ("sweep --zip model.n_hidden,restarts model.n_hidden=2,3", "restarts"),
    (
        "sweep --zip model.n_hidden,model.n_features model.n_hidden=2,3 model.n_features=4,5,6",
        "model.n_hidden",
    ),
    ("train model.n_hidden=2,3", "use sweep"),
    ("train experiment=intro", "use sweep"),
    ("plan train.steps=0", "train.steps"),
    ("plot", "RUN"),
    ("plot nothing", "no run 'nothing'"),
    ("plot {folder}", "manifest.json"),
    ("show nothing", "no run 'nothing'"),
    ("show", "RUN"),
    ("list everything", "everything"),
    ("list", "experiments, plots, engines, runs"),
]


def fails_in_one_line(line: str, outside: Path) -> str:
    """Run a command line in an empty folder, check how it fails, and return its message."""
    places = {"{file}": str(outside / "file.txt"), "{folder}": str(outside)}
    for name, place in places.items():
        line = line.replace(name, place)
    before = sorted(outside.iterdir())
    result = CliRunner().invoke(app, line.split(" "))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("superpose: error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert list(Path.cwd().iterdir()) == []
    assert sorted(outside.iterdir()) == before
    return result.stderr


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that is no configuration; the working folder is another one, empty."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file.txt").write_text("[1, 2")
    return elsewhere


@pytest.mark.parametrize(("overrides", "hint"), WRONG_CONFIGURATIONS, ids=lambda text: text)
def test_a_wrong_configuration(overrides: str, hint: str, outside: Path) -> None:
    assert hint in fails_in_one_line(f"sweep {overrides}", outside)


@pytest.mark.parametrize(("line", "hint"), WRONG_COMMANDS, ids=lambda text: text)
def test_a_wrong_command(line: str, hint: str, outside: Path) -> None:
    assert hint.replace("{file}", str(outside / "file.txt")) in fails_in_one_line(line, outside)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("model: {n_hidden: [1", "invalid YAML"),
        ("model: {n_hiden: 3}", "n_hiden"),
        ("modle: {n_hidden: 3}", "modle"),
        ("model: {n_hidden: three}", "n_hidden"),
        ("grid: {model.n_hidden: []}", "n_hidden"),
        ("grid: {model.n_hiden: '1,2'}", "n_hiden"),
        ("grid: {zip: [{model.n_hidden: '1,2', model.n_features: '3,4,5'}]}", "n_hidden"),
        ("- 1\n- 2", "mapping"),
        ("seed: ${oc.env:HOME}", "seed"),
    ],
)
def test_a_wrong_config_file(text: str, hint: str, outside: Path) -> None:
    (outside / "wrong.yaml").write_text(text)
    assert hint in fails_in_one_line(f"sweep --config {outside}/wrong.yaml", outside)
    (outside / "experiment").mkdir()
    (outside / "experiment" / "wrong.yaml").write_text(f"# @package _global_\n{text}\n")
    fails_in_one_line(f"sweep --config-dir {outside} experiment=wrong", outside)


def test_a_home_after_an_equals_sign_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bash leaves `--out=~/x` to the command."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    line = ["train", "train.steps=2", "engine=torch", "--quiet", "--out=~/runs/one"]
    assert CliRunner().invoke(app, line).exit_code == 0
    assert (tmp_path / "runs/one/manifest.json").is_file()
    assert not (tmp_path / "~").exists()
