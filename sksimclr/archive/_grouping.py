"""Which files of an archive become one part."""

import hashlib
import os
from itertools import groupby

import numpy as np

from sksimclr._files.file_names import as_text, site_and_time
from sksimclr._files.readers import reader_for
from sksimclr.archive._part import Group

_N_PARTS = 64  # at least, so that small archives keep all threads busy too
_PAUSE = np.timedelta64(6, "h")  # of a station, after which another night begins
_DAY = np.timedelta64(1, "D")  # after which it begins too, in the polar night


def by_folder(paths):
    """Return sorted files for each folder: lists of units, here files alone."""
    return [[[file] for file in files] for _, files in groupby(paths, os.path.dirname)]


def by_night(paths):
    """Return files for each station: lists of units, here `nights` of it."""
    return [
        [files for _, _, files in units]
        for _, units in groupby(_nights(paths), lambda night: night[:2])
    ]


def night_of_files(paths):
    """Return {file: number of its night}, of the order of `by_night`."""
    found = _nights(paths)
    return {file: k for k, (_, _, files) in enumerate(found) for file in files}


def _nights(paths):
    """Return (station, folder, files in the order of time) for each night.

    A night of a station ends where it pauses for six hours, and after a day at the
    latest, by the times in the names of files. Files whose names tell no station and
    time are taken for a night for each folder.
    """
    named, unnamed = [], {}
    for path in paths:
        site, time = site_and_time(path)
        if site and not np.isnat(time):
            named.append((site, time, path))
        else:
            unnamed.setdefault(os.path.dirname(path), []).append(path)
    found, site_before, last, began = [], None, None, None
    for site, time, path in sorted(named):
        is_new = site != site_before or time - last > _PAUSE or time - began >= _DAY
        if is_new:
            found.append((site, "", []))
            began = time
        found[-1][2].append(path)
        site_before, last = site, time
    return found + [("", folder, sorted(unnamed[folder])) for folder in sorted(unnamed)]


def groups_to_do(paths, done, part_bytes, work):
    """Yield groups of files that are not done; the same files give the same groups.

    Parameters
    ----------
    paths : list of str
        Sorted.
    done : set of str
        Texts of those that are done.
    part_bytes : int or None
        Of the files of a group, as `label_archive` has it.
    work : Labeller or Packer
    """
    sizes = {path: _size(path) for path in paths}
    if part_bytes is None:
        low, high = work.part_bytes
        part_bytes = min(max(sum(sizes.values()) // _N_PARTS, low), high)
    for units in work.divide(paths):
        files, n_bytes = [], 0
        for unit in units:
            files += unit
            n_bytes += sum(sizes[file] for file in unit)
            if n_bytes >= part_bytes:
                yield from _group(files, done, work.fingerprint)
                files, n_bytes = [], 0
        yield from _group(files, done, work.fingerprint)


def _group(files, done, fingerprint):
    """Yield one group of the files that are not done, if there are any."""
    files = tuple(file for file in files if as_text(file) not in done)
    if files:
        names = "\0".join([fingerprint, *map(as_text, files)])
        name = hashlib.sha256(names.encode()).hexdigest()[:16]
        yield Group(name, files, tuple(map(reader_for, files)))


def _size(file):
    try:
        return os.stat(file).st_size
    except OSError:  # it may be gone by now; the reader will say so
        return 0
