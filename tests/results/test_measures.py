"""Every measured column against its definition: plain NumPy over weights and rows, one instance at a time."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from superpose_cli.engines import choose_engine
from superpose_cli.engines.population import by_moments
from superpose_cli.engines.training import Trained, train_shard
from superpose_cli.engines.watch import SILENT, Progress
from superpose_cli.errors import ConfigError
from superpose_cli.experiment.config import (
    Activation,
    DataKind,
    Dtype,
    EngineConfig,
    EvaluationConfig,
    HistoryConfig,
    Optimizer,
    Reduction,
    Target,
    ValueKind,
)
from superpose_cli.experiment.grid import Grid
from superpose_cli.experiment.instances import Family
from superpose_cli.results import measures
from superpose_cli.results.columns import FEATURES, HISTORY, MEASURED
from tests.helpers import axis, experiment_of
from tests.results.brute_force import (
    DATA,
    N_ROWS,
    RELU,
    SHORT,
    One,
    batch_of,
    each,
    entropy,
    feature_columns,
    instance_columns,
    rows_of,
    vulnerability_of,
)

COUNT = 4
SIGMAS = 5
GRID = Grid(experiment_of(axis("seed", 0, 1)))
ENGINE = choose_engine(EngineConfig(name="torch", device="cpu", dtype=Dtype.float64), []).engine

MODELS = [
    {"bias": bias, "tied": tied, "hidden_bias": hidden_bias, "hidden_activation": activation}
    for bias, tied, hidden_bias, activation in product(
        (True, False), (True, False), (True, False), Activation
    )
    if (bias + tied + hidden_bias + (activation is RELU)) % 2 == 0
]
"""Half of all, with every combination of any three of the four."""
CASES = [
    *((data, model) for data in ("independent", "correlated", "anticorrelated") for model in MODELS),
    *((data, model) for data in ("exactly_k", "finite", "unit_norm") for model in MODELS),
    ("constant_signed", {"target": Target.abs, "hidden_activation": RELU, "loss_reduction": Reduction.sum}),
    ("constant_signed", {"output_activation": Activation.identity}),
    ("constant_signed", {"n_hidden": 7, "bias": False}),
    ("exponential", {"target": Target.abs, "tied": False}),
]


def trained(family: Family, weights: bool = False, **given: Any) -> Trained:
    (found,) = train_shard(
        ENGINE,
        [batch_of(family, **given)],
        evaluation=EvaluationConfig(n_rows=N_ROWS),
        history=HistoryConfig(every=2 if weights else 0, weights=weights),
        memory=1 << 30,
        progress=Progress(SILENT),
        stop=lambda: False,
    )
    return found


def tables(*parts: Trained) -> dict[str, pa.Table]:
    return measures.shard_tables(GRID, parts, engine="torch", numerics="test")


def check_sampled(one: One, x: np.ndarray, row: dict[str, Any], exact: bool) -> None:
    """`loss_ratio` and the spectrum of h: on the rows themselves if `exact`, else within sampling error."""
    t = one.target(x)
    free = one.family.bias or (one.family.hidden_bias and not one.family.tied)
    best = t.mean(axis=0) if free else 0.0
    constant = (one.importance * (t - best) ** 2).mean(axis=1)
    error = 1e-9 if one.family.unit_norm else SIGMAS * constant.std() / len(x) ** 0.5
    assert row["loss"] / row["loss_ratio"] == pytest.approx(constant.mean(), abs=error)
    h = one.hidden(x)
    h = h - h.mean(axis=0)
    # Weyl: no eigenvalue moves further than the covariance's own error, here in the Frobenius norm.
    spread = np.sqrt((((h**2).T @ h**2) / len(h)).sum() / len(h))
    found = np.array(row["hidden_eigenvalues"])
    expected = np.linalg.eigvalsh(h.T @ h / len(h))[::-1]
    assert found == pytest.approx(expected, abs=1e-9 if exact else SIGMAS * spread)
    assert row["hidden_spectral_entropy"] == pytest.approx(entropy(found), abs=1e-9)
    assert row["hidden_effective_rank"] == pytest.approx(np.exp(entropy(found)))
    assert row["hidden_participation_ratio"] == pytest.approx(found.sum() ** 2 / (found**2).sum())


def case_name(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(f"{name}={v}" for name, v in value.items())


@pytest.mark.parametrize(("data", "model"), CASES, ids=case_name)
def test_instances(data: str, model: dict[str, Any]) -> None:
    part = trained(replace(DATA[data], **model))
    rows, fixed = rows_of(data)
    linear = part.batch.family.hidden_activation is Activation.identity and data != "unit_norm"
    for i, (one, row) in enumerate(zip(each(part), tables(part)["instances"].to_pylist(), strict=True)):
        expected = instance_columns(one, rows[i], None if fixed is None else fixed[i])
        expected["objective"] += part.batch.hidden_l1[i] * expected.pop("l1")
        method = "population" if by_moments(part.batch.family) else "sampled"
        if method == "population":  # exact, while the rows scatter around it
            error = SIGMAS * expected["loss_stderr"]
            assert row["loss"] == pytest.approx(expected["loss"], abs=error)
            n = part.batch.family.n_features
            objective = pytest.approx(expected["objective"], abs=n * error)
            assert row["objective"] == objective
            expected |= {"loss": row["loss"], "objective": row["objective"], "loss_stderr": 0.0}
        for name, value in expected.items():
            # Integrals on a grid are good for six digits, as are roots of eigenvalues near 0 and float32.
            rough = name.startswith(("loss_", "singular", "b_hidden"))
            told = value if value is None else pytest.approx(value, rel=1e-7, abs=1e-6 if rough else 1e-12)
            assert row[name] == told, name
        check_sampled(one, rows[i], row, exact=not linear)
        told = {"status": part.status[i], "engine": "torch", "numerics": "test", "loss_method": method}
        assert {name: row[name] for name in told} == told
        assert row["failed_step"] is None
        sampled = {c.name for c in MEASURED if c.name == "loss_ratio" or c.name.startswith("hidden_")}
        assert {*expected, *sampled, *told, "failed_step"} == {c.name for c in MEASURED}


@pytest.mark.parametrize("data", ["independent", "unit_norm"])
@pytest.mark.parametrize("model", [{}, {"bias": False, "tied": False}], ids=case_name)
def test_features(data: str, model: dict[str, Any]) -> None:
    part = trained(replace(DATA[data], **model))
    found = iter(tables(part)["features"].to_pylist())
    regimes = set()
    for i, one in enumerate(each(part)):
        for f in range(len(one.W)):
            row, expected = next(found), feature_columns(one, rows_of(data)[0][i], f)
            regimes.add(row["regime"])
            for name, value in expected.items():
                plain = value is None or isinstance(value, str)
                assert row[name] == (value if plain else pytest.approx(value, rel=1e-6, abs=1e-7)), name
            identity = (f"{part.batch.key[i]:016x}", part.batch.cell[i], part.batch.restart[i])
            assert (row["key"], row["cell"], row["restart"]) == identity
            assert {*expected, "key", "cell", "restart"} == {c.name for c in FEATURES}
    assert next(found, None) is None
    assert len(regimes) > 1


@pytest.mark.parametrize("data", ["independent", "finite"])
@pytest.mark.parametrize("model", [{}, {"tied": False}, {"bias": False}], ids=case_name)
def test_history(data: str, model: dict[str, Any]) -> None:
    """A record's losses are those of its own weights; the first is the initial state, the last the final."""
    part = trained(replace(DATA[data], **model), weights=True)
    found = iter(tables(part)["history"].to_pylist())
    initial = list(each(part, ENGINE.initialise(part.batch)))
    rows, fixed = rows_of(data)
    for i, (first, last) in enumerate(zip(initial, each(part), strict=True)):
        for step in (0, 2, 4, 5):
            row = next(found)
            W = np.reshape(row["W"], last.W.shape)
            D = W if last.family.tied else np.reshape(row["W_dec"], W.shape)
            b = np.array(row["b"]) if last.family.bias else np.zeros(len(W))
            for name, absent in (("W_dec", last.family.tied), ("b", not last.family.bias)):
                assert (row[name] is None) == absent
            if step in (0, 5):
                known = first if step == 0 else last
                for name, value in (("W", W), ("D", D), ("b", b)):
                    np.testing.assert_array_equal(value, getattr(known, name).astype(np.float32), name)
            one = last._replace(W=W, D=D, b=b)
            expected = {
                "cell": part.batch.cell[i],
                "restart": part.batch.restart[i],
                "step": step,
                "loss": one.errors(rows[i]).mean(),
                "train_loss": None if fixed is None else one.errors(fixed[i]).mean(),
                "frobenius_norm_sq": (W**2).sum(),
            }
            for name, value in expected.items():
                assert row[name] == (value if value is None else pytest.approx(value, rel=1e-6)), name
            assert row["key"] == f"{part.batch.key[i]:016x}"
            assert {*expected, "key", "W", "W_dec", "b"} == {c.name for c in HISTORY}
    assert next(found, None) is None


