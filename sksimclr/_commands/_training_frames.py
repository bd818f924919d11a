"""The frames to train on: those with labels, and as many others as memory holds."""

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from tqdm import tqdm

from sksimclr._images.sky import box_of, field_of_view, square_around
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive import UnreadableFileError, read_frames
from sksimclr.archive._even_sample import EvenSample
from sksimclr.archive._quality import WITHOUT_LABEL, frame_quality
from sksimclr.model_selection import time_sequences

_MOST_BYTES = 2 << 30  # of preprocessed frames, unless their number is given
_BLOCK_BYTES = 64 << 20  # of raw frames that are preprocessed together
_N_LOOKED_AT = 16  # files, of which the shapes of frames are known beforehand
_SIZES = 4  # a frame is at most as many times as large as the images to learn from


@dataclass(frozen=True)
class TrainingFrames:
    """Preprocessed frames, and what is known of them.

    Attributes
    ----------
    preprocessor : AuroraPreprocessor
        Fitted to the form of the frames, or to none.
    images : ndarray or lazy array of shape (n, H, W)
    labels : ndarray of shape (n,), object
        Text, or None for frames without a label.
    times : ndarray of shape (n,), datetime64[ns]
    sites : ndarray of shape (n,), str
    sequences : ndarray of shape (n,), int64
        As of :func:`sksimclr.model_selection.time_sequences`.
    n_seen, n_files : int
        Frames that were read, of which these are a part, and files of them.
    failures : list of dict
        With "file", "n_frames" and "reason".
    """

    preprocessor: AuroraPreprocessor
    images: Any
    labels: np.ndarray
    times: np.ndarray
    sites: np.ndarray
    sequences: np.ndarray
    n_seen: int
    n_files: int
    failures: list


def read_training_frames(
    files, labels, *, preprocessor, image_size, max_frames=None, quiet=False
):
    """Read and preprocess frames to train on.

    Parameters
    ----------
    files : list of Path
    labels : dict of Path to dict of int to Label
        All these frames are kept, unless there is nothing in them to label.
    preprocessor : AuroraPreprocessor
        With a size, it takes frames of all shapes. Without, it gets one if frames of a
        few files differ in theirs, or are large.
    image_size : int
        Side of the images to learn from, in pixels. Frames whose sides are more than
        four times as long are large, and reduced to that: crops need some of it.
    max_frames : int, default=None
        Of the others, an even part is kept so that there are at most so many in all. By
        default, as many as 2 GiB hold.
    quiet : bool, default=False
        Show no progress.

    Returns
    -------
    TrainingFrames

    Raises
    ------
    ValueError
        There is no frame to train on; or a label is that of a frame that a file does
        not have.
    """
    most, failures, kept = max_frames, [], None
    if preprocessor.size is None:
        preprocessor = _for_shapes(_shapes(files), preprocessor, image_size, quiet)
    read = _few_files(files, labels, most)
    for path in tqdm(read, "reading", disable=quiet):
        try:
            frames = read_frames(path)
            if len(frames):
                _check_form(frames.images, preprocessor)
        except (UnreadableFileError, OSError) as error:
            failures.append({"file": str(path), "n_frames": 0, "reason": str(error)})
            continue
        if frames.damage:
            failure = {"n_frames": len(frames), "reason": frames.damage}
            failures.append({"file": str(path)} | failure)
        if kept is None and len(frames):
            form = _sides_of_result(frames.images, preprocessor)
            most = most or _n_that_fit(form)
            kept = EvenSample(max(most, sum(map(len, labels.values()))), form)
        if len(frames):
            _add(frames, labels.get(path, {}), path, preprocessor, kept)
    if kept is None or kept.n == 0:
        reason = f" {failures[0]['file']}: {failures[0]['reason']}" if failures else ""
        raise ValueError(f"No frame to train on in {len(files)} files.{reason}")
    images, found, times, sites = kept.arrays()
    return TrainingFrames(
        preprocessor,
        images,
        found,
        times,
        sites,
        time_sequences(times, sites),
        n_seen=kept.n_seen,
        n_files=len(read),
        failures=failures,
    )


