"""A part of a store: the frames of some files, reduced as they come."""

import json
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from sksimclr.archive._commit import write_table
from sksimclr.archive._even_sample import EvenSample
from sksimclr.archive._grouping import night_of_files
from sksimclr.archive._part import Part
from sksimclr.archive._schemas import SHARD_KEY, index_schema
from sksimclr.archive._shard import ShardWriter

_SEQUENCE = np.timedelta64(10, "m")  # as in `time_sequences`
_COLUMNS = ("number", "frame", "time", "site", "instrument", "quality")


class PackedPart(Part):
    """Files on their way to a part of a store.

    Parameters
    ----------
    packer : Packer
    group : Group
    folder : str
        The store.
    """

    share = 1 / 16  # while they are in the cache

    def __init__(self, packer, group, folder):
        super().__init__()
        self.every = packer.every
        self.utc_offset = packer.header["utc_offset"]
        self._packer = packer
        shard = Path(folder) / "frames" / f"part-{group.name}.npy"
        self._shape = 2 * (packer.preprocessor.size,)
        self._shard = ShardWriter(shard, self._shape, packer.preprocessor.dtype)
        self._rows = []  # dicts of columns
        self._night = self._sample = None
        if packer.per_night is not None:
            nights = night_of_files(group.files)
            self._nights = [nights[file] for file in group.files]

    def is_wanted(self, quality):
        """Return which frames of these qualities are packed."""
        return np.isin(quality, self._packer.quality)

    def compute(self, images):
        """Return frames as the store has them."""
        reduced = self._packer.preprocessor.transform(images)
        return {"image": reduced.reshape(len(reduced), *self._shape)}

    def keep(self, piece, columns):
        """Write the frames of a piece, or sample their night."""
        n_frames = piece.wanted.sum()
        if not n_frames:
            return
        rows = {
            "number": np.full(n_frames, piece.number),
            "frame": piece.frame[piece.wanted],
            "time": piece.times[piece.wanted],
            "site": np.full(n_frames, piece.site, object),
            "instrument": np.full(n_frames, piece.instrument, object),
            "quality": piece.quality[piece.wanted],
        }
        if self._packer.per_night is None:
            self._append(rows, columns["image"])
        else:
            self._sample_night(self._nights[piece.number], rows, columns["image"])

    def _append(self, rows, images):
        """Write frames of one file."""
        number = rows["number"][0]
        self._shard.append(images)
        self._rows.append(rows)
        self.files[number]["n_frames"] += len(images)

    def _sample_night(self, night, rows, images):
        """Give frames to the sample of their night, after writing the one before."""
        if night != self._night:
            self._write_sample()
            dtype, most = images.dtype, self._packer.per_night
            self._night, self._sample = night, EvenSample(most, self._shape, dtype)
        columns = [rows[name] for name in _COLUMNS]
        for image, *row in zip(images, *columns, strict=True):
            self._sample.add(image, (None, self._sample.n_seen, *row))

    def _write_sample(self):
        """Write the frames of a night, in the order in which they came."""
        if self._sample is None:
            return
        sample, self._sample = self._sample, None
        numbered = sorted((note[1], k) for k, note in enumerate(sample.notes))
        kept = [(sample.notes[k][2:], k) for _, k in numbered]
        for number, found in groupby(kept, lambda item: item[0][0]):
            if number not in self._failed:
                notes, places = zip(*found, strict=True)
                columns = map(np.array, zip(*notes, strict=True))
                rows = dict(zip(_COLUMNS, columns, strict=True))
                self._append(rows, sample.images[list(places)])

    def drop(self, number):
        """Forget the frames of a file."""
        while self._rows and self._rows[-1]["number"][0] == number:
            self._shard.cut(len(self._rows.pop()["number"]))

    def outputs(self, name):
        """Return a shard and its index, if there are frames."""
        self._write_sample()
        n_frames = self._shard.n_frames
        said = {"n_frames": n_frames, "first": self.files[0]["file"]}
        outputs = [
            (f"frames/part-{name}.npy", self._shard.move_to),
            (f"index/part-{name}.parquet", partial(write_table, self._index())),
        ]
        return outputs if n_frames else [], {SHARD_KEY: json.dumps(said)}

    def _index(self):
        """Return the rows of the frames, in the order of the shard."""
        import pyarrow as pa

        schema = index_schema()
        if not self._rows:
            return schema.empty_table()
        found = {n: np.concatenate([r[n] for r in self._rows]) for n in _COLUMNS}
        names = np.array([file["file"] for file in self.files], object)
        found["file"] = names[found.pop("number")]
        unknown, since = np.isnat(found["time"]), np.datetime64(0, "ns")
        windows = (np.where(unknown, since, found["time"]) - since) // _SEQUENCE
        columns = [
            pa.array(windows, field.type, mask=unknown)
            if field.name == "sequence"
            else pa.array(found[field.name], field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)

    def close(self):
        """Remove a shard that is not done."""
        self._shard.close()
