"""Readers of all-sky files by the endings of their names, and users' own ones."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sksimclr._files.cdf import read_cdf
from sksimclr._files.frames import MAX_CHANNELS, Frames, UnreadableFileError
from sksimclr._files.pgm import read_pgm
from sksimclr._files.stills import read_npy, read_still

_READERS = {
    ".pgm": read_pgm,
    ".pgm.gz": read_pgm,
    ".cdf": read_cdf,
    ".png": read_still,
    ".jpg": read_still,
    ".jpeg": read_still,
    ".tif": read_still,
    ".tiff": read_still,
    ".npy": read_npy,
}
_SPEAKING = (ValueError, OSError, SyntaxError, EOFError)  # whose text says enough


def read_frames(path):
    """Read the frames of one all-sky file, whatever wrote it.

    Parameters
    ----------
    path : str or path-like
        What reads it depends on the ending of its name:

        - ``.pgm``, ``.pgm.gz``: raw files of THEMIS, REGO and other imagers of the
          University of Calgary, and any other binary PGM images of 8 or 16 bits;
        - ``.cdf``: files of level 1 of THEMIS, in the layouts until and since 2024;
        - ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``: images, 8 or 16 bits;
        - ``.npy``: an array (H, W), (n, H, W) or (n, H, W, C) of 8 or 16 bits, or of
          floats;
        - others: see :func:`register_reader`.

    Returns
    -------
    Frames
        Of a file that ends too early, the frames that are complete; its ``damage``
        says so.

    Raises
    ------
    UnreadableFileError
        There is no frame to read in the file, or none that can be relied on.
    FileNotFoundError
        There is no such file.

    See Also
    --------
    label_archive : Label the frames of any number of files.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from sksimclr.archive import read_frames
    >>> path = Path(tempfile.mkdtemp()) / "20140310_060300_gill.npy"
    >>> np.save(path, np.ones((256, 256), np.uint16))
    >>> frames = read_frames(path)
    >>> frames.images.shape, frames.site, str(frames.times[0])
    ((1, 256, 256), 'gill', '2014-03-10T06:03:00.000000000')
    """
    return reader_for(path)(path)


def register_reader(suffixes, reader):
    """Let files with other endings be read, such as those of another imager.

    Parameters
    ----------
    suffixes : str or sequence of str
        Endings of names, with their dot, such as ".h5" or ".rego.h5". The longest that
        fits a name counts; upper and lower case are alike. A suffix that has a reader
        already gets the new one.
    reader : callable
        ``reader(path) -> Frames``, called with a ``pathlib.Path`` by several
        threads at once. Whatever it raises says why a file cannot be read. To label
        an archive on other machines, it must be importable there.

    Examples
    --------
    A camera writes the frames of an hour to one ``.npz`` file:

    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from sksimclr.archive import Frames, read_frames, register_reader
    >>> def read_local_camera(path):
    ...     with np.load(path) as file:
    ...         return Frames(
    ...             file["counts"],
    ...             times=file["unix_seconds"].astype("datetime64[s]"),
    ...             site="tro",
    ...         )
    >>> register_reader(".npz", read_local_camera)
    >>> path = Path(tempfile.mkdtemp()) / "hour.npz"
    >>> np.savez(path, counts=np.ones((2, 64, 64), np.uint16), unix_seconds=[0, 60])
    >>> read_frames(path).times
    array(['1970-01-01T00:00:00.000000000', '1970-01-01T00:01:00.000000000'],
          dtype='datetime64[ns]')
    """
    suffixes = [suffixes] if isinstance(suffixes, str) else list(suffixes)
    for suffix in suffixes:
        if not isinstance(suffix, str) or not suffix.startswith(".") or suffix == ".":
            raise ValueError(
                f"Expected suffixes such as '.h5', with their dot; got {suffix!r}."
            )
    if not callable(reader):
        raise TypeError(f"Expected a function of a path, got {reader!r}.")
    _READERS.update({suffix.lower(): reader for suffix in suffixes})


def reader_for(path):
    """Return what reads a file, to be called with its path here or elsewhere.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    callable
        Takes the path, returns Frames; it can be pickled if the reader can. Where no
        reader is registered for the ending of the name, it says so in an
        UnreadableFileError.
    """
    name = os.path.basename(path).lower()
    fitting = [suffix for suffix in _READERS if name.endswith(suffix)]
    return _Reader(_READERS[max(fitting, key=len)] if fitting else _refuse)


def _refuse(path):
    """Stand for the reader that there is not."""
    raise ValueError(
        f"expected a name that ends in {', '.join(sorted(_READERS))}. Register a "
        "reader for others, see sksimclr.archive.register_reader"
    )


def find_files(where):
    """Find the files that there are readers for.

    Parameters
    ----------
    where : str, path-like, or sequence of them
        Files, which are kept whatever their names are, and folders, which are searched
        with all folders in them. Of a folder, these files are left out: those for
        whose names there is no reader, hidden ones, THEMIS's ``_wide_`` variants, and
        those of which the same folder has the compressed form too (``.pgm`` beside
        ``.pgm.gz``).

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


