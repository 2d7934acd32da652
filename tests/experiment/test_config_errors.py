"""Wrong inputs: each gives one ConfigError on one line that says what to do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.compose import load_experiment
from superpose_cli.experiment.config_dir import group_options, list_experiments
from superpose_cli.experiment.fields import CHOICES, FIELDS
from superpose_cli.experiment.grid import Grid

P = "data.feature_probability"


def complaint(overrides: list[str], **options: object) -> str:
    """The message about wrong inputs, which must be one printable line of bearable length."""
    with pytest.raises(ConfigError) as raised:
        Grid(load_experiment(overrides, **options))  # pyright: ignore[reportArgumentType]
    message = str(raised.value)
    assert message.isprintable()
    assert 20 < len(message) < 600
    return message


OVERRIDES = [
    # keys
    ("model.n_hiden=3", "Did you mean 'model.n_hidden'?"),
    ("modl.n_hidden=3", "Did you mean 'model.n_hidden'?"),
    ("n_hidden=3", "Did you mean 'model.n_hidden'?"),
    ("model.zzz=3", "Fields of model: n_features"),
    ("model.n_hidden.x=3", "unknown key"),
    ("model.n_hidden", "is not KEY=VALUE"),
    ("=3", "unknown key ''"),
    ("", "is not KEY=VALUE"),
    ("--steps", "is not KEY=VALUE"),
    ("+model.n_hidden=3", "write model.n_hidden=VALUE"),
    ("~model.n_hidden", "write model.n_hidden=VALUE"),
    ("model@data=linear", "write GROUP=OPTION"),
    ("hydra.run.dir=x", "unknown key"),
    ("hydra/launcher=x", "unknown key"),
    ("grid=1,2", "write the axis itself"),
    ("_target_=os.system", "unknown key"),
    ("mod\nel.x\x1b[31m=3", "unknown key 'mod\\nel.x\\x1b[31m'"),
    # groups
    ("model=relu_outptu", "Did you mean 'relu_output'?"),
    ("model=linear,bigg", "model=bigg: no such option"),
    ("experiment=phase_2in_1", "Did you mean 'phase_2_in_1'?"),
    ("experiment=../secrets", "no such option. Available: "),
    ("experiment=", "name one of its options"),
    ("model=3", "name one of its options"),
    ("model=[linear,relu_output]", "name one of its options"),
    ("model={n_hidden:3}", "name one of its options"),
    ("engine=torc", "Available: auto, numba, torch"),
    # types
    ("model.n_hidden=abc", "an integer >= 1"),
    ("model.n_hidden=1.5", "an integer >= 1"),
    ("model.n_hidden=true", "an integer >= 1"),
    ("model.n_hidden=[1,2]", "takes one value"),
    ("model.n_hidden={a:1}", "an integer >= 1"),
    ("model.n_hidden=null", "cannot be null"),
    ("model.n_hidden=", "an integer >= 1"),
    ("model.tied=1", "true or false"),
    ("model.output_activation=rellu", "Did you mean 'relu'?"),
    ("train.optimizer=adagrad", "one of adam, adamw, sgd"),
    ("plots=wtw", "a list such as [a,b]"),
    (f"{P}=[0.1,x]", "a number in (0, 1]"),
    ("engine.device=gpu", "cuda:N"),
    # ranges
    ("model.n_hidden=0", ">= 1"),
    ("model.n_features=99999999999", "below 2^31"),
    (f"{P}=0", "(0, 1]"),
    (f"{P}=1.5", "(0, 1]"),
    (f"{P}=1e-7", "2^-20"),
    (f"{P}=nan", "(0, 1]"),
    (f"{P}=0.1,2", "(0, 1]"),
    (f"{P}=[]", "one number per feature"),
    ("train.steps=0", ">= 1"),
    ("train.n_batch=0", ">= 1"),
    ("train.learning_rate=0", "> 0"),
    ("train.learning_rate=-1", "> 0"),
    ("train.learning_rate=inf", "finite"),
    ("train.learning_rate=1e400", "finite"),
    ("train.beta1=1", "[0, 1)"),
    ("train.beta2=-0.1", "[0, 1)"),
    ("train.weight_decay=nan", "finite"),
    ("restarts=0", ">= 1"),
    ("seed=-1", ">= 0"),
    ("seed=9223372036854775808", "below 2^63"),
    ("engine.memory_fraction=0", "(0, 1]"),
    ("evaluation.n_rows=null", "needs evaluation.n_rows"),
    # kinds
    ("data.k=3", "data=exactly_k only"),
    ("init.std=0.1", "init=normal only"),
    ("train.momentum=0.9", "train.optimizer=sgd only"),
    ("data.k=1,2", "remove the axis over it"),
    ("init.kind=normal", "needs init.std"),
    ("importance=explicit", "needs importance.values"),
    ("data=exactly_k data.feature_probability=0.1", "data=independent or"),
    ("train.n_batch=null", "only data=finite has"),
    # several fields
    ("train.warmup_steps=10 train.steps=5", "raise the steps"),
    ("data=exactly_k data.k=6", "lower k"),
    ("data=exactly_k data.k=4,5,6", "lower k"),
    (f"{P}=[0.1,0.2]", "has 2 entries and model.n_features=5"),
    (f"{P}=[0.1,0.2] model.n_features=2,3", "zip it with lists"),
    ("importance=explicit importance.values=[1,2]", "has 2 entries and model.n_features=5"),
    ("importance=explicit importance.values=[1,-1,1,1,1]", ">= 0"),
    ("importance=explicit importance.values=[0,0,0,0,0]", "make one of them positive"),
    ("importance=geometric importance.decay=1e200", "lower importance.decay"),
    ("data=correlated data.set_size=6", "lower set_size"),
    ("data=correlated data.correlation=1.5", "[0, 1]"),
    ("data=correlated model.n_features=4 data.last_probability=0.5", "equal probabilities inside each set"),
    ("data=anticorrelated data.feature_probability=0.6", "lower one of the two"),
    ("data.power=20", "lower data.power"),
    (
        "data=finite data.feature_probability=0.01",
        "probability 0.951, more than 0.5: raise data.feature_probab",
    ),
    ("data=finite model.n_features=100,2", "set data.unit_norm=false (at model.n_features=2)"),
    ("data=finite data.feature_probability=0.01 data.unit_norm=false,true", "(at data.unit_norm=true)"),
    ("model.n_features=1000000000 model.n_hidden=1000000000", "lower model.n_features"),
    # sweeps
    ("model.n_hidden=1,,2", "write 1,2,3"),
    ("model.n_hidden=(1,2)", "function in front"),
    ("model.n_hidden=range(1,3", "unbalanced parentheses"),
    ("model.n_hidden=1 # two", "write 1,2,3"),
    ("model.n_hidden=range(3,3)", "has no values"),
    ("model.n_hidden=2,3,2.0", "model.n_hidden=2 twice"),
    ("model.n_hidden=linspace(1,2,3)", "an integer >= 1"),
    (f"{P}=linspace(0,1,3)", "(0, 1]"),
    (f"{P}=linspce(0.1,1,3)", "Did you mean 'linspace'?"),
    (f"{P}=interval(0,1)", "write linspace"),
    ("model=glob(*)", "name the options"),
    ("engine.dtype=float32,float64", "cannot be an axis"),
    ("engine=auto,torch", "cannot be an axis"),
    ("plots=arrows,wtw", "write plots=[NAME,NAME]"),
    ("history.every=1,2", "cannot be an axis"),
    ("evaluation.n_rows=10,20", "cannot be an axis"),
    ("restarts=1,2", "cannot be an axis"),
    ("experiment=intro,geometry", "one experiment at a time"),
    ("model.n_hidden=1,2 model.n_hidden=3", "given twice"),
    ("model.n_hidden=3 model.n_hidden=1,2", "given twice"),
    # references
    ("train.steps=${oc.env:HOME}", "neither resolvers nor the environment"),
    ("train.steps=${train.step}", "Did you mean 'train.steps'?"),
    ("train.steps=${train.warmup_steps} train.warmup_steps=${train.steps}", "write the value"),
    ("train.warmup_steps=${train.steps} train.steps=1,2", "which is an axis"),
]


@pytest.mark.parametrize(("text", "advice"), OVERRIDES, ids=[repr(text)[:60] for text, _ in OVERRIDES])
def test_wrong_overrides(text: str, advice: str) -> None:
    overrides = text.split(" ") if "# " not in text else [text]
    assert advice in complaint(overrides)


@pytest.mark.parametrize(
    ("overrides", "zips", "advice"),
    [
        (["model.n_hidden=1,2"], ["model.n_hidden"], "two or more"),
        (["model.n_hidden=1,2"], ["model.n_hidden,model.n_hidden"], "two or more"),
        (
            ["model.n_hidden=1,2"],
            ["model.n_hidden,model.n_features"],
            "give it values, as in model.n_features=1,2",
        ),
        (["model.n_hidden=1,2"], ["model.n_hidden,model.n_faetures"], "Did you mean 'model.n_features'?"),
        (["model.n_hidden=1,2", "seed=1,2,3"], ["model.n_hidden,seed"], "equally long"),
        (["model.n_hidden=1,2"], [""], "unknown key"),
        (["model.n_hidden=1,1", "seed=2,2"], ["model.n_hidden,seed"], "model.n_hidden=1, seed=2 twice"),
        (
            ["seed=1,2", "restarts=2", "train.steps=1,2"],
            ["seed,train.steps", "seed,train.steps"],
            "free to zip",
        ),
    ],
)
def test_wrong_zips(overrides: list[str], zips: list[str], advice: str) -> None:
    assert advice in complaint(overrides, zips=zips)


FILES = [
    ("train: {stepz: 3}", "Did you mean 'train.steps'?"),
    ("train:\n  stepz: 3", "bad.yaml:3: unknown key 'train.stepz'"),
    ("tran: {steps: 3}", "unknown key 'tran"),
    ("train: 3", "train must be a mapping"),
    ("train: {steps: [1, 2}", "bad.yaml:2:"),
    ("train: {steps: 1, steps: 2}", "invalid YAML"),
    ("seed: !!python/name:os.system", "invalid YAML"),
    ("train: {steps: '${'}", "bad"),
    ("train: {steps: x}", "train.steps must be an integer"),
    ("grid: 3", "grid must be a mapping"),
    ("grid: {train.steps: 3}", "must be a list or a sweep"),
    ("grid: {train.steps: '3'}", "must be a list or a sweep"),
    ("grid: {train.steps: []}", "has no values"),
    ("grid: {train.steps: [1, 1]}", "train.steps=1 twice"),
    ("grid: {train.stepz: [1, 2]}", "Did you mean 'train.steps'?"),
    ("grid: {train: {steps: [1, 2]}}", "must be a list or a sweep"),
    ("grid: {engine.device: [cpu, cuda]}", "cannot be an axis"),
    ("grid: {train.steps: [1, 2], zip: [{train.steps: [1], seed: [1]}]}", "in two axes"),
    ("grid: {zip: {train.steps: [1], seed: [1]}}", "zip must be a list"),
    ("grid: {zip: [3]}", "each axis must be a mapping"),
    ("grid: {zip: [{train.steps: [1, 2], seed: [1]}]}", "equally long"),
    ("grid: {train.steps: '1,${seed}'}", "train.steps must be an integer"),
    ("grid: {model: [linear, 3]}", "name its options"),
    ("restarts: {a: 1}", "restarts must be an integer"),
    ("model: {_target_: os.system}", "unknown key 'model._target_'"),
]


@pytest.mark.parametrize(("text", "advice"), FILES)
def test_wrong_files(text: str, advice: str, tmp_path: Path) -> None:
    """The same mistakes in an experiment of the user's own and in a --config file."""
    path = tmp_path / "experiment" / "bad.yaml"
    path.parent.mkdir()
    path.write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    assert advice in complaint(["experiment=bad"], config_dirs=[tmp_path])
    assert advice in complaint([f"{P}=0.1"] if "feature" not in text else [], config_file=path)


