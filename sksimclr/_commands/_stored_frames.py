"""The frames of a store to train on, and the labels of some of them."""

import sys
from pathlib import Path

import numpy as np

from sksimclr import archive
from sksimclr._commands._labels import read_labels
from sksimclr._commands._training_frames import TrainingFrames
from sksimclr._files.file_names import as_path


def is_store(folder):
    """Say whether this is a folder of packed frames."""
    return Path(folder, "_store.json").is_file()


def stored_training_frames(folder, table=None):
    """Return all frames of a store, which are read as they are needed.

    Parameters
    ----------
    folder : path-like
    table : path-like, optional
        CSV of labels of frames of the files that were packed.

    Returns
    -------
    TrainingFrames

    Raises
    ------
    ValueError
        There is no frame in the store, or none of those that have a label.
    """
    store = archive.open_frames(folder)
    if len(store) == 0:
        raise ValueError(f"No frame to train on in the store {str(folder)!r}.")
    names = store.index.column("file").unique().to_pylist()
    labels = np.full(len(store), None, object)
    if table is not None:
        _put_labels(labels, table, store, names)
    return TrainingFrames(
        store.preprocessor,
        store,
        labels,
        store.times,
        store.sites,
        store.sequences,
        n_seen=len(store),
        n_files=len(names),
        failures=[],
    )


def _put_labels(labels, table, store, names):
    """Write the labels of a table to the rows of a store; say how many find none."""
    paths = {Path(as_path(name)): name for name in names}
    lost = []
    wanted = {
        (paths[path], number): label.name
        for path, frames in read_labels(table, list(paths), lost=lost).items()
        for number, label in frames.items()
    }
    n_labels = len(wanted) + len(lost)
    for row, frame in _frames_of({name for name, _ in wanted}, store.index):
        labels[row] = wanted.pop(frame, None)
    n_lost = len(wanted) + len(lost)
    if n_lost == n_labels:
        raise ValueError(
            f"None of the {n_labels} labelled frames of {str(table)!r} is in the store."
        )
    if n_lost:
        print(
            f"sksimclr: warning: {n_lost} of {n_labels} labelled frames are not in the "
            "store, and not used",
            file=sys.stderr,
        )


def _frames_of(names, index):
    """Return (number of a row, (its file, its frame)) for all rows of some files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = index.column("file")
    is_one = pc.is_in(files, value_set=pa.array(sorted(names), files.type))
    rows = np.flatnonzero(is_one.to_numpy())
    found = (index.column(name).take(rows).to_pylist() for name in ("file", "frame"))
    return zip(rows.tolist(), zip(*found, strict=True), strict=True)