def find_paths(where):
    """Find files like :func:`find_files`, as texts, which takes a third of the time."""
    one = isinstance(where, (str, os.PathLike))
    found = set()
    for path in [where] if one else where:
        path = os.path.abspath(path)
        if os.path.isdir(path):
            found.update(_in_folder(path))
        elif os.path.exists(path):
            found.add(path)
        else:
            raise FileNotFoundError(f"There is no file or folder {path!r}.")
    if not found:
        raise ValueError(
            f"No file to read in {where!r}. Looked for names that end in "
            f"{', '.join(sorted(_READERS))}, in all folders of it."
        )
    return sorted(found)


def _in_folder(top):
    """Yield the paths of the files in a folder and in all folders of it."""
    suffixes, seen = tuple(_READERS), set()
    for folder, folders, names in os.walk(top, onerror=_raise, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        lower = {name: name.lower() for name in names}
        wanted = {low for low in lower.values() if low.endswith(suffixes)}
        for name, low in lower.items():
            is_odd = low[0] == "." or "_wide_" in low or f"{low}.gz" in wanted
            if low in wanted and not is_odd:
                yield os.path.join(folder, name)


def _raise(error):
    """Let no folder be left out because it cannot be read."""
    raise error


@dataclass(frozen=True)
class _Reader:
    """A reader whose errors name the file and whose frames are what they should be."""

    function: Any

    def __call__(self, path):
        """Read a file."""
        path = Path(path)
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _unreadable(path, "it is not a regular file")
        try:
            frames = self.function(path)
        except (FileNotFoundError, ImportError, MemoryError, UnreadableFileError):
            raise
        except Exception as error:  # damaged files make decoders raise anything
            reason = str(error) if isinstance(error, _SPEAKING) else repr(error)
            raise _unreadable(path, reason or repr(error)) from error
        problem = _problem(frames)
        if problem:
            raise _unreadable(path, f"its reader {_name(self.function)} {problem}")
        return _in_our_types(frames)


def _unreadable(path, reason):
    """Return the error of a file, with its name unless the reason has it."""
    start = "" if str(path) in reason else f"Cannot read {str(path)!r}: "
    return UnreadableFileError(f"{start}{reason.rstrip('.')}.")


def _name(function):
    """Say which function it is."""
    return getattr(function, "__qualname__", repr(function))


def _problem(frames):
    """Say what is wrong with what a reader returned; "" for nothing."""
    if not isinstance(frames, Frames):
        return f"should return Frames, got {type(frames).__name__}"
    images, times = frames.images, frames.times
    if not isinstance(images, np.ndarray) or images.ndim not in (3, 4):
        return (
            "should return images as an array (n, H, W) or (n, H, W, C), got "
            f"{type(images).__name__} of shape {np.shape(images)}"
        )
    if min(images.shape) < 1 or images.shape[3:] > (MAX_CHANNELS,):
        return (
            f"should return at least one frame of 1 to {MAX_CHANNELS} channels, got an "
            f"array of shape {images.shape}"
        )
    if images.dtype.kind != "f" and images.dtype.newbyteorder("=") not in ("u1", "u2"):
        return (
            "should return images of uint8, uint16 or floats, got "
            f"{images.dtype}. Change their type to what holds their values"
        )
    if np.shape(times) != images.shape[:1] or np.asarray(times).dtype.kind != "M":
        return (
            f"should return {len(images)} times of datetime64, one for each frame, got "
            f"{type(times).__name__} {getattr(times, 'dtype', '')} of shape "
            f"{np.shape(times)}"
        )
    if not isinstance(frames.site, str):
        return f"should return the site as text, got {frames.site!r}"
    return ""


def _in_our_types(frames):
    """Return frames whose times and byte order are ours, the same ones if they are."""
    images = frames.images
    native = images.astype(images.dtype.newbyteorder("="), copy=False)
    times = np.asarray(frames.times).astype("datetime64[ns]", copy=False)
    return Frames(native, times, frames.site, frames.metadata, frames.damage)
