"""An array that lies in files, of which only what is asked for is read."""

import numpy as np


def write_shards(folder, X, lengths):
    """Write the rows of an array to .npy files of given lengths, as a store does."""
    for number, part in enumerate(np.split(X, np.cumsum(lengths)[:-1])):
        np.save(folder / f"{number:03}.npy", part)
    return Shards(folder)


class Shards:
    """A lazy array of the .npy files of a folder, which notes the rows that are read.

    It says where its files end, as stores of frames do: `shard_lengths`.
    """

    def __init__(self, folder):
        self.paths = sorted(folder.glob("*.npy"))
        parts = [np.load(path, mmap_mode="r") for path in self.paths]
        self._first_bytes = [part.offset for part in parts]
        self.shard_lengths = np.array([len(part) for part in parts])
        self.dtype = parts[0].dtype
        self.shape = (int(self.shard_lengths.sum()), *parts[0].shape[1:])
        self.ndim = len(self.shape)
        self.read = []  # keys, in the order in which they were asked for

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype)

    def __getitem__(self, key):
        """Read consecutive rows of a file at once."""
        self.read.append(key)
        rows = np.arange(len(self))[key] if isinstance(key, slice) else np.array(key)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        n_bytes = out[:1].nbytes
        ends = np.cumsum(self.shard_lengths)
        shards = np.searchsorted(ends, rows, side="right")
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(shards) != 0)) + 1
        for piece in np.split(np.arange(len(rows)), breaks):
            if len(piece):
                shard = shards[piece[0]]
                row = rows[piece[0]] - (ends[shard] - self.shard_lengths[shard])
                start = self._first_bytes[shard] + int(row) * n_bytes
                with open(self.paths[shard], "rb", buffering=0) as file:
                    file.seek(start)
                    data = file.read(len(piece) * n_bytes)
                flat = np.frombuffer(data, self.dtype)
                out[piece] = flat.reshape(len(piece), *self.shape[1:])
        return out
