"""Experiments from files: a user's own, those written by hand, and the dump that comes back as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.compose import dump_experiment, load_experiment
from superpose_cli.experiment.config_dir import list_experiments
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id
from tests.helpers import axis

P = "data.feature_probability"
Writer = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes a file below tmp_path and returns it."""

    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return writer


MINE = """# @package _global_
# Mine.
defaults:
  - override /importance: geometric
restarts: 2
model: {n_features: 4}
train: {steps: 10, warmup_steps: "${restarts}"}
grid:
  zip:
    - {model.n_features: "4,6", model.n_hidden: [2, 3]}
    - {train.learning_rate: [0.1, 0.2], train.weight_decay: "linspace(0,1,2)"}
  data.feature_probability: [0.5, [0.1, 0.2, 0.3, 0.4]]
"""


@pytest.mark.parametrize("folder", ["conf", "we ird,='x' [1]"])
def test_a_folder_of_the_users_own(folder: str, write: Writer, tmp_path: Path) -> None:
    write(f"{folder}/experiment/mine.yaml", MINE)
    write(f"{folder}/experiment/sub/deep.yaml", "# @package _global_\nrestarts: 5\n")
    write(f"{folder}/experiment/intro.yaml", "# @package _global_\nrestarts: 77\n")
    write(f"{folder}/model/wide.yaml", "n_hidden: 4\n")
    dirs = [tmp_path / folder]
    mine = load_experiment(["experiment=mine", "importance.decay=0.5"], config_dirs=dirs)
    assert [a.keys for a in mine.axes] == [
        ("model.n_features", "model.n_hidden"),
        ("train.learning_rate", "train.weight_decay"),
        (P,),
    ]
    assert mine.variants[0].train.warmup_steps == 2
    assert mine.variants[0].importance.decay == 0.5
    assert load_experiment(["model=wide"], config_dirs=dirs).variants[0].model.n_hidden == 4
    assert load_experiment(["experiment=sub/deep"], config_dirs=dirs).name == "sub-deep"
    assert load_experiment(["experiment=intro"], config_dirs=dirs).variants[0].restarts == 8
    assert dict(list_experiments(dirs))["mine"] == "Mine."


def test_a_zip_in_a_file_is_fixed_whole_and_replaced_alike(write: Writer, tmp_path: Path) -> None:
    write("experiment/mine.yaml", MINE)

    def load(*overrides: str) -> list[Axis]:
        return list(load_experiment(["experiment=mine", *overrides], config_dirs=[tmp_path]).axes)

    assert load("model.n_features=7,8")[0] == axis("model.n_features,model.n_hidden", (7, 2), (8, 3))
    assert len(load("model.n_features=7", "model.n_hidden=2")) == 2
    with pytest.raises(ConfigError, match=r"zip model\.n_features,model\.n_hidden"):
        load("model.n_features=7")
    with pytest.raises(ConfigError, match="give as many"):
        load("model.n_features=7,8,9")
    longer = ("model.n_features=7,8,9", "model.n_hidden=1,2,3")
    assert load(*longer)[0] == axis("model.n_features,model.n_hidden", (7, 1), (8, 2), (9, 3))
    with pytest.raises(ConfigError, match="equally long"):
        load("model.n_features=7,8,9", "model.n_hidden=1,2,3,4")


def test_references_follow_overrides(write: Writer, tmp_path: Path) -> None:
    write("experiment/mine.yaml", "# @package _global_\ntrain: {warmup_steps: '${train.steps}'}\n")
    experiment = load_experiment(["experiment=mine", "train.steps=12"], config_dirs=[tmp_path])
    assert experiment.variants[0].train.warmup_steps == 12


