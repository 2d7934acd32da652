"""The compiled sampler has the bits of the NumPy one, whatever the law, the shape and the threads."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from superpose_cli.engines import compiled_sampling
from superpose_cli.engines.compiled_sampling import fill_rows
from superpose_cli.engines.compiling import entry
from superpose_cli.toy_model.fixed_log import log2_fixed
from superpose_cli.toy_model.philox import Stream, words
from superpose_cli.toy_model.sampling import Law, draw

KINDS = ["independent", "correlated", "anticorrelated", "exactly_k", "finite"]
VALUES = ["uniform", "constant", "exponential"]


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    threads = numba.get_num_threads()
    yield
    numba.set_num_threads(threads)


def draw_both(law: Law, *, n: int, rows: tuple[int, int], n_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """The same draw of three unlike instances, compiled and by NumPy."""
    arguments: dict[str, Any] = {
        "key": np.array([1, 2**63 + 5, 2**64 - 1], dtype=np.uint64)[:n_keys],
        "stream": Stream.data,
        "set_stream": Stream.sets,
        "step": 2**31 + 7,
        "feature_probability": np.full((3, n), [[1 / 3], [0.25], [2.0**-20]]),
        "high": np.array([1.0, 2.0, 0.3]),
        "correlation": np.array([0.0, 0.4, 1.0]),
    }
    out = np.full((3, rows[1] - rows[0], n), np.nan, dtype=np.float32)
    fill_rows(out, law, start=rows[0], **arguments)
    return out, draw(np, law, rows=rows, **arguments)


@pytest.mark.parametrize("n_keys", [1, 3])
@pytest.mark.parametrize(("kind", "value", "signed"), list(itertools.product(KINDS, VALUES, [False, True])))
def test_bits_equal_numpy(kind: str, value: str, signed: bool, n_keys: int) -> None:
    out, expected = draw_both(Law(kind, value, signed, set_size=3, k=2), n=7, rows=(128, 1500), n_keys=n_keys)
    np.testing.assert_array_equal(out.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("rows", [(0, 1), (0, 128), (256, 385), (0, 2048)])
def test_bits_at_any_shape(n: int, rows: tuple[int, int]) -> None:
    for kind in ("independent", "correlated"):
        out, expected = draw_both(Law(kind, set_size=1), n=n, rows=rows, n_keys=3)
        np.testing.assert_array_equal(out.view(np.int32), expected.view(np.int32))


def test_probability_one() -> None:
    arguments: dict[str, Any] = {
        "key": np.array([4], dtype=np.uint64),
        "stream": Stream.data,
        "set_stream": Stream.sets,
        "step": 0,
        "feature_probability": np.ones((1, 3)),
        "high": np.ones(1),
        "correlation": np.ones(1),
    }
    for value, kind in itertools.product(VALUES, ["independent", "correlated"]):
        law = Law(kind, value, set_size=2)
        out = np.zeros((1, 4096, 3), dtype=np.float32)
        fill_rows(out, law, start=0, **arguments)
        np.testing.assert_array_equal(out, draw(np, law, rows=(0, 4096), **arguments))
        assert (out != 0).all()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_threads_do_not_change_bits() -> None:
    drawn = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        drawn.append(draw_both(Law("independent", "exponential"), n=5, rows=(0, 3000), n_keys=3)[0])
    np.testing.assert_array_equal(drawn[0], drawn[1])


def callable_from_python(piece: Any) -> Any:
    """A compiled piece with a way in."""
    return entry()(lambda *arguments: piece(*arguments))


def test_compiled_pieces_equal_their_sources() -> None:
    fill_words = callable_from_python(compiled_sampling.fill_words)
    block = np.empty(128, dtype=np.uint32)
    for number in (2**63 + 77, 2**64 - 1, 0):
        key = np.array([number], dtype=np.uint64)
        for step, turn, column in ((9, 3, 5), (2**32 - 1, 2**20, 0), (0, 0, 399)):
            fill_words(block, key[0], 6, step, turn, column)
            rows = (128 * turn, 128 * turn + 128)
            np.testing.assert_array_equal(block, words(np, key, 6, step, rows, column + 1)[0, :, column])
    integers = np.concatenate([2 ** np.arange(33), 2 ** np.arange(2, 33) - 1, np.arange(3, 2**32, 2**22 + 1)])
    expected = log2_fixed(np, integers)
    logarithm = callable_from_python(compiled_sampling.log2_fixed)
    assert [logarithm(integer) for integer in integers] == expected.tolist()


def test_code_is_compiled_where_no_cache_can_be_written(tmp_path: Path) -> None:
    """numba refuses `cache=True` when it finds no folder to write; the sampler works all the same."""
    package = Path(compiled_sampling.__file__).parents[1]
    copied = tmp_path / package.name
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    # A file where each of the cache folders would be: beside the source, the user's, and the temporary one.
    (copied / "engines" / "__pycache__").touch()
    (tmp_path / f"superpose-{os.getuid()}").touch()
    program = """
import numpy as np
from superpose_cli.engines import compiled_sampling
from superpose_cli.toy_model.sampling import Law
out = np.empty((1, 128, 2), np.float32)
one = np.ones(1)
compiled_sampling.fill_rows(
    out, Law("independent"), key=np.array([1], np.uint64), stream=2, set_stream=3, step=0, start=0,
    feature_probability=np.ones((1, 2)), high=one, correlation=one,
)
print(compiled_sampling.__file__, compiled_sampling._fill.stats.cache_path, out.view(np.uint32).sum())
"""
    nowhere = str(copied / "engines" / "__pycache__" / "below")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ
        | {
            "NUMBA_CACHE_DIR": nowhere,
            "XDG_CACHE_HOME": nowhere,
            "HOME": nowhere,
            "TMPDIR": str(tmp_path),
            "PYTHONPATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    drawn = draw(
        np, Law("independent"), rows=(0, 128), key=np.array([1], np.uint64), stream=2, set_stream=3, step=0,
        feature_probability=np.ones((1, 2)), high=np.ones(1), correlation=np.ones(1),
    )  # fmt: skip
    expected = drawn.view(np.uint32).sum()
    source = copied / "engines" / "compiled_sampling.py"
    assert (done.returncode, done.stdout.strip()) == (0, f"{source} None {expected}"), done.stderr