def _few_files(files, labels, most):
    """Return evenly spaced files, at most as many as frames, and those with labels."""
    most = most or _n_that_fit((256, 256))
    if len(files) <= most:
        return files
    places = set(np.linspace(0, len(files) - 1, most).astype(int).tolist())
    return [f for k, f in enumerate(files) if k in places or f in labels]


def _shapes(files):
    """Return the shapes of the frames of a few files, evenly spread over all."""
    places = np.linspace(0, len(files) - 1, min(_N_LOOKED_AT, len(files))).astype(int)
    shapes = []
    for number, path in enumerate([*(files[k] for k in places), *files]):
        if shapes and number >= len(places):
            break
        with suppress(UnreadableFileError, OSError):
            shapes.append(read_frames(path).images.shape[1:3])
    return shapes


def _for_shapes(shapes, preprocessor, image_size, quiet):
    """Return a preprocessor for frames of these shapes, which reduces large ones.

    It is fitted to a shape if there is one alone. If there are several, all become as
    large as most: one thumbnail among them makes no thumbnails of all.
    """
    preprocessor, largest = clone(preprocessor), _SIZES * image_size
    sides = sorted(map(min, shapes))
    usual = sides[len(sides) // 2] if sides else largest
    if len(set(shapes)) <= 1:
        preprocessor.set_params(size=largest if usual > largest else None)
        return preprocessor.fit(np.zeros((1, *shapes[0]))) if shapes else preprocessor
    size = min(largest, usual)
    if not quiet:
        named = ", ".join(f"{height} x {width}" for height, width in sorted({*shapes}))
        print(f"frames of {named} pixels become {size} x {size}", file=sys.stderr)
    return preprocessor.set_params(size=size)


def _n_that_fit(form):
    return max(1, _MOST_BYTES // (4 * form[0] * form[1]))


def _sides_of_result(images, preprocessor):
    """Return height and width of one preprocessed frame."""
    if preprocessor.size:
        return preprocessor.size, preprocessor.size
    field = field_of_view(images.shape[1:3], preprocessor.radius, preprocessor.center)
    return square_around(box_of(field), field.shape)[2:]


def _check_form(images, preprocessor):
    """Raise an UnreadableFileError if the preprocessor cannot take such frames.

    They may have any colours: all become grey.
    """
    found = images.shape[1:3]
    if not hasattr(preprocessor, "image_shape_"):
        try:
            field_of_view(found, preprocessor.radius, preprocessor.center)
        except ValueError as error:
            raise UnreadableFileError(str(error)) from error
        return
    expected = preprocessor.image_shape_[:2]
    if tuple(expected) != tuple(found):
        raise UnreadableFileError(
            f"expected frames of {expected[0]} x {expected[1]} pixels, as other files "
            f"have, got {found[0]} x {found[1]}; train on files of one camera, or "
            "reduce all frames to one size: --size"
        )


def _add(frames, labels, path, preprocessor, kept):
    """Preprocess the frames of a file that are worth it, and keep a part of them."""
    beyond = [number for number in labels if number >= len(frames)]
    if beyond:
        raise ValueError(
            f"Line {labels[beyond[0]].line} of the labels is for frame {beyond[0]} of "
            f"{str(path)!r}, which has {len(frames)} frames, counted from 0."
        )
    quality = frame_quality(frames.images, frames.damage)
    numbers = np.flatnonzero(~np.isin(quality, WITHOUT_LABEL))
    lost = sorted(set(labels) - set(numbers.tolist()))
    if lost:
        counts = dict(Counter(quality[lost].tolist()))
        print(
            f"sksimclr: warning: {len(lost)} labelled frame(s) of {str(path)!r} are "
            f"not used, there is nothing to see in them: {counts}",
            file=sys.stderr,
        )
    if len(numbers) == 0:
        return
    n_at_once = max(1, _BLOCK_BYTES // frames.images[0].nbytes)
    for block in np.split(numbers, range(n_at_once, len(numbers), n_at_once)):
        images = preprocessor.transform(frames.images[block])
        for image, number in zip(images, block.tolist(), strict=True):
            label = labels[number].name if number in labels else None
            note = label, frames.times[number], frames.site
            kept.add(image.reshape(kept.shape), note)
