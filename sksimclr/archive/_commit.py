"""Parts of a catalogue or a store: committed whole, and put right where one is not.

What a part has is first written under names that readers pass over. Then a note in
`_files`, in one step, says which input files the part has, and how long its files are
and with which SHA-256: from now on it is done. Then its files get their names. Whoever
dies in between leaves what the next run needs to give them; whoever dies before the
note leaves nothing that counts.

The same files make the same part, byte for byte, so that runs which do not see each
other's locks, and workers which outlive their run, repeat each other. Where they had
divided the files otherwise, the next look at the folder takes out what is there
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
from uuid import uuid4

from sksimclr._machine.writing import (
    TEMPORARY,
    naming,
    replacing,
    sync_file,
    sync_folder,
    temporary_path,
)
from sksimclr.archive._folder import (
    FILES,
    PART_NAME,
    files_of_parts,
    is_part,
    kind_of,
    notes_of,
)
from sksimclr.archive._schemas import file_schema

_NEW = rf"({PART_NAME}\.(parquet|npy)|_catalogue\.json|_store\.json)"
_UNFINISHED = re.compile(rf"_[0-9a-f]{{8}}-{_NEW}\.tmp")
_LEASE = 24 * 3600  # seconds that a run may take from writing rows to their note
_ASIDE = "_aside-{}-{}"  # name of what is not to be read, nor ours to delete
_COLUMNS = ["file", "n_frames", "reason"]
_KEY = b"sksimclr_parts"  # in the metadata of a note


def write_table(table, path):
    """Write a table whose damage is found when it is read."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def commit(folder, name, outputs, files, said=None):
    """Write the files of a part, and its note; they count once this returns.

    Parameters
    ----------
    folder : str or path-like
    name : str
        Of the part.
    outputs : list of (str, callable)
        Paths in the folder, and what writes such a file to the path that it is given.
    files : list of dict
        Rows of input files.
    said : dict of bytes to bytes, optional
        What else the note says, as metadata.
    """
    import pyarrow as pa

    folder, unnamed, sums = Path(folder), {}, {}
    try:
        for relative, write in outputs:
            final = folder / relative
            place = final.parent
            if not place.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                sync_folder(place.parent)
                sync_folder(folder)
            path = temporary_path(final)
            unnamed[path] = final
            with naming(final):
                write(path)
                sync_file(path)
                sync_folder(place)
            sums[relative] = [path.stat().st_size, _sha256(path)]
        schema = file_schema().with_metadata({_KEY: json.dumps(sums)} | (said or {}))
        with replacing(folder / FILES / f"part-{name}.parquet") as path:
            write_table(pa.Table.from_pylist(files, schema), path)
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
    folder, paths, kind = Path(catalogue), set(paths), kind_of(catalogue)
    parts = {}  # looked at before the notes, which are also written before
    for path in filter(is_part, files_of_parts(folder)):
        parts.setdefault(path.stem, []).append(path)
    notes = [_Note(path) for path in notes_of(folder)]
    if parts and not notes:
        raise FileNotFoundError(
            f"The {kind.name} {str(folder)!r} has lost the list of its files: "
            f"{kind.content} of {len(parts)} parts are there, but nothing in "
            f"{FILES!r}. Put that folder back from a copy. Without one, {kind.verb} "
            "into another folder, and delete this one when that is done."
        )
    done = set()
    whole = {note: note.has_all(parts.get(note.path.stem, [])) for note in notes}
    # if files are in two parts, the larger one counts, but a damaged one least of all
    for note in sorted(notes, key=lambda n: (not whole[n], -len(n.files), n.path)):
        rows = parts.get(note.path.stem, [])
        files = note.files if note.is_readable else _files_of(rows)
        if whole[note] and files.isdisjoint(done):
            done |= files
            _set_aside(*note.strays(rows))
        elif files is not None and files <= paths | done:
            _set_aside(*rows, note.path)
        else:
            done |= files or set()
            warnings.warn(
                f"In the {kind.name} {str(folder)!r}, {kind.content} of "
                f"{note.path.name} are missing, damaged or there twice. Give "
                f"{_some(files)} to {kind.function}, so that they are {kind.done} "
                "again.",
                stacklevel=3,
            )
    for name, rows in parts.items():
        if not (folder / FILES / f"{name}.parquet").exists():
            _set_aside(*rows)
    _remove_unfinished(folder)
    return done


def forget_unread(catalogue):
    """Forget the files that gave no frame, so that they are read again."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in notes_of(catalogue):
        if not _Note(path).is_readable:
            continue  # is put right later
        table = pq.read_table(path)
        kept = table.filter((pc.field("n_frames") > 0) | (pc.field("reason") == ""))
        if kept.num_rows < table.num_rows:
            status = path.stat()
            with replacing(path) as new:
                write_table(kept, new)
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
            place = kind_of(path.parents[1]).place
            self._sums = None if sums is None else _checked(json.loads(sums), place)
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
        for path in final.parent.glob(TEMPORARY.format(final.name)):
            with suppress(FileNotFoundError):  # it is just being given
                if _sha256(path) == sha256:
                    _give_name(path, final)
                    break
        return final.exists()


def _checked(sums, place):
    """Return lengths and hashes by file, which lie where they should in the folder.

    Raises
    ------
    ValueError, TypeError
        They are something else.
    """
    for name, (n_bytes, sha256) in dict(sums).items():
        if not place.fullmatch(name) or not (n_bytes >= 0 and str(sha256) == sha256):
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

    paths = [path for path in paths if path.suffix == ".parquet"]
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
    places = {place.rpartition("/")[0] for place in kind_of(folder).places}
    for place in (".", FILES, *places):
        for path in folder.glob(f"{place}/_*.tmp"):
            with suppress(FileNotFoundError):  # it has got its name
                if _UNFINISHED.fullmatch(path.name) and path.stat().st_mtime < oldest:
                    path.unlink()


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
