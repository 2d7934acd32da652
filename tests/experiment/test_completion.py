"""Completion of overrides in the shell."""

import subprocess
import sys

from superpose_cli.experiment.completion import complete_override


def test_keys_then_values() -> None:
    assert {"model=", "model."} == set(complete_override("model"))
    assert complete_override("model.n_h") == ["model.n_hidden="]
    assert "experiment=" in complete_override("")
    assert complete_override("see") == ["seed="]
    assert complete_override("experiment=phase") == ["experiment=phase_2_in_1", "experiment=phase_3_in_2"]
    assert complete_override("model=linear,relu_o") == ["model=linear,relu_output"]
    assert complete_override("train.schedule=c") == ["train.schedule=constant", "train.schedule=cosine"]
    assert complete_override("model.tied=") == ["model.tied=true", "model.tied=false"]


def test_what_cannot_be_completed_is_left_alone() -> None:
    for text in ("zzz", "zzz=", "zzz.y=1", "train.steps=1", "=", "model.n_hidden=1,"):
        assert complete_override(text) == []


def test_it_is_cheap_to_import() -> None:
    heavy = "{'hydra', 'omegaconf', 'numpy', 'yaml', 'torch'}"
    code = f"import sys, superpose_cli.experiment.completion; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
