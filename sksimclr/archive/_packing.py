"""Frames to train on: files go in, a store of reduced frames comes out."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_scalar

from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive._clock import check_utc_offset
from sksimclr.archive._folder import STORE, require_pyarrow
from sksimclr.archive._grouping import by_folder, by_night
from sksimclr.archive._packed_part import PackedPart
from sksimclr.archive._quality import GOOD, SATURATED, SHORT
from sksimclr.archive._run import Run, run_over

_QUALITIES = (GOOD, SATURATED, SHORT)


@dataclass(frozen=True)
class PackRun(Run):
    """What a call of `pack_frames` did.

    Attributes
    ----------
    n_files : int
        Files read in this run.
    n_skipped : int
        Files that an earlier run had done.
    n_frames : int
        Frames written to the store in this run.
    n_failures : int
        Files of this run that could not be read, or not wholly; see `read_failures`.
    seconds : float
        Time taken.
    left_out : dict of str to int, default={}
        How many files of the folders were not taken, for each reason; see `find_files`.

    Examples
    --------
    >>> from sksimclr.archive import PackRun
    >>> run = PackRun(
    ...     n_files=60, n_skipped=0, n_frames=1200, n_failures=0, seconds=0.5
    ... )
    >>> run.n_frames / run.seconds
    2400.0
    """


def pack_frames(
    files,
    store,
    *,
    preprocessor=None,
    every=1,
    quality=_QUALITIES,
    per_night=None,
    utc_offset=0.0,
    n_threads=None,
    part_bytes=None,
    retry_failures=False,
    verbose=0,
):
    """Reduce the frames of an archive once, to train on them again and again.

    Streams files through the preprocessor into shards, plain ``.npy`` files, with an
    index. It may be interrupted or killed at any moment: the same call goes on, and
    ends with the same store.

    Parameters
    ----------
    files : str, path-like or list of them
        Files, and folders that are searched, see `find_files`.
    store : str or path-like
        Folder of the store, which is made, or gone on with.
    preprocessor : AuroraPreprocessor, default=None
        Makes what is stored, all of one `size`; by default
        ``AuroraPreprocessor(size=64, dtype="uint8")``. Frames of files may have any
        shapes.
    every : int, default=1
        Take each such frame, at least 1, counted through the files of a part.
    quality : sequence of str, default=("good", "saturated", "short")
        Take frames of these qualities, see `label_archive`. Others have nothing to see.
    per_night : int, default=None
        Take at most so many frames of each night of each station, at least 1, spread
        evenly over those that `every` and `quality` leave. Most frames of an archive
        are clear or cloudy sky, night after night.
    utc_offset : float, default=0.0
        Hours that the clock of the camera is ahead of UTC, in [-14, 14]: 1 for CET, 2
        for its summer time, 5.5 for India, -3 for Brazil. All times that files tell are
        brought to UTC by it, also those of files which have UTC by definition, such as
        THEMIS's. One for all files of a store.
    n_threads : int, default=None
        Threads of this process, at least 1, each of which works on files of its own; by
        default as many as there are cores. Without effect on a Dask cluster.
    part_bytes : int, default=None
        Consecutive files of a folder become one part of the store, a shard, until they
        have so many bytes, at least 1; by default 2**30, or a 64th of all files if that
        is less. A killed run repeats the parts that it was working on.
    retry_failures : bool, default=False
        Read files again from which an earlier run got no frame.
    verbose : int, default=0
        Above 0: show a progress bar.

    Returns
    -------
    PackRun

    Raises
    ------
    ValueError
        A parameter is not as described; or the store was begun with other ones.
    TypeError
        `every`, `per_night`, `n_threads` or `part_bytes` is no integer, or `utc_offset`
        no number.
    FileNotFoundError
        One of `files` does not exist; or the store has lost its list of files.
    FileExistsError
        `store` is a folder with something else in it.
    RuntimeError
        Another run is writing to the store, or what was written vanishes.
    KeyboardInterrupt
        Ctrl-C. The same call goes on from there.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    open_frames : The store as an array.
    read_failures : The files that could not be read.
    label_archive : Labels and embeddings of an archive, also on a Dask cluster.

    Notes
    -----
    With a `dask.distributed.Client`, the files are packed by its workers, which must
    all see them and the store under the same paths.

    With `per_night`, parts consist of whole nights. A night of a station ends where it
    pauses for six hours, and after a day at the latest, by the times in the names of
    files; files whose names tell no station and time are taken for one night for each
    folder. A later call with more files of a night takes that many of them again.

    The folder holds ``frames/part-<hash>.npy``, arrays ``(n, size, size)``, and of each
    ``index/part-<hash>.parquet``, a row for each frame in the same order:

    ==============  ==================================================================
    ``file``        absolute path
    ``frame``       number of the frame in its file, from 0
    ``time``        start of the exposure, UTC, null where unknown
    ``site``        station, "unknown" where the file does not tell
    ``instrument``  imager, with its line or mode, null where unknown
    ``sequence``    number of its ten minutes since 1970, null without a time: frames of
                    an instrument of a site with the same one are moments of one sky
    ``quality``     "good", "saturated" or "short"
    ==============  ==================================================================

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sksimclr import AuroraPreprocessor
    >>> from sksimclr.archive import open_frames, pack_frames
    >>> from sksimclr.datasets import make_aurora
    >>> folder = tempfile.mkdtemp()
    >>> frames = make_aurora(12, size=32, random_state=0).images
    >>> np.save(f"{folder}/20140310_0600_gill.npy", frames)
    >>> small = AuroraPreprocessor(size=16, dtype="uint8")
    >>> run = pack_frames(folder, f"{folder}/store", preprocessor=small, every=3)
    >>> run.n_files, run.n_frames, run.n_failures
    (1, 4, 0)
    >>> images = open_frames(f"{folder}/store")
    >>> images.shape, images.dtype
    ((4, 16, 16), dtype('uint8'))
    >>> bool((images[1] == small.transform(frames[3:4])[0]).all())
    True
    """
    require_pyarrow()
    numbers = run_over(
        files,
        store,
        Packer(preprocessor, every, quality, per_night, utc_offset),
        n_threads=n_threads,
        part_bytes=part_bytes,
        retry_failures=retry_failures,
        verbose=verbose,
    )
    return PackRun(**numbers)


class Packer:
    """What makes rows of a store out of frames.

    Parameters
    ----------
    preprocessor, every, quality, per_night, utc_offset
        As in `pack_frames`.

    Attributes
    ----------
    header : dict
        What the store says of its frames.
    """

    kind = STORE
    part_bytes = 1 << 26, 1 << 30  # at least and at most, of files

    def __init__(self, preprocessor, every, quality, per_night, utc_offset=0.0):
        if preprocessor is None:
            preprocessor = AuroraPreprocessor(size=64, dtype="uint8")
        _check_preprocessor(preprocessor)
        check_scalar(every, "every", Integral, min_val=1)
        if per_night is not None:
            check_scalar(per_night, "per_night", Integral, min_val=1)
        _check_quality(quality)
        self.preprocessor = clone(preprocessor)  # files may have frames of other shapes
        self.every, self.per_night = every, per_night
        self.quality = sorted(set(quality))
        self.divide = by_folder if per_night is None else by_night
        parameters = preprocessor.get_params(deep=False)
        self.header = _as_json(
            {
                "preprocessor": parameters,
                "frame_shape": 2 * [preprocessor.size],
                "dtype": preprocessor.dtype,
                "every": every,
                "quality": self.quality,
                "per_night": per_night,
            }
        )
        text = json.dumps(self.header, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.header["utc_offset"] = check_utc_offset(utc_offset)

    def part(self, group, folder):
        """Return the empty `Part` of a group of files."""
        return PackedPart(self, group, folder)


def _check_preprocessor(preprocessor):
    """Raise a ValueError unless frames of all files become images of one form."""
    if type(preprocessor) is not AuroraPreprocessor:  # of which the store can tell
        raise ValueError(
            "The preprocessor of a store must be an AuroraPreprocessor, got "
            f"{preprocessor!r}."
        )
    preprocessor._validate_params()
    if preprocessor.size is None:
        raise ValueError(
            "All frames of a store have one shape, so its preprocessor must have a "
            "size in pixels, such as AuroraPreprocessor(size=64, dtype='uint8'); got "
            "size=None."
        )


def _check_quality(quality):
    """Raise a ValueError unless these are qualities of frames that show something."""
    is_list = isinstance(quality, Iterable) and not isinstance(quality, str)
    if not is_list or not set() < set(quality) <= set(_QUALITIES):
        raise ValueError(
            f"quality must be a sequence of some of {_QUALITIES}, got {quality!r}. "
            "Frames that are constant or unreadable have nothing to learn from."
        )


def _as_json(value):
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value, default=np.generic.item))
