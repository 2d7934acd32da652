"""`numba.njit` with compiled code that is kept on disk, under a name that changes with the kernels' source.

numba compares only the file of the function that it caches, so a change in a piece that is compiled into
another file's kernel would go unseen. Here the cache's folder carries a digest of all files that kernels are
made of: new source, new folder. It also works where the package lies in a read-only place.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numba
from numba.core import config, event
from numba.core.registry import CPUDispatcher

_settings: Any = config
"""numba's module of settings, whose names are made at run time."""

PACKAGE = Path(__file__).parent.parent
SOURCES = (
    "engines/compiled_sampling.py",
    "engines/compiling.py",
    "engines/fma_peak.py",
    "engines/lane_numbers.py",
    "engines/lanes.py",
    "engines/narrow_tiles.py",
    "engines/numba_evaluation.py",
    "engines/numba_expected.py",
    "engines/numba_integrals.py",
    "engines/numba_kernels.py",
    "engines/numba_narrow.py",
    "engines/numba_population.py",
    "engines/numba_training.py",
    "engines/numba_updates.py",
    "engines/outer_tiles.py",
    "engines/philox_lanes.py",
    "engines/tiles.py",
    "toy_model/fixed_log.py",
    "toy_model/optim.py",
    "toy_model/philox.py",
    "toy_model/sampling.py",
)
"""The files whose functions are compiled."""


class _Piece(CPUDispatcher):
    """A compiled function without a way in from Python, which calling it all the same would crash."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"{self.py_func.__name__} is compiled into kernels: call one of them")


def piece(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`entry` for a function that only compiled ones call.

    A fifth of the time that kernels take to compile went into ways in to their pieces, which unpack arrays
    and tuples.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = entry(no_cpython_wrapper=True, **options)(function)
        made.__class__ = _Piece
        return made

    return decorate


def entry(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` where a division by 0 gives infinity or NaN, as in NumPy, instead of an exception that
    would end the other instances too."""
    return numba.njit(**options | {"error_model": "numpy", "no_cfunc_wrapper": True})


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`entry(**options)`, cached in `cache_folder()`; without one, compiled anew in each process."""

    def decorate(function: Callable[..., Any]) -> Any:
        folder = cache_folder()
        if folder is None:
            return entry(**options)(function)
        with _numba_caches_in(folder):
            return entry(cache=True, **options)(function)

    return decorate


class _Compilation(event.Listener):
    """Tells of the outermost of nested compilations; numba's lock lets one thread compile at a time."""

    def __init__(self, tell: Callable[[float | None], None]) -> None:
        self.tell, self.depth, self.began = tell, 0, 0.0

    def on_start(self, event: Any) -> None:
        if not self.depth:
            self.began = time.monotonic()
            self.tell(None)
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if not self.depth:
            self.tell(time.monotonic() - self.began)


@contextmanager
def compilation_told(tell: Callable[[float | None], None]) -> Iterator[None]:
    """Call `tell(None)` when a kernel starts to be compiled and `tell(seconds)` when that is done.

    From the thread that compiles. What is read from the cache is not told: it takes no time to speak of.
    """
    with event.install_listener("numba:compile", _Compilation(tell)):
        yield


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None where no folder can be written.

    $NUMBA_CACHE_DIR, the user's cache folder, or a folder of the user's in the temporary one.
    """
    digest = hashlib.blake2b(digest_size=8)
    for source in SOURCES:
        digest.update((PACKAGE / source).read_bytes())
    name = f"superpose-kernels-{digest.hexdigest()}"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    private = f"{tempfile.gettempdir()}/superpose-{os.getuid()}"
    for root in filter(None, (os.environ.get("NUMBA_CACHE_DIR"), home, private)):
        folder = Path(root, name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                # Code from a folder that somebody else can fill would run as this user.
                if folder.stat().st_uid == os.getuid():
                    return folder
        except OSError:
            continue
    return None


@contextmanager
def _numba_caches_in(folder: Path) -> Iterator[None]:
    """numba chooses a function's cache when it decorates it, by a global setting."""
    before = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _settings.CACHE_DIR = before
