"""The files in folders for which there are readers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from sksimclr._files.file_names import absolute, not_of_the_sky
from sksimclr._files.readers import known_readers

_COMPRESSED = (".gz", ".fz")
_VERSION = re.compile(r"[_-]v(\d{1,3})(?=\.)")
_COPY = re.compile(r"(?: ?\(\d+\)| - copy| copy)(?=\.)")  # as file managers name them
_OURS = {  # what folders that were made of frames are known by
    "_store.json": "a store of frames",
    "_catalogue.json": "a catalogue",
}


def find_files(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Find the files that there are readers for.

    Parameters
    ----------
    where : str, path-like, or sequence of them
        Files, which are kept whatever their names are, and folders, which are searched
        with all folders in them. Of a folder, these files are left out, as
        ``sksimclr info FOLDER`` tells:

        - those for whose names there is no reader, and hidden ones;
        - those whose names say that they show no sky: spectra, keograms, masks, dark
          and bias frames, THEMIS's ``_wide_`` variants;
        - those that the same folder has compressed too (``.pgm`` beside ``.pgm.gz``),
          in a later version (``_v01`` beside ``_v02``), or without ``(1)`` in the name;
        - all in a store of `pack_frames` or a catalogue of `label_archive`.

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
    return search(where)[0]


def search(where: Any) -> tuple[list[str], dict[str, int]]:
    """Find files like :func:`find_files`, and count those that it leaves out.

    Returns
    -------
    found : list of str
        Absolute paths, sorted.
    left_out : dict of str to int
        Number of files of the folders for each reason, such as "a keogram", sorted.
    """
    one = isinstance(where, (str, os.PathLike))
    found: set[str] = set()
    reasons: dict[str, str] = {}
    for path in [where] if one else where:
        path = absolute(path)
        if os.path.isdir(path):
            for file, reason in _in_folder(path):
                if reason:
                    reasons[file] = reason
                else:
                    found.add(file)
        elif os.path.exists(path):
            found.add(path)
        else:
            raise FileNotFoundError(f"There is no file or folder {path!r}.")
    counts = Counter(reason for file, reason in reasons.items() if file not in found)
    left_out = dict(sorted(counts.items()))
    if not found:
        why = f" Left out: {left_out_text(left_out)}." if left_out else ""
        raise ValueError(
            f"No file to read in {where!r}. Looked for names that end in "
            f"{', '.join(sorted(known_readers()))}, in all folders of it.{why}"
        )
    return sorted(found), left_out


def left_out_text(numbers: Mapping[str, int]) -> str:
    """Return how many files are left out for each reason, in words.

    Examples
    --------
    >>> left_out_text({"a keogram": 1, "no reader for .txt": 2})
    '2 no reader for .txt, 1 a keogram'
    """
    order = sorted(numbers, key=lambda reason: (-numbers[reason], reason))
    return ", ".join(f"{numbers[reason]} {reason}" for reason in order)


def _in_folder(top: str) -> Iterator[tuple[str, str]]:
    """Yield the paths of the files in a folder and in all folders of it.

    With each the reason why it is left out, "" for none.
    """
    suffixes, seen = tuple(known_readers()), set()
    for folder, folders, names in os.walk(top, onerror=_raise, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        made = _OURS.keys() & names
        if made:
            folders.clear()
            yield from ((os.path.join(folder, name), _OURS[name]) for name in made)
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        lower = {name: name.lower() for name in names}
        wanted = {low for low in lower.values() if low.endswith(suffixes)}
        versions = _versions(wanted)
        for name, low in lower.items():
            reason = _why_not(low, wanted, versions)
            yield os.path.join(folder, name), reason


def _why_not(name: str, wanted: set[str], versions: dict[str, str]) -> str:
    """Say why a file of a folder is left out, "" for one that is not.

    `wanted` are the names in the folder for which there are readers, `versions` those
    of the newest version by their name without it. All are in lower case.
    """
    if name[0] == ".":
        return "hidden"
    if name not in wanted:
        suffix = os.path.splitext(name)[1]
        return f"no reader for {suffix}" if suffix else "no ending of the name"
    kind = not_of_the_sky(name)
    if kind:
        return kind
    for ending in _COMPRESSED:
        if f"{name}{ending}" in wanted:
            return f"there as {ending} too"
    if _COPY.search(name) and _COPY.sub("", name) in wanted:
        return "a copy"
    if _VERSION.search(name) and versions[_VERSION.sub("", name)] != name:
        return "an older version"
    return ""


def _versions(names: set[str]) -> dict[str, str]:
    """Return the name of the newest version by the name without its version."""
    numbered = ((_VERSION.search(name), name) for name in names)
    found = [(int(match[1]), name) for match, name in numbered if match]
    return {_VERSION.sub("", name): name for _, name in sorted(found)}


def plain_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file as its copies, versions and compressed forms have it.

    Examples
    --------
    >>> plain_name("b/Night_v02 (1).pgm.gz")
    'night.pgm'
    """
    name = _COPY.sub("", os.path.basename(path).lower())
    name = _VERSION.sub("", name)
    return os.path.splitext(name)[0] if name.endswith(_COMPRESSED) else name


def _raise(error: OSError) -> NoReturn:
    """Let no folder be left out because it cannot be read."""
    raise error
