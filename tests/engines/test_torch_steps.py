"""A step of the torch engine as a GPU records it: told its number by a tensor, and without the host."""

import numpy as np
import pytest
import torch

from superpose_cli.engines import choose_engine
from superpose_cli.engines.torch_steps import Steps
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
