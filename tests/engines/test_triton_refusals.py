"""What the triton engine refuses: families, GPUs, and machines that lack what it needs."""

from contextlib import nullcontext
from dataclasses import replace
from subprocess import CalledProcessError
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from superpose_cli import engines  # noqa: E402
from superpose_cli.engines import choose_engine, triton_gpu, triton_plans  # noqa: E402
from superpose_cli.engines.triton_gpu import TritonEngine  # noqa: E402
from superpose_cli.engines.triton_plans import plan_training  # noqa: E402
from superpose_cli.engines.triton_spec import most_hidden  # noqa: E402
from superpose_cli.errors import ConfigError  # noqa: E402
from superpose_cli.experiment.config import DataKind, EngineConfig, Objective  # noqa: E402
from tests.engines.batches import BASE, make_batch  # noqa: E402


def test_what_it_cannot_do_is_refused_by_name():
    engine = TritonEngine("cpu")
    for change, words in (
        ({"objective": Objective.population}, "train.objective=sampled"),
        ({"n_hidden": 65}, "at most n_hidden=64"),
        ({"data": DataKind.correlated, "set_size": 1 << 16}, "65,536"),
    ):
        refusal = engine.refuses(replace(BASE, **change))
        assert refusal is not None
        assert words in refusal


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(ConfigError, match="use engine"):
        choose_engine(EngineConfig(name="triton", device="cuda"), [BASE])
    with pytest.raises(ConfigError, match="engine triton runs on cuda, not on cpu"):
        choose_engine(EngineConfig(name="triton", device="cpu"), [BASE])


class Utils:
    """What Triton knows of a GPU."""

    def __init__(self, shared: int) -> None:
        self.shared = shared

    def get_device_properties(self, index: int) -> dict[str, int]:
        return {"max_shared_mem": self.shared}


class Driver:
    """Triton's way to a GPU; `utils` are compiled when they are asked for."""

    def __init__(self, shared: int, failure: Exception | None) -> None:
        self.shared, self.failure = shared, failure

    @property
    def utils(self) -> Utils:
        if self.failure:
            raise self.failure
        return Utils(self.shared)


@pytest.fixture
def gpu(monkeypatch):
    """Makes a GPU appear: its shared memory, and what keeps Triton from it."""

    def appear(shared=166_912, *, failure=None, capability=(8, 0), hip=None) -> None:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(triton_gpu, "driver", SimpleNamespace(active=Driver(shared, failure)))

    return appear


def test_hidden_dimensions_are_bounded_by_the_shared_memory(gpu):
    assert [most_hidden(shared) for shared in (49_152, 65_536, 101_376, 166_912, 232_448)] == [
        0,
        16,
        32,
        64,
        64,
    ]
    families = [replace(BASE, n_features=70, n_hidden=m) for m in (32, 64)]
    gpu(101_376)
    chosen = choose_engine(EngineConfig(device="cuda"), families)
    assert chosen.engine.name == "torch"
    assert "at most n_hidden=32 in the shared memory of this GPU, not 64" in chosen.reason
    with pytest.raises(ConfigError, match="n_hidden=32"):
        choose_engine(EngineConfig(name="triton", device="cuda"), families)
    gpu(166_912)
    assert choose_engine(EngineConfig(device="cuda"), families).engine.name == "triton"


def test_a_panel_that_does_not_fit_is_trained_in_tiles():
    batch = make_batch(replace(BASE, n_features=40, n_hidden=9), 2)
    kernels = [plan_training(batch, "cuda", "float32", shared).kernel for shared in (101_376, 166_912)]
    assert kernels == [triton_plans.train_wide, triton_plans.train_panel]


POPULATION = replace(BASE, objective=Objective.population)


@pytest.mark.parametrize(
    ("config", "family", "taken"),
    [
        (EngineConfig(), BASE, ("triton", "cuda")),
        (EngineConfig(), POPULATION, ("numba", "cpu")),
        (EngineConfig(name="numba"), BASE, ("numba", "cpu")),
        (EngineConfig(name="torch"), BASE, ("torch", "cuda")),
    ],
)
def test_beside_a_gpu_the_cpu_does_what_the_gpu_cannot(gpu, monkeypatch, config, family, taken):
    gpu()
    monkeypatch.setattr(engines, "GPU_DRIVERS", ("/",))
    chosen = choose_engine(config, [family])
    assert (chosen.engine.name, chosen.engine.device) == taken
    assert ("no population objective" in chosen.reason) == (family is POPULATION)
    assert chosen.reason.endswith("on the CPU") == (family is POPULATION)


def test_beside_a_gpu_refusals_are_told_once(gpu, monkeypatch):
    gpu()
    monkeypatch.setattr(engines, "GPU_DRIVERS", ("/",))
    for config in (EngineConfig(name="triton"), EngineConfig(name="torch"), EngineConfig(device="cuda")):
        with pytest.raises(ConfigError, match="sampled") as caught:
            choose_engine(config, [POPULATION])
        parts = str(caught.value).split("; ")
        assert len(parts) == len(set(parts))


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (
            {"failure": RuntimeError("Failed to find C compiler. Please specify via CC")},
            "Failed to find C compiler",
        ),
        ({"failure": CalledProcessError(1, ["gcc", "main.c"])}, "Python's headers"),
        ({"failure": PermissionError(13, "Permission denied", "/.triton")}, "Permission denied"),
        ({"hip": "6.4"}, "not for AMD's"),
        ({"capability": (7, 5)}, "8.0 or later"),
    ],
    ids=str,
)
def test_where_triton_cannot_work_auto_takes_torch_and_says_why(gpu, trouble, words):
    gpu(**trouble)
    chosen = choose_engine(EngineConfig(device="cuda"), [BASE])
    assert chosen.engine.name == "torch"
    assert words in chosen.reason
    with pytest.raises(ConfigError, match="use engine torch") as caught:
        choose_engine(EngineConfig(name="triton", device="cuda"), [BASE])
    assert "\n" not in str(caught.value)


def test_a_kernel_that_needs_more_than_the_gpu_has_is_one_clear_line(gpu, monkeypatch):
    def refused(*arguments, **options):
        raise triton_gpu.OutOfResources(294_912, 166_912, "shared memory")

    gpu()
    engine, plan = TritonEngine("cuda"), plan_training(make_batch(BASE, 2), "cuda", "float32", 166_912)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    with pytest.raises(ConfigError, match="shared memory: 294,912 of 166,912"):
        engine._launch(replace(plan, kernel={plan.grid(2): refused}), 2)