def test_wrong_experiment_files(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "bare.yaml").write_text("restarts: 2\n")
    (folder / "list.yaml").write_text("# @package _global_\n- 1\n")
    (folder / "other.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: bigg\n")
    (folder / "latin.yaml").write_bytes(b"# @package _global_\n# caf\xe9\n")
    (folder / "odd name.yaml").write_text("# @package _global_\n")
    (folder / "merge.yaml").write_text("# @package _global_\ntrain: [3]\n")
    dirs = [tmp_path]
    assert "must start with the line '# @package _global_'" in complaint(
        ["experiment=bare"], config_dirs=dirs
    )
    assert "list" in complaint(["experiment=list"], config_dirs=dirs)
    assert "model/bigg" in complaint(["experiment=other"], config_dirs=dirs)
    merged = complaint(["experiment=merge"], config_dirs=dirs)
    assert merged.startswith("experiment=merge: In 'experiment/merge'")
    assert merged.endswith("correct that configuration file")
    assert "latin.yaml" in complaint(["experiment=latin"], config_dirs=dirs)
    assert "experiment must be a letter" in complaint(["experiment='odd name'"], config_dirs=dirs)
    assert "is not a folder" in complaint([], config_dirs=[tmp_path / "none"])


def test_wrong_config_files(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    assert "cannot read" in complaint([], config_file=path)
    assert "cannot read" in complaint([], config_file=tmp_path)
    for text, advice in (
        ("- 1\n", "must hold a mapping"),
        ("just text", "unknown key 'just text'"),
        ("model: [3]\n", "model must be a mapping"),
        ("defaults: [model: linear]\n", "no defaults list"),
        ("options: 3\n", "options must be a mapping"),
        ("experiment: a/b\n", "experiment must be"),
        ("experiment: 3\n", "experiment must be"),
        ("model: 3\n", "model must be a mapping"),
        ("\x00", "c.yaml"),
    ):
        path.write_text(text)
        assert advice in complaint([], config_file=path)
    path.write_text(f"{P.split('.')[0]}: {{feature_probability: 0.1}}\n")
    assert "choose one" in complaint(["experiment=intro"], config_file=path)
    assert "Did you mean 'linear'?" in complaint(["model=liner"], config_file=path)


def test_an_option_that_reaches_into_other_groups_cannot_be_on_an_axis(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "greedy.yaml").write_text(
        "# @package _global_\nmodel: {n_hidden: 3}\npaired: true\n"
    )
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ref.yaml").write_text(
        "# @package _global_\nhistory: {every: '${model.n_hidden}'}\n"
    )
    (tmp_path / "model" / "wide.yaml").write_text("n_hidden: 4\n")
    assert load_experiment(["model=greedy"], config_dirs=[tmp_path]).variants[0].paired
    assert "choose it alone" in complaint(["model=linear,greedy"], config_dirs=[tmp_path])
    assert "depends on the option" in complaint(
        ["experiment=ref", "model=linear,wide"], config_dirs=[tmp_path]
    )


WORDS = [*FIELDS, *CHOICES, *group_options("model"), *(name for name, _ in list_experiments())]
SIGNS = [
    *"=,.[](){}'\"$:@+~#\\ \n-/*0123456789",
    "linspace(",
    "geomspace(",
    "range(",
    "null",
    "true",
    "1e3",
    "${",
]
FRAGMENTS = st.sampled_from(WORDS + SIGNS)
FUZZ = st.one_of(
    st.text(max_size=30),
    st.lists(FRAGMENTS, max_size=8).map("".join),
    st.builds(
        "{}={}".format, st.sampled_from([*FIELDS, *CHOICES]), st.lists(FRAGMENTS, max_size=6).map("".join)
    ),
    st.builds("{}={}".format, st.sampled_from(list(FIELDS)), st.text(max_size=20)),
)


@settings(max_examples=60)
@given(st.lists(FUZZ, min_size=1, max_size=3))
def test_nothing_but_config_errors_escapes(overrides: list[str]) -> None:
    message = ""
    try:
        load_experiment(overrides)
    except ConfigError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 800
