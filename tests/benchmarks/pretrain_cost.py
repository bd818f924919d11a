"""What pretraining on an archive should cost, from measured parts and counts.

Run as ``python tests/benchmarks/pretrain_cost.py`` (with real data: see
tests/real_data.py; without, frames of noise, which compress as badly). Measured, for a
million frames on this machine: packing PGM files into a store of 64 pixels, an epoch of
the slim network of `recipes.QUICK` and of a ResNet18 from that store, and the bytes of
all. The table for other machines is a model: packing divides by the number of cores,
operations of a step are counted as in cost_model.py, and nothing in it was run.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from archive_cost import make_file
from cost_model import (
    ADDITIONS,
    N_KERNELS,
    PASSES,
    PEAK_BYTES,
    PEAK_FLOPS,
    SECONDS_PER_LAUNCH,
    count,
)
from joblib import cpu_count

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sksimclr import SimCLRTransformer  # noqa: E402
from sksimclr.archive import open_frames, pack_frames  # noqa: E402
from sksimclr.recipes import QUICK  # noqa: E402

SIZE, BATCH = 64, 128
MACHINES = [  # name, GPUs, cores
    ("one GPU, 16 cores", 1, 16),
    ("eight GPUs, 128 cores", 8, 128),
    ("32 GPUs, 1,000 cores", 32, 1000),
]


def packed(folder, n_files):
    """Pack copies of a file by name; return the run, the store and bytes of a frame."""
    path, archive = make_file(folder), folder / "archive"
    archive.mkdir()
    for number in range(n_files):
        hour, minute = divmod(number % 1440, 60)
        day = 1 + number // 1440
        name = f"201403{day:02}_{hour:02}{minute:02}_gill_themis19_full.pgm.gz"
        (archive / name).symlink_to(path)
    run = pack_frames(archive, folder / "store")
    store = open_frames(folder / "store")
    return run, store, path.stat().st_size * n_files / run.n_frames


def images_per_second(store, epochs, **settings):
    """Return the speed of `fit` from a store: the median of epochs after the first."""
    simclr = SimCLRTransformer(
        image_size=SIZE, max_epochs=epochs, random_state=0, **settings
    ).fit(store)
    return np.median([row["images_per_second"] for row in simclr.history_[1:]])


def counted(n_gpus):
    """Return images per second that GPUs should train a ResNet18 on, in bfloat16."""
    _, both, values, _ = count("resnet18", SIZE)
    n_bytes = 2 * sum({**PASSES, "add": ADDITIONS}[kind] * n for kind, n in values)
    seconds = 2 * BATCH * (both / PEAK_FLOPS + n_bytes / PEAK_BYTES)
    return n_gpus * BATCH / max(seconds, N_KERNELS * SECONDS_PER_LAUNCH)


def main():
    """Print what was measured, and the model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=240, help="of 20 frames")
    parser.add_argument("--frames", type=int, default=2560, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, store, archive_bytes = packed(Path(folder), options.files)
        stored_bytes = sum(
            path.stat().st_size for path in Path(folder, "store").rglob("*.*")
        ) / len(store)
        part = np.memmap(Path(folder, "part.npy"), np.uint8, "w+", shape=(
            min(options.frames, len(store)), *store.shape[1:]
        ))  # fmt: skip
        part[:] = store[: len(part)]
        speeds = {
            "slim (QUICK)": images_per_second(part, options.epochs, **QUICK),
            "ResNet18": images_per_second(
                part, options.epochs, batch_size=BATCH, stem="imagenet"
            ),
        }
    pack = run.n_frames / run.seconds
    print(f"measured on {cpu_count()} cores, for a million frames of {SIZE} pixels")
    print(f"files {archive_bytes / 1e3:.1f} GB, store {stored_bytes / 1e3:.1f} GB")
    print(f"packing: {pack:.0f} frames/s, {1e6 / pack / 60:.0f} minutes")
    for name, speed in speeds.items():
        print(f"an epoch of {name}: {speed:.0f} frames/s, {1e6 / speed / 3600:.1f} h")
    print("\nmodel: hours for 1, 100 and 700 million frames; epochs of a ResNet18")
    print("machine                   pack                    an epoch          GB/s")
    for name, n_gpus, n_cores in MACHINES:
        rates = pack / cpu_count() * n_cores, counted(n_gpus)
        hours = [
            " ".join(f"{n * 1e6 / rate / 3600:7.2f}" for n in (1, 100, 700))
            for rate in rates
        ]
        print(
            f"{name:22} {hours[0]}  {hours[1]} {rates[0] * archive_bytes / 1e9:6.2f}"
            f" {rates[1] * SIZE**2 / 1e9:6.2f}"
        )


if __name__ == "__main__":
    main()
