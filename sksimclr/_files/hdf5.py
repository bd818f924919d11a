"""Frames in HDF5 files, as the colour imagers of TREx write them by now.

The HDF5 library crashes with some damaged files. So it runs in a process of its own,
one for each thread that reads, which is started again after a crash: as
``python -m sksimclr._files.hdf5``, it gets paths and answers with frames.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sksimclr._files.compressed import MAX_BYTES, check_size, read_bytes
from sksimclr._files.file_names import (
    as_instrument,
    as_times,
    instrument_of,
    site_and_time,
    without_utc,
)
from sksimclr._files.frames import Frames

_IMAGES, _TIMES = "data/images", "data/timestamp"
_SECONDS = 60  # after which a process is taken to hang
_MOST_MEMORY = 4 * MAX_BYTES  # of the process
_MAX_FRAMES = 100_000
_IMAGERS = ("imager unique id", "imager_unique_id", "imager_uid", "device_uid")
_MODES = ("mode unique id", "mode_unique_id", "mode_uid")
_HINT = "Files of another layout need a reader: sksimclr.archive.register_reader"
_SITES = ("site unique id", "site_unique_id", "site_uid", "site")  # among attributes
_local = threading.local()  # the process of each thread


def read_h5(path: Path) -> Frames:
    """Read the frames of an HDF5 file of TREx.

    Parameters
    ----------
    path : Path
        With a data set "data/images", (H, W, C, n) or (H, W, n), and "data/timestamp",
        n texts.

    Returns
    -------
    Frames
        Metadata are the attributes of "metadata/file"; the site is theirs, or that of
        the file's name.

    Raises
    ------
    ValueError
        It is no such file, damaged, or leads to numbers in other files.
    ImportError
        h5py is not installed: ``pip install "sksimclr[cameras]"``.
    """
    if find_spec("h5py") is None:
        raise ImportError(
            f"{str(path)!r} is an HDF5 file, which needs h5py: "
            'pip install "sksimclr[cameras]".'
        )
    read_bytes(path)  # says so if it is empty or too large
    if not hasattr(_local, "process"):
        _local.process = _Process()
    said, data = _local.process.ask(str(path))
    images = np.frombuffer(data, said["dtype"]).reshape(said["shape"])
    metadata = said["metadata"]
    lower = {key.lower(): value.lower() for key, value in metadata.items()}
    site, imager, mode = (
        next((lower[key] for key in keys if key in lower), "")
        for keys in (_SITES, _IMAGERS, _MODES)
    )
    return Frames(
        np.ascontiguousarray(np.moveaxis(images, -1, 0)),
        times=as_times([*map(without_utc, said["times"])]),
        site=site or site_and_time(path)[0],
        metadata=metadata,
        instrument=as_instrument(imager, mode) if imager else instrument_of(path),
    )


class _Process:
    """A process that reads HDF5 files, started when it is needed."""

    def __init__(self) -> None:
        self._running: Any = None
        self._owner: int | None = None  # a fork of it must not read its answers

    def ask(self, path: str) -> tuple[dict[str, Any], bytes]:
        """Return what it says of a file, and the bytes of the images.

        Raises a ValueError with what it says is wrong, or that it crashed.
        """
        if self._owner != os.getpid():
            self._start()
        running = self._running
        timer = threading.Timer(_SECONDS, running.kill)
        timer.start()
        try:
            running.stdin.write(json.dumps(path).encode() + b"\n")
            running.stdin.flush()
            said = json.loads(running.stdout.readline())
            data = running.stdout.read(said.get("n_bytes", 0))
        except (OSError, ValueError) as error:
            self._end()
            raise ValueError(
                f"the HDF5 library ended with {running.wait()} while it read it, as it "
                "does with damaged files"
            ) from error
        except BaseException:  # such as Ctrl-C: what comes next is no answer
            self._end()
            raise
        finally:
            timer.cancel()
        if "error" in said:
            raise ValueError(f"{said['error']}. {_HINT}")
        return said, data

    def _start(self) -> None:
        search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._running = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1"},
        )
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._running, self._owner)

    def _end(self) -> None:
        self._owner = None
        self._finalizer()


def _end(process: Any, owner: int) -> None:
    """End a process and wait for it, unless it is that of another."""
    if os.getpid() != owner:
        return
    process.kill()
    with suppress(OSError):
        process.communicate()


def own_dataset(file: Any, name: str) -> Any:
    """Return a data set of an open HDF5 file, whose numbers are all in it.

    Raises a ValueError if it is not there, or is a link to somewhere else.
    """
    import h5py

    place = file
    for part in name.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is not None and not isinstance(link, h5py.HardLink):
            raise ValueError(
                f"expected {name!r} to be in it, got a link to somewhere else"
            )
        place = None if link is None else place.get(part)
    if not isinstance(place, h5py.Dataset):
        raise ValueError(
            f"expected a data set {name!r} in {file.filename!r}, got {sorted(file)}"
        )
    if place.external or place.is_virtual:
        raise ValueError(f"expected {name!r} to be in it, got numbers in other files")
    return place


def _answer(path: str) -> tuple[dict[str, Any], Any]:
    """Return what is to be said of a file, and its images (H, W, C, n) or (H, W, n)."""
    import h5py

    with h5py.File(path, "r") as file:
        stored, texts = own_dataset(file, _IMAGES), own_dataset(file, _TIMES)
        shape, chunks = tuple(stored.shape or ()), stored.chunks or ()
        if len(shape) not in (3, 4) or stored.dtype.kind not in "iuf" or 0 in shape:
            raise ValueError(
                f"expected {_IMAGES!r} as numbers (row, column, channel, frame), got "
                f"{stored.dtype} of shape {shape}"
            )
        check_size(stored.dtype.itemsize * max(math.prod(shape), math.prod(chunks)))
        if texts.shape != shape[-1:] or len(texts) > _MAX_FRAMES:
            raise ValueError(
                f"expected {shape[-1]} times in {_TIMES!r}, got {texts.shape}"
            )
        images = np.ascontiguousarray(stored[()])
        images = images.astype(images.dtype.newbyteorder("="), copy=False)
        said = {
            "shape": shape,
            "dtype": images.dtype.str,
            "n_bytes": images.nbytes,
            "times": [_text(value) for value in texts[()]],
            "metadata": _attributes(file),
        }
    return said, images


def _attributes(file: Any) -> dict[str, str]:
    """Return what the file says of itself."""
    place = file.get("metadata/file")
    return {} if place is None else {k: _text(v) for k, v in place.attrs.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _serve() -> None:
    """Answer, for every line with a path, with a line of JSON and the images."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    for line in sys.stdin.buffer:
        images: Any = b""
        try:
            said, images = _answer(json.loads(line))
        except ValueError as error:
            said = {"error": str(error)}
        except Exception as error:  # h5py raises anything for damaged files
            reason = f"expected a complete HDF5 file, which cannot be read ({error})"
            said = {"error": reason}
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
        sys.stdout.buffer.write(memoryview(images).cast("B"))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
