"""Shards of a store: plain .npy files, written frame by frame and read by rows."""

import os

import numpy as np

from sksimclr._files.arrays import npy_header
from sksimclr._machine.writing import naming, temporary_path

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)
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


def read_shard(path, n_frames, rows, out, first_bytes):
    """Read rows of a shard.

    Parameters
    ----------
    path : str
    n_frames : int
        That it must have.
    rows : sequence of int
        In ascending order; neighbours are read at once.
    out : ndarray of shape (n, H, W)
        Is filled.
    first_bytes : dict of str to int
        Where the frames of shards begin whose headers were looked at; a new one is
        added.

    Raises
    ------
    ValueError
        It has other frames, or ends before, or is no shard.
    """
    with naming(path):
        file = os.open(path, _FLAGS)
        try:
            if path not in first_bytes:
                shape = (n_frames, *out.shape[1:])
                first_bytes[path] = _first_byte(file, path, shape, out.dtype)
            _read_rows(file, path, first_bytes[path], rows, out)
        finally:
            os.close(file)


def _read_rows(file, path, start, rows, out):
    """Read rows of an open shard whose frames begin at a byte."""
    pixels = memoryview(out.reshape(-1).view(np.uint8))
    frame_bytes, begin = out[:1].nbytes, 0
    for end in range(1, len(rows) + 1):
        if end < len(rows) and rows[end] == rows[end - 1] + 1:
            continue
        wanted = pixels[begin * frame_bytes : end * frame_bytes]
        if not _fill(wanted, file, start + rows[begin] * frame_bytes):
            raise ValueError(_damaged(path, f"it ends before frame {rows[end - 1]}"))
        begin = end


def _fill(out, file, place):
    """Read bytes from a place on into a buffer; tell whether there were as many."""
    while len(out):
        n_read = _read_at(file, out, place)
        if not n_read:
            return False
        out, place = out[n_read:], place + n_read
    return True


def _read_at(file, out, place):
    """Read bytes from a place on into a buffer, and return how many there were."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [out], place)
    os.lseek(file, place, os.SEEK_SET)  # Windows
    data = os.read(file, len(out))
    out[: len(data)] = data
    return len(data)


def _first_byte(file, path, shape, dtype):
    """Return where the frames of a shard begin, if it has the right ones."""
    try:
        found, fortran, found_dtype, start = npy_header(os.read(file, 4096))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(_damaged(path, str(error))) from error
    if (found, found_dtype) != (shape, dtype) or fortran:
        why = (
            f"its header tells of {found_dtype} of shape {found}, expected {dtype} of "
            f"shape {shape}"
        )
        raise ValueError(_damaged(path, why))
    return start


def _damaged(path, why):
    """Return the message of a shard that cannot be read."""
    return (
        f"The shard {path!r} is damaged: {why}. Delete it, and call pack_frames again, "
        "with all its files: that packs anew what is missing."
    )
