"""Freed memory is kept where a command owns the process, and nowhere else."""

import ctypes
import subprocess
import sys

import pytest
from runs import make_images, make_run

import sksimclr._machine.memory as module
from sksimclr._machine.memory import keep_freed_memory

KEEP = list(module._KEEP)


class FakeLibrary:
    """Note what is called."""

    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        """Note it."""
        self.calls.append((parameter, value))


@pytest.fixture
def library(monkeypatch):
    """Return the C library there seems to be."""
    fake = FakeLibrary()
    monkeypatch.setattr(module, "_glibc", lambda: fake)
    return fake


def test_parameters_are_set(library):
    """All of them, once a call."""
    keep_freed_memory()
    assert library.calls == KEEP


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
    keep_freed_memory()


def test_glibc_knows_the_parameters():
    """By the names of mallopt(3), in a process of its own, which they would change."""
    library = module._glibc()
    if library is None:
        pytest.skip("the C library is not glibc")
    kept = kept_in_a_process("memory.keep_freed_memory()")
    assert kept > 60 > kept_in_a_process("")


def kept_in_a_process(before):
    """Return the megabytes that a process still has after it freed 64 of them."""
    code = (
        "from sksimclr._machine import memory\n"
        f"{before}\n"
        "import ctypes, pathlib\n"
        "def resident():\n"
        "    text = pathlib.Path('/proc/self/statm').read_text()\n"
        "    return int(text.split()[1]) * 4096 / 2**20\n"
        "libc, start = ctypes.CDLL(None), resident()\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "block = ctypes.c_void_p(libc.malloc(64 << 20))\n"
        "ctypes.memset(block, 1, 64 << 20)\n"
        "libc.free(block)\n"
        "print(resident() - start)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return float(run.stdout)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_leaves_the_allocator_of_its_caller_alone(library):
    """It is a library, and not the owner of the process."""
    make_run().fit(make_images()).transform(make_images())
    assert library.calls == []
