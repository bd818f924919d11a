"""How tests and doctests share a machine: one process to a core, some tests alone."""

import os
import tempfile

import pytest

try:
    import fcntl
except ImportError:  # on Windows, where all tests run beside others
    fcntl = None

_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if _IS_WORKER:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported


def pytest_collection_modifyitems(items):
    """Let the tests that need the machine alone come last."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Run a test beside others, or alone: with a lock on this file."""
    if not _IS_WORKER or fcntl is None:
        return (yield)
    with open(__file__) as file:
        is_alone = item.get_closest_marker("alone") is not None
        fcntl.flock(file, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:  # by closing it alone, not if a process that was forked has it too
            fcntl.flock(file, fcntl.LOCK_UN)


@pytest.fixture(autouse=True)
def temporary_files_of_doctests(request, monkeypatch):
    """Let what a doctest leaves behind be removed."""
    if isinstance(request.node, pytest.DoctestItem):
        folder = request.getfixturevalue("tmp_path")
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
