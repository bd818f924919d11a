"""Freed memory is kept while a block runs, without effect on anything else."""

import ctypes
import threading
from contextlib import contextmanager

import pytest
from runs import make_images, make_run, outcome

import sksimclr._engine.loop as loop
import sksimclr._machine.memory as module
from sksimclr._machine.memory import freed_memory_is_kept

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
)
KEEP, RETURN = list(module._KEEP), list(module._RETURN)


class FakeLibrary:
    """Note what is called."""

    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        """Note it."""
        self.calls.append((parameter, value))

    def malloc_trim(self, pad):
        """Note it."""
        self.calls.append("trim")


@pytest.fixture
def library(monkeypatch):
    """Return the C library there seems to be."""
    fake = FakeLibrary()
    monkeypatch.setattr(module, "_glibc", lambda: fake)
    assert module._n_users == 0
    yield fake
    assert module._n_users == 0


def test_parameters_are_set_and_put_back(library):
    """Once, and the memory is given back at the end."""
    with freed_memory_is_kept():
        assert library.calls == KEEP
    assert library.calls == [*KEEP, *RETURN, "trim"]


def test_blocks_nest(library):
    """Only the outermost one counts."""
    with freed_memory_is_kept():
        for _ in range(2):
            with freed_memory_is_kept(), freed_memory_is_kept():
                assert module._n_users == 3
        assert library.calls == KEEP
    assert library.calls == [*KEEP, *RETURN, "trim"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_parameters_are_put_back_after_errors(library, error):
    """At every depth."""
    with pytest.raises(error), freed_memory_is_kept():
        with pytest.raises(error), freed_memory_is_kept():
            raise error
        assert library.calls == KEEP
        raise error
    assert library.calls == [*KEEP, *RETURN, "trim"]


def test_threads_share_one_block(library):
    """The first one begins it, the last one ends it, in whatever order they come."""
    barrier = threading.Barrier(8)

    def run():
        for _ in range(50):
            with freed_memory_is_kept():
                assert module._n_users > 0
        barrier.wait()
        with freed_memory_is_kept():
            barrier.wait()
            assert module._n_users == 8
            barrier.wait()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    size = len(KEEP + RETURN) + 1
    blocks = [library.calls[k : k + size] for k in range(0, len(library.calls), size)]
    assert all(block == [*KEEP, *RETURN, "trim"] for block in blocks)
    assert blocks


class NoLibrary:
    """A C library without anything."""


@pytest.mark.parametrize("reason", [OSError, TypeError, AttributeError])
def test_without_glibc_nothing_happens(monkeypatch, reason):
    """On Windows, macOS and with musl."""

    def load(name):
        if reason is AttributeError:
            return NoLibrary()
        raise reason("no library")

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert module._glibc() is None
    with freed_memory_is_kept():
        assert module._n_users == 0


def test_glibc_takes_the_parameters():
    """All of them, where it is the C library."""
    library = module._glibc()
    if library is None:
        pytest.skip("the C library is not glibc")
    for parameter, value in [*KEEP, *RETURN]:
        assert library.mallopt(parameter, value) == 1


def test_fit_keeps_memory_and_its_result_does_not_depend_on_it(monkeypatch):
    """Bit for bit."""
    images, used = make_images(), []
    with_it = outcome(make_run().fit(images))

    @contextmanager
    def nothing():
        used.append(1)
        yield

    monkeypatch.setattr(loop, "freed_memory_is_kept", nothing)
    assert outcome(make_run().fit(images)) == with_it
    assert used == [1]
