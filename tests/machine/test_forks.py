"""Processes that are forked after, or while, this one trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of Unix")
BEGIN = """
import multiprocessing, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from tiny import tiny_encoder, tiny_simclr

torch.set_num_threads(2)
X = np.random.default_rng(0).integers(0, 256, (64, 64, 64), dtype=np.uint8)
make = lambda **params: tiny_simclr(image_size=64, batch_size=64, **params)

def run(function):
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
        sys.exit("a process hangs")
    sys.exit(process.exitcode)
"""
AFTER = """
fitted = make().fit(X)
assert torch.get_num_threads() == 2
run(lambda: (fitted.transform(X), make().fit(X)))
"""
MEANWHILE = """
building, done = threading.Event(), threading.Event()

def slow_encoder(n_channels):
    building.set()
    done.wait(30)
    return tiny_encoder(n_channels)

thread = threading.Thread(target=make(encoder=slow_encoder).fit, args=[X], daemon=True)
thread.start()
building.wait()
try:
    run(lambda: make().fit(X))
finally:
    done.set()
    thread.join()
"""


@pytest.mark.parametrize("task", [AFTER, MEANWHILE], ids=["after", "meanwhile"])
def test_forked_processes_do_not_hang(task):
    """After a fit on two threads, and while another thread builds a network."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + task],
        env=os.environ | {"PYTHONPATH": _PATH},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


_ROOT = Path(__file__).parents[2]
_PATH = os.pathsep.join(map(str, (_ROOT, _ROOT / "tests")))
