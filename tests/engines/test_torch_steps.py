"""A step of the torch engine as a GPU records it: told its number by a tensor, and without the host."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from superpose_cli.engines import choose_engine
from superpose_cli.engines.torch_steps import WARM_UP_STEPS, Steps
from superpose_cli.experiment.config import DataKind, EngineConfig
from superpose_cli.toy_model.philox import Stream
from superpose_cli.toy_model.sampling import draw_at, table_row_indices_at
from tests.engines.batches import FAMILIES, make_batch

SPAN = (3, 7)


def steps_on(device: str, batch) -> Steps:
    """Updates of a batch with the rows of a GPU, on any device."""
    engine = choose_engine(EngineConfig(name="torch", device="cpu", dtype="float64"), []).engine
    state, family = engine.initialise(batch), batch.family

    def there(arrays):
        return {name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}

    parameters = there({name: getattr(state, name) for name in state.moment1})
    failed = torch.full((len(batch),), -1, dtype=torch.int64, device=device)
    if family.data is DataKind.finite:
        table = torch.rand(len(batch), family.n_rows, family.n_features, dtype=torch.float64, device=device)
        pick = table_row_indices_at(torch, batch.generator_key, max(family.n_batch, 1), family.n_rows, device)

        def rows_at(step):
            return table.gather(1, pick(step)[:, :, None].expand(-1, -1, family.n_features))
    else:
        drawn = draw_at(
            torch, family.law, key=batch.generator_key, stream=Stream.data, set_stream=Stream.sets,
            rows=(0, family.n_batch), feature_probability=batch.feature_probability, high=batch.high,
            correlation=batch.correlation, device=device,
        )  # fmt: skip

        def rows_at(step):
            return drawn(step).double()

    return Steps(batch, parameters, (there(state.moment1), there(state.moment2)), failed, rows_at, SPAN)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_told_by_a_tensor_is_the_same(name):
    batch = make_batch(FAMILIES[name])
    torch.manual_seed(0)
    by_number = steps_on("cpu", batch)
    torch.manual_seed(0)
    by_tensor = steps_on("cpu", batch)
    by_number.run()
    for step in range(*SPAN):
        by_tensor.body(torch.tensor([step]))
    for parameter, value in by_number.parameters.items():
        np.testing.assert_array_equal(by_tensor.parameters[parameter], value)
    np.testing.assert_array_equal(by_tensor.failed, by_number.failed)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_neither_asks_the_host_nor_copies_from_it(name, monkeypatch):
    """Tensors of device "meta" have no numbers: whoever asks for one gets an error."""
    steps = steps_on("meta", make_batch(FAMILIES[name]))
    step = torch.full((1,), SPAN[0], dtype=torch.int64, device="meta")

    def refuse(*arguments, **options):
        raise AssertionError("copied from the host")

    convert = torch.asarray
    monkeypatch.setattr(torch, "from_numpy", refuse)
    monkeypatch.setattr(torch, "tensor", refuse)
    monkeypatch.setattr(
        torch, "asarray", lambda a, **options: convert(a, **options) if torch.is_tensor(a) else refuse()
    )
    steps.body(step)
    assert all(value.device.type == "meta" for value in steps.parameters.values())


def test_the_first_failing_step_is_kept():
    batch = make_batch(FAMILIES[next(iter(FAMILIES))])
    steps = steps_on("cpu", batch)
    next(iter(steps.parameters.values()))[1] = float("nan")
    steps.run()
    assert steps.failed.tolist() == [SPAN[0] if i == 1 else -1 for i in range(len(batch))]


class FakeStream:
    """A stream that waits for nobody: all steps run on the CPU, one after the other."""

    def __init__(self, device: object) -> None: ...
    def wait_stream(self, other: "FakeStream") -> None: ...


class FakeCuda:
    """PyTorch's calls for devices, streams and recordings, as far as they say which is the current one.

    `failure` ends the recorded step, and `at_its_end` the recording, as PyTorch's own errors do.
    """

    def __init__(self, monkeypatch, failure=None, at_its_end=None) -> None:
        self.device, self.failure, self.at_its_end = "another", failure, at_its_end
        self.usual = self.stream = FakeStream(None)
        self.recording = False
        self.done: list[tuple[str, str, FakeStream]] = []
        for name in ("current_stream", "set_stream", "synchronize", "device", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
        monkeypatch.setattr(
            torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: self._note("replay"))
        )

    def steps(self, batch) -> Steps:
        """Steps on the CPU that note where they run; in a recording they change nothing."""
        steps = steps_on("cpu", batch)
        body = steps.body

        def noted(step) -> None:
            self._note("record" if self.recording else "step")
            if not self.recording:
                body(step)
            elif self.failure:
                raise self.failure

        steps.body = noted
        return steps

    def _note(self, what: str) -> None:
        self.done.append((what, self.device, self.stream))

    def _current_stream(self, device):
        return self.stream

    def _set_stream(self, stream) -> None:
        self.stream = stream

    def _synchronize(self, device) -> None:
        self._note("synchronize")

    @contextmanager
    def _device(self, device):
        before, self.device = self.device, str(device)
        yield
        self.device = before

    @contextmanager
    def _stream(self, stream):
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def _graph(self, graph, stream):
        before, self.stream, self.recording = self.stream, stream, True
        try:
            yield
        finally:
            self.recording = False
            if self.at_its_end:
                raise self.at_its_end  # PyTorch then leaves its stream the current one
            self.stream = before


def test_a_step_is_recorded_on_its_own_device_and_replayed_on_its_stream(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    steps = cuda.steps(make_batch(FAMILIES["relu_output"]))
    steps._replay()
    aside = cuda.done[0][2]
    assert aside is not cuda.usual
    expected = [("step", "cpu", aside)] * WARM_UP_STEPS + [
        ("record", "cpu", aside),
        ("replay", "cpu", cuda.usual),
    ]
    assert cuda.done == [*expected, ("synchronize", "cpu", cuda.usual)]


@pytest.mark.parametrize(
    "at_its_end", [None, RuntimeError("operation failed due to a previous error")], ids=str
)
def test_without_memory_for_a_recording_steps_run_one_by_one(monkeypatch, at_its_end):
    batch = make_batch(FAMILIES["relu_output"])
    cuda = FakeCuda(monkeypatch, torch.OutOfMemoryError("CUDA out of memory."), at_its_end)
    steps, plain = cuda.steps(batch), steps_on("cpu", batch)
    steps._replay()
    plain.run()
    for name, value in plain.parameters.items():
        np.testing.assert_array_equal(steps.parameters[name], value)
    assert cuda.done[-2:] == [("step", "cpu", cuda.usual), ("synchronize", "cpu", cuda.usual)]
    assert (cuda.stream, cuda.device) == (cuda.usual, "another")


def test_other_errors_of_a_recording_are_bugs_and_go_on(monkeypatch):
    ended = RuntimeError("operation failed due to a previous error")
    cuda = FakeCuda(monkeypatch, RuntimeError("not permitted when stream is capturing"), ended)
    with pytest.raises(RuntimeError, match="previous error"):
        cuda.steps(make_batch(FAMILIES["relu_output"]))._replay()
    assert cuda.done[-1][0] == "synchronize", "what was begun may still write to memory that is given back"
    assert cuda.stream is cuda.usual
