"""From overrides and files to experiments: authority, axes, variants, and the file that holds it all."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.compose import dump_experiment, load_experiment
from superpose_cli.experiment.config_dir import config_dir, list_experiments
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id

P = "data.feature_probability"
NAMES = [name for name, _ in list_experiments()]
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


def axis(*keys: str, values: tuple[object, ...]) -> Axis:
    rows = tuple(value if len(keys) > 1 else (value,) for value in values)
    return Axis(keys=keys, values=rows)  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------- shipped experiments and defaults


def test_defaults_are_the_papers_introduction() -> None:
    experiment = load_experiment([])
    (config,) = experiment.variants
    assert (experiment.name, experiment.axes) == ("custom", ())
    assert (config.model.n_features, config.model.n_hidden) == (5, 2)
    assert (config.train.steps, config.train.n_batch, config.train.schedule) == (5000, 1024, "cosine")
    assert Grid(experiment).n_cells == 1


@pytest.mark.parametrize("name", NAMES)
def test_shipped_experiments_make_grids_and_come_back_from_their_dump(name: str, tmp_path: Path) -> None:
    experiment = load_experiment([f"experiment={name}"])
    dumped = tmp_path / "config.yaml"
    dumped.write_text(dump_experiment(experiment))
    again = load_experiment([], config_file=dumped)
    assert Grid(experiment).n_instances > 1
    assert again == experiment
    assert again.axes == experiment.axes
    assert run_id(again) == run_id(experiment)
    assert dump_experiment(again) == dump_experiment(experiment)


def test_shipped_experiments_have_a_description_and_the_papers_settings() -> None:
    described = dict(list_experiments())
    assert set(described) >= {
        "intro",
        "basic_small",
        "basic_large",
        "phase_2_in_1",
        "phase_3_in_2",
        "geometry",
    }
    assert all(20 < len(text) < 120 for text in described.values())
    intro = load_experiment(["experiment=intro"])
    (p,) = intro.axes
    assert p.values[0] == (1.0,)
    assert p.values[-1] == (1 / 20,)
    assert intro.variants[0].importance.decay == 0.9
    phase = load_experiment(["experiment=phase_2_in_1"])
    assert [len(a) for a in phase.axes] == [20, 20]
    assert phase.variants[0].restarts == 8
    assert phase.variants[0].train.n_batch == 256


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["model=linear"], {"output_activation": "identity", "tied": True}),
        (["model=absolute_value"], {"hidden_activation": "relu", "tied": False, "target": "abs"}),
        (["model=relu_hidden"], {"hidden_activation": "relu", "hidden_bias": False}),
    ],
)
def test_model_presets(options: list[str], expected: dict[str, object]) -> None:
    model = load_experiment(options).variants[0].model
    assert {key: getattr(model, key) for key in expected} == expected


@pytest.mark.parametrize(
    "options",
    [
        ["data=correlated"],
        ["data=anticorrelated"],
        ["data=exactly_k"],
        ["data=finite"],
        ["data=finite", "train=double_descent_2023"],
        ["importance=geometric"],
        ["importance=last"],
        ["importance=explicit", "importance.values=[1,1,1,0.5,0]"],
        ["init=normal"],
        ["init=notebook"],
        ["train=paper_2022"],
        ["train=arena"],
        ["engine=torch"],
        ["engine=triton"],
        ["engine=numba"],
        ["launcher=ray"],
        ["launcher=slurm", "launcher.partition=long"],
    ],
)
def test_every_preset_is_complete(options: list[str]) -> None:
    assert Grid(load_experiment(options)).n_cells == 1


def test_every_preset_is_tested() -> None:
    shipped = {path.relative_to(config_dir()).as_posix() for path in config_dir().rglob("*/*.yaml")}
    assert len(shipped) == 4 + 3 + 5 + 4 + 4 + 4 + 3 + len(NAMES)


# ---------------------------------------------------------------- overrides and axes


def test_authority() -> None:
    """Preset < experiment < command line; the last of equal overrides wins."""
    config = load_experiment(
        ["train.steps=7", "experiment=phase_2_in_1", "train.steps=9", "model=linear"]
    ).variants[0]
    assert config.train.steps == 9
    assert config.train.n_batch == 256
    assert (config.model.n_features, config.model.output_activation) == (2, "identity")


def test_values_are_brought_to_their_types() -> None:
    config = load_experiment(["train.steps=1e3", f"{P}=1", "model.tied=false", "plots=[wtw]"]).variants[0]
    assert config.train.steps == 1000
    assert isinstance(config.train.steps, int)
    assert isinstance(config.data.feature_probability, float)
    assert config.plots == ["wtw"]


def test_axes_keep_the_order_of_declaration() -> None:
    experiment = load_experiment(["model.n_hidden=2,3", f"{P}=geomspace(1,0.01,3)", "seed=range(2)"])
    assert experiment.axes == (
        axis("model.n_hidden", values=(2, 3)),
        axis(P, values=(1.0, 0.1, 0.01)),
        axis("seed", values=(0, 1)),
    )
    assert experiment.variants[0].model.n_hidden == 2
    assert experiment.variants[0].data.feature_probability == 1.0


def test_brackets_are_one_value_and_two_of_them_an_axis() -> None:
    one = load_experiment(["model.n_features=2", f"{P}=[0.1,0.2]"])
    assert one.axes == ()
    assert one.variants[0].data.feature_probability == (0.1, 0.2)
    two = load_experiment(["model.n_features=2", f"{P}=[0.1,0.2],[0.3,0.4],0.5"])
    assert two.axes == (axis(P, values=((0.1, 0.2), (0.3, 0.4), 0.5)),)


def test_a_yaml_axis_is_replaced_in_place_or_removed() -> None:
    replaced = load_experiment(["experiment=phase_2_in_1", f"{P}=0.5,0.1", "model.n_hidden=1,2"])
    assert [a.keys for a in replaced.axes] == [(P,), ("importance.last_importance",), ("model.n_hidden",)]
    assert replaced.axes[0] == axis(P, values=(0.5, 0.1))
    removed = load_experiment(["experiment=phase_2_in_1", f"{P}=0.5"])
    assert [a.keys for a in removed.axes] == [("importance.last_importance",)]
    assert removed.variants[0].data.feature_probability == 0.5
    group_axis = load_experiment(["experiment=basic_small", "model=relu_hidden"])
    assert [a.keys for a in group_axis.axes] == [(P,)]
    assert group_axis.variants[0].model.hidden_activation == "relu"


def test_group_axes_make_variants_row_major() -> None:
    experiment = load_experiment(
        ["model=linear,relu_output", "train.steps=5,6", "importance=uniform,geometric", "model.n_hidden=3"]
    )
    assert [a.keys for a in experiment.axes] == [("model",), ("train.steps",), ("importance",)]
    assert [(v.model.output_activation, v.importance.kind) for v in experiment.variants] == [
        ("identity", "uniform"),
        ("identity", "geometric"),
        ("relu", "uniform"),
        ("relu", "geometric"),
    ]
    assert {v.model.n_hidden for v in experiment.variants} == {3}
    assert Grid(experiment).n_cells == 8


def test_zips() -> None:
    experiment = load_experiment(
        ["seed=1,2", "model.n_features=5,20", f"{P}=0.1,0.2", "model.n_hidden=2,5"],
        zips=["model.n_features,model.n_hidden"],
    )
    assert experiment.axes == (
        axis("seed", values=(1, 2)),
        axis("model.n_features", "model.n_hidden", values=((5, 2), (20, 5))),
        axis(P, values=(0.1, 0.2)),
    )


def test_a_group_zipped_with_a_value() -> None:
    experiment = load_experiment(
        ["init=xavier_normal,normal", "train.learning_rate=0.1,0.2"], zips=["init,train.learning_rate"]
    )
    assert experiment.axes == (
        axis("init", "train.learning_rate", values=(("xavier_normal", 0.1), ("normal", 0.2))),
    )
    assert [(v.init.kind, v.train.learning_rate) for v in experiment.variants] == [
        ("xavier_normal", 0.1),
        ("normal", 0.2),
    ]


def test_repeated_values_of_one_zipped_key_are_fine() -> None:
    experiment = load_experiment(
        ["model.n_features=5,5", "model.n_hidden=2,3"], zips=["model.n_features,model.n_hidden"]
    )
    assert Grid(experiment).n_cells == 2


# ---------------------------------------------------------------- files

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

    assert load("model.n_features=7,8")[0] == axis(
        "model.n_features", "model.n_hidden", values=((7, 2), (8, 3))
    )
    assert len(load("model.n_features=7", "model.n_hidden=2")) == 2
    with pytest.raises(ConfigError, match=r"zip model\.n_features,model\.n_hidden"):
        load("model.n_features=7")
    with pytest.raises(ConfigError, match="give as many"):
        load("model.n_features=7,8,9")


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
    assert experiment.axes == (axis("model.n_hidden", values=(1, 2)),)
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
