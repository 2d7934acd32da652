"""A real Ray cluster of two nodes on this machine: workers are killed, runs are stopped, no bit is lost."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from superpose_cli.results.checkpoint_files import saved_checkpoints
from superpose_cli.results.layout import committed_shards
from superpose_cli.results.manifest import read_manifest
from tests.launchers.processes import (
    LONG,
    SHORT,
    Superpose,
    digests,
    environment,
    finished,
    wait_until,
    worker_in_training,
)

pytest.importorskip("ray", reason="the extra superpose[ray] is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def address(variables: dict[str, str]) -> Iterator[str]:
    """Where a cluster of two nodes with one CPU each listens."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        try:
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.fixture
def superpose(tmp_path: Path, variables: dict[str, str]) -> Superpose:
    return Superpose(tmp_path, variables)


def test_a_killed_worker_costs_no_bit(superpose: Superpose, tmp_path: Path, address: str) -> None:
    superpose.run(f"sweep {LONG} --out local")
    process = superpose.start(f"sweep {LONG} --launcher ray launcher.address={address} --out spread")
    os.kill(wait_until(lambda: worker_in_training(tmp_path / "spread")), signal.SIGKILL)
    said = finished(process)
    assert "Ray: 2 nodes, room for 2 workers at once" in said
    assert "going on from a checkpoint" in said
    assert digests(tmp_path / "spread") == digests(tmp_path / "local")
    assert read_manifest(tmp_path / "spread").status == "complete"
    assert not list((tmp_path / "spread" / ".staging").glob("*.checkpoint"))


def test_an_interrupted_run_goes_on_here(superpose: Superpose, tmp_path: Path, address: str) -> None:
    run = tmp_path / "spread"
    process = superpose.start(f"sweep {LONG} --launcher ray launcher.address={address} --out spread")
    wait_until(lambda: worker_in_training(run))
    process.send_signal(signal.SIGINT)
    said = finished(process, 130)
    assert "To continue: superpose sweep --config" in said
    assert read_manifest(run).status == "interrupted"
    assert saved_checkpoints(run)
    assert len(committed_shards(run)) < 4
    said = superpose.run("sweep --config spread/config.yaml --launcher local --out spread")
    assert "going on from a checkpoint" in said
    superpose.run(f"sweep {LONG} --reuse none --out local")
    assert digests(run) == digests(tmp_path / "local")


def test_results_come_back_where_no_folder_is_shared(
    superpose: Superpose, tmp_path: Path, address: str
) -> None:
    superpose.run(f"sweep {SHORT} --out local")
    superpose.run(
        f"sweep {SHORT} --launcher ray launcher.address={address} launcher.results=returned --out spread"
    )
    assert digests(tmp_path / "spread") == digests(tmp_path / "local")
    assert not list((tmp_path / "spread" / ".staging").glob("shard-*"))


def test_what_other_runs_hold_is_not_trained(superpose: Superpose, tmp_path: Path, address: str) -> None:
    superpose.run(f"sweep {SHORT} restarts=4 --out less")
    said = superpose.run(
        f"sweep {SHORT} --launcher ray launcher.address={address} --out more --reuse-from less"
    )
    assert "48 of 96 reused" in said
    superpose.run(f"sweep {SHORT} --out local")
    assert digests(tmp_path / "more") == digests(tmp_path / "local")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("launcher.cpus=64", "no node of the Ray cluster has what one worker needs, launcher.cpus=64"),
        ("launcher.gpus=1", "launcher.gpus=1 (its nodes have 1 CPUs and 0 GPUs)"),
    ],
)
def test_what_no_node_has_is_refused(
    override: str, told: str, superpose: Superpose, tmp_path: Path, address: str
) -> None:
    said = superpose.run(f"sweep {SHORT} --launcher ray launcher.address={address} {override} --out no", 2)
    assert told in said
    assert said.count("superpose: error:") == 1
    assert not (tmp_path / "no").exists()


def test_a_cluster_that_is_not_there_is_one_line(superpose: Superpose, tmp_path: Path) -> None:
    said = superpose.run(f"sweep {SHORT} --launcher ray launcher.address=127.0.0.1:9 --out no", 2)
    assert "no Ray cluster answers at launcher.address=127.0.0.1:9" in said
    assert "Traceback" not in said
    assert not (tmp_path / "no").exists()
