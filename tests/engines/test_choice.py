"""Which engine is taken, and what is said when none is."""

from dataclasses import replace

import pytest
import torch

from superpose_cli.engines import ENGINES, choose_engine
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import Activation, Dtype, EngineConfig, Objective
from superpose_cli.memory import free_memory
from tests.engines.batches import BASE, FAMILIES

NO_GPU = not torch.cuda.is_available()


def test_auto_takes_the_first_that_accepts_and_says_why():
    assert list(ENGINES)[-1] == "torch", "the reference comes last: it accepts most"
    chosen = choose_engine(EngineConfig(device="cpu"), [BASE])
    assert chosen.engine.name == "numba"
    assert chosen.reason == "the fastest that accepts"
    wide = choose_engine(EngineConfig(device="cpu", dtype=Dtype.float64), [BASE])
    assert (wide.engine.name, wide.engine.dtype) == ("torch", "float64")
    assert "numba computes in float32" in wide.reason


@pytest.mark.parametrize("name", [name for name, entry in ENGINES.items() if "cpu" in entry.devices])
def test_a_named_engine_runs_and_its_numerics_say_so(name):
    chosen = choose_engine(EngineConfig(name=name, device="cpu"), list(FAMILIES.values()))
    assert chosen.engine.name == name
    assert chosen.reason == "as asked"
    parts = chosen.engine.numerics.split("/")
    assert parts[:2] == [name, "float32"]
    assert len(parts) == 4
    assert all(parts)


@pytest.mark.parametrize(
    ("config", "families", "words"),
    [
        (EngineConfig(name="jax"), [], "choose one of: auto, numba, triton, torch"),
        (
            EngineConfig(name="numba", dtype=Dtype.float64),
            [],
            "not in float64; use engine torch on cpu or cuda",
        ),
        *(
            (
                EngineConfig(name=name, device="cpu", dtype=dtype),
                [],
                f"not in {dtype}; use engine triton on cuda",
            )
            for name in ("numba", "torch")
            for dtype in (Dtype.tf32, Dtype.bf16)
        ),
        (
            EngineConfig(device="cpu", dtype=Dtype.bf16),
            [],
            "engine torch computes .*, or engine.dtype=float32",
        ),
        (EngineConfig(name="numba", device="cuda"), [], "runs on cpu"),
        (EngineConfig(device="tpu"), [], "not on tpu"),
        (
            EngineConfig(device="cpu"),
            [replace(BASE, objective=Objective.population, hidden_activation=Activation.relu)],
            "train.objective=sampled",
        ),
        pytest.param(
            EngineConfig(name="torch", device="cuda"),
            [],
            "use engine.device=cpu",
            marks=pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU"),
        ),
    ],
)
def test_refusals_name_the_reason(config, families, words):
    with pytest.raises(ConfigError, match=words) as caught:
        choose_engine(config, families)
    assert "\n" not in str(caught.value)


def test_free_memory_is_believable():
    assert 1 << 26 < free_memory() < 1 << 45
