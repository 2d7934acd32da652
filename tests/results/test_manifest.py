"""The manifest: round trips, and files that are none."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose_cli.errors import RunError
from superpose_cli.results.manifest import RunAxis, dump_manifest, parse_manifest, read_manifest
from tests.synthetic import synthetic_manifest

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT


def tuples(of: Any, least: int, most: int) -> Any:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


AXES = st.integers(1, 3).flatmap(
    lambda width: st.builds(
        RunAxis,
        keys=tuples(TEXT, width, width),
        columns=tuples(TEXT, width, width),
        values=tuples(tuples(VALUES | st.lists(VALUES).map(tuple), width, width), 1, 5),
    )
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(AXES, max_size=3).map(tuple),
    st.lists(TEXT).map(tuple),
    st.dictionaries(TEXT, st.integers(0)),
    st.floats(0, 1e9),
)
def test_round_trip(axes: Any, overrides: Any, counts: dict[str, int], seconds: float) -> None:
    n_cells = math.prod(len(axis.values) for axis in axes)
    manifest = synthetic_manifest(
        axes=axes, n_cells=n_cells, overrides=overrides, counts=counts, seconds=seconds
    )
    assert parse_manifest(dump_manifest(manifest), Path("manifest.json")) == manifest


def record(**changes: Any) -> dict[str, Any]:
    return asdict(synthetic_manifest()) | changes


def test_keys_of_later_versions_are_ignored() -> None:
    text = json.dumps(
        record(colour="blue", axes=[{"keys": ["a"], "columns": ["a"], "values": [[1]], "more": 1}])
    )
    assert parse_manifest(text, Path("m")) == synthetic_manifest(
        axes=(RunAxis(keys=("a",), columns=("a",), values=((1,),)),)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "not a superpose manifest"),
        ("3", "not a superpose manifest"),
        ('{"name": "of another tool"}', "not a superpose manifest"),
        (json.dumps(record(schema_version="1")), "not a superpose manifest"),
        (json.dumps(record(schema_version=True)), "not a superpose manifest"),
        (json.dumps(record(schema_version=2, superpose="9.9")), r"written by superpose 9\.9 .*upgrade"),
        (json.dumps({k: v for k, v in record().items() if k != "run_id"}), "damaged .*run_id.* is missing"),
        (json.dumps(record(n_cells="4")), "damaged .*n_cells is '4'"),
        (json.dumps(record(n_cells=True)), "damaged .*n_cells is True"),
        (json.dumps(record(n_cells=1.5)), "damaged .*n_cells"),
        (json.dumps(record(seconds="long")), "damaged .*seconds"),
        (json.dumps(record(status="done")), "damaged .*status"),
        (json.dumps(record(status=["running"])), "damaged .*status"),
        (json.dumps(record(axes={})), "damaged .*axes"),
        (json.dumps(record(axes=[3])), "damaged .*axes"),
        (json.dumps(record(axes=[{"keys": ["a"]}])), "damaged .*columns is missing"),
        (json.dumps(record(axes=[{"keys": "a", "columns": ["a"], "values": []}])), "damaged .*keys is 'a'"),
        (json.dumps(record(counts={"ok": "1"})), "damaged .*counts"),
        (json.dumps(record(overrides=[1])), "damaged .*overrides"),
    ],
)
def test_wrong_manifests(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        read_manifest(tmp_path)
    assert "manifest.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a folder"):
        read_manifest(tmp_path / "absent")
    with pytest.raises(RunError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match=r"is damaged .*: delete it and run the same sweep again"):
        read_manifest(tmp_path)
