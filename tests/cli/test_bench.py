"""`superpose bench` end to end, on the smallest shape."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from superpose_cli.cli.app import app

SHORT = "--shape intro --engine notebook --engine torch --seconds 0"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine torch's threads wait for each other: alone, one is quick."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def superpose(line: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result


def test_tables_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = superpose(f"bench {SHORT} --out {tmp_path / 'new'}")
    assert "Microseconds per model and step, p = 1\n" in result.stdout
    assert "x notebook" in result.stdout
    assert "GFLOP/s" in result.stdout
    assert "warming up notebook on intro" in result.stderr
    data, page = (Path(line) for line in result.stdout.splitlines()[-2:])
    assert (data.suffix, page.suffix, data.stem) == (".json", ".md", page.stem)
    record = json.loads(data.read_text())
    assert data.stem.startswith(record["date"][:10])
    assert {timing["rival"] for timing in record["timings"]} == {"notebook", "torch"}
    rows = [line for line in page.read_text().splitlines() if line.startswith("| intro")]
    assert len(rows) == 4


def test_json_is_one_object_on_stdout() -> None:
    result = superpose(f"bench {SHORT} --json --quiet")
    assert result.stderr == ""
    record = json.loads(result.stdout)
    timing = record["timings"][0]
    assert {"shape", "n_features", "n_hidden", "instances", "feature_probability"} < set(timing)
    assert {"rival", "device", "numerics", "steps", "microseconds", "speedups"} < set(timing)
    assert {"cpu", "cores", "instruction_set", "memory_bytes", "system", "versions"} < set(record["machine"])
    assert {"threads", "one_thread", "all_threads"} == set(record["peak"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("--shape itnro", "no shape 'itnro'. Did you mean 'intro'?"),
        ("--engine tourch", "no engine 'tourch' to time. Did you mean 'torch'?"),
        ("--engine notebook --scale", "add --engine numba"),
        ("--seconds -1", "--seconds"),
        ("geometry", "geometry"),
    ],
)
def test_wrong_input_is_one_line(wrong: str, words: str) -> None:
    result = superpose(f"bench {wrong}", exit_code=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
