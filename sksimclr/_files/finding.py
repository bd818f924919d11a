"""The files in folders for which there are readers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from sksimclr._files.file_names import absolute
from sksimclr._files.readers import known_readers

_STORE = "_store.json"  # what a store of frames is known by


def find_files(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Find the files that there are readers for.

    Parameters
    ----------
    where : str, path-like, or sequence of them
        Files, which are kept whatever their names are, and folders, which are searched
        with all folders in them. Of a folder, these files are left out: those for
        whose names there is no reader, hidden ones, THEMIS's ``_wide_`` variants,
        those of which the same folder has the compressed form too (``.pgm`` beside
        ``.pgm.gz``), and all in a store of `pack_frames`.

    Returns
    -------
    list of Path
        Absolute, sorted by their texts, each once.

    Raises
    ------
    FileNotFoundError
        There is no such file or folder.
    ValueError
        There is no file to read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sksimclr.archive import find_files
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.pgm", "b.pgm.gz", "a.cdf", "readme.txt"):
    ...     (folder / name).touch()
    >>> [path.name for path in find_files(folder)]
    ['a.cdf', 'b.pgm.gz']
    """
    return [Path(path) for path in find_paths(where)]


def find_paths(where: Any) -> list[str]:
    """Find files like :func:`find_files`, as texts, which takes a third of the time."""
    one = isinstance(where, (str, os.PathLike))
    found: set[str] = set()
    for path in [where] if one else where:
        path = absolute(path)
        if os.path.isdir(path):
            found.update(_in_folder(path))
        elif os.path.exists(path):
            found.add(path)
        else:
            raise FileNotFoundError(f"There is no file or folder {path!r}.")
    if not found:
        raise ValueError(
            f"No file to read in {where!r}. Looked for names that end in "
            f"{', '.join(sorted(known_readers()))}, in all folders of it."
        )
    return sorted(found)


def _in_folder(top: str) -> Iterator[str]:
    """Yield the paths of the files in a folder and in all folders of it."""
    suffixes, seen = tuple(known_readers()), set()
    for folder, folders, names in os.walk(top, onerror=_raise, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if _STORE in names:  # frames of others that were packed
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        lower = {name: name.lower() for name in names}
        wanted = {low for low in lower.values() if low.endswith(suffixes)}
        for name, low in lower.items():
            is_odd = low[0] == "." or "_wide_" in low or f"{low}.gz" in wanted
            if low in wanted and not is_odd:
                yield os.path.join(folder, name)


def _raise(error: OSError) -> NoReturn:
    """Let no folder be left out because it cannot be read."""
    raise error