ONE = {"n_features": 1, "n_hidden": 1}


@pytest.mark.parametrize(
    ("family", "given"),
    [
        (replace(SHORT, value=ValueKind.constant), {"feature_probability": np.ones((COUNT, 5))}),
        (replace(SHORT, value=ValueKind.constant, data=DataKind.exactly_k, k=5), {}),
        (
            replace(SHORT, data=DataKind.finite, n_rows=9, n_batch=0, unit_norm=True, **ONE),
            {"feature_probability": np.full((COUNT, 1), 0.9)},
        ),
    ],
    ids=["p = 1", "exactly_k, k = n", "unit_norm, n = 1"],
)
def test_without_anything_to_learn_there_is_no_loss_ratio(family: Family, given: dict[str, Any]) -> None:
    assert tables(trained(family, **given))["instances"]["loss_ratio"].null_count == COUNT
    # Without a bias the best constant is 0, which is wrong in every row.
    ratio = tables(trained(replace(family, bias=False), **given))["instances"]["loss_ratio"]
    assert ratio.null_count == 0
    assert np.isfinite(ratio.to_numpy()).all()


def test_a_diverged_instance_is_told_and_its_neighbours_are_untouched() -> None:
    family = replace(SHORT, optimizer=Optimizer.sgd)
    rates = np.array([0.1, 1e200, 0.1, 0.1])
    good, bad = (trained(family, learning_rate=rate) for rate in (np.full(COUNT, 0.1), rates))
    before, after = (tables(part)["instances"].to_pylist() for part in (good, bad))
    assert [after[i] for i in (0, 2, 3)] == [before[i] for i in (0, 2, 3)]
    assert (after[1]["status"], after[1]["failed_step"]) == ("diverged", bad.failed_step[1])
    assert not any(np.isfinite(after[1][name]) for name in ("loss", "loss_ratio", "participation_ratio"))


