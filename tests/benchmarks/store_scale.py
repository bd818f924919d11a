"""Memory and time per frame of packing a million frames, and of reading them.

Run as ``python tests/benchmarks/store_scale.py``. Simulated files of 100 frames of 64 x
64 pixels, links to a few that differ, are packed into a store of 64 pixels, 4 GB. While
that goes on, its private memory and the parts that are done are looked at; a line is
printed for the first hundredth, and each tenth of the run. The store is then opened,
and batches of 256 frames are read from it: rows at random, neighbours, and rows at
random of windows of 8 shards, as training reads them.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import archive_scale
import numpy as np
from archive_scale import N_FRAMES, print_tenths, watch, write_files
from memory import private_megabytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sksimclr.archive import open_frames, pack_frames, read_failures  # noqa: E402
from sksimclr.model_selection import time_sequences  # noqa: E402

SIDE = 64
BATCH = 256
N_BATCHES = 200


def seconds_of(function):
    """Return how long a call takes, and what it returns."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def pack(archive, store, options):
    """Pack the archive, and print how memory and speed were."""
    n_files = options.frames // N_FRAMES
    files_per_part = max(1, n_files // 500)
    file_bytes = next(archive.iterdir()).stat().st_size
    done, seen = threading.Event(), []
    watcher = threading.Thread(target=watch, args=(store, done, seen))
    watcher.start()
    run = pack_frames(
        archive,
        store,
        n_threads=options.threads,
        part_bytes=files_per_part * file_bytes,
    )
    done.set()
    watcher.join()
    print_tenths(seen, n_files, files_per_part)
    print(f"{run}: {run.n_frames / run.seconds:.0f} frames/s")
    print(f"{read_failures(store).num_rows} failures")


def read(store):
    """Print what opening and reading cost."""
    before = private_megabytes()
    seconds, frames = seconds_of(lambda: open_frames(store))
    grown = private_megabytes() - before
    n_shards = len(frames.shard_lengths)
    print(f"opened: {frames}, {n_shards} shards, {seconds:.2f} s, {grown:.0f} MB")
    for name in ("times", "sites", "sequences"):
        seconds, _ = seconds_of(lambda name=name: getattr(frames, name))
        print(f"{name}: {seconds:.2f} s")
    few = slice(0, min(len(frames), 100_000))
    expected = time_sequences(frames.times[few], frames.sites[few])
    same = np.unique(frames.sequences[few], return_inverse=True)[1] == expected
    print(f"sequences are those of time_sequences: {bool(same.all())}")
    rng, ends = np.random.default_rng(0), np.cumsum(frames.shard_lengths)
    window = ends[min(8, n_shards) - 1]
    ways = {
        "at random": lambda: rng.integers(0, len(frames), BATCH),
        "of 8 shards": lambda: rng.integers(0, window, BATCH),
        "neighbours": lambda: np.arange(BATCH) + rng.integers(0, len(frames) - BATCH),
    }
    before = private_megabytes()
    for name, rows in ways.items():
        times = [seconds_of(lambda r=rows: frames[r()])[0] for _ in range(N_BATCHES)]
        speed = BATCH / np.median(times)
        print(f"batches of {BATCH}, {name}: {speed:.0f} frames/s")
    print(f"memory grew by {private_megabytes() - before:.0f} MB")


def main():
    """Pack, then read."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    archive_scale.SIZE = SIDE
    with tempfile.TemporaryDirectory() as folder:
        archive, store = Path(folder) / "archive", Path(folder) / "store"
        write_files(archive, options.frames // N_FRAMES)
        pack(archive, store, options)
        read(store)


if __name__ == "__main__":
    main()
