"""The catalogue: a folder of Parquet files, a row for each frame and for each file.

`_catalogue.json` says which model made it. `_files` holds a row for each input file:
what is done, and what could not be read. Everything else is one Parquet data set,
partitioned by site and date.
"""

import os

from sksimclr.archive import _folder
from sksimclr.archive._folder import (
    CATALOGUE,
    damage_named,
    files_of_parts,
    parquet_format,
    read_files,
)
from sksimclr.archive._schemas import frame_schema


def read_catalogue(catalogue, *, columns=None):
    """Read the rows of a catalogue, one for each frame.

    Parameters
    ----------
    catalogue : str or path-like
        Folder that `label_archive` has written.
    columns : list of str, default=None
        Those to read, all of them by default. Of a large archive, leave out
        "embedding".

    Returns
    -------
    pyarrow.Table
        Ordered by site, time, file and frame; ``.to_pandas()`` makes a data frame.
        `label_archive` describes the columns.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    ValueError
        A column is not there, or the catalogue is of a later version.
    OSError
        A file of the catalogue is damaged.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    read_failures : The files that could not be read.

    Notes
    -----
    Any program that reads Parquet can read the folder; names that begin with "_" do not
    belong to the data set. For more rows than memory holds, use
    ``pyarrow.dataset.dataset(catalogue, partitioning="hive")``, Dask, Polars or DuckDB.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sksimclr.archive import label_archive, read_catalogue
    >>> from sksimclr.datasets import make_aurora
    >>> frames = make_aurora(12, size=32, random_state=0).images
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/20140310_0600_gill.npy", frames)
    >>> model = DummyClassifier().fit(frames, ["arc", "moon"] * 6)
    >>> run = label_archive(model, folder, f"{folder}/catalogue")
    >>> table = read_catalogue(f"{folder}/catalogue", columns=["site", "label"])
    >>> table.num_rows, table.column_names
    (12, ['site', 'label'])
    """
    rows = open_rows(catalogue)
    known = rows.schema.names
    missing = [name for name in columns or () if name not in known]
    if missing:
        raise ValueError(f"The catalogue has no columns {missing}; it has {known}.")
    order = ["site", "time", "file", "frame"]
    wanted = known if columns is None else list(columns)
    with damage_named(rows):
        table = rows.to_table(columns=list(dict.fromkeys([*wanted, *order])))
    table = table.sort_by([(name, "ascending") for name in order])
    return table.select(wanted)


def read_failures(catalogue):
    """Read which files of an archive could not be read, or not wholly, and why.

    Parameters
    ----------
    catalogue : str or path-like
        Folder that `label_archive` has written, or a store of `pack_frames`.

    Returns
    -------
    pyarrow.Table
        Ordered by file: "file", its absolute path; "n_frames" that it gave to the
        catalogue or store; "reason". Where ``n_frames > 0`` a part was read.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    ValueError
        The catalogue is of a later version, or its header is damaged.
    OSError
        A file of the catalogue is damaged.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sksimclr import SimCLRTransformer
    >>> from sksimclr.archive import label_archive, read_failures
    >>> from sksimclr.datasets import make_aurora
    >>> simclr = SimCLRTransformer(image_size=32, stem="imagenet", max_epochs=0)
    >>> simclr = simclr.fit(make_aurora(8, size=32, random_state=0).images)
    >>> folder = Path(tempfile.mkdtemp())
    >>> n_bytes = (folder / "night.pgm.gz").write_bytes(b"")
    >>> run = label_archive(simclr, folder, folder / "out", embeddings=True)
    >>> read_failures(folder / "out")["n_frames"].to_pylist()
    [0]
    """
    import pyarrow.compute as pc

    table = read_files(catalogue)
    return table.filter(pc.field("reason") != "").sort_by("file")


def open_rows(catalogue):
    """Return the `pyarrow.dataset.Dataset` of the frames of a catalogue."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    schema = frame_schema(read_header(catalogue))
    keys = pa.schema([("site", pa.string()), ("date", pa.string())])
    for key in keys:
        schema = schema.append(key)
    return ds.dataset(
        [os.fspath(path) for path in files_of_parts(catalogue)],
        schema=schema,
        format=parquet_format(),
        partitioning=ds.partitioning(keys, flavor="hive"),
        partition_base_dir=os.path.expanduser(catalogue),
    )


def read_header(catalogue):
    """Return what `_catalogue.json` says."""
    return _folder.read_header(catalogue, CATALOGUE)


def sites_and_dates(rows):
    """Return the set of (site, date) of which a catalogue has rows.

    Parameters
    ----------
    rows : pyarrow.dataset.Dataset
        As `open_rows` gives it.
    """
    return set(parts_of_dates(rows))


def parts_of_dates(rows):
    """Return {(site, date): files of its rows, as `pyarrow.dataset.Fragment`}."""
    import pyarrow.dataset as ds

    found = {}
    for part in rows.get_fragments():
        key = ds.get_partition_keys(part.partition_expression)
        found.setdefault((key["site"], key["date"]), []).append(part)
    return found
