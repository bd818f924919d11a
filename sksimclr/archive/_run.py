"""A run over an archive: what is not done yet is worked on, until nothing is left."""

import sys
import time
from dataclasses import dataclass, field
from numbers import Integral

from joblib import cpu_count
from sklearn.utils import check_scalar
from tqdm import tqdm

from sksimclr._files.file_names import absolute, as_text
from sksimclr._files.finding import search
from sksimclr.archive._commit import forget_unread, put_right
from sksimclr.archive._folder import locked, start
from sksimclr.archive._grouping import groups_to_do
from sksimclr.archive._workers import run_groups

_N_ROUNDS = 4  # the second finds nothing to do, unless somebody else was at work


@dataclass(frozen=True)
class Run:
    """What a run over an archive did; see `LabelRun` and `PackRun`."""

    n_files: int
    n_skipped: int
    n_frames: int
    n_failures: int
    seconds: float
    left_out: dict = field(default_factory=dict)


def run_over(files, output, work, *, n_threads, part_bytes, retry_failures, verbose):
    """Work on all files that are not done; see `label_archive`.

    Parameters
    ----------
    work : Labeller or Packer

    Returns
    -------
    dict
        What a `LabelRun` and a `PackRun` say.
    """
    for name, value in {"n_threads": n_threads, "part_bytes": part_bytes}.items():
        if value is not None:
            check_scalar(value, name, Integral, min_val=1)
    began = time.monotonic()
    folder, kind = absolute(output), work.kind
    paths, left_out = search(files)
    with locked(folder, kind):
        parts, n_to_do = [], []
        for _ in range(_N_ROUNDS):
            # where are no locks, it may have changed
            start(folder, work.header, kind)
            if retry_failures and not n_to_do:
                forget_unread(folder)
            done = put_right(folder, map(as_text, paths))
            groups = list(groups_to_do(paths, done, part_bytes, work))
            n_to_do.append(sum(len(group.files) for group in groups))
            if not groups:
                break
            new = run_groups(work, groups, folder, n_threads or cpu_count())
            parts += _with_progress(new, len(paths), n_to_do[-1], verbose)
        else:
            raise RuntimeError(
                f"Parts of the {kind.name} {folder!r} vanish after they were written, "
                f"of {n_to_do[-1]} files in the last of {_N_ROUNDS} rounds. Other "
                "processes change it, or its disk loses what is written to it."
            )
    return {
        "n_files": sum(part.n_files for part in parts),
        "n_skipped": len(paths) - n_to_do[0],
        "n_frames": sum(part.n_frames for part in parts),
        "n_failures": sum(part.n_failures for part in parts),
        "seconds": time.monotonic() - began,
        "left_out": left_out,
    }


def _with_progress(parts, n_all, n_to_do, verbose):
    """Yield parts and show how far the run is."""
    n_frames = n_failures = 0
    with tqdm(
        total=n_all,
        initial=n_all - n_to_do,
        unit="file",
        mininterval=0.1 if sys.stderr.isatty() else 30,  # seconds; the latter in logs
        disable=not verbose,
    ) as progress:
        for part in parts:
            n_frames += part.n_frames
            n_failures += part.n_failures
            progress.set_postfix(frames=n_frames, failures=n_failures, refresh=False)
            progress.update(part.n_files)
            yield part
