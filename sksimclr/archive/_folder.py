"""The two kinds of folders that parts are committed to, and what both have.

A header says what made the folder. `_files` holds a row for each input file: what is
done, and what could not be read. A lock keeps a second run away.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sksimclr._machine.writing import replacing
from sksimclr.archive._clock import check_utc_offset
from sksimclr.archive._schemas import (
    FORMAT,
    file_schema,
    form_of_frames,
    frame_schema,
)

FILES = "_files"
PART_NAME = r"part-[0-9a-f]{16}(-\d+)?"  # without the ending
_LOCK = "_lock"


@dataclass(frozen=True)
class Kind:
    """A kind of folder: how its files are named, and what is said of it.

    Attributes
    ----------
    name, function, command : str
        What it is, and what makes one.
    verb, done : str
        What is done to files, and what they are then.
    tool, settings, content : str
        What does it, what must be the same to go on, and what a part consists of.
    header : str
        Name of the file that says what made the folder.
    folders : tuple of str
        Those of it that there are from the start, besides `_files`.
    places : tuple of str
        Patterns of the files of parts.
    place : re.Pattern
        Of their paths in the folder, as notes have them.
    check : callable
        Raises an error for a header that is none.
    """

    name: str
    function: str
    command: str
    verb: str
    done: str
    tool: str
    settings: str
    content: str
    header: str
    folders: tuple
    places: tuple
    place: re.Pattern
    check: Callable


CATALOGUE = Kind(
    name="catalogue",
    function="label_archive",
    command="label",
    verb="label",
    done="labelled",
    tool="pipeline",
    settings="fitted pipeline",
    content="rows",
    header="_catalogue.json",
    folders=(),
    places=("site=*/date=*/[!_.]*.parquet",),
    place=re.compile(rf"site=[^/\\:]+/date=[^/\\:]+/{PART_NAME}\.parquet"),
    check=frame_schema,
)
STORE = Kind(
    name="store",
    function="pack_frames",
    command="pack",
    verb="pack",
    done="packed",
    tool="preprocessor",
    settings="preprocessor",
    content="frames",
    header="_store.json",
    folders=("frames", "index"),
    places=("frames/[!_.]*.npy", "index/[!_.]*.parquet"),
    place=re.compile(rf"frames/{PART_NAME}\.npy|index/{PART_NAME}\.parquet"),
    check=form_of_frames,
)
_KINDS = (CATALOGUE, STORE)


def kind_of(folder):
    """Return the kind of a folder by its header; a catalogue, if it has none."""
    found = [kind for kind in _KINDS if (as_folder(folder) / kind.header).exists()]
    return (found or _KINDS)[0]


def as_folder(path):
    """Return the path of a folder, also of one that begins with "~"."""
    return Path(os.path.expanduser(path))


def require_pyarrow():
    """Raise an ImportError that says what to install, unless there is pyarrow."""
    if find_spec("pyarrow") is None:
        raise ImportError(
            "Catalogues, and indices of stores, are Parquet files, which need pyarrow: "
            'pip install "sksimclr[archive]".'
        )


def read_header(folder, kind):
    """Return what the header of a folder says.

    Raises
    ------
    FileNotFoundError
        There is no folder of that kind.
    ValueError
        The header is damaged, or of a later version.
    """
    require_pyarrow()
    path = as_folder(folder) / kind.header
    if not path.exists():
        raise FileNotFoundError(
            f"{str(folder)!r} is no {kind.name}: it has no {kind.header}. Make one "
            f"with sksimclr.archive.{kind.function} or `sksimclr {kind.command}`."
        )
    try:
        header = {"utc_offset": 0.0} | json.loads(path.read_text())  # of before
        header["utc_offset"] = check_utc_offset(header["utc_offset"])
        n_format = int(header["format"])
        if n_format <= FORMAT:
            kind.check(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged: expected what {kind.function} writes, got "
            f"{error!r}. Put it back from a copy of it, or of another {kind.name} of "
            f"the same {'model' if kind is CATALOGUE else 'settings'}."
        ) from error
    if n_format > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {n_format}, this version of sksimclr "
            f"knows formats up to {FORMAT}. Use a newer version."
        )
    return header


def start(folder, header, kind=CATALOGUE):
    """Begin a folder, or go on with one that the same settings have begun.

    Raises
    ------
    ValueError
        The folder is of another model, or holds something else.
    """
    folder = Path(folder)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    if not (folder / kind.header).exists():
        text = json.dumps({"format": FORMAT} | header, indent=1) + "\n"
        with replacing(folder / kind.header) as path:
            path.write_text(text)
    for name in kind.folders:  # by which, without a header, nobody knew the folder
        (folder / name).mkdir(exist_ok=True)
    found = read_header(folder, kind)
    for name, wanted in header.items():
        if found.get(name) != wanted:
            raise ValueError(
                f"The {kind.name} {str(folder)!r} was begun with {name}="
                f"{found.get(name)!r}, this run has {name}={wanted!r}. Go on with the "
                f"same {kind.settings} and settings, or write to another folder."
            )


@contextmanager
def locked(folder, kind=CATALOGUE):
    """Keep other runs away from a folder; a killed process keeps nobody away.

    Raises
    ------
    FileExistsError
        The folder holds something else.
    RuntimeError
        Another run writes to it.
    """
    folder = Path(folder)
    names = [path.name for path in folder.glob("*")]
    others = {other.header for other in _KINDS} - {kind.header}
    is_begun = all(name.startswith("_") for name in names) and others.isdisjoint(names)
    if kind.header not in names and not is_begun:
        raise FileExistsError(
            f"{str(folder)!r} is no {kind.name}, and not empty. Give the path of a "
            f"{kind.name} to go on with, or of a folder that does not exist."
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
                f"Another run is writing to the {kind.name} {str(folder)!r}. Wait "
                "until it has ended, or write to another folder."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(lock)


def files_of_parts(folder):
    """Return the files of the parts, sorted; others may have rewritten them."""
    folder = as_folder(folder)
    paths = (p for place in kind_of(folder).places for p in folder.glob(place))
    return sorted(path for path in paths if path.is_file())


def notes_of(folder):
    """Return the paths of the notes of parts, in no order."""
    return [p for p in (as_folder(folder) / FILES).glob("*.parquet") if is_part(p)]


def is_part(path):
    """Tell by its name whether a path is a file of a part of ours, or its note."""
    name = re.fullmatch(rf"{PART_NAME}\.(parquet|npy)", path.name)
    return name is not None and path.is_file()


def parquet_format():
    """Return how Parquet files are read: with a look at their checksums."""
    import pyarrow.dataset as ds

    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    return ds.ParquetFileFormat(default_fragment_scan_options=options)


def read_files(folder):
    """Return the table of the input files that are done."""
    import pyarrow.dataset as ds

    read_header(folder, kind_of(folder))
    notes = [os.fspath(path) for path in sorted(notes_of(folder))]
    files = ds.dataset(notes, schema=file_schema(), format=parquet_format())
    with damage_named(files, kind_of(folder)):
        return files.to_table()


@contextmanager
def damage_named(rows, kind=CATALOGUE):
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
                    f"The {kind.name}'s file {part.path!r} is damaged: {cause}. Delete "
                    f"it, and call {kind.function} again, with all its files: that "
                    f"{kind.verb}s anew what is missing."
                ) from error
        raise
