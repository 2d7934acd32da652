"""Runs to be written, and runs of several shards."""

from pathlib import Path

import pytest

from superpose_cli.experiment import sharding
from superpose_cli.results import layout
from tests.results.stores import open_store, tables


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with shard 0 of 2 committed."""
    with open_store(tmp_path / "run", status="running") as store:
        store.commit(0, **tables())
    return tmp_path / "run"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards a run, cut at other places in each; no test with these pulls the plug."""
    monkeypatch.setattr(sharding, "MAX_INSTANCES", 4)
    monkeypatch.setattr(layout, "sync", lambda path: None)
