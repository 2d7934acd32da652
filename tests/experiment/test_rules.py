"""Rules of one field, of kinds, and of several fields: each boundary on both sides."""

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose_cli.errors import ConfigError
from superpose_cli.experiment.axes import Axis
from superpose_cli.experiment.config import Activation, Config, DataConfig, InitConfig, TrainConfig
from superpose_cli.experiment.fields import FIELDS, GROUPS, RANGES, check_field, check_key, shown
from superpose_cli.experiment.rules import (
    CROSS_RULES,
    KIND_FIELDS,
    check_usage,
    empty_row_problem,
    importance_problem,
    length_problem,
    probability_problem,
    used_fields,
    value_of,
    with_values,
)

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.floats()),
    st.dictionaries(st.text(), st.none()),
)


def plain(**data: Any) -> Config:
    return Config(data=DataConfig(**{"feature_probability": 0.1, **data}))


def test_every_field_is_known_and_every_default_passes_its_own_check() -> None:
    config = Config()
    for key in FIELDS:
        value = value_of(config, key)
        checked = check_field(key, value)
        assert checked == (tuple(value) if isinstance(value, list) else value)
    tops = {f.name for f in fields(Config)} - {"grid"}
    assert tops == set(GROUPS) | {key for key in FIELDS if "." not in key}


