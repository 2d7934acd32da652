"""What comes from a stranger is data: nothing in it runs, nothing is written elsewhere, one line says so."""

import json
import os
import pickle
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from superpose_cli.cli.app import app
from superpose_cli.results.lock import LOCK
from tests.helpers import mostly_slow

TINY = "train.steps=4 train.n_batch=8 evaluation.n_rows=50 history.every=2 engine=torch"
SWEEP = f"sweep data.feature_probability=0.1,0.5 {TINY} -q"


class Exploit:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("EXECUTED").absolute(),))


PICKLE = pickle.dumps(Exploit())


def superpose(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a small run `run` and something that is none of ours, `elsewhere`."""
    root = tmp_path_factory.mktemp("stranger")
    before = Path.cwd()
    os.chdir(root)
    try:
        assert superpose(f"{SWEEP} --out run").exit_code == 0
    finally:
        os.chdir(before)
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "precious.txt").write_text("precious")
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to work in."""
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


LOOKING = ("show run", "plot run --plot dims", "compare run run", "list runs --outputs .", "clean . --yes")
SAME, REUSING = f"{SWEEP} --out run", f"{SWEEP} restarts=2 --reuse-from run --out mine"
COMMANDS = (*LOOKING, SAME, REUSING)


def check_harmless(home: Path, commands: tuple[str, ...] = COMMANDS) -> dict[str, Result]:
    """Run the commands: each ends well or with one line, and touches nothing of others."""
    before = contents(home / "elsewhere")
    results = {}
    for line in commands:
        done = superpose(line)
        results[line] = done
        assert done.exception is None or isinstance(done.exception, SystemExit), (line, done.exception)
        assert done.exit_code in (0, 1, 2), line
        if done.exit_code:
            (said,) = [text for text in done.stderr.splitlines() if text.startswith("superpose: error: ")]
            assert len(said) < 1000, line
            assert "Traceback" not in done.output
    assert contents(home / "elsewhere") == before
    assert not Path("EXECUTED").exists()
    return results


DEEP = "[" * 100_000
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CONFIGS = {
    "python tag": "model: !!python/object/apply:os.system ['touch EXECUTED']\n",
    "python name": "seed: !!python/name:os.system\n",
    "target": "model: {_target_: pathlib.Path.touch, n_features: 3}\n",
    "target at the top": "_target_: os.system\n_args_: ['touch EXECUTED']\n",
    "resolver": "seed: ${oc.env:HOME}\n",
    "python resolver": "experiment: ${python:touch}\n",
    "escape upwards": "experiment: ../../elsewhere\ndata: {feature_probability: 0.1}\n",
    "absolute path": "experiment: /elsewhere\ndata: {feature_probability: 0.1}\n",
    "option outside": "data: {feature_probability: 0.1}\ngrid: {model: [../../elsewhere/precious]}\n",
    "deep": DEEP,
    "deep mapping": "{a: " * 5000,
    "bomb": BOMB + "model: *i\n",
    "bomb in the grid": BOMB + "data: {feature_probability: 0.1}\ngrid: {seed: *i}\n",
    "bomb in options": BOMB + "data: {feature_probability: 0.1}\noptions: *i\n",
    "huge grid": "data: {feature_probability: 0.1}\ngrid: {seed: 'range(0,1000000000000)'}\n",
    "huge model": "data: {feature_probability: 0.1}\nmodel: {n_features: 2147483647, n_hidden: 2147483647}\n",
    "huge restarts": "data: {feature_probability: 0.1}\nrestarts: 2000000000\n",
    "huge number": "seed: 1" + "0" * 5000 + "\n",
    "pickle": PICKLE,
    "no text": bytes(range(256)),
    "list": "- 1\n- 2\n",
    "twice": "a: &a {b: *a}\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_data(name: str, home: Path) -> None:
    text = CONFIGS[name]
    Path("stranger.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    lines = ("sweep --config stranger.yaml --max-seconds 0 -q",)
    for line, done in check_harmless(home, lines).items():
        assert done.exit_code == 2, (line, done.output)
    shutil.copy("stranger.yaml", "run/config.yaml")
    check_harmless(home, ("show run", "compare run run", REUSING))


@pytest.mark.parametrize(
    "name",
    ["../elsewhere", "/etc/passwd", "a/../../elsewhere", "..", ".", "a/b", "x" * 5000, "\x1b[2J", "a\nb"],
)
def test_a_name_stays_a_name(name: str, home: Path) -> None:
    before = contents(home)
    for key in ("experiment", "model", "data"):
        done = CliRunner().invoke(app, ["sweep", f"{key}={name}", "--max-seconds", "0", "-q"])
        assert done.exit_code == 2
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert "\x1b" not in done.stderr
    assert contents(home) == before


MANIFESTS = {
    "deep": lambda m: DEEP,
    "pickle": lambda m: PICKLE.decode("latin-1"),
    "numbers": lambda m: m | {"n_cells": 10**30, "restarts": -5, "n_instances": 10**18, "shards": 10**12},
    "axes": lambda m: m | {"axes": [{"keys": ["x"] * 9, "columns": ["../../elsewhere"], "values": [[1]]}]},
    "axis without values": lambda m: m | {"axes": [{"keys": ["seed"], "columns": ["seed"], "values": []}]},
    "many axes": lambda m: m | {"axes": m["axes"] * 40},
    "name": lambda m: m | {"experiment": "../../elsewhere/" + "x" * 5000},
    "plots": lambda m: m | {"plots": ["../elsewhere/precious", "__import__('os')"]},
    "counts": lambda m: m | {"counts": {"ok": -1, "../x": 10**40}},
    "seconds": lambda m: m | {"seconds": 1e308},
    "infinite": lambda m: json.dumps(m | {"seconds": float("inf")}),
    "future": lambda m: m | {"schema_version": 10**9},
    "list": lambda m: [m],
    "half": lambda m: json.dumps(m)[:200],
    "digits": lambda m: '{"schema_version": 1' + "0" * 5000 + "}",
}


@pytest.mark.parametrize("name", mostly_slow(MANIFESTS, ("axes", "name", "counts", "list", "digits")))
def test_a_manifest_is_data(name: str, home: Path) -> None:
    file = home / "run" / "manifest.json"
    changed = MANIFESTS[name](json.loads(file.read_text()))
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    check_harmless(home, ("show run", "plot run --plot dims", SAME))


def rewrite(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(file)), file)


def with_column(name: str, value) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        return table.set_column(at, field, pa.array([value] * len(table), field.type))

    return change


def with_note(name: bytes, text: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({**table.schema.metadata, name: text})


TABLES = {
    "truncated": lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]),
    "empty": lambda f: f.write_bytes(b""),
    "pickle": lambda f: f.write_bytes(PICKLE),
    "text": lambda f: f.write_text("PAR1 hello PAR1"),
    "foreign": lambda f: pq.write_table(pa.table({"a": [1, 2]}), f),
    "pandas": lambda f: rewrite(f, with_note(b"pandas", PICKLE.hex().encode())),
    "arrow schema": lambda f: rewrite(f, with_note(b"ARROW:schema", PICKLE.hex().encode())),
    "schema number": lambda f: rewrite(f, with_note(b"superpose_schema", b"many")),
    "no rows": lambda f: rewrite(f, lambda t: t.slice(0, 0)),
    "huge footer": lambda f: f.write_bytes(f.read_bytes()[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"),
    "folder": lambda f: (f.unlink(), f.mkdir()),
    "pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "link": lambda f: (f.unlink(), f.symlink_to(f.parents[2] / "elsewhere" / "precious.txt")),
    "dangling link": lambda f: (f.unlink(), f.symlink_to("/nowhere/at/all")),
}  # fmt: skip


@pytest.mark.parametrize("table", mostly_slow(("instances", "features", "history"), ("features",)))
@pytest.mark.parametrize("name", mostly_slow(TABLES, ("truncated", "pandas", "huge footer", "pipe", "link")))
def test_a_table_is_data(name: str, table: str, home: Path) -> None:
    TABLES[name](home / "run" / f"{table}.parquet" / "shard-000000.parquet")
    check_harmless(home, ("show run", "plot run --plot dims", SAME, REUSING))


@pytest.mark.parametrize("value", [2**62, -1])
@pytest.mark.parametrize("name", mostly_slow(("n_features", "n_hidden", "cell", "steps"), ("n_features",)))
def test_declared_sizes_take_no_memory(name: str, value: int, home: Path) -> None:
    rewrite(home / "run" / "instances.parquet" / "shard-000000.parquet", with_column(name, value))
    check_harmless(home, ("show run", "plot run --plot dims", SAME, REUSING))


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_flipped_bits_end_in_a_line_or_in_nothing(seed: int, home: Path) -> None:
    """Anywhere in any file: a command ends well or with its line."""
    draw = random.Random(seed)
    files = sorted(p for p in (home / "run").rglob("*") if p.is_file() and p.stat().st_size)
    for _ in range(20):
        file = draw.choice(files)
        good = file.read_bytes()
        bad = bytearray(good)
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        file.write_bytes(bad)
        check_harmless(home, ("show run --json",))
        file.write_bytes(good)


@pytest.mark.parametrize("table", ["instances", "features", "history"])
def test_names_of_columns_that_are_no_text_any_more(table: str, home: Path) -> None:
    """One flipped bit of a footer: every command that reads it tells the file, and a new sweep goes on."""
    (file,) = (home / "run" / f"{table}.parquet").iterdir()
    column = {"instances": b"loss_ratio", "features": b"importance", "history": b"train_loss"}[table]
    good = file.read_bytes()
    places = [found.start() for found in re.finditer(column, good)]
    assert len(places) >= 2, "in the schema and in the row group"
    for at in places[-3:]:
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
        results = check_harmless(home, (*LOOKING, "report run", SAME, REUSING))
        assert results[REUSING].exit_code == 0
        shutil.rmtree(home / "mine")
        file.write_bytes(good)


@pytest.mark.parametrize("where", ["--config here.yaml", "run", "manifest"])
@pytest.mark.parametrize("kind", ["device", "pipe", "huge"])
def test_what_is_no_file_of_a_person_is_not_read(where: str, kind: str, home: Path) -> None:
    target = {"run": home / "run" / "config.yaml", "manifest": home / "run" / "manifest.json"}.get(
        where, home / "here.yaml"
    )
    target.unlink(missing_ok=True)
    if kind == "device":
        target.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        with target.open("wb") as file:
            file.truncate(1 << 40)
    line = f"plan {where}" if where.startswith("--") else "show run"
    (done,) = check_harmless(home, (line,)).values()
    assert done.exit_code == 2


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json"])
def test_the_advice_for_a_damaged_file_keeps_what_is_stored(name: str, home: Path) -> None:
    before = contents(home / "run" / "instances.parquet")
    (home / "run" / name).write_text("{[", encoding="utf-8")
    for line in ("show run", SAME):
        done = superpose(line)
        assert done.exit_code == 2
        assert "delete it and run the same sweep again" in done.stderr
    (home / "run" / name).unlink()
    done = superpose(SAME.replace(" -q", ""))
    assert done.exit_code == 0
    assert "reused" not in done.stderr
    assert contents(home / "run" / "instances.parquet") == before


@pytest.mark.parametrize("name", ["figures", ".staging", "instances.parquet", "features.parquet"])
def test_folders_do_not_lead_out(name: str, home: Path) -> None:
    shutil.rmtree(home / "run" / name, ignore_errors=True)
    (home / "run" / name).symlink_to(home / "elsewhere")
    check_harmless(home)


@pytest.mark.parametrize("name", [f".staging/{LOCK}", "manifest.json", "config.yaml", "figures/dims.png"])
def test_files_do_not_lead_out(name: str, home: Path) -> None:
    file = home / "run" / name
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to(home / "elsewhere" / "precious.txt")
    check_harmless(home)


@pytest.mark.parametrize("content", [PICKLE, b"", b"superpose checkpoint 1\n" + b"\xff" * 8, DEEP.encode()])
def test_a_checkpoint_is_data(content: bytes, home: Path) -> None:
    for table in ("instances", "features", "history"):
        (home / "run" / f"{table}.parquet" / "shard-000000.parquet").unlink()
    (home / "run" / ".staging" / "shard-000000.checkpoint").write_bytes(content)
    done = check_harmless(home, (SAME,))
    assert done[SAME].exit_code == 0
    assert np.isfinite(json.loads(superpose("show run --json").stdout)["best_loss"]).all()
