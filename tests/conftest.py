"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# A busy machine is not a failure: examples have no time limit.
settings.register_profile("superpose", deadline=None)
settings.load_profile("superpose")


def pytest_configure(config: pytest.Config) -> None:
    """Let Triton interpret the GPU's kernels, which it decides as it is imported, unless a GPU is tested."""
    if config.option.markexpr != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
