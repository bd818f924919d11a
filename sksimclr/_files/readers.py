"""The registry of readers: what reads a file is decided by the ending of its name."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.arrays import read_npy
from sksimclr._files.cdf import read_cdf
from sksimclr._files.fits import read_fits
from sksimclr._files.frames import MAX_CHANNELS, Frames, UnreadableFileError
from sksimclr._files.hdf5 import read_h5
from sksimclr._files.pgm import read_pgm
from sksimclr._files.pictures import read_other_picture, read_picture
from sksimclr._files.tarred import read_png_tar

AnyPath = str | os.PathLike[str]
ReaderFunction = Callable[[Path], Frames]

_READERS: dict[str, ReaderFunction] = {
    ".pgm": read_pgm,
    ".pgm.gz": read_pgm,
    ".cdf": read_cdf,
    ".png": read_picture,
    ".jpg": read_picture,
    ".jpeg": read_picture,
    ".tif": read_picture,
    ".tiff": read_picture,
    ".bmp": read_other_picture,
    ".png.tar": read_png_tar,
    ".h5": read_h5,
    ".npy": read_npy,
    ".fits": read_fits,
    ".fit": read_fits,
    ".fts": read_fits,
    ".fits.gz": read_fits,
    ".fits.fz": read_fits,
}
_OURS = tuple(_READERS.values())
_ROOM = 1 << 26  # bytes that any file may need
_GROUP = "sksimclr.readers"  # of entry points
_SPEAKING = (ValueError, OSError, SyntaxError, EOFError)  # whose text says enough


def read_frames(path: AnyPath) -> Frames:
    """Read the frames of one all-sky file, whatever wrote it.

    Parameters
    ----------
    path : str or path-like
        What reads it depends on the ending of its name:

        - ``.pgm``, ``.pgm.gz``: raw files of THEMIS, REGO and other imagers of the
          University of Calgary, and any other binary PGM images of 8 or 16 bits;
        - ``.cdf``: files of level 1 of THEMIS, in the layouts until and since 2024;
        - ``.fits``, ``.fit``, ``.fts``, ``.fits.gz``, ``.fits.fz``: the first image of
          a FITS file (``pip install "sksimclr[cameras]"``);
        - ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``, ``.bmp``: images, 8 or 16
          bits;
        - ``.png.tar``, ``.h5``: PNG images in a tar file, and HDF5, of the colour
          imagers of TREx (the latter with ``pip install "sksimclr[cameras]"``);
        - ``.npy``: an array (H, W), (n, H, W) or (n, H, W, C) of 8 or 16 bits, or of
          floats;
        - others: see :func:`register_reader`.

        The same readers serve `fit` and `transform` of every estimator, where a path
        that holds one frame is a sample. Images are turned as their Exif data say, and
        palettes and ink become RGB. Colour images with nothing but green, as the
        OATH data set has them, are taken as grey here, and as they are there.

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


