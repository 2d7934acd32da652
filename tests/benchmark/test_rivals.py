"""Who is timed, and that an engine is timed at what a run does."""

import importlib.util

import numpy as np
import pytest

from superpose_cli.benchmark import rivals
from superpose_cli.benchmark.rivals import NAMES, EngineTrainer, find_rivals
from superpose_cli.benchmark.shapes import SHAPES, batch_of
from superpose_cli.engines import ENGINES
from superpose_cli.engines.base import State
from superpose_cli.engines.torch_reference import TorchEngine
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.instances import InstanceBatch

INTRO = batch_of(SHAPES["intro"], 1.0)
HAS_JAX = importlib.util.find_spec("jax") is not None


def test_every_engine_is_a_rival() -> None:
    assert set(ENGINES) < set(NAMES)
    found, left_out = find_rivals((), INTRO)
    assert {rival.name for rival in found} | set(left_out) == set(NAMES)
    assert {"notebook", "torch", "numba"} <= {rival.name for rival in found}
    assert next(rival for rival in found if rival.name == "torch").numerics.startswith("torch/float32/")


def test_rivals_by_name() -> None:
    found, left_out = find_rivals(["torch", "notebook"], INTRO)
    assert ([rival.name for rival in found], left_out) == (["notebook", "torch"], {})
    with pytest.raises(ConfigError, match=r"no engine 'trch' to time\. Did you mean 'torch'\?"):
        find_rivals(["torch", "trch"], INTRO)


@pytest.mark.parametrize(
    ("names", "device", "expected"),
    [
        ([], "auto", "cuda"),
        (["triton", "notebook"], "auto", "cuda"),
        (["numba"], "auto", "cpu"),
        (["numba", "torch", "jax"], "auto", "cpu"),
        (["numba"], "cuda", "cuda"),
    ],
)
def test_beside_a_gpu_engines_of_the_cpu_are_timed_there(
    monkeypatch: pytest.MonkeyPatch, names: list[str], device: str, expected: str
) -> None:
    monkeypatch.setattr(rivals, "device_of", lambda name: "cuda" if name == "auto" else name)
    assert rivals.device_for(names, device) == expected


@pytest.mark.skipif(HAS_JAX, reason="JAX is installed here")
def test_jax_is_left_out_where_it_is_not_installed() -> None:
    assert "not installed" in find_rivals((), INTRO)[1]["jax"]
    with pytest.raises(ConfigError, match="pip install jax"):
        find_rivals(["jax"], INTRO)


@pytest.mark.skipif(not HAS_JAX, reason="JAX is not installed here")
def test_jax_trains_like_the_notebook() -> None:
    batch = batch_of(SHAPES["intro"], 0.2)
    batch.learning_rate[:] = 1e-2
    (notebook, jax), _ = find_rivals(["notebook", "jax"], batch)
    trainers = [notebook.start(batch), jax.start(batch)]
    for trainer in trainers:
        trainer.advance(300)
    weights = [trainers[0].W.detach().numpy(), np.asarray(trainers[1].carry[0]["W"])]
    norms = [np.sort((W**2).sum((1, 2))) for W in weights]
    np.testing.assert_allclose(norms[0], norms[1], rtol=0.1)


class Recorder(TorchEngine):
    """An engine that holds four instances at once and notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int, int]] = []

    def pack_instances(self, family: object, memory: int) -> int:
        return 4

    def advance(self, batch: InstanceBatch, state: State, stop_step: int) -> State:
        self.calls.append((len(batch), state.step, stop_step))
        return state


def test_packs_are_as_large_as_those_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are trained together until the engine is busy."""
    monkeypatch.setattr(rivals, "MAX_INSTANCES", 2)
    monkeypatch.setattr(TorchEngine, "fill", lambda self, family: 3)
    engine = Recorder()
    EngineTrainer(engine, INTRO).advance(1)
    assert [count for count, *_ in engine.calls] == [3, 3, 2, 2]


def test_an_engine_trains_all_packs_and_repeats_its_first_steps() -> None:
    engine = Recorder()
    trainer = EngineTrainer(engine, INTRO)
    trainer.advance(7)
    trainer.advance(7)
    assert engine.calls == 2 * [(4, 0, 7), (3, 0, 7), (3, 0, 7)]