ATTACK = Grid(experiment_of(axis("seed", 0, 1), evaluation__attack=0.2))


@pytest.mark.parametrize("data", ["independent", "correlated", "unit_norm", "constant_signed"])
def test_vulnerability(data: str) -> None:
    """On the first rows that models are judged on, of every family alike."""
    untied = {"tied": False, "hidden_bias": True} if data == "correlated" else {}
    part = trained(replace(DATA[data], **untied))
    found = measures.shard_tables(ATTACK, [part], engine="torch", numerics="test")["instances"]
    rows = rows_of(data)[0][:, : measures.ATTACKED_ROWS]
    expected = [vulnerability_of(one, x, 0.2) for one, x in zip(each(part), rows, strict=True)]
    assert found["vulnerability"].to_pylist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (replace(SHORT, hidden_activation=RELU), r"linear hidden layer.*model=relu_output"),
        (replace(SHORT, n_features=2049), r"at most 2048 features, not model\.n_features=2049"),
    ],
)
def test_models_that_cannot_be_attacked_are_refused(family: Family, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measures.check_attack([SHORT, family], 0.1)
    measures.check_attack([SHORT, family], None)
    measures.check_attack([SHORT], 0.1)


def test_parts_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families of different shapes follow each other, and the loss split is the same a block at a time."""
    parts = [trained(replace(SHORT, n_hidden=m)) for m in (2, 3)]
    alone = [tables(part) for part in parts]
    monkeypatch.setattr(measures, "GRAM_ENTRIES", 2 * SHORT.n_features**2)
    for name, table in tables(*parts).items():
        assert table.to_pylist() == [row for one in alone for row in one[name].to_pylist()]