def register_reader(suffixes: str | Iterable[str], reader: ReaderFunction) -> None:
    """Let files with other endings be read, such as those of another imager.

    From then on, wherever a path is taken: by :func:`read_frames`,
    :func:`label_archive` and every estimator.

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

    Raises
    ------
    ValueError
        A suffix is not as described.
    TypeError
        `reader` cannot be called.

    Notes
    -----
    A package brings readers without a call, for the command line too, by entry points
    of the group ``sksimclr.readers``: the suffix is the name, the reader the object,
    in its ``pyproject.toml`` for example ``[project.entry-points."sksimclr.readers"]``
    and ``".rego.h5" = "rego_reader:read"``. They are imported when a file needs them. A
    suffix that has a reader here keeps it.

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


def known_readers() -> dict[str, ReaderFunction]:
    """Return {ending of names: reader}: ours and registered ones, then installed ones.

    The latter are imported when a file needs them.
    """
    return _installed() | _READERS


@functools.cache
def _installed() -> dict[str, ReaderFunction]:
    """Return what the entry points of other packages bring."""
    return {
        entry.name.lower(): _InstalledReader(entry.name, entry.value)
        for entry in entry_points(group=_GROUP)
    }


@dataclass(frozen=True)
class _InstalledReader:
    """A reader that another package brings; it can be sent to other processes."""

    suffix: str
    value: str

    def __repr__(self) -> str:
        return self.value

    def __call__(self, path: Path) -> Frames:
        """Import it and read a file."""
        try:
            function = EntryPoint(self.suffix, self.value, _GROUP).load()
        except Exception as error:
            raise ImportError(
                f"The reader of {self.suffix} files, {self.value!r}, cannot be "
                f"imported: {error}. Mend or remove the package that brings it as an "
                f"entry point of {_GROUP!r}."
            ) from error
        frames: Frames = function(path)
        return frames


def suffix_of(path: AnyPath) -> str | None:
    """Return the longest known ending of a file's name, None if there is none."""
    name = os.path.basename(path).lower()
    fitting = [suffix for suffix in known_readers() if name.endswith(suffix)]
    return max(fitting, key=len) if fitting else None


def reader_for(path: AnyPath) -> Reader:
    """Return what reads an all-sky file, to be called with its path here or elsewhere.

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
    suffix = suffix_of(path)
    return Reader(_refuse if suffix is None else known_readers()[suffix])


def read_image(path: AnyPath) -> NDArray[Any]:
    """Read the one frame in a file, with the values it was written with.

    Parameters
    ----------
    path : str or path-like
        What reads it depends on the ending of its name, as in :func:`read_frames`.
        Where there is no reader, or one of ours fails, what is in the file counts:
        PNG, JPEG, TIFF, BMP, GIF, PPM or WebP.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is a directory, damaged, not an image, or has several frames.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        raise ValueError(
            f"Expected an image file, got a directory: {os.fspath(path)!r}. Pass its "
            "files, e.g. sorted(pathlib.Path(folder).glob('*.png'))."
        )
    frames = _one_way_or_the_other(path)
    if len(frames) > 1:
        is_known = suffix_of(path) is not None
        how = ": sksimclr.archive.read_frames(path).images" if is_known else ""
        raise ValueError(
            f"Expected one frame in a file, got {len(frames)} in {os.fspath(path)!r}. "
            f"Read them into an array first{how}."
        )
    if frames.damage:
        raise _unreadable(Path(path), frames.damage)
    image: NDArray[Any] = frames.images[0]
    return image


def _one_way_or_the_other(path: AnyPath) -> Frames:
    """Read all that is in a file, by its name or by its contents."""
    suffix = suffix_of(path)
    if suffix is None:
        return Reader(read_other_picture).as_stored(path)
    reader = known_readers()[suffix]
    try:
        return Reader(reader).as_stored(path)
    except UnreadableFileError:
        if reader in _OURS:
            with suppress(UnreadableFileError):
                return Reader(read_other_picture).as_stored(path)
        raise


def _refuse(path: Path) -> Frames:
    """Stand for the reader that there is not."""
    raise ValueError(
        f"expected a name that ends in {', '.join(sorted(known_readers()))}. Register "
        "a reader for others, see sksimclr.archive.register_reader"
    )


