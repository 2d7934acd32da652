"""Arrays to tables: types, nulls, text, and the agreement of the columns with the configuration."""

from dataclasses import fields
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from superpose_cli.experiment.config import Config
from superpose_cli.results.columns import CONFIG, MEASURES_VERSION, TABLES
from superpose_cli.results.schema import Coded, features_table, history_table, instances_table, schema
from tests.synthetic import column_of, shard_tables

GROUPS = ("model", "init", "data", "importance", "train")


def columns_for(n_rows: int = 3, table: str = "features", **changes: Any) -> dict[str, Any]:
    """Valid columns of a table, some of them changed."""
    filler = {"i32": 1, "i64": 1, "f32": 0.5, "f64": 0.5, "bool": True, "str": "text"}
    columns = {c.name: filler.get(c.type, np.zeros((n_rows, 2))) for c in TABLES[table] if not c.nullable}
    return columns | {"key": np.arange(n_rows, dtype=np.uint64)} | changes


def test_every_setting_that_affects_the_outcome_has_its_column() -> None:
    hints = get_type_hints(Config)
    wanted = {"seed": "i64", "paired": "bool"}
    for group in GROUPS:
        for name, hint in get_type_hints(hints[group]).items():
            kind = next((k for k in get_args(hint) if k is not type(None)), hint)
            text = isinstance(kind, type) and issubclass(kind, StrEnum)
            types = {int: "i64", float: "f64", bool: "bool", Any: "f64"}
            wanted[column_of(f"{group}.{name}")] = "str" if text else types[kind]
    del wanted["values"]  # one importance per feature: only in the features table
    assert {c.name: c.type for c in CONFIG} == wanted


def test_settings_that_may_be_unset_are_nullable() -> None:
    nullable = {c.name for c in CONFIG if c.nullable}
    for group in GROUPS:
        for f in fields(get_type_hints(Config)[group]):
            if f.default is None and f.name != "values":
                assert column_of(f"{group}.{f.name}") in nullable


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_unique_and_described(table: str) -> None:
    names = [column.name for column in TABLES[table]]
    assert len(set(names)) == len(names)
    for field in schema(table):
        assert field.metadata[b"unit"]
        assert field.metadata[b"meaning"].endswith(b".")
    notes = {"superpose_table": table, "superpose_schema": "1", "superpose_measures": str(MEASURES_VERSION)}
    assert schema(table).metadata == {name.encode(): text.encode() for name, text in notes.items()}


def test_types_that_the_design_fixes() -> None:
    instances, features = schema("instances"), schema("features")
    assert instances.field("loss").type == pa.float64()
    assert instances.field("cell").type == features.field("cell").type == pa.int64()
    assert features.field("restart").type == features.field("feature").type == pa.int32()
    assert features.field("W").type.value_type == pa.float32()
    assert pa.types.is_dictionary(instances.field("status").type)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint64, st.integers(0, 20)))
def test_keys_are_sixteen_hex_digits(key: np.ndarray) -> None:
    table = history_table(columns_for(len(key), "history", key=key))
    assert table["key"].to_pylist() == [f"{k:016x}" for k in key.tolist()]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_values_nulls_and_nans_arrive(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 12))
    floats = data.draw(hnp.arrays(np.float64, n))
    mask = data.draw(hnp.arrays(np.bool_, n))
    lists = data.draw(hnp.arrays(np.float32, (n, data.draw(st.integers(0, 4)))))
    text = data.draw(st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=n, max_size=n))
    table = instances_table(
        columns_for(
            n,
            "instances",
            loss=floats,
            train_loss=np.ma.masked_array(floats, mask),
            failed_step=np.ma.masked_array(np.arange(n), mask),
            b_hidden=lists,
            model=np.array(text, dtype=object),
        )
    )
    np.testing.assert_array_equal(table["loss"].to_numpy(), floats)
    np.testing.assert_array_equal(table["train_loss"].is_null().to_numpy(), mask)
    np.testing.assert_array_equal(table["train_loss"].drop_null().to_numpy(), floats[~mask])
    assert table["failed_step"].to_pylist() == [None if m else i for i, m in enumerate(mask)]
    np.testing.assert_array_equal(
        np.array(table["b_hidden"].to_pylist(), np.float32).reshape(lists.shape), lists
    )
    assert table["model"].to_pylist() == text
    assert table["k"].null_count == n


def test_text_as_codes_as_strings_and_as_one_word() -> None:
    words = np.array(["ok", "dead", "ok"])
    codes = Coded(np.array([0, 1, 0], np.int8), ("ok", "dead"))
    for status in (words, words.astype(object), codes):
        assert features_table(columns_for(regime=status))["regime"].to_pylist() == ["ok", "dead", "ok"]
    assert features_table(columns_for(regime="ok"))["regime"].to_pylist() == ["ok"] * 3
    labels = instances_table(columns_for(3, "instances", data=Coded(np.array([0, -1, 0]), ("µ",))))
    assert labels["data"].to_pylist() == ["µ", None, "µ"]


def test_weights_are_not_copied() -> None:
    W = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    column = features_table(columns_for(W=W))["W"].chunk(0)
    assert column.values.buffers()[1].address == W.ctypes.data
    history = history_table(columns_for(3, "history", W=np.zeros((3, 5, 2), np.float32)))
    assert history["W"].to_pylist() == [[0.0] * 10] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nonsense": 1}, "no column nonsense"),
        ({"loss": 1.0}, "no column loss"),
        ({"norm": None}, r"features\.norm is missing or has nulls"),
        ({"norm": np.ma.masked_equal([1.0, 2.0, 3.0], 2.0)}, "norm is missing or has nulls"),
        ({"regime": Coded(np.array([0, 1, -1]), ("a", "b"))}, "regime is missing or has nulls"),
        ({"norm": np.zeros(4)}, "norm has 4 rows, key has 3"),
        ({"W": np.zeros(3)}, "one row per table row"),
        ({"W": np.ma.masked_equal(np.zeros((3, 2)), 0)}, "one row per table row"),
        ({"cell": np.array([0.5, 1, 2])}, "column cell"),
        ({"restart": np.array([0, 1, 2**31])}, "column restart"),
        ({"norm": np.array(["a", "b", "c"])}, "column norm"),
        ({"norm": "one"}, "column norm"),
        ({"regime": np.arange(3)}, "column regime"),
        ({"key": np.arange(3)}, "a key must be uint64"),
    ],
)
def test_wrong_columns_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features_table(columns_for(**changes))


def test_a_label_must_be_text() -> None:
    with pytest.raises(ValueError, match="column nonsense"):
        instances_table(columns_for(3, "instances", nonsense=np.arange(3)))


def test_tables_of_several_shapes_can_be_joined() -> None:
    parts = [shard_tables(np.ones((2, n, m)))["features"] for n, m in ((3, 2), (5, 1))]
    assert pa.concat_tables(parts).num_rows == 2 * 3 + 2 * 5
