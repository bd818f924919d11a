"""``sksimclr train``: frames and labels go in, a fitted pipeline comes out."""

import dataclasses
import math
import sys
import tempfile
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sksimclr._commands._arguments import circle
from sksimclr._commands._estimate import estimate, night_groups
from sksimclr._commands._labels import read_labels
from sksimclr._commands._report import (
    SOME_FAILED,
    Report,
    duration,
    failures_text,
    left_out_line,
)
from sksimclr._commands._stored_frames import is_store, stored_training_frames
from sksimclr._commands._training_frames import read_training_frames
from sksimclr._files.finding import search
from sksimclr._machine.device import resolve_device
from sksimclr._machine.memory import keep_freed_memory
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr._simclr import SimCLRTransformer
from sksimclr.archive import save_model
from sksimclr.recipes import QUICK

_RECIPES = {
    "quick": {**QUICK, "image_size": 64, "max_epochs": 100},
    "paper": {},  # the defaults of SimCLRTransformer
}
_CHECKPOINT_BATCHES = 100  # between two checkpoints, in whole epochs


def run(args):
    """Train an encoder, a classifier if there are labels, and save both."""
    began, output = time.monotonic(), Path(args.output)
    _check_output(output)
    device = resolve_device(args.device)
    checkpoints = Path(args.checkpoint or f"{output}.checkpoint")
    simclr = _transformer(args, checkpoints)
    frames, n_files, left_out = _frames(args, simclr.image_size)
    if args.labels:
        _check_classes(frames)
    if not args.quiet:
        _say_what_is_trained(simclr, frames, n_files, device)
    n_batches = math.ceil(len(frames.images) / simclr.batch_size)
    simclr.set_params(checkpoint_every=math.ceil(_CHECKPOINT_BATCHES / n_batches))
    keep_freed_memory()
    with redirect_stdout(sys.stderr):  # a row for each epoch
        simclr.fit(frames.images, sequences=frames.sequences)
    steps, found = [frames.preprocessor, _as_stored(simclr)], None
    if args.labels:
        classifier, found = _classifier(simclr, frames)
        steps.append(classifier)
    save_model(make_pipeline(*steps), output)
    if args.checkpoint is None:
        _remove(checkpoints)
    return _report(args, steps, frames, left_out, found, time.monotonic() - began)


def _frames(args, image_size):
    """Return the frames to train on, how many files there are, and are left out."""
    if any(map(is_store, args.files)):
        if len(args.files) > 1 or args.max_frames or args.size or circle(args):
            raise ValueError(
                "A frame store is trained on as it is: give its folder alone, without "
                "--max-frames, --size, --center and --radius. Which frames it has, and "
                "what was made of them, `sksimclr pack` decides."
            )
        frames = stored_training_frames(args.files[0], args.labels)
        return frames, frames.n_files, {}
    paths, left_out = search(args.files)
    files = [Path(path) for path in paths]
    labels = read_labels(args.labels, files) if args.labels else {}
    frames = read_training_frames(
        files,
        labels,
        preprocessor=AuroraPreprocessor(**circle(args), size=args.size),
        image_size=image_size,
        max_frames=args.max_frames,
        quiet=args.quiet,
    )
    return frames, len(files), left_out


def _check_output(path):
    """Raise an error if the model could not be written, before hours of training."""
    if path.suffix != ".skops":
        raise ValueError(
            f"The name of the model must end in .skops, got {str(path)!r}."
        )
    if path.exists():
        raise FileExistsError(
            f"{str(path)!r} exists already. Remove it, or choose another name."
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path.parent)) from error


def _check_classes(frames):
    """Raise a ValueError if too many labelled frames were of no use."""
    classes = set(frames.labels.tolist()) - {None}
    if len(classes) < 2:
        reasons = failures_text(frames.failures).replace("\n", " ")
        raise ValueError(
            "Of the labelled frames, those that could be used have the labels "
            f"{sorted(classes)}, expected at least two. {reasons}"
        )


def _transformer(args, checkpoints):
    """Return the transformer that the arguments ask for."""
    asked = {
        "max_epochs": args.epochs,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    return SimCLRTransformer(
        **(_RECIPES[args.recipe] | asked),
        device=args.device,
        checkpoint_dir=str(checkpoints),
        random_state=args.seed,
        verbose=0 if args.quiet else 1,
    )


def _as_stored(simclr):
    """Return the transformer without what was of this run alone."""
    own = {"checkpoint_dir": None, "checkpoint_every": 1, "device": "auto"}
    return simclr.set_params(**own, verbose=0)


def _classifier(simclr, frames):
    """Return a classifier fitted to the labelled frames, and maybe an estimate."""
    rows = np.flatnonzero(frames.labels != None)  # noqa: E711 (of each element)
    embeddings = simclr.transform(frames.images[rows])
    labels = frames.labels[rows].astype(str)
    classifier = LogisticRegression(max_iter=1000)
    groups = night_groups(frames.times[rows], frames.sites[rows])
    found = estimate(classifier, embeddings, labels, groups)
    return classifier.fit(embeddings, labels), found


def _remove(checkpoints):
    """Remove the checkpoints of a run that is done."""
    for path in checkpoints.glob("*.ckpt"):
        path.unlink()
    with suppress(OSError):  # something else is in there
        checkpoints.rmdir()


def _say_what_is_trained(simclr, frames, n_files, device):
    """Say what will take time."""
    n, (height, width) = len(frames.images), frames.images.shape[1:3]
    part = f"{n} of {frames.n_seen}" if n < frames.n_seen else f"{n}"
    read = f" from {frames.n_files} of {n_files} files" * (frames.n_files < n_files)
    print(
        f"training on {part} frames{read} of {height} x {width} pixels, shown at "
        f"{simclr.image_size} x {simclr.image_size}, for {simclr.max_epochs} epochs, "
        f"on {device}",
        file=sys.stderr,
    )


def _report(args, steps, frames, left_out, found, seconds):
    """Return what was done."""
    has_labels = len(steps) == 3
    classes = steps[2].classes_.tolist() if has_labels else None
    n_labelled = int(sum(label is not None for label in frames.labels))
    data = {
        "model": args.output,
        "n_frames": len(frames.images),
        "n_frames_seen": frames.n_seen,
        "n_labelled": n_labelled,
        "classes": classes,
        "loss": steps[1].history_[-1]["loss"],
        "estimate": dataclasses.asdict(found) if found else None,
        "failures": frames.failures,
        "left_out": left_out,
        "seconds": seconds,
    }
    lines = [
        f"Trained on {len(frames.images)} frames in {duration(seconds)}. Model: "
        f"{args.output}"
    ]
    if has_labels:
        lines.append(f"Classes, from {n_labelled} labels: {', '.join(classes)}")
        lines.append(_estimate_text(found))
    else:
        lines.append("It gives embeddings; labels need a table: --labels CSV.")
    if left_out:
        lines.append(left_out_line(left_out))
    if frames.failures:
        lines.append(failures_text(frames.failures))
    return Report(data, "\n".join(lines), SOME_FAILED if frames.failures else 0)


def _estimate_text(found):
    """Say how good the labels may be."""
    if found is None:
        return (
            "No estimate of how good its labels are: that needs labelled frames of at "
            "least two nights, each class in several."
        )
    return (
        f"Labels are right for {found.accuracy:.0%} of the labelled frames of "
        f"{found.unit} that the classifier had not seen ({found.n_groups} {found.unit} "
        f"in {found.n_folds} folds). One label for all would be right for "
        f"{found.majority:.0%}."
    )
