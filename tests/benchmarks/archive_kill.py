"""Catalogues of runs that were killed at random moments, against one that was not.

Run as ``python tests/benchmarks/archive_kill.py``. A process that labels an archive is
killed with SIGKILL at a random moment of its work, and started again until it ends by
itself; then its catalogue must have the same files, byte for byte, as that of a run
that nobody stopped. A line is printed for each catalogue.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_READY = "labelling"


def label(archive, catalogue):
    """Be the process that is killed: print when work begins."""
    import archives

    from sksimclr.archive import label_archive

    pipeline = archives.fitted_pipeline()
    print(_READY, flush=True)
    label_archive(
        pipeline,
        archive,
        catalogue,
        embeddings=True,
        n_threads=2,
        part_bytes=archives.PART_BYTES,
    )


def start(*arguments):
    """Start a process; return it when it labels."""
    command = [sys.executable, __file__, "--label", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.strip() == _READY:
            return process
    raise RuntimeError("the process ended before it began")


def main():
    """Kill as often as asked for."""
    from archives import contents, write_archive

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.label:
        label(*options.label)
        return
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        archive, whole = Path(folder) / "archive", Path(folder) / "whole"
        write_archive(archive, options.files)
        began = time.monotonic()
        start(archive, whole).wait()
        seconds = time.monotonic() - began
        expected, n_kills = contents(whole), 0
        print(f"{len(expected)} files in the catalogue, {seconds:.1f} s")
        while n_kills < options.kills:
            n_kills += run_with_kills(archive, Path(folder) / "killed", draw, expected)


def run_with_kills(archive, catalogue, draw, expected):
    """Label in spite of kills; return how many there were."""
    from archives import contents

    moments = []
    while True:
        process = start(archive, catalogue)
        wait = draw.uniform(0.1, 2.0)
        try:
            process.wait(wait if len(moments) < 3 else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            n_done = len(list((catalogue / "_files").glob("part-*")))
            moments.append(f"{wait:.2f} s, {n_done} parts done")
    same = contents(catalogue) == expected
    print(f"killed after {'; '.join(moments)}: {'the same' if same else 'DIFFERS'}")
    if not same:
        raise SystemExit(1)
    shutil.rmtree(catalogue)
    return len(moments)


if __name__ == "__main__":
    main()
