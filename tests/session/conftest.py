"""A run that was never interrupted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from superpose_cli.results.manifest import read_manifest
from tests.session.processes import GRID, finished


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, float]]:
    """Gives the run of so many steps that was never interrupted, and its seconds; each is made once."""
    folder, made = tmp_path_factory.mktemp("whole"), dict[int, tuple[Path, float]]()

    def make(steps: int) -> tuple[Path, float]:
        if steps not in made:
            finished(f"sweep --out {folder / str(steps)} {GRID}{steps}")
            made[steps] = folder / str(steps), read_manifest(folder / str(steps)).seconds
        return made[steps]

    return make
