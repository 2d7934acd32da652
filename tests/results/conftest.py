"""A run in the making."""

from pathlib import Path

import pytest

from tests.results.stores import open_store, tables


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with shard 0 of 2 committed."""
    with open_store(tmp_path / "run", status="running") as store:
        store.commit(0, **tables())
    return tmp_path / "run"
