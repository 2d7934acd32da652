"""Checkpoints: what is saved comes back bit for bit, and nothing else is ever trusted."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.engines import choose_engine
from superpose_cli.engines.base import State
from superpose_cli.engines.packs import Pack
from superpose_cli.engines.training import Trained, train_shard
from superpose_cli.engines.watch import SILENT, Interrupted, Progress
from superpose_cli.errors import SuperposeError
from superpose_cli.experiment.config import EngineConfig, EvaluationConfig, HistoryConfig
from superpose_cli.experiment.instances import InstanceBatch
from superpose_cli.results import checkpoint_files
from superpose_cli.results.checkpoint import Checkpoint
from superpose_cli.results.checkpoint_files import (
    FIRST_LINE,
    Saved,
    UnusableCheckpoint,
    remove_checkpoints,
    saved_checkpoints,
)
from tests.engines.batches import BASE, FAMILIES, make_batch

ENGINE = choose_engine(EngineConfig(name="numba", device="cpu"), []).engine
RECORDED = HistoryConfig(every=25, weights=True)
SHORT = EvaluationConfig(n_rows=500)
BATCHES = [make_batch(BASE, 5), make_batch(FAMILIES["finite_full"], 4)]


def checkpoint_in(run: Path, batches: list[InstanceBatch] = BATCHES, **changes: Any) -> Checkpoint:
    (run / ".staging").mkdir(parents=True, exist_ok=True)
    given = {"shard": 3, "run_id": "00000000", "numerics": ENGINE.numerics, "dtype": "float32"}
    return Checkpoint(run=run, batches=batches, **({"history": RECORDED} | given | changes))


def train(
    batches: list[InstanceBatch],
    *,
    begun: list[Pack] | None = None,
    save: Callable[[Any], None] = lambda packs: None,
    stop: Callable[[], bool] = lambda: False,
    at_once: int = 2,
    history: HistoryConfig = RECORDED,
) -> list[Trained]:
    return train_shard(
        ENGINE,
        batches,
        evaluation=SHORT,
        history=history,
        memory=at_once * ENGINE.bytes_per_instance(batches[0].family),
        progress=Progress(SILENT),
        stop=stop,
        begun=begun or (),
        save=save,
    )


def stop_after(looks: int) -> Callable[[], bool]:
    """True from this look at it on."""
    left = iter(range(looks))
    return lambda: next(left, None) is None


def interrupted(checkpoint: Checkpoint, looks: int, **options: Any) -> None:
    with pytest.raises(Interrupted):
        train(list(checkpoint.batches), save=checkpoint.save, stop=stop_after(looks), **options)


def assert_same(one: Any, two: Any) -> None:
    """Equal dataclasses, bit for bit."""
    assert type(one) is type(two)
    if isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        assert one.tobytes() == two.tobytes()
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert_same(value, two[name])
    elif isinstance(one, list):
        for left, right in zip(one, two, strict=True):
            assert_same(left, right)
    elif hasattr(one, "__dataclass_fields__"):
        assert_same(vars(one), vars(two))
    else:
        assert one == two


@pytest.mark.parametrize("looks", [3, 9, 20, 33, 40])
def test_training_goes_on_to_the_same_bits(tmp_path: Path, looks: int) -> None:
    """Wherever it stops, and however the packs are cut afterwards."""
    checkpoint = checkpoint_in(tmp_path)
    interrupted(checkpoint, looks)
    (saved,) = saved_checkpoints(tmp_path)
    assert (saved.shard, saved.n_instances) == (3, 9)
    assert 0 < saved.trained < 9
    for at_once in (1, 2, 100):
        assert_same(train(BATCHES, begun=checkpoint.load(), at_once=at_once), train(BATCHES))


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bf16"])
def test_states_of_a_gpu_come_back(tmp_path: Path, dtype: str) -> None:
    """`tf32` and `bf16` round products; no array is of a type of that name."""
    engine = pytest.importorskip("superpose_cli.engines.triton_gpu").TritonEngine("cpu", dtype)
    batch = make_batch(replace(BASE, n_features=24, n_hidden=5, n_batch=64), 3)
    state = engine.advance(batch, engine.initialise(batch), 2)
    checkpoint = checkpoint_in(
        tmp_path, [batch], dtype=engine.dtype, numerics=engine.numerics, history=HistoryConfig(every=0)
    )
    checkpoint.save([Pack(batch=0, start=0, stop=3, state=state, first=np.zeros(3))])
    (pack,) = checkpoint.load()
    assert pack.state is not None
    assert_same(pack.state, state)
    last = [engine.advance(batch, each, 4) for each in (pack.state, state)]
    assert_same(*last)


@pytest.fixture
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every look-up."""
    monkeypatch.setattr("superpose_cli.engines.training.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("superpose_cli.engines.training.CHECKPOINT_SHARE", float("inf"))


@pytest.mark.usefixtures("all_the_time")
@pytest.mark.parametrize("every", [25, pytest.param(0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_model_comes_back(tmp_path: Path, name: str, every: int) -> None:
    history = HistoryConfig(every=every, weights=bool(every))
    batches = [make_batch(FAMILIES[name], count) for count in (3, 2)]
    shard = checkpoint_in(tmp_path, batches, history=history)
    saves: list[list[Pack]] = []

    def save(packs: list[Pack]) -> None:
        saves.append([replace(pack) for pack in packs if pack.state is not None])
        shard.save(packs)

    trained = train(batches, history=history, save=save)
    (before, after) = saves[-1], shard.load()
    assert [pack.found is not None for pack in after] == [True] * 2 + [False]
    for one, two in zip(before, after, strict=True):
        assert_same(one, two)
    assert_same(train(batches, begun=after, history=history), trained)


@pytest.mark.usefixtures("all_the_time")
def test_finished_packs_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_in(tmp_path)
    whole = train(BATCHES, save=checkpoint.save)
    begun = checkpoint.load()
    assert [pack.found is not None for pack in begun] == [True] * (len(begun) - 1) + [False]
    advanced: list[int] = []
    advance = ENGINE.advance

    def count(batch: InstanceBatch, state: State, stop_step: int) -> State:
        advanced.append(len(batch))
        return advance(batch, state, stop_step)

    monkeypatch.setattr(ENGINE, "advance", count)
    assert_same(train(BATCHES, begun=begun), whole)
    assert sum(advanced) <= 2, "what the last pack had left"


def test_nothing_is_saved_where_nothing_is_new(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    interrupted(checkpoint, 0)
    assert not checkpoint.file.exists()
    assert checkpoint.load() == []
    interrupted(checkpoint, 9)
    written = checkpoint.file.stat().st_mtime_ns
    interrupted(checkpoint, 0, begun=checkpoint.load())
    assert checkpoint.file.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"numerics": "numba/float32/2/avx2"}, "numerics"),
        ({"run_id": "11111111"}, "run_id"),
        ({"batches": [BATCHES[0]]}, "keys"),
        ({"batches": [BATCHES[0].take(np.array([0, 1, 2, 4, 3])), BATCHES[1]]}, "keys"),
        ({"dtype": "float64"}, "shorter or longer"),
        ({"history": HistoryConfig(every=25)}, "shorter or longer"),
        ({"history": HistoryConfig(every=2, weights=True)}, "contradict"),
    ],
)
def test_of_something_else(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    interrupted(checkpoint_in(tmp_path), 20)
    with pytest.raises(UnusableCheckpoint, match=what):
        checkpoint_in(tmp_path, **changes).load()


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The file with another header and a digest that is right: what a stranger could make."""
    content = file.read_bytes()
    start = len(FIRST_LINE) + 8
    length = int.from_bytes(content[len(FIRST_LINE) : start], "little")
    header = json.loads(content[start : start + length])
    change(header)
    told = json.dumps(header).encode()
    body = FIRST_LINE + len(told).to_bytes(8, "little") + told + content[start + length : -16]
    file.write_bytes(body + checkpoint_files.blake2b(body, digest_size=16).digest())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("packs", None),
        ("packs", [None]),
        ("packs", [{}]),
        ("stop", 10**15),
        ("stop", 10**400),
        ("stop", 2.0),
        ("start", -1),
        ("start", 2),
        ("batch", 2),
        ("step", 61),
        ("step", 10**15),
        ("records", 10**15),
        ("records", 0),
        ("done", 2),
        ("done", True),
        ("shard", 4),
        ("keys", None),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    checkpoint = checkpoint_in(tmp_path)
    interrupted(checkpoint, 20)

    def lie(header: dict[str, Any]) -> None:
        (header if key in header else header["packs"][0])[key] = value

    rewritten(checkpoint.file, lambda header: None)
    checkpoint.load()
    rewritten(checkpoint.file, lie)
    with pytest.raises(UnusableCheckpoint):
        checkpoint.load()


def test_overlapping_packs_are_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    interrupted(checkpoint, 20)
    rewritten(checkpoint.file, lambda header: header["packs"].append(header["packs"][0]))
    with pytest.raises(UnusableCheckpoint):
        checkpoint.load()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, bytes]:
    """A checkpoint of little content."""
    checkpoint = checkpoint_in(tmp_path_factory.mktemp("run"), history=HistoryConfig(every=0))
    interrupted(checkpoint, 20, history=checkpoint.history)
    return checkpoint, checkpoint.file.read_bytes()


@given(data=st.data())
def test_no_damage_goes_unseen(saved: tuple[Checkpoint, bytes], data: st.DataObject) -> None:
    """Cut short, or any bit flipped: one error of one kind, and `show` goes on."""
    checkpoint, content = saved[0], bytearray(saved[1])
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    checkpoint.file.write_bytes(content)
    with pytest.raises(UnusableCheckpoint):
        checkpoint.load()
    saved_checkpoints(checkpoint.run)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    os.mkfifo(checkpoint.file)
    with pytest.raises(UnusableCheckpoint, match="no file"):
        checkpoint.load()
    assert saved_checkpoints(tmp_path) == []
    checkpoint.file.unlink()
    checkpoint.file.symlink_to("/nowhere")
    told: list[str] = []
    assert checkpoint.load_or_discard(told.append) == []
    assert "no file" in told[0]
    assert list(checkpoint.file.parent.iterdir()) == []


def test_a_refusing_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_in(tmp_path)
    interrupted(checkpoint, 20)
    before = checkpoint.file.read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SuperposeError, match=r"cannot write .*shard-000003\.checkpoint \(No space left"):
        train(BATCHES, begun=checkpoint.load(), save=checkpoint.save, stop=stop_after(5))
    assert checkpoint.file.read_bytes() == before
    assert [path.name for path in checkpoint.file.parent.iterdir()] == [checkpoint.file.name]


def test_checkpoints_of_committed_shards_go(tmp_path: Path) -> None:
    for shard in (3, 4):
        interrupted(checkpoint_in(tmp_path, shard=shard), 20)
    remove_checkpoints(tmp_path, {0, 3})
    (left,) = saved_checkpoints(tmp_path)
    assert isinstance(left, Saved)
    assert left.shard == 4
