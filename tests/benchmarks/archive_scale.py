"""Memory and time per frame of `label_archive` over a million frames.

Run as ``python tests/benchmarks/archive_scale.py``. Simulated files of 100 frames of
16 x 16 pixels, links to a few that differ, are labelled by a network of some hundred
weights, with embeddings. While it works, its private memory and the parts that are done
are looked at; a line is printed for the first hundredth, and each tenth of the run.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from memory import private_megabytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from archives import SIZE, fitted_pipeline  # noqa: E402

from sksimclr.archive import label_archive, read_catalogue, read_failures  # noqa: E402
from sksimclr.datasets import make_aurora  # noqa: E402

N_FRAMES = 100  # in a file
N_DIFFERENT = 10  # files that are not links


def write_files(folder, n_files):
    """Write files of frames, named by station and minute."""
    folder.mkdir()
    for number in range(n_files):
        minute = np.datetime64("2014-01-01T00:00") + number
        name = str(minute).translate(str.maketrans({"-": "", ":": "", "T": "_"}))
        path = folder / f"{name}_{'gill' if number % 2 else 'fsmi'}.npy"
        source = folder.parent / f"{number % N_DIFFERENT}.npy"
        if not source.exists():
            frames = make_aurora(N_FRAMES, size=SIZE, random_state=number).images
            np.save(source, frames)
        os.link(source, path)


def watch(catalogue, done, seen):
    """Note time, memory and the number of parts that are done, until the end."""
    folder = catalogue / "_files"
    while not done.wait(0.2):
        if folder.exists():
            n_parts = sum(
                not entry.name.startswith("_") for entry in os.scandir(folder)
            )
            seen.append((time.monotonic(), private_megabytes(), n_parts))


def main():
    """Print a line for each tenth, and whether the catalogue is complete."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    n_files = options.frames // N_FRAMES
    pipeline = fitted_pipeline()
    with tempfile.TemporaryDirectory() as folder:
        archive, catalogue = Path(folder) / "archive", Path(folder) / "catalogue"
        write_files(archive, n_files)
        file_bytes = next(archive.iterdir()).stat().st_size
        files_per_part = max(1, n_files // 500)
        done, seen = threading.Event(), []
        watcher = threading.Thread(target=watch, args=(catalogue, done, seen))
        watcher.start()
        run = label_archive(
            pipeline,
            archive,
            catalogue,
            embeddings=True,
            n_threads=options.threads,
            part_bytes=files_per_part * file_bytes,
        )
        done.set()
        watcher.join()
        print_tenths(seen, n_files, files_per_part)
        print(run)
        table = read_catalogue(catalogue, columns=["file", "frame"])
        n_different = table.group_by(["file", "frame"]).aggregate([]).num_rows
        n_failures = read_failures(catalogue).num_rows
        print(f"{table.num_rows} rows, {n_different} different, {n_failures} failures")
        began = time.monotonic()
        again = label_archive(pipeline, archive, catalogue, embeddings=True)
        print(
            f"again: {again.n_skipped} files skipped, {time.monotonic() - began:.1f} s"
        )


def print_tenths(seen, n_files, files_per_part):
    """Print how memory and speed were in each tenth of the run."""
    times, memory, parts = np.array(seen).T
    shares = parts * files_per_part / n_files
    print("share of the run   peak MB   ms per frame")
    for low, high in [
        (0, 0.01),
        (0.01, 0.1),
        *[(k / 10, k / 10 + 0.1) for k in range(1, 10)],
    ]:
        rows = np.flatnonzero((shares >= low) & (shares < high))
        if len(rows) > 1:
            n_frames = (parts[rows[-1]] - parts[rows[0]]) * files_per_part * N_FRAMES
            seconds = times[rows[-1]] - times[rows[0]]
            speed = 1e3 * seconds / n_frames if n_frames else float("nan")
            print(f"{low:7.0%} - {high:4.0%} {memory[rows].max():12.0f} {speed:14.3f}")


if __name__ == "__main__":
    main()
