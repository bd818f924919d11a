"""Checkpoints: files that survive a crash, and from which a run goes on."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, cast

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from sksimclr._engine.batch_rows import n_batches_of
from sksimclr._engine.batches import Batches
from sksimclr._engine.state import State, capture, restore_open_epoch
from sksimclr._machine.processes import Processes, same_everywhere
from sksimclr._machine.signals import Interrupted, Interruption
from sksimclr._machine.writing import TEMPORARY, replacing, temporary_path

_MAGIC = b"sksimclr checkpoint 1\n"
_DIGEST_SIZE = hashlib.sha256().digest_size
SECONDS = 600.0  # after which a checkpoint is written, also within an epoch
_N_KEPT = 2  # the newest, and the one before it in case that is damaged
_NAMES = "[0-9]" * 6 + "-" + "[0-9]" * 8 + ".ckpt"  # other files are not ours

Fingerprint = Mapping[str, str]


class CheckpointFolder:
    """The checkpoints of one run.

    Parameters
    ----------
    path : str or path-like
        Of a folder, made when it does not exist.
    fingerprint : mapping of str to str
        What decides on the result of the run, in readable form. Checkpoints with
        another one are refused.
    every : int
        Epochs from one checkpoint to the next.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Fingerprint, *, every: int
    ):
        self.path = Path(os.path.expanduser(path))
        self.every = every
        self._fingerprint = dict(fingerprint)
        self._damaged: set[Path] = set()

    def read(self, max_epochs: int) -> State | None:
        """Return the newest state that can be read, or None if there is none at all.

        Raises
        ------
        ValueError
            The checkpoints are of another run or of more than `max_epochs`, or all of
            them are damaged.
        OSError
            The folder cannot be made, read or written to.
        """
        self._make()
        files = self._files()
        for file in files:
            try:
                content = _read_file(file)
                fingerprint: Fingerprint = content["fingerprint"]
                state: State = content["state"]
            except Exception as error:  # torch raises errors of many classes
                warnings.warn(
                    f"The checkpoint {str(file)!r} cannot be read ({error}); trying "
                    "the one before it.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self._damaged.add(file)
                continue
            self._check_fingerprint(fingerprint)
            with self.misfit_named():
                n_epochs = len(state["history"]) + (state["open_epoch"] is not None)
            self._check_length(n_epochs, max_epochs)
            _delete(self._outdated())  # of a run that was killed before it did
            return state
        if files:
            raise ValueError(
                f"None of the {len(files)} checkpoint(s) in {str(self.path)!r} can be "
                "read. Delete them to start anew, or use another checkpoint_dir."
            )
        return None

    def write(self, state: State, *, n_epochs: int, n_batches: int) -> None:
        """Add a checkpoint, and delete those that are no longer needed.

        Parameters
        ----------
        state : dict
        n_epochs, n_batches : int
            Complete epochs, and batches of the next one, after which it is taken.

        Warns
        -----
        RuntimeWarning
            It cannot be written, for instance because the disk is full. Those that
            were there before still are.
        """
        file = self.path / f"{n_epochs:06d}-{n_batches:08d}.ckpt"
        try:
            _write_file(file, {"fingerprint": self._fingerprint, "state": state})
            self._damaged.discard(file)
            _delete([*self._outdated(), *self._damaged])
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"No checkpoint was written to {str(self.path)!r}: {error}. Training "
                "goes on, and the last checkpoint stays.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted(self.path.glob(_NAMES), reverse=True)

    def _outdated(self) -> list[Path]:
        """Return the checkpoints that newer ones have replaced."""
        good = [file for file in self._files() if file not in self._damaged]
        return good[_N_KEPT:]

    def _make(self) -> None:
        """Make the folder; raise an OSError that names it if it cannot be used."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            temporary_path(self.path / f"{0:06d}-{0:08d}.ckpt").touch()
        except OSError as error:
            raise type(error)(
                error.errno,
                f"checkpoint_dir={str(self.path)!r} is no folder that can be made and "
                f"written to: {error.strerror}",
            ) from error
        _delete(self.path.glob(TEMPORARY.format(_NAMES)))  # of a run that was killed

    def _check_fingerprint(self, found: Fingerprint) -> None:
        """Raise a ValueError that names what differs."""
        differences = [
            f"{name} was {found.get(name, 'not set')}, is "
            f"{self._fingerprint.get(name, 'not set')}"
            for name in sorted({*found, *self._fingerprint})
            if found.get(name) != self._fingerprint.get(name)
        ]
        if differences:
            raise ValueError(
                f"checkpoint_dir={str(self.path)!r} holds another run: "
                f"{'; '.join(differences)}. Use another folder, or the parameters and "
                "data of that run to go on with it."
            )

    def _check_length(self, n_epochs: int, max_epochs: int) -> None:
        """Raise a ValueError if more epochs were begun than are asked for."""
        if n_epochs > max_epochs:
            raise ValueError(
                f"checkpoint_dir={str(self.path)!r} holds a run that is in epoch "
                f"{n_epochs}, beyond max_epochs={max_epochs}. Use another folder, or "
                "more epochs."
            )

    @contextmanager
    def misfit_named(self) -> Iterator[None]:
        """Name the folder when its state does not fit the run that it says it is of.

        Raises
        ------
        ValueError
            Whatever goes wrong in the block.
        """
        try:
            yield
        except Exception as error:
            raise ValueError(
                f"checkpoint_dir={str(self.path)!r} holds a state that does not fit "
                f"this version of sksimclr, torch and skorch: {error!r}. Go on with "
                "those that wrote it, or use another folder."
            ) from error


class Saver(Callback):
    """Save the run, and go on with one that was saved; the last of all callbacks."""

    def __init__(
        self,
        checkpoints: CheckpointFolder | None,
        state: State | None,
        batches: Batches,
        interruption: Interruption,
        *,
        layers_draw: bool,
    ):
        self._checkpoints = checkpoints
        self._state = state
        self._batches = batches
        self._interruption = interruption
        self._layers_draw = layers_draw
        self._clock = _Clock(batches.processes)

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Begin to count the time."""
        self._clock.restart()

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Go on within an epoch that was saved."""
        if self._state is not None:
            folder = self._checkpoints
            with nullcontext() if folder is None else folder.misfit_named():
                restore_open_epoch(net, self._batches, self._state)
            self._state = None

    def on_batch_end(
        self, net: NeuralNet, training: bool = False, **kwargs: Any
    ) -> None:
        """Save when it is time to; save and stop if a signal came."""
        if self._checkpoints is None or not training:
            return
        is_interrupted = self._interruption.pending > 0
        if self._clock.is_over() or is_interrupted:
            n_batches = n_batches_of(net.history[-1, "batches"])
            self._write(net, n_epochs=len(net.history) - 1, n_batches=n_batches)
        if is_interrupted:
            raise Interrupted

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Save after every n epochs and at the end; stop if a signal came."""
        if self._checkpoints is None:
            return
        n_epochs, is_interrupted = len(net.history), self._interruption.pending > 0
        is_due = n_epochs % self._checkpoints.every == 0 or n_epochs == net.max_epochs
        if is_due or is_interrupted:
            self._write(net, n_epochs=n_epochs, n_batches=0)
        if is_interrupted:
            raise Interrupted

    def _write(self, net: NeuralNet, *, n_epochs: int, n_batches: int) -> None:
        """Save the run."""
        assert self._checkpoints is not None
        state = capture(net, self._batches, layers_draw=self._layers_draw)
        if self._batches.processes.rank == 0:
            self._checkpoints.write(state, n_epochs=n_epochs, n_batches=n_batches)
        self._clock.restart()


class _Clock:
    """Says after a batch, the same in all processes, whether SECONDS are over.

    The first process looks, and tells the others; so that this costs nothing, they meet
    only when the number of batches has doubled, or half of what was left is over.
    """

    def __init__(self, processes: Processes):
        self._processes = processes
        self.restart()

    def restart(self) -> None:
        """Begin to count."""
        self._begin = time.monotonic()
        self._n_batches, self._next_look = 0, 1

    def is_over(self) -> bool:
        """Count a batch, and say it."""
        self._n_batches += 1
        if self._n_batches < self._next_look:
            return False
        seconds = time.monotonic() - self._begin
        n_left = (SECONDS - seconds) / max(seconds, 1e-9) * self._n_batches
        wait = max(1, int(min(n_left / 2, self._n_batches)))
        is_over, wait = same_everywhere((seconds >= SECONDS, wait), self._processes)
        self._next_look += wait
        return cast(bool, is_over)


class _HashingFile(io.RawIOBase):
    """A file that is written from start to end, and the digest of what was."""

    def __init__(self, file: io.BufferedWriter):
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Write some bytes."""
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand over to the system, unless that was done: Python asks again at last."""
        if not self._file.closed:
            self._file.flush()


def _write_file(path: Path, content: Any) -> None:
    """Write a file that is either complete or not there at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        hashing = _HashingFile(file)
        file.write(_MAGIC)
        _save(content, hashing)
        file.write(hashing.sha256.digest())


def _delete(files: Iterable[Path]) -> None:
    """Delete files, as far as that is possible."""
    for file in files:
        with suppress(OSError):
            file.unlink()


def _save(content: Any, file: _HashingFile) -> None:
    """Let torch write, and raise what was raised while it did.

    After an error, or Ctrl-C, torch still closes its archive; that fails with a
    RuntimeError, which hides the error.
    """
    outside = sys.exception()
    try:
        torch.save(content, cast(IO[bytes], file))
    except RuntimeError as error:
        hidden = error.__context__
        if hidden is None or hidden is outside:
            raise
        raise hidden from None


def _read_file(path: Path) -> Any:
    """Return the content of a checkpoint; raise a ValueError if it is damaged."""
    if not path.is_file():
        raise ValueError("it is not a regular file")  # a pipe never ends
    data = path.read_bytes()
    payload, digest = data[len(_MAGIC) : -_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    if not data.startswith(_MAGIC):
        raise ValueError("it is no checkpoint of this version of sksimclr")
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError("it is damaged: its SHA-256 is not the one it should have")
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
