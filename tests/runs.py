"""Training runs that are stopped in many ways, here and in processes of their own.

The processes are forked from one that has imported all that is slow to import.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from skorch.callbacks import Callback
from tiny import tiny_encoder, tiny_simclr
from torch import nn

from sksimclr._estimators.fingerprint import fit_fingerprint
from sksimclr._images.images import as_images

_PRELOADED = [  # by the process that is forked, which does not see this folder
    "pyarrow.dataset",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sksimclr._simclr",
    "sksimclr._engine.contrastive",
    "sksimclr.archive",
    "sksimclr.datasets",
]
STOPPED = 77  # status of a process that KeyboardInterrupt ended
_TIMES = ("seconds", "images_per_second")  # all in a history that may differ


def make_images(n_images=40):
    """Return images of 8 x 8 pixels; with batches of 16, three batches an epoch."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (n_images, 8, 8), dtype=np.uint8)


def make_run(folder=None, **params):
    """Return an estimator of nine batches in three epochs, saved to a folder."""
    defaults = {"max_epochs": 3, "lr": 1e-2, "checkpoint_dir": folder}
    return tiny_simclr(**(defaults | params))


def dropout_encoder(n_channels):
    """Return a network that draws from torch's global generator."""
    return nn.Sequential(*tiny_encoder(n_channels), nn.Dropout(0.5))


def outcome(simclr):
    """Return what must be the same to the bit: weights, statistics, and history."""
    networks = (simclr.encoder_, simclr.projector_)
    weights = [
        values.numpy() for net in networks for values in net.state_dict().values()
    ]
    rows = [
        {name: value for name, value in row.items() if name not in _TIMES}
        for row in simclr.history_
    ]
    return [array.tobytes() for array in weights], rows, simclr.n_iter_


def checkpoints_in(folder):
    """Return the names of the checkpoints, the oldest first."""
    return sorted(path.name for path in Path(folder).glob("*.ckpt"))


class Signal(Callback):
    """Send this process a signal at the given batch, counted from 1.

    Counts what this process runs: it stays the same object, and is not saved.
    """

    def __init__(self, number, batch):
        self.number, self.batch = number, batch
        self.n_batches = 0

    def on_batch_begin(self, net, **kwargs):
        """Count, and maybe send it."""
        self.n_batches += 1
        if self.n_batches == self.batch:
            signal.raise_signal(self.number)

    def __deepcopy__(self, memo):
        """Stay the same object."""
        return self


class Counter(Callback):
    """Count batches over all epochs in ways that a checkpoint can hold."""

    def on_train_begin(self, net, **kwargs):
        """Begin to count."""
        self.n_batches_ = 0
        self.sizes_ = []
        self.sum_ = torch.zeros(())
        self.nested_ = {"sizes": {16: 0, 8: 0}, "last": (None, 0.5)}

    def on_batch_end(self, net, batch=None, loss=None, **kwargs):
        """Count a batch."""
        self.n_batches_ += 1
        self.sizes_.append(len(batch[0]))
        self.sum_ = self.sum_ + loss.detach()
        self.nested_["sizes"][len(batch[0])] += 1
        self.nested_["last"] = (loss.item(), self.n_batches_)

    def on_epoch_end(self, net, **kwargs):
        """Show the counts."""
        net.history.record("n_batches", self.n_batches_)
        net.history.record("sizes", list(self.sizes_))
        net.history.record("sum", float(self.sum_))
        net.history.record("nested", str(self.nested_))


# In processes of their own


def start(folder, result, task="", **params):
    """Start a process that trains; it writes its outcome to the file `result`.

    `task` names a function of this module to call before, "name argument".
    """
    threads = torch.get_num_threads()  # on which bits depend
    return start_process(_train, str(folder), str(result), task, threads, params)


def fingerprint_elsewhere(result, **params):
    """Return the fingerprint of a run as another process has it."""
    assert exit_code(start_process(_write_fingerprint, str(result), params)) == 0
    return read_result(result)


def start_process(function, *arguments):
    """Start a process."""
    _context.set_forkserver_preload(_PRELOADED)
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def exit_code(process):
    """Return how a process ended: negative for the signal that ended it."""
    process.join(60)
    assert process.exitcode is not None, "a process hangs"
    return process.exitcode


def fingerprint_of(**params):
    """Return the fingerprint of a run."""
    return fit_fingerprint(make_run(**params), as_images(make_images()))


def read_result(path):
    """Return (outcome, warnings, events) of a process that ended by itself."""
    return pickle.loads(Path(path).read_bytes())


_methods = set(multiprocessing.get_all_start_methods())
if torch.cuda.is_available():  # which cannot be used in what a process forks
    _methods &= {"spawn"}
_context = multiprocessing.get_context(min(_methods & {"forkserver", "spawn"}))
_events = []


def _train(folder, result, task, threads, params):
    """Do what a script of a user's does."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not as in the background
    name, *argument = task.split() or ["nothing"]
    callbacks = globals()[name](*argument)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            simclr = make_run(folder, callbacks=callbacks, **params).fit(make_images())
        except KeyboardInterrupt:
            sys.exit(STOPPED)
    messages = [str(w.message) for w in caught if w.category is RuntimeWarning]
    Path(result).write_bytes(pickle.dumps((outcome(simclr), messages, _events)))


def _write_fingerprint(result, params):
    """Describe a run."""
    Path(result).write_bytes(pickle.dumps(fingerprint_of(**params)))


def nothing():
    """Let the process be."""
    return []


def kill_at(event):
    """Kill this process before its n-th event, counted from 1; at none if n is 0.

    Events are the batches, and all steps in which checkpoints are written.
    """
    import sksimclr._engine.checkpoints as module

    def counted(owner, name):
        function = getattr(owner, name)

        def counting(*args, **kwargs):
            count(name)
            return function(*args, **kwargs)

        setattr(owner, name, counting)

    def count(name):
        _events.append(name)
        if len(_events) == int(event):
            os.kill(os.getpid(), signal.SIGKILL)

    class Batches(Callback):
        def on_batch_begin(self, net, **kwargs):
            count("batch")

        def on_batch_end(self, net, **kwargs):
            count("batch")

    counted(os, "fsync")
    counted(os, "replace")
    counted(Path, "unlink")
    counted(module._HashingFile, "write")
    return [Batches()]


def raise_at(number, batch):
    """Send this process a signal at a batch."""
    return [Signal(int(number), int(batch))]


def slowly(seconds):
    """Take time for every batch."""

    class Sleep(Callback):
        def on_batch_begin(self, net, **kwargs):
            time.sleep(float(seconds))

    return [Sleep()]


def full_disk(n_bytes):
    """Let no file become larger than that from the second epoch on."""
    import resource

    class Limit(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) > 1:
                limits = (int(n_bytes), resource.RLIM_INFINITY)
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        def on_train_end(self, net, **kwargs):
            limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return [Limit()]
