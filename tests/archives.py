"""Small archives, a pipeline that labels them, and runs that are killed.

The processes are forked from one that has imported all that is slow to import.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from archive_files import frame_name, frame_times, write_pgm
from runs import STOPPED, start_process
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tiny import tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr.archive import label_archive, pack_frames
from sksimclr.datasets import make_aurora

SIZE = 16  # of frames, pixels
N_FRAMES = 5  # in a file
PART_BYTES = 2 * N_FRAMES * SIZE * SIZE  # two files, or three, to a part


def make_frames(n_frames=N_FRAMES, seed=0):
    """Return raw frames (n, 16, 16) uint16."""
    return make_aurora(n_frames, size=SIZE, random_state=seed).images


def fitted_pipeline(**params):
    """Return a fitted pipeline with labels that are texts."""
    data = make_aurora(36, size=SIZE, random_state=0)
    pipe = make_pipeline(
        AuroraPreprocessor(), tiny_simclr(**params), LogisticRegression(max_iter=1000)
    )
    return pipe.fit(data.images, np.take(data.target_names, data.target))


def write_archive(folder, n_files=6, sites=("fsmi", "gill")):
    """Write minutes of frames of several stations; return their paths, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(n_files):
        site = sites[number % len(sites)]
        start = np.datetime64("2014-03-10T06:00", "ns") + np.timedelta64(number, "m")
        path = folder / frame_name(start, site, ".pgm")
        images = make_frames(seed=number)
        paths.append(write_pgm(path, images, frame_times(N_FRAMES, start), site))
    return sorted(paths)


def contents(catalogue):
    """Return the bytes of all files of a catalogue by their paths in it.

    But not what killed runs have begun, which stays for a day.
    """
    catalogue = Path(catalogue)
    return {
        str(path.relative_to(catalogue)): path.read_bytes()
        for path in catalogue.rglob("*")
        if path.is_file() and path.name != "_lock" and path.suffix != ".tmp"
    }


# In processes of their own


def start(archive, catalogue, task="nothing"):
    """Start a process that labels an archive; `task` is a function of this module."""
    return start_process(_run, _label, archive, catalogue, task)


def start_packing(archive, store, task="nothing", **params):
    """Start a process that packs an archive."""
    return start_process(_run, _pack, archive, store, task, params)


def _run(function, archive, output, task, *params):
    """Do what a script of a user's does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not as in the background
    name, *argument = task.split()
    globals()[name](*argument)
    torch.set_num_threads(1)  # as in the tests; bits of what is fitted depend on it
    try:
        function(archive, output, *params)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _label(archive, catalogue):
    label_archive(fitted_pipeline(), archive, catalogue, part_bytes=PART_BYTES)


def pack(archive, store, **params):
    """Pack frames of 8 pixels, in small parts."""
    small = AuroraPreprocessor(size=8, dtype="uint8")
    params = {"preprocessor": small, "part_bytes": PART_BYTES} | params
    return pack_frames(archive, store, **params)


def _pack(archive, store, params):
    pack(archive, store, **params)


def nothing():
    """Let the process be."""


def without_locks():
    """Let it be on a file system that has none."""
    import fcntl

    fcntl.flock = _raise_os_error


def _raise_os_error(*args):
    raise OSError(38, "Function not implemented")


def kill_at(event):
    """Kill this process before the n-th step in which the catalogue is written."""
    _call_at(int(event), lambda: os.kill(os.getpid(), signal.SIGKILL))


def interrupt_at(event):
    """Send this process a Ctrl-C before such a step."""
    _call_at(int(event), lambda: os.kill(os.getpid(), signal.SIGINT))


def _call_at(event, function):
    """Call a function before the n-th call of those that write."""
    import pyarrow.parquet as pq

    lock, n_calls = threading.Lock(), 0

    def count():
        nonlocal n_calls
        with lock:
            n_calls += 1
            if n_calls == event:
                function()

    for owner, name in ((pq, "write_table"), (os, "fsync"), (os, "replace")):
        setattr(owner, name, _counting(getattr(owner, name), count))


def _counting(function, count):
    def counting(*args, **kwargs):
        count()
        return function(*args, **kwargs)

    return counting
