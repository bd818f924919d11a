"""The catalogue: a folder of Parquet files, a row for each frame and for each file.

`_catalogue.json` says which model made it. `_files` holds a row for each input file:
what is done, and what could not be read. Everything else is one Parquet data set,
partitioned by site and date.
"""

import json
import os
import re
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sksimclr._machine.writing import replacing

FORMAT = 1
UNKNOWN = "unknown"  # site or date that a file does not tell
HEADER = "_catalogue.json"
_LOCK = "_lock"
FILES = "_files"
PART_NAME = r"part-[0-9a-f]{16}(-\d+)?\.parquet"  # of rows, and of the note of them


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
        Folder that `label_archive` has written.

    Returns
    -------
    pyarrow.Table
        Ordered by file: "file", its absolute path; "n_frames" that it gave to the
        catalogue; "reason". Where ``n_frames > 0`` a part was read and is labelled.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    ValueError
        The catalogue is of a later version.
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


def require_pyarrow():
    """Raise an ImportError that says what to install, unless there is pyarrow."""
    if find_spec("pyarrow") is None:
        raise ImportError(
            "Catalogues are Parquet files, which need pyarrow: "
            'pip install "sksimclr[archive]".'
        )


def open_rows(catalogue):
    """Return the `pyarrow.dataset.Dataset` of the frames of a catalogue."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    schema = frame_schema(read_header(catalogue))
    keys = pa.schema([("site", pa.string()), ("date", pa.string())])
    for key in keys:
        schema = schema.append(key)
    return ds.dataset(
        [os.fspath(path) for path in row_files(catalogue)],
        schema=schema,
        format=_format(),
        partitioning=ds.partitioning(keys, flavor="hive"),
        partition_base_dir=os.path.expanduser(catalogue),
    )


def _folder(catalogue):
    """Return the path of a catalogue."""
    return Path(os.path.expanduser(catalogue))


def row_files(catalogue):
    """Return the Parquet files of rows, sorted; others may have rewritten them."""
    paths = _folder(catalogue).glob("site=*/date=*/[!_.]*.parquet")
    return sorted(path for path in paths if path.is_file())


def is_part(path):
    """Tell by its name whether a path is a file of rows of ours, or their note."""
    return re.fullmatch(PART_NAME, path.name) is not None and path.is_file()


def _format():
    """Return how Parquet files are read: with a look at their checksums."""
    import pyarrow.dataset as ds

    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    return ds.ParquetFileFormat(default_fragment_scan_options=options)


def sites_and_dates(rows):
    """Return the set of (site, date) of which a catalogue has rows.

    Parameters
    ----------
    rows : pyarrow.dataset.Dataset
        As `open_rows` gives it.
    """
    import pyarrow.dataset as ds

    parts = (part.partition_expression for part in rows.get_fragments())
    keys = map(ds.get_partition_keys, parts)
    return {(key["site"], key["date"]) for key in keys}


def read_files(catalogue):
    """Return the table of the input files that are done."""
    import pyarrow.dataset as ds

    read_header(catalogue)
    notes = sorted(filter(is_part, (_folder(catalogue) / FILES).glob("*")))
    notes = [os.fspath(path) for path in notes]
    files = ds.dataset(notes, schema=file_schema(), format=_format())
    with damage_named(files):
        return files.to_table()


@contextmanager
def damage_named(rows):
    """Name the damaged file when reading a `pyarrow.dataset.Dataset` fails.

    Raises
    ------
    OSError
        A file is damaged.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        for part in rows.get_fragments():
            try:
                part.to_table(schema=rows.schema)
            except (pa.ArrowException, OSError) as cause:
                raise OSError(
                    f"The catalogue's file {part.path!r} is damaged: {cause}. Delete "
                    "it, and call label_archive again, with all its files: that "
                    "labels anew what is missing."
                ) from error
        raise


def read_header(catalogue):
    """Return what `_catalogue.json` says."""
    require_pyarrow()
    path = _folder(catalogue) / HEADER
    if not path.exists():
        raise FileNotFoundError(
            f"{str(catalogue)!r} is no catalogue: it has no {HEADER}. Make one with "
            "sksimclr.archive.label_archive or `sksimclr label`."
        )
    try:
        header = json.loads(path.read_text())
        n_format = int(header["format"])
        frame_schema(header)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged: expected what label_archive writes, got "
            f"{error!r}. Put it back from a copy of it, or of another catalogue of the "
            "same model."
        ) from error
    if n_format > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {n_format}, this version of sksimclr "
            f"knows formats up to {FORMAT}. Use a newer version."
        )
    return header


def frame_schema(header):
    """Return the schema of the rows of frames, without the partition columns."""
    import pyarrow as pa

    fields = [
        ("file", pa.string()),
        ("frame", pa.int32()),
        ("time", pa.timestamp("ns", "UTC")),
    ]
    classes = header["classes"]
    if classes is not None:
        fields.append(("label", pa.array(classes).type))
        if header["probabilities"]:
            fields += [(f"probability_{name}", pa.float32()) for name in classes]
    fields += [("quality", pa.string()), ("model", pa.string())]
    if header["n_features"]:
        # not of fixed size: pyarrow 16 to 23 cannot read those with nulls among them
        fields.append(("embedding", pa.list_(pa.float16())))
    return pa.schema(fields)


def file_schema():
    """Return the schema of the rows of input files, which are notes of parts."""
    import pyarrow as pa

    return pa.schema(
        [("file", pa.string()), ("n_frames", pa.int32()), ("reason", pa.string())]
    )


def start(catalogue, header):
    """Begin a catalogue, or go on with one that the same model has begun.

    Raises
    ------
    ValueError
        The catalogue is of another model, or holds other columns.
    """
    folder = Path(catalogue)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    if not (folder / HEADER).exists():
        text = json.dumps({"format": FORMAT} | header, indent=1) + "\n"
        with replacing(folder / HEADER) as path:
            path.write_text(text)
    found = read_header(folder)
    for name, wanted in header.items():
        if found.get(name) != wanted:
            raise ValueError(
                f"The catalogue {str(folder)!r} was begun with {name}="
                f"{found.get(name)!r}, this run has {name}={wanted!r}. Go on with the "
                "same fitted pipeline and settings, or write to another folder."
            )


@contextmanager
def locked(catalogue):
    """Keep other runs away from a catalogue; a killed process keeps nobody away.

    Raises
    ------
    FileExistsError
        The folder holds something else.
    RuntimeError
        Another run writes to it.
    """
    folder = Path(catalogue)
    names = [path.name for path in folder.glob("*")]
    if HEADER not in names and not all(name.startswith("_") for name in names):
        raise FileExistsError(
            f"{str(folder)!r} is no catalogue, and not empty. Give the path of a "
            "catalogue to go on with, or of a folder that does not exist."
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has none
        yield
        return
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"Another run is writing to the catalogue {str(folder)!r}. Wait "
                "until it has ended, or write to another folder."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(lock)
