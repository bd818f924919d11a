"""Parts of a catalogue: committed whole, and put right where one is not.

The rows of a part are first written under names that readers pass over. Then a note in
`_files`, in one step, says which input files the part has, and how long its files are
and with which SHA-256: from now on it is done. Then its files get their names. Whoever
dies in between leaves what the next run needs to give them; whoever dies before the
note leaves nothing that counts.

The same files make the same part, byte for byte, so that runs which do not see each
other's locks, and workers which outlive their run, repeat each other. Where they had
divided the files otherwise, the next look at the catalogue takes out what is there
twice.
"""

import hashlib
import json
import os
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from sksimclr._machine.writing import (
    TEMPORARY,
    naming,
    replacing,
    sync_file,
    sync_folder,
    temporary_path,
)
from sksimclr.archive._catalogue import (
    FILES,
    HEADER,
    PART_NAME,
    file_schema,
    is_part,
    row_files,
)

_UNFINISHED = re.compile(rf"_[0-9a-f]{{8}}-({PART_NAME}|{re.escape(HEADER)})\.tmp")
_PLACE = re.compile(rf"site=[^/\\:]+/date=[^/\\:]+/{PART_NAME}")
_LEASE = 24 * 3600  # seconds that a run may take from writing rows to their note
_ASIDE = "_aside-{}-{}"  # name of what is not to be read, nor ours to delete
_WRITE = {"compression": "zstd", "write_page_checksum": True}
_COLUMNS = ["file", "n_frames", "reason"]
_KEY = b"sksimclr_parts"  # in the metadata of a note


def write_part(catalogue, name, frames, files):
    """Write the rows of some files; they count as done once this returns.

    Parameters
    ----------
    catalogue : str or path-like
    name : str
        Of the part.
    frames : list of (str, str, pyarrow.Table)
        Site, date and rows of frames.
    files : list of dict
        Rows of input files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, name = Path(catalogue), f"part-{name}.parquet"
    unnamed, sums = {}, {}
    try:
        for site, date, table in frames:
            place = folder / f"site={quote(site, safe='')}" / f"date={date}"
            if not place.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                sync_folder(place.parent)
                sync_folder(folder)
            path = temporary_path(place / name)
            unnamed[path] = place / name
            with naming(place / name):
                pq.write_table(table, path, **_WRITE)
                sync_file(path)
                sync_folder(place)
            relative = (place / name).relative_to(folder).as_posix()
            sums[relative] = [path.stat().st_size, _sha256(path)]
        schema = file_schema().with_metadata({_KEY: json.dumps(sums)})
        with replacing(folder / FILES / name) as path:
            pq.write_table(pa.Table.from_pylist(files, schema), path, **_WRITE)
    except BaseException:
        for path in unnamed:
            path.unlink(missing_ok=True)
        raise
    for path, final in unnamed.items():
        _give_name(path, final)


def put_right(catalogue, paths):
    """Make all parts whole, or undone; return the files of those that are done.

    Parameters
    ----------
    catalogue : str or path-like
    paths : iterable of str
        Files that can be read again, as the catalogue has them.

    Returns
    -------
    set of str

    Raises
    ------
    FileNotFoundError
        There are rows, but nothing says of which files.

    Warns
    -----
    UserWarning
        A part has lost rows, and `paths` lacks a file of it.
    """
    folder, paths = Path(catalogue), set(paths)
    parts = {}  # looked at before the notes, which are also written before
    for path in filter(is_part, row_files(folder)):
        parts.setdefault(path.name, []).append(path)
    notes = [_Note(path) for path in (folder / FILES).glob("*") if is_part(path)]
    if parts and not notes:
        raise FileNotFoundError(
            f"The catalogue {str(folder)!r} has lost the list of its files: rows of "
            f"{len(parts)} parts are there, but nothing in {FILES!r}. Put that folder "
            "back from a copy. Without one, label into another folder, and delete "
            "this one when that is done."
        )
    done = set()
    whole = {note: note.has_all(parts.get(note.path.name, [])) for note in notes}
    # if files are in two parts, the larger one counts, but a damaged one least of all
    for note in sorted(notes, key=lambda n: (not whole[n], -len(n.files), n.path)):
        rows = parts.get(note.path.name, [])
        files = note.files if note.is_readable else _files_of(rows)
        if whole[note] and files.isdisjoint(done):
            done |= files
            _set_aside(*note.strays(rows))
        elif files is not None and files <= paths | done:
            _set_aside(*rows, note.path)
        else:
            done |= files or set()
            warnings.warn(
                f"In the catalogue {str(folder)!r}, rows of {note.path.name} are "
                f"missing, damaged or there twice. Give {_some(files)} to "
                "label_archive, so that they are labelled again.",
                stacklevel=3,
            )
    for name, rows in parts.items():
        if not (folder / FILES / name).exists():
            _set_aside(*rows)
    _remove_unfinished(folder)
    return done


def forget_unread(catalogue):
    """Forget the files that gave no frame, so that they are read again."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in filter(is_part, (Path(catalogue) / FILES).glob("*")):
        if not _Note(path).is_readable:
            continue  # is put right later
        table = pq.read_table(path)
        kept = table.filter((pc.field("n_frames") > 0) | (pc.field("reason") == ""))
        if kept.num_rows < table.num_rows:
            status = path.stat()
            with replacing(path) as new:
                pq.write_table(kept, new, **_WRITE)
                # younger rows than their note are looked into
                os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


