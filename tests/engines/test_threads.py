"""Ranges of instances on threads: all of them once, errors told, nothing begun after one, forks survived."""

import os
import threading

import numba
import pytest

from superpose_cli.engines.threads import on_threads


@pytest.fixture
def two_threads():
    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize(("count", "block"), [(1, 1), (2, 1), (3, 1), (37, 1), (1000, 1), (33, 16), (5, 16)])
def test_ranges_cover_all_once_in_whole_blocks(two_threads, count, block):
    spans = []
    on_threads(lambda begin, end: spans.append((begin, end)), count, block=block)
    covered = [i for begin, end in sorted(spans) for i in range(begin, end)]
    assert covered == list(range(count))
    assert all(begin % block == 0 for begin, _ in spans)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_two_ranges_run_at_once(two_threads):
    both, places = threading.Barrier(2, timeout=30), []
    on_threads(lambda begin, end: places.append(both.wait()), 2)  # one after the other breaks the barrier
    assert sorted(places) == [0, 1]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_ends_it_and_no_range_begins_afterwards(two_threads, kind):
    begun = []

    def kernel(begin, end):
        begun.append(begin)
        if threading.current_thread() is threading.main_thread():
            raise kind("here")
        stopped.wait(30)

    stopped = threading.Event()
    timer = threading.Timer(0.2, stopped.set)
    timer.start()
    with pytest.raises(kind, match="here"):
        on_threads(kernel, 1000)
    timer.join()
    assert len(begun) <= 2


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_an_error_of_the_other_thread_is_raised_here(two_threads):
    both = threading.Barrier(2, timeout=30)

    def kernel(begin, end):
        both.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("there")

    with pytest.raises(ValueError, match="there"):
        on_threads(kernel, 2)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(two_threads):
    on_threads(lambda begin, end: None, 100)
    child = os.fork()
    if not child:
        spans = []
        on_threads(lambda begin, end: spans.append(end - begin), 100)
        os._exit(0 if sum(spans) == 100 else 1)
    assert os.waitpid(child, 0)[1] == 0
