"""Where compiled kernels are kept."""

import re
from pathlib import Path

import numpy as np
import pytest

from superpose_cli.engines import compiling


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two places for a cache, and no memory of the choice between them."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "first"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    compiling.cache_folder.cache_clear()
    yield tmp_path
    compiling.cache_folder.cache_clear()


def test_the_folder_is_named_after_the_source(folders, monkeypatch):
    first = compiling.cache_folder()
    assert first is not None
    assert first.parent == folders / "first"
    monkeypatch.setattr(compiling, "SOURCES", compiling.SOURCES[:-1])
    compiling.cache_folder.cache_clear()
    assert compiling.cache_folder() != first, "other source, other folder"


def test_the_next_folder_serves_where_the_first_cannot_be_made(folders):
    (folders / "first").touch()
    found = compiling.cache_folder()
    assert found is not None
    assert found.parent == folders / "second"


def test_code_is_compiled_where_nothing_can_be_written(folders, monkeypatch):
    (folders / "first").touch()
    (folders / "second").touch()
    (folders / "third").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folders / "third"))
    assert compiling.cache_folder() is None
    double = compiling.compiled()(_double)
    assert double(np.int64(4)) == 8


def test_compiled_code_is_found_again(folders):
    folder = compiling.cache_folder()
    assert folder is not None
    assert compiling.compiled()(_double)(np.int64(4)) == 8
    assert list(folder.rglob("*.nbi"))
    again = compiling.compiled()(_double)
    assert again(np.int64(5)) == 10
    assert sum(again.stats.cache_hits.values()) == 1


def test_compilation_is_told_once_and_the_cache_is_silent(folders):
    """A kernel and the piece inside it are one compilation; a second process would only read it."""
    inner = compiling.piece()(_double)

    def outer(x):
        return inner(x) + 1

    told: list[float | None] = []
    with compiling.compilation_told(told.append):
        assert compiling.compiled()(outer)(np.int64(4)) == 9
    assert len(told) == 2
    assert told[0] is None
    assert told[1] is not None
    assert told[1] > 0
    compiling.compiled()(_double)(np.int64(4))  # outside: not told
    with compiling.compilation_told(told.append):
        assert compiling.compiled()(_double)(np.int64(5)) == 10
    assert len(told) == 2


def test_a_piece_works_in_kernels_alone(folders):
    inner = compiling.piece()(_double)
    assert compiling.entry()(lambda x: inner(x) + 1)(np.int64(4)) == 9
    with pytest.raises(TypeError, match="_double is compiled into kernels"):
        inner(np.int64(4))


def test_every_file_with_a_kernel_is_in_the_digest():
    """A file that numba compiles from must change the folder's name."""
    package = Path(compiling.PACKAGE)
    marks = ("@numba.njit", "@compiled(", "@intrinsic", "numba.njit(", "@piece(", "@entry(")
    using = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(mark in path.read_text() for mark in marks)
    }
    assert using <= set(compiling.SOURCES)
    # What kernels call or take constants from is compiled into them.
    imported = {
        f"{name.replace('.', '/')}.py"
        for source in using
        for name in re.findall(r"^from superpose_cli\.(\S+) import", (package / source).read_text(), re.M)
    }
    folders = {"engines.py", "toy_model.py"}  # `from superpose_cli.engines import one_of_them`
    assert imported - folders <= set(compiling.SOURCES)
    assert all((package / source).exists() for source in compiling.SOURCES)


def _double(x):
    return x + x
