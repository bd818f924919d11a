"""Shards of a store: plain .npy files, written frame by frame and read by rows."""

import os
from pathlib import Path

import numpy as np

from sksimclr._files.arrays import npy_header
from sksimclr._machine.writing import naming, temporary_path

_HEADER_BYTES = 128  # of NumPy's header of frames, however many there are


class ShardWriter:
    """A shard on its way, under a name that readers pass over.

    Parameters
    ----------
    path : Path
        Its name when it is done.
    shape : (int, int)
        Of a frame.
    dtype : numpy dtype

    Attributes
    ----------
    n_frames : int
    """

    def __init__(self, path, shape, dtype):
        self._final, self._path = path, temporary_path(path)
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._file = None
        self.n_frames = 0

    def append(self, images):
        """Write frames (n, H, W) behind the others."""
        with naming(self._final):
            if self._file is None:
                self._file = open(self._path, "xb")
                self._file.write(bytes(_HEADER_BYTES))
            self._file.write(np.ascontiguousarray(images, self._dtype).data)
        self.n_frames += len(images)

    def cut(self, n_frames):
        """Take the last frames away."""
        self.n_frames -= n_frames
        frame_bytes = self._dtype.itemsize * self._shape[0] * self._shape[1]
        with naming(self._final):
            self._file.seek(_HEADER_BYTES + self.n_frames * frame_bytes)
            self._file.truncate()

    def move_to(self, path):
        """Write the header, and rename the shard, which is whole now."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.n_frames, *self._shape),
        }
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, header)
        if self._file.tell() != _HEADER_BYTES:
            raise RuntimeError(f"NumPy's header has {self._file.tell()} bytes")
        self._file.close()
        os.replace(self._path, path)

    def close(self):
        """Remove what is not done."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def open_shard(path):
    """Open a shard for :func:`read_rows`."""
    return open(path, "rb", buffering=0)


def first_byte(file, shape, dtype):
    """Return where the frames of a shard begin, if it has the right ones.

    Raises
    ------
    ValueError
        It has others, or is no shard.
    """
    file.seek(0)
    try:
        found, fortran, found_dtype, start = npy_header(file.read(4096))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(_damaged(file, str(error))) from error
    if (found, found_dtype) != (shape, dtype) or fortran:
        raise ValueError(
            _damaged(
                file,
                f"its header tells of {found_dtype} of shape {found}, expected "
                f"{dtype} of shape {shape}",
            )
        )
    return start


def read_rows(file, start, rows, out):
    """Read rows of a shard.

    Parameters
    ----------
    file : raw file
    start : int
        Where its frames begin.
    rows : ndarray of shape (n,), int64
        In ascending order; neighbours are read at once.
    out : ndarray of shape (n, H, W)
        Is filled.

    Raises
    ------
    ValueError
        The shard ends before.
    """
    pixels = memoryview(out.reshape(-1).view(np.uint8))
    frame_bytes = out[:1].nbytes
    ends = np.append(np.flatnonzero(np.diff(rows) != 1) + 1, len(rows)).tolist()
    begin = 0
    with naming(Path(file.name)):
        for end in ends:
            file.seek(start + int(rows[begin]) * frame_bytes)
            wanted = pixels[begin * frame_bytes : end * frame_bytes]
            while len(wanted):
                n_read = file.readinto(wanted)
                if not n_read:
                    raise ValueError(
                        _damaged(file, f"it ends before frame {rows[end - 1]}")
                    )
                wanted = wanted[n_read:]
            begin = end


def _damaged(file, why):
    """Return the message of a shard that cannot be read."""
    return (
        f"The shard {file.name!r} is damaged: {why}. Delete it, and call pack_frames "
        "again, with all its files: that packs anew what is missing."
    )
