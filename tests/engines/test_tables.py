"""Tables are drawn once for a batch in training."""

import numpy as np
import pytest

from superpose_cli.engines import tables
from superpose_cli.engines.torch_reference import TorchEngine
from tests.engines.batches import FAMILIES, make_batch, parameters_of


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tables were drawn, call by call."""
    counts: list[int] = []
    draw = tables.finite_table

    def counted(*arguments, key, **given):
        counts.append(len(key))
        return draw(*arguments, key=key, **given)

    monkeypatch.setattr(tables, "finite_table", counted)
    return counts


@pytest.mark.parametrize("name", ["finite_full", "finite_batches"])
def test_a_batch_in_training_draws_its_tables_once(drawn, name):
    engine, batch, other = TorchEngine(), make_batch(FAMILIES[name]), make_batch(FAMILIES[name], 4)
    state = engine.advance(batch, engine.initialise(batch), 3)
    state = engine.advance(batch, state, 6)
    engine.evaluate_table(batch, state)
    assert drawn == [3]
    engine.advance(other, engine.initialise(other), 1)
    again = engine.advance(batch, engine.initialise(batch), 6)
    assert drawn == [3, 2, 3], "only one batch's tables are kept"
    for parameter, value in parameters_of(again).items():
        np.testing.assert_array_equal(value, parameters_of(state)[parameter])
