"""``sksimclr label`` and ``embed``: a model and files go in, a catalogue comes out."""

import dataclasses
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sklearn.pipeline import Pipeline

from sksimclr._commands._report import SOME_FAILED, Report, duration, failures_text
from sksimclr._machine.memory import keep_freed_memory
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
    if not args.scheduler:
        keep_freed_memory()
    with _cluster(args.scheduler) if args.scheduler else nullcontext():
        done = label_archive(
            model,
            args.files,
            args.output,
            embeddings=args.embeddings,
            n_threads=args.threads,
            retry_failures=args.retry_failures,
            verbose=not args.quiet,
        )
    failures = read_failures(args.output).to_pylist()
    data = {"catalogue": args.output, **dataclasses.asdict(done), "failures": failures}
    return Report(data, _text(args, done, failures), SOME_FAILED if failures else 0)


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


@contextmanager
def _cluster(address):
    """Make a Dask cluster the one that works, and wait until it has a worker."""
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


def _text(args, done, failures):
    """Return what was done, in words."""
    verb = "Embedded" if args.command == "embed" else "Labelled"
    if done.n_files == 0:
        lines = [f"Nothing to do: the catalogue has all {done.n_skipped} files."]
    else:
        speed = done.n_frames / max(done.seconds, 1e-9)
        lines = [
            f"{verb} {done.n_frames} frames of {done.n_files} files in "
            f"{duration(done.seconds)}, {speed:.3g} frames/s."
        ]
        if done.n_skipped:
            lines.append(f"An earlier run had done {done.n_skipped} files.")
    lines.append(f"Catalogue: {args.output}")
    if failures:
        lines.append(failures_text(failures))
        lines.append("--retry-failures reads those again that gave no frame.")
    return "\n".join(lines)
