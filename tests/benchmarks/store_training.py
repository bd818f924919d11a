"""Training from a store of frames against training from memory, and memory on the way.

Run as ``python tests/benchmarks/store_training.py STORE``. STORE is what `pack_frames`
has written, or a folder of .npy files of frames (n, H, W). Printed are the milliseconds
for a batch from the store and from memory, in turns (--batches of the same frames, many
times), by the clock and of all cores together, which others disturb less; then
the private memory of a process (Linux) along an epoch of all frames, or of
--batches-of-epoch.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from memory import private_megabytes
from skorch.callbacks import Callback

from sksimclr import SimCLRTransformer
from sksimclr._engine import order
from sksimclr.recipes import QUICK


class Stop(Exception):
    """Enough batches were seen."""


class Watch(Callback):
    """Note the time and the memory at the end of each batch; stop after `most`."""

    def __init__(self, most, every):
        self.most, self.every, self.times, self.memory = most, every, [], []
        self.cpu_times = []

    def on_batch_end(self, net, **kwargs):
        """Do it."""
        self.times.append(time.perf_counter())
        self.cpu_times.append(time.process_time())
        if len(self.times) % self.every == 0:
            self.memory.append(private_megabytes())
        if self.most and len(self.times) >= self.most:
            raise Stop

    def __deepcopy__(self, memo):
        """Stay the same object."""
        return self


def open_store(path):
    """Return a lazy array of frames."""
    if (path / "_store.json").exists():
        from sksimclr.archive import open_frames

        return open_frames(path)
    sys.path.append(str(Path(__file__).parent.parent))
    from shards import Shards

    return Shards(path)


def fit(frames, options, most=0, every=10**9):
    """Train, and return what was seen."""
    watch = Watch(most, every)
    params = QUICK | {"max_epochs": 1, "lr_schedule": None}
    params |= {"image_size": frames.shape[1], "batch_size": options.batch_size}
    simclr = SimCLRTransformer(**params, random_state=0, callbacks=[watch])
    if options.checkpoints:
        simclr.set_params(checkpoint_dir=options.checkpoints)
    try:
        simclr.fit(frames)
    except Stop:
        pass
    return watch


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=24, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches-of-epoch", type=int, default=0, help="all: 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", help="folder, for those of the epoch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frames, checkpoints = open_store(options.store), options.checkpoints
    n_frames, options.checkpoints = len(frames), None
    n_bytes = np.prod(frames.shape[1:]) * frames.dtype.itemsize
    n_windows = -(-n_frames * n_bytes // order.WINDOW_BYTES)
    print(
        f"{n_frames:,} frames, {frames.shape[1:]} {frames.dtype}, {n_windows} windows"
    )
    in_memory = frames[: min(n_frames, 1 << 16)]
    ratios = []
    print("ms per batch: store, memory, ratio of medians; the same of the cores")
    for _ in range(options.turns):
        ways = []
        for X in (frames, in_memory):
            watch = fit(X, options, most=options.batches)
            steps = np.diff([watch.times, watch.cpu_times])
            ways.append(1e3 * np.median(steps, axis=1))
        ratios.append(ways[0] / ways[1])
        rows = zip(*ways, ratios[-1], strict=True)
        print("   ".join(f"{a:8.2f} {b:8.2f} {r:6.3f}" for a, b, r in rows), flush=True)
    by_clock, of_cores = np.median(ratios, axis=0)
    print(f"median of ratios {by_clock:.3f}, of the cores {of_cores:.3f}")
    del in_memory
    options.checkpoints = checkpoints
    n_batches = options.batches_of_epoch or n_frames // options.batch_size
    every = max(1, n_batches // 50)
    watch = fit(frames, options, most=options.batches_of_epoch, every=every)
    memory = watch.memory
    print("private memory in MB at each 2 % of the epoch:")
    print(" ".join(f"{each:.1f}" for each in memory))
    print(f"growth after the first 2 %: {max(memory[1:]) - memory[0]:.1f} MB")
    seconds = watch.times[-1] - watch.times[0]
    print(f"{len(watch.times)} batches in {seconds:.1f} s")


if __name__ == "__main__":
    main()
