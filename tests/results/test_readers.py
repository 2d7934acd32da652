"""What pandas, PyArrow, Polars and DuckDB see in the table folders of a run."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from superpose_cli.results.schema import schema
from tests.synthetic import write_run


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A run of three shards with labels, nulls, and models of two shapes."""
    W = [np.ones((3, 2)), np.ones((3, 2)), np.ones((4, 1)), np.ones((4, 1)), np.ones((3, 2)), np.ones((3, 2))]
    axes = {"model": ["linear", "größe", "relu_output"]}
    return write_run(tmp_path / "big", W, axes=axes, restarts=2, instances_per_shard=2)


@pytest.mark.parametrize("table", ["instances", "features", "history"])
def test_all_four_readers(big: Path, table: str) -> None:
    """pandas, PyArrow, Polars and DuckDB see the same rows and columns in a table folder."""
    folder = big / f"{table}.parquet"
    pandas, arrow, polars = pd.read_parquet(folder), pq.read_table(folder), pl.read_parquet(folder)
    query = f"SELECT * FROM '{folder}/*.parquet' ORDER BY cell, restart"
    duck = duckdb.connect().sql(query).to_arrow_table()
    names = schema(table, ("model",) if table == "instances" else ()).names
    n_rows = {"instances": 6, "features": 20, "history": 0}[table]
    for columns, length in (
        (list(pandas.columns), len(pandas)),
        (arrow.column_names, arrow.num_rows),
        (polars.columns, polars.height),
        (duck.column_names, duck.num_rows),
    ):
        assert columns == names
        assert length == n_rows
    for name in names:
        expected = arrow[name].to_pylist()
        assert polars[name].to_list() == expected
        assert duck[name].to_pylist() == expected
    if table == "instances":
        assert pandas["model"].tolist() == [
            "linear",
            "linear",
            "größe",
            "größe",
            "relu_output",
            "relu_output",
        ]
    if n_rows:
        np.testing.assert_array_equal(pandas["key"], arrow["key"].to_pylist())


def test_tables_join_on_key_in_pandas_and_polars(big: Path) -> None:
    a, b = big / "instances.parquet", big / "features.parquet"
    pandas = pd.read_parquet(a)[["key", "cell"]].merge(pd.read_parquet(b)[["key", "feature"]], on="key")
    polars = (
        pl.read_parquet(a).select("key", "cell").join(pl.read_parquet(b).select("key", "feature"), on="key")
    )
    assert len(pandas) == polars.height == 20