def test_every_kind_of_every_enum_has_its_fields() -> None:
    for kind_key, kinds in KIND_FIELDS.items():
        assert set(kinds) == {member.value for member in FIELDS[kind_key].type}  # pyright: ignore[reportAttributeAccessIssue,reportGeneralTypeIssues]
        for key in {key for keys in kinds.values() for key in keys}:
            assert FIELDS[key].optional, f"{key} must be able to say that it is not set"


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("model.n_hidden", [1, 2.0, 1e6], [0, -1, 1.5, 2**31, True, "2", None, [2], float("nan")]),
        (
            "data.feature_probability",
            [1, 0.5, 2**-20, [0.1, 1]],
            [0, 1.0001, 2**-21, -1, "a", [], [0.1, 0], True],
        ),
        ("data.correlation", [0, 1], [-0.01, 1.01]),
        ("data.high", [1e-9, 3], [0, -1, float("inf")]),
        ("train.beta1", [0, 0.999], [1, -0.1]),
        ("train.eps", [1e-12], [0, -1]),
        ("train.learning_rate", [1e-9, 10], [0, -1, float("nan"), float("inf"), 10**400]),
        ("train.weight_decay", [0, -0.5, 3], [float("nan"), "x"]),
        ("train.warmup_steps", [0, 5], [-1]),
        ("train.n_batch", [1, None], [0]),
        ("importance.values", [[0, 1], [3.5]], [1, [-1.0], [], "a", ["a"]]),
        ("importance.decay", [0.1, 1, 2], [0, -1]),
        ("engine.memory_fraction", [0.01, 1], [0, 1.01]),
        ("engine.device", ["cpu", "cuda:1"], ["gpu", "cuda:", "cpu "]),
        ("model.tied", [True, False], [1, 0, "true", None]),
        ("model.output_activation", ["relu"], ["ReLU", 3, None, True]),
        ("seed", [0, 2**63 - 1], [-1, 2**63]),
        ("restarts", [1], [0]),
        ("evaluation.n_rows", [2, None], [1]),
        ("experiment", ["intro", None], ["../x", "a/b", "", "1e3", "a b", "é"]),
        ("plots", [[], ["wtw"]], ["wtw", [3], None]),
    ],
)
def test_ranges_and_types(key: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        check_field(key, value)
    for value in outside:
        with pytest.raises(ConfigError, match=f"^{key}"):
            check_field(key, value)


def test_values_come_back_in_their_type() -> None:
    assert check_field("model.n_hidden", 3.0) == 3
    assert isinstance(check_field("model.n_hidden", 3.0), int)
    assert isinstance(check_field("data.high", 1), float)
    assert check_field("model.output_activation", "relu") is Activation.relu
    assert check_field("data.feature_probability", [1, 0.5]) == (1.0, 0.5)
    assert str(check_field("train.weight_decay", -0.0)) == "0.0"


@given(st.sampled_from(sorted(FIELDS)), ANYTHING)
def test_any_value_is_taken_or_refused_on_one_line(key: str, value: Any) -> None:
    """What is accepted is accepted again unchanged; what is refused names its key on one line."""
    try:
        once = check_field(key, value)
    except ConfigError as error:
        message = str(error)
        assert message.startswith(key)
        assert message.isprintable()
        assert len(message) < 400
    else:
        assert check_field(key, once) == once
        allowed = RANGES.get(key)
        for number in once if isinstance(once, tuple) else [once]:
            assert allowed is None or number is None or number in allowed


@given(st.text())
def test_shown_text_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 60


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("model.n_hiden", "model.n_hidden"),
        ("modl.n_hidden", "model.n_hidden"),
        ("n_hidden", "model.n_hidden"),
        ("tran.steps", "train.steps"),
        ("sed", "seed"),
        ("mdel.zzz", "model"),
        ("model.zzz", "Fields of model: n_features"),
        ("zzz", "Groups: model"),
        ("model", "model.n_features"),
    ],
)
def test_unknown_keys_get_the_nearest_one(key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_key(key)
    assert hint in str(raised.value)


def test_used_fields_follow_the_kinds() -> None:
    config = plain(kind="exactly_k", k=1)
    assert "data.k" in used_fields(config)
    assert "data.feature_probability" not in used_fields(config)
    assert "train.beta1" in used_fields(config)
    assert "train.beta1" not in used_fields(with_values(config, {"train.optimizer": "sgd"}))
    assert {"data.value", "model.n_hidden", "seed"} <= used_fields(config)


def test_fields_that_no_cell_uses_are_refused() -> None:
    check_usage([plain()], [])
    with pytest.raises(
        ConfigError, match=r"data\.k is used by data=exactly_k only, .* choose that or remove it"
    ):
        check_usage([plain(k=3)], [])
    with pytest.raises(ConfigError, match=r"data\.k is used by .* remove the axis over it"):
        check_usage([plain()], [Axis(("data.k",), ((1,), (2,)))])
    # One cell that uses it is enough: another variant, or a position of an axis over kinds.
    exactly = Config(data=DataConfig(kind="exactly_k", k=3))  # pyright: ignore[reportArgumentType]
    check_usage([plain(k=3), exactly], [])
    check_usage(
        [Config(data=DataConfig(feature_probability=0.1), train=TrainConfig(momentum=0.9))],
        [Axis(("train.optimizer",), (("adam",), ("sgd",)))],
    )


def test_fields_that_a_cell_needs_are_demanded() -> None:
    with pytest.raises(ConfigError, match=r"data\.kind=independent needs data\.feature_probability"):
        check_usage([Config()], [])
    kinds = Axis(("init.kind",), (("xavier_normal",), ("normal",)))
    with pytest.raises(ConfigError, match=r"init\.kind=normal needs init\.std"):
        check_usage([plain()], [kinds])
    check_usage([Config(data=plain().data, init=InitConfig(std=0.1))], [kinds])
    zipped = Axis(("init.kind", "init.std"), (("xavier_normal", None), ("normal", 0.1)))
    check_usage([plain()], [zipped])
    with pytest.raises(ConfigError, match="feature_probability"):
        check_usage([plain()], [Axis(("data.feature_probability",), ((0.1,), (None,)))])
    with pytest.raises(ConfigError, match=r"evaluation\.n_rows"):
        check_usage([with_values(plain(), {"evaluation.n_rows": None})], [])


@pytest.mark.parametrize(
    ("keys", "good", "bad"),
    [
        (("train.warmup_steps", "train.steps"), (5, 5), (6, 5)),
        (("data.k", "model.n_features"), (5, 5), (6, 5)),
        (("data.set_size", "model.n_features"), (5, 5), (6, 5)),
    ],
)
def test_cross_rules_hold_for_scalars_and_arrays(keys: tuple[str, ...], good: tuple, bad: tuple) -> None:
    (rule,) = (rule for rule in CROSS_RULES if rule.keys == keys)
    assert rule.holds(*good)
    assert not rule.holds(*bad)
    columns = [np.array(pair) for pair in zip(good, bad, strict=True)]
    assert rule.holds(*columns).tolist() == [True, False]
    assert str(bad[0]) in rule.message.format(*bad)


def test_probabilities_and_sets() -> None:
    assert probability_problem("independent", [0.1, 1.0]) is None
    assert "data.power" in (probability_problem("independent", [0.1, 1e-9]) or "")
    assert probability_problem("correlated", [0.1, 0.1, 0.2], 2) is None
    assert "equal" in (probability_problem("correlated", [0.1, 0.2, 0.2], 2) or "")
    third = round(1 / 3, 12)
    assert probability_problem("anticorrelated", [third] * 3, 3) is None
    assert "above 1" in (probability_problem("anticorrelated", [0.4] * 3, 3) or "")
    cells = np.array([[0.5, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert probability_problem("anticorrelated", cells, np.array([2, 3])) is None
    assert "above 1" in (probability_problem("anticorrelated", cells[::-1] * 1.5, np.array([3, 2])) or "")


def test_rows_scaled_to_norm_1_are_seldom_empty() -> None:
    """Against the product itself, and where it would leave the floats."""
    for p in ([0.5], [0.3, 0.29], [0.01] * 69, [2.0**-20] * 10**6, [1.0, 0.1]):
        assert (math.prod(1 - q for q in p) > 0.5) == (empty_row_problem(p) is not None), p
    for p in ([0.49], [0.29, 0.29], [0.01] * 68):
        assert f"{math.prod(1 - q for q in p):.4g}, more than 0.5" in (empty_row_problem(p) or ""), p
    cells = np.array([[0.5, 1.0], [0.1, 0.2]])
    assert empty_row_problem(cells[:1]) is None
    assert "probability 0.72" in (empty_row_problem(cells) or "")


def test_lists_and_importances() -> None:
    assert length_problem("importance.values", 3, [3, 3]) is None
    assert "has 3 entries and model.n_features=4" in (length_problem("importance.values", 3, [3, 4]) or "")
    assert importance_problem([1.0, 0.0]) is None
    assert "overflows" in (importance_problem([1.0, np.inf]) or "")
    assert "positive" in (importance_problem(np.array([[1.0, 0.0], [0.0, 0.0]])) or "")
