"""Frames in NumPy's own files."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from sksimclr._files.compressed import read_bytes
from sksimclr._files.file_names import named_frames
from sksimclr._files.frames import Frames

_EXPECTED = "expected an array of numbers of shape (H, W), (n, H, W) or (n, H, W, C)"
_MAX_HEADER = 1024  # bytes; that of an image has 118
# NumPy lets Python parse the header, which fails now and then in threads (SystemError,
# github.com/python/cpython/issues/106905) and for some damage (MemoryError)
_FIELD = re.compile(
    r"""['"](\w+)['"]\s*:\s*(True|False|\([\d,\s]*\)|['"][<>|=]?[a-zA-Z?]\d*['"])"""
)


def read_npy(path: Path) -> Frames:
    """Read an array that :func:`numpy.save` has written.

    Parameters
    ----------
    path : Path
        An array of shape (H, W), (n, H, W) or (n, H, W, C).

    Returns
    -------
    Frames
        The site is that of a name such as 20140310_060000_gill.npy, and so is the time
        of a single image.

    Raises
    ------
    ValueError
        It is no such array.
    """
    data = read_bytes(path)
    shape, fortran, dtype, start = npy_header(data)
    frame_bytes = dtype.itemsize * math.prod(shape[1:])
    expected, got = frame_bytes * shape[0], len(data) - start
    if got < expected and (fortran or got < frame_bytes):
        raise ValueError(
            f"an array of shape {shape} has {expected:,} bytes, there are {got:,}"
        )
    n_frames = min(got // max(1, frame_bytes), shape[0])
    values = np.frombuffer(data, dtype, n_frames * math.prod(shape[1:]), start)
    array = values.reshape(n_frames, *shape[1:], order="F" if fortran else "C")
    damage = f"{got - expected:,} bytes follow its array" if got > expected else ""
    if got < expected:
        damage = f"it ends after {n_frames} of {shape[0]} frames"
    array = np.array(array, dtype.newbyteorder("="), order="C")
    return named_frames(path, array, damage)


def npy_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether columns come first, dtype and start of an array's values.

    Raises a ValueError for what is not an array of images; one (H, W) gets an axis. The
    first kilobytes of the file will do.
    """
    file = io.BytesIO(data[: 1 << 16])
    n_bytes = 2 if np.lib.format.read_magic(file) == (1, 0) else 4
    length = int.from_bytes(file.read(n_bytes), "little")
    text = file.read(min(length, _MAX_HEADER)).decode("latin-1")
    fields = dict(_FIELD.findall(text))
    if len(text) < length or set(fields) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"{_EXPECTED}, got an array described as {text[:80]!r}")
    shape = tuple(map(int, re.findall(r"\d+", fields["shape"])))
    dtype = np.dtype(fields["descr"].strip("'\""))
    if dtype.kind not in "biuf" or not 2 <= len(shape) <= 4:
        raise ValueError(f"{_EXPECTED}, got {dtype} of shape {shape}")
    if min(shape) < 1:
        raise ValueError(f"its array has the shape {shape}: there are no pixels")
    shape = (1, *shape) if len(shape) == 2 else shape
    return shape, fields["fortran_order"] == "True", dtype, file.tell()