class _Note:
    """What a note says of a part.

    Attributes
    ----------
    path : Path
    is_readable : bool
    files : set of str
        Its input files; empty if it cannot be read.
    n_frames, n_failures : int
        Rows that it has, and input files that were not read, or not wholly.
    """

    def __init__(self, path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path, self.files, self.is_readable = path, set(), False
        self.n_frames = self.n_failures = 0
        try:
            self._written = path.stat().st_mtime_ns
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(use_threads=False).select(_COLUMNS)
                sums = (file.schema_arrow.metadata or {}).get(_KEY)
            self._sums = None if sums is None else _checked(json.loads(sums))
            files, n_frames, reasons = (column.to_pylist() for column in table)
            self.n_frames, self.n_failures = sum(n_frames), sum(map(bool, reasons))
        except FileNotFoundError:  # another run has just set it aside
            return
        except OSError as error:
            if error.errno is not None:  # of the system, not of what is in it
                raise
            return
        except (pa.ArrowException, ValueError, TypeError, KeyError, RecursionError):
            return
        self.files, self.is_readable = set(files), True

    def has_all(self, rows):
        """Tell whether the part has all its rows, after naming what has no name yet.

        Parameters
        ----------
        rows : list of Path
            Its files, as far as they have names.
        """
        if not self.is_readable:
            return False
        if self._sums is None:  # written before notes had them
            return _n_rows(rows) == self.n_frames
        folder, sums = self.path.parents[1], self._sums
        try:
            # each of them, since it gives them names
            return all(
                [self._has(folder / name, *noted) for name, noted in sums.items()]
            )
        except FileNotFoundError:  # another run has just set it aside
            return False

    def strays(self, rows):
        """Return the files among those of a part that the note does not name."""
        if self._sums is None:
            return []
        named = {self.path.parents[1] / name for name in self._sums}
        return [path for path in rows if path not in named]

    def _has(self, final, n_bytes, sha256):
        """Tell whether a file of rows is as it was noted."""
        if not final.exists():
            return self._gets_name(final, sha256)
        status = final.stat()
        is_later = status.st_mtime_ns > self._written  # so it was changed, or copied
        return status.st_size == n_bytes and not (is_later and _sha256(final) != sha256)

    def _gets_name(self, final, sha256):
        """Give a file of rows the name that a run did not come to give it."""
        for path in final.parent.glob(TEMPORARY.format(self.path.name)):
            with suppress(FileNotFoundError):  # it is just being given
                if _sha256(path) == sha256:
                    _give_name(path, final)
                    break
        return final.exists()


def _checked(sums):
    """Return lengths and hashes by file, which lie in the catalogue's folder.

    Raises
    ------
    ValueError, TypeError
        They are something else.
    """
    for name, (n_bytes, sha256) in dict(sums).items():
        if not _PLACE.fullmatch(name) or not (n_bytes >= 0 and str(sha256) == sha256):
            raise ValueError
    return dict(sums)


def part_done(catalogue, name):
    """Return the note of a part that is done, None if it is not."""
    note = _Note(Path(catalogue) / FILES / f"part-{name}.parquet")
    is_done = note.is_readable and note.has_all([])
    return note if is_done else None


def _files_of(paths):
    """Return the input files of which there are rows, None if a file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        tables = [pq.read_table(path, columns=["file"]) for path in paths]
    except (pa.ArrowException, OSError):
        return None
    return {file for table in tables for file in table["file"].to_pylist()}


def _some(files):
    """Return words for the input files of a part, which may be unknown."""
    if not files:
        return "all files of the archive"
    return f"all of its {len(files)} files, such as {min(files)!r},"


def _n_rows(paths):
    """Return how many rows are in files, None where one is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return sum(pq.read_metadata(p).num_rows for p in paths)
    except (pa.ArrowException, OSError):
        return None


def _give_name(path, final):
    """Give rows of a part that is done their name; another run may be first."""
    try:
        os.replace(path, final)
    except FileNotFoundError:
        if not final.exists():
            raise
    sync_folder(final.parent)


def _set_aside(*paths):
    """Take files out of the catalogue, in this order, without deleting them."""
    for path in paths:
        with suppress(FileNotFoundError):  # another run was first
            number = uuid4().hex[:8]
            os.replace(path, path.with_name(_ASIDE.format(number, path.name)))
            sync_folder(path.parent)


def _remove_unfinished(folder):
    """Remove what runs that died long ago have written of parts that are not done."""
    oldest = time.time() - _LEASE
    for pattern in ("_*.tmp", f"{FILES}/_*.tmp", "site=*/date=*/_*.tmp"):
        for path in folder.glob(pattern):
            with suppress(FileNotFoundError):  # it has got its name
                if _UNFINISHED.fullmatch(path.name) and path.stat().st_mtime < oldest:
                    path.unlink()


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
