"""Frames in NumPy's own files."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from sksimclr._files.compressed import read_bytes
from sksimclr._files.file_names import named_frames
from sksimclr._files.frames import Frames

_MAX_HEADER = 1024  # characters; that of an image has 118


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
    shape, fortran, dtype, start = _header(data)
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


def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether columns come first, dtype and start of an array's values.

    Raises a ValueError for what is not an array of images; one (H, W) gets an axis.
    """
    file = io.BytesIO(data[: 1 << 16])
    is_first = np.lib.format.read_magic(file) == (1, 0)
    read = getattr(np.lib.format, f"read_array_header_{1 if is_first else 2}_0")
    try:
        shape, fortran, dtype = read(file, max_header_size=_MAX_HEADER)
    except (MemoryError, RecursionError) as error:  # Python parses the header
        raise ValueError("its header is no description of an array") from error
    if dtype.hasobject or dtype.kind not in "biuf" or not 2 <= len(shape) <= 4:
        raise ValueError(
            "expected an array of numbers of shape (H, W), (n, H, W) or (n, H, W, C), "
            f"got {dtype} of shape {shape}"
        )
    if min(shape) < 1:
        raise ValueError(f"its array has the shape {shape}: there are no pixels")
    return (1, *shape) if len(shape) == 2 else shape, fortran, dtype, file.tell()
