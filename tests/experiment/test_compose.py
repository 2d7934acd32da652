"""From overrides to experiments: presets, authority, axes, variants."""

from pathlib import Path

import pytest

from superpose_cli.experiment.compose import dump_experiment, load_experiment
from superpose_cli.experiment.config_dir import config_dir, list_experiments
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.keys import run_id
from tests.helpers import axis

P = "data.feature_probability"
NAMES = [name for name, _ in list_experiments()]


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
    assert phase.variants[0].restarts == 10
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
        axis("model.n_hidden", 2, 3),
        axis(P, 1.0, 0.1, 0.01),
        axis("seed", 0, 1),
    )
    assert experiment.variants[0].model.n_hidden == 2
    assert experiment.variants[0].data.feature_probability == 1.0


def test_brackets_are_one_value_and_two_of_them_an_axis() -> None:
    one = load_experiment(["model.n_features=2", f"{P}=[0.1,0.2]"])
    assert one.axes == ()
    assert one.variants[0].data.feature_probability == (0.1, 0.2)
    two = load_experiment(["model.n_features=2", f"{P}=[0.1,0.2],[0.3,0.4],0.5"])
    assert two.axes == (axis(P, (0.1, 0.2), (0.3, 0.4), 0.5),)


def test_a_yaml_axis_is_replaced_in_place_or_removed() -> None:
    replaced = load_experiment(["experiment=phase_2_in_1", f"{P}=0.5,0.1", "model.n_hidden=1,2"])
    assert [a.keys for a in replaced.axes] == [(P,), ("importance.last_importance",), ("model.n_hidden",)]
    assert replaced.axes[0] == axis(P, 0.5, 0.1)
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
        axis("seed", 1, 2),
        axis("model.n_features,model.n_hidden", (5, 2), (20, 5)),
        axis(P, 0.1, 0.2),
    )


def test_a_group_zipped_with_a_value() -> None:
    experiment = load_experiment(
        ["init=xavier_normal,normal", "train.learning_rate=0.1,0.2"], zips=["init,train.learning_rate"]
    )
    assert experiment.axes == (axis("init,train.learning_rate", ("xavier_normal", 0.1), ("normal", 0.2)),)
    assert [(v.init.kind, v.train.learning_rate) for v in experiment.variants] == [
        ("xavier_normal", 0.1),
        ("normal", 0.2),
    ]


def test_repeated_values_of_one_zipped_key_are_fine() -> None:
    experiment = load_experiment(
        ["model.n_features=5,5", "model.n_hidden=2,3"], zips=["model.n_features,model.n_hidden"]
    )
    assert Grid(experiment).n_cells == 2
