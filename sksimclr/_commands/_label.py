"""``sksimclr label`` and ``embed``: a model and files go in, a catalogue comes out."""

import dataclasses
import math
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sksimclr._commands._arguments import circle
from sksimclr._commands._report import SOME_FAILED, Report, run_text
from sksimclr._machine.memory import keep_freed_memory
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive import label_archive, load_model, read_failures

_PATIENCE = 30  # seconds that a scheduler, or its file, is waited for


def run(args):
    """Label or embed the files."""
    model = load_model(args.model, trusted=args.trust, trust_pickle=args.trust_pickle)
    if args.command == "embed":
        model = _without_classifier(model)
    elif not hasattr(model, "predict"):
        raise ValueError(
            f"{args.model!r} has no classifier, so it gives embeddings but no labels. "
            "Train one with `sksimclr train --labels`, or use `sksimclr embed`."
        )
    model = _for_camera(model, args)
    with workers_at(args.scheduler):
        done = label_archive(
            model,
            args.files,
            args.output,
            embeddings=args.embeddings,
            utc_offset=args.utc_offset,
            n_threads=args.threads,
            retry_failures=args.retry_failures,
            verbose=not args.quiet,
        )
    failures = read_failures(args.output).to_pylist()
    data = {"catalogue": args.output, **dataclasses.asdict(done), "failures": failures}
    verb = "Embedded" if args.command == "embed" else "Labelled"
    text = run_text(done, verb, "catalogue", args.output, failures)
    return Report(data, text, SOME_FAILED if failures else 0)


def _without_classifier(model):
    """Return what embeds frames."""
    if not hasattr(model, "predict"):
        return model
    if isinstance(model, Pipeline) and len(model) > 1:
        return model[:-1]
    raise ValueError(
        f"The model is a {type(model).__name__} alone, which gives labels but no "
        "embeddings."
    )


def _for_camera(model, args):
    """Return the model for frames whose circle of sky is another than in training.

    Frames may have another size too: they become as large as those it was trained on.
    """
    if not circle(args):
        return model
    first = model[0] if isinstance(model, Pipeline) else None
    if type(first) is not AuroraPreprocessor:
        raise ValueError(
            "--center and --radius are for models that begin with an "
            f"AuroraPreprocessor, {args.model!r} begins with "
            f"{type(first or model).__name__}."
        )
    crop = clone(first).set_params(**circle(args), size=_side(first))
    return Pipeline([(model.steps[0][0], crop), *model.steps[1:]])


def _side(preprocessor):
    """Return the side of what a preprocessor makes of frames like those in `fit`."""
    side = math.sqrt(preprocessor._n_features_out)
    if not side.is_integer():
        raise ValueError(
            "--center and --radius are for models of square images, this one was "
            f"trained on frames of shape {preprocessor.image_shape_}."
        )
    return int(side)


@contextmanager
def workers_at(address):
    """Let the Dask cluster at an address work, when it has a worker; None: threads."""
    if address is None:
        keep_freed_memory()
        yield
        return
    from distributed import Client

    try:
        if ":" in address:
            client = Client(address, timeout=_PATIENCE)
        else:
            _wait_for(Path(address))
            client = Client(scheduler_file=address, timeout=_PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise OSError(
            f"No Dask scheduler answers at {address!r}: {error}. Start one with `dask "
            "scheduler`, and workers with `dask worker ADDRESS`."
        ) from error
    with client:
        if not client.nthreads():
            print(f"sksimclr: waiting for workers at {address}", file=sys.stderr)
        yield


def _wait_for(path):
    """Wait for a file that a scheduler writes when it has started."""
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise FileNotFoundError(f"no such file after {_PATIENCE} s")
        time.sleep(0.1)