@dataclass(frozen=True)
class Reader:
    """A reader whose errors name the file and whose frames are what they should be."""

    function: ReaderFunction

    def __call__(self, path: AnyPath) -> Frames:
        """Read the frames of the sky in a file: of colours, green alone is grey."""
        path = Path(os.path.expanduser(path))
        frames = self.as_stored(path)
        images = frames.images
        if images.dtype.kind not in "iuf":
            problem = f"images of numbers, got {images.dtype}"
            raise _unreadable(path, f"{self._should_return()} {problem}")
        images = _as_counts(images)
        frames = replace(frames, images=images)
        is_colour = images.ndim == 4 and images.shape[3] > 2
        if is_colour and not images[..., (0, 2)].any():
            frames = replace(frames, images=np.ascontiguousarray(images[..., 1]))
        return frames

    def as_stored(self, path: AnyPath) -> Frames:
        """Read all that is in a file."""
        path = Path(os.path.expanduser(path))
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _unreadable(path, "it is not a regular file")
        try:
            frames = self.function(path)
        except (FileNotFoundError, ImportError, UnreadableFileError):
            raise
        except MemoryError as error:
            if not self._is_ours() or not _is_room():
                raise
            raise _unreadable(path, "it needs more memory than there is") from error
        except Exception as error:  # damaged files make decoders raise anything
            reason = str(error) if isinstance(error, _SPEAKING) else repr(error)
            raise _unreadable(path, reason or repr(error)) from error
        problem = _problem(frames)
        if problem:
            raise _unreadable(path, f"{self._should_return()} {problem}")
        return _in_our_types(frames)

    def _should_return(self) -> str:
        """Begin a sentence for who wrote the reader, or, of ours, the file."""
        if self._is_ours():
            return "expected"
        return f"its reader {_name(self.function)} should return"

    def _is_ours(self) -> bool:
        return self.function in (*_OURS, read_other_picture)


def _is_room() -> bool:
    """Say whether there is memory: who lacked it then asked for too much."""
    try:
        np.empty(_ROOM, np.uint8)
    except MemoryError:
        return False
    return True


def _unreadable(path: Path, reason: str) -> UnreadableFileError:
    """Return the error of a file, with its name unless the reason has it."""
    start = "" if str(path) in reason else f"Cannot read {str(path)!r}: "
    return UnreadableFileError(f"{start}{reason.rstrip('.')}.")


def _name(function: ReaderFunction) -> str:
    """Say which function it is."""
    return getattr(function, "__qualname__", repr(function))


def _problem(frames: Any) -> str:
    """Say what is wrong with what a reader returned; "" for nothing."""
    if not isinstance(frames, Frames):
        return f"Frames, got {type(frames).__name__}"
    images, times = frames.images, frames.times
    if not isinstance(images, np.ndarray) or images.ndim not in (3, 4):
        return (
            "images as an array (n, H, W) or (n, H, W, C), got "
            f"{type(images).__name__} of shape {np.shape(images)}"
        )
    if min(images.shape) < 1 or images.shape[3:] > (MAX_CHANNELS,):
        return (
            f"at least one frame of 1 to {MAX_CHANNELS} channels, got an "
            f"array of shape {images.shape}"
        )
    if np.shape(times) != images.shape[:1] or np.asarray(times).dtype.kind != "M":
        return (
            f"{len(images)} times of datetime64, one for each frame, got "
            f"{type(times).__name__} {getattr(times, 'dtype', '')} of shape "
            f"{np.shape(times)}"
        )
    if np.ma.is_masked(images) or np.ma.is_masked(times):
        return (
            "no masked values: what is under a mask is none. Leave such "
            "frames out, or fill them in: .filled(value)"
        )
    for name in ("site", "instrument"):
        if not isinstance(getattr(frames, name), str):
            return f"the {name} as text, got {getattr(frames, name)!r}"
    return ""


def _as_counts(images: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as uint8, uint16 or floats that hold all of them.

    Those with a sign, as FITS has them, count light too: without one below zero they
    are taken as unsigned. All others become floats, and so do large ones.
    """
    if images.dtype.kind == "f" or images.dtype in ("u1", "u2"):
        return images
    if images.dtype.itemsize <= 2 and images.min() >= 0:
        return images.view(f"u{images.dtype.itemsize}")
    floats = images.astype(np.float32)
    return floats if (floats == images).all() else images.astype(np.float64)


def _in_our_types(frames: Frames) -> Frames:
    """Return frames whose times and byte order are ours, the same ones if they are."""
    images = np.asarray(frames.images)
    native = images.astype(images.dtype.newbyteorder("="), copy=False)
    times = np.asarray(frames.times).astype("datetime64[ns]", copy=False)
    return replace(frames, images=native, times=times)