def test_nothing_in_a_file_is_executed(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERPOSE_SECRET", "17")
    marker = tmp_path / "executed"
    for text in (
        "train: {steps: '${oc.env:SUPERPOSE_SECRET}'}",
        "train: {steps: '${oc.decode:${oc.env:SUPERPOSE_SECRET}}'}",
        "plots: ['${oc.env:SUPERPOSE_SECRET}']",
        f"seed: !!python/object/apply:pathlib.Path.touch [{marker}]",
        f"model: {{_target_: pathlib.Path.touch, self: {marker}}}",
    ):
        write("experiment/bad.yaml", f"# @package _global_\n{text}\n")
        with pytest.raises(ConfigError) as raised:
            load_experiment(["experiment=bad"], config_dirs=[tmp_path])
        assert "17" not in str(raised.value).replace(str(tmp_path), "")
        with pytest.raises(ConfigError):
            load_experiment([], config_file=write("bad.yaml", f"{text}\n"))
    assert not marker.exists()


def test_overrides_on_top_of_a_dumped_file(tmp_path: Path) -> None:
    experiment = load_experiment(["experiment=basic_small", "model.hidden_l1=0.5"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_experiment(experiment))

    def load(*overrides: str) -> list[tuple[object, ...]]:
        loaded = load_experiment(list(overrides), config_file=path)
        assert loaded.name == "basic_small"
        return [
            (v.model.n_features, v.model.output_activation, v.model.hidden_l1, v.data.kind)
            for v in loaded.variants
        ]

    both = [(20, "identity", 0.5, "independent"), (20, "relu", 0.5, "independent")]
    assert load() == both
    assert load("model=linear") == both[:1]
    assert load("model=relu_output,linear") == both[::-1]
    assert load("model.n_features=9") == [
        (9, "identity", 0.5, "independent"),
        (9, "relu", 0.5, "independent"),
    ]
    assert load("model=absolute_value") == [(20, "relu", 0.5, "independent")]
    correlated = load_experiment(["data=correlated"], config_file=path)
    assert correlated.variants[0].data.set_size == 2
    exactly = load_experiment(["data=exactly_k", f"{P}=null"], config_file=path)
    assert Grid(exactly).n_cells == 2
    assert exactly.variants[0].data.k == 1


def test_a_file_written_by_hand(write: Writer) -> None:
    path = write("hand.yaml", "data: {feature_probability: 0.2}\ngrid: {model.n_hidden: '1,2'}\n")
    experiment = load_experiment(["restarts=3"], config_file=path)
    assert experiment.name == "custom"
    assert experiment.axes == (axis("model.n_hidden", 1, 2),)
    assert experiment.variants[0].restarts == 3
    assert Grid(experiment).n_instances == 6


OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        P: st.sampled_from(
            ["0.3", "1,0.1", "geomspace(1,0.07,5)", "[0.1,0.2,0.3,0.4,0.123456789012345]", "[1,1,1,1,1],0.5"]
        ),
        "model.n_hidden": st.sampled_from(["2", "range(1,5)", "1e0,2.0"]),
        "model.bias": st.sampled_from(["true,false", "false"]),
        "train.learning_rate": st.sampled_from(["1e-3", "0.1234567890123456,1e-7", "1e20"]),
        "train.beta1": st.sampled_from(["0.5", "null,0.9", "null"]),
        "train.weight_decay": st.sampled_from(["-0.1,0,0.1", "-0.0"]),
        "seed": st.sampled_from(["3", "0,9223372036854775807"]),
        "train.schedule": st.sampled_from(["linear", "constant,cosine"]),
        "init": st.sampled_from(["normal", "xavier_normal,normal,notebook"]),
        "importance": st.sampled_from(["geometric", "uniform,geometric", "last"]),
        "paired": st.sampled_from(["true", "false"]),
        "plots": st.sampled_from(["[]", "[wtw]"]),
        "history.weights": st.just("true"),
        "evaluation.n_rows": st.just("5000"),
        "engine": st.just("torch"),
    },
)


@settings(max_examples=12)
@given(OVERRIDES, st.randoms(use_true_random=False))
def test_dumps_come_back(tmp_path_factory: pytest.TempPathFactory, overrides: dict[str, str], random) -> None:
    """load(dump(e)) == e, in axes, variants, cells and run_id; the dump of that is the same text."""
    texts = [f"{key}={value}" for key, value in overrides.items()]
    random.shuffle(texts)
    experiment = load_experiment(texts)
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_text(dump_experiment(experiment))
    again = load_experiment([], config_file=path)
    assert again == experiment
    assert run_id(again) == run_id(experiment)
    assert dump_experiment(again) == path.read_text()
    assert Grid(again).n_cells == Grid(experiment).n_cells
