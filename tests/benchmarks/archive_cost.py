"""What labelling 700 million frames should cost, from measured parts and counts.

Run as ``python tests/benchmarks/archive_cost.py`` (with real data: see
tests/real_data.py; without, frames of noise, which compress as badly). With ``--pack``,
only `pack_frames` is measured: its frames per second, and what a bare loop over
`read_frames` and the preprocessor takes of its time on the same threads, medians of
alternating rounds. Else measured, on one core: reading a compressed file, preparing its
frames, embedding them by a ResNet18 at 224 pixels, and the bytes of a frame in the
archive.
Counted: what a GPU should need, as in cost_model.py. The rest is division: a model.
Nothing in the table of machines was run.
"""

import argparse
import gzip
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from cost_model import FORWARD_PASSES, PEAK_BYTES, PEAK_FLOPS, count
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import real_data  # noqa: E402
from archive_files import frame_times, pgm_bytes  # noqa: E402
from joblib import cpu_count  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

from sksimclr import AuroraPreprocessor, SimCLRTransformer  # noqa: E402
from sksimclr.archive import label_archive, pack_frames, read_frames  # noqa: E402

N_FRAMES = 700e6
SIZE = 224
MACHINES = [  # name, GPUs, cores
    ("one GPU, 16 cores", 1, 16),
    ("one GPU, 64 cores", 1, 64),
    ("eight GPUs, 128 cores", 8, 128),
    ("1,000 cores", 0, 1000),
]


def make_file(folder):
    """Return a compressed file of twenty frames, a real one if there is any."""
    if real_data.FOLDER.is_dir():
        return sorted((real_data.FOLDER / "themis").glob("*.pgm.gz"))[0]
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2**13, (20, 256, 256)).astype(np.uint16)
    path = folder / "20140310_0600_gill_themis19_full.pgm.gz"
    path.write_bytes(gzip.compress(pgm_bytes(frames, frame_times(20))))
    return path


def seconds_of(function, n_repeats=7):
    """Return the median time of a call."""
    times = []
    for _ in range(n_repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measure(folder):
    """Return milliseconds on one core and bytes, for one frame."""
    torch.set_num_threads(1)
    path = make_file(folder)
    frames = read_frames(path).images
    prepare = AuroraPreprocessor(dtype="uint8")
    images = prepare.transform(frames)
    simclr = SimCLRTransformer(max_epochs=0, image_size=SIZE, device="cpu")
    simclr.fit(images)
    times = {
        "read": lambda: read_frames(path),
        "prepare": lambda: prepare.transform(frames),
        "embed": lambda: simclr.transform(images),
    }
    found = {k: 1e3 * seconds_of(f) / len(frames) for k, f in times.items()}
    found["archive"] = path.stat().st_size / len(frames)
    found["threads"] = frames_per_second(make_pipeline(prepare, simclr), path, folder)
    return found


def frames_per_second(model, path, folder):
    """Return the speed of `label_archive` by number of threads, up to all cores."""
    archive, speeds = folder / "archive", {}
    archive.mkdir()
    for minute in range(4 * cpu_count()):
        name = f"20140310_06{minute:02d}_gill_themis19_full.pgm.gz"
        (archive / name).symlink_to(path)
    for n_threads in sorted({1, cpu_count()}):
        output = folder / f"catalogue{n_threads}"
        run = label_archive(
            model, archive, output, embeddings=True, n_threads=n_threads
        )
        speeds[n_threads] = run.n_frames / run.seconds
    return speeds


def compare_packing(folder, n_files, n_rounds):
    """Print how fast frames are packed, and what a bare loop takes of that time."""
    path, archive = make_file(folder), folder / "minutes"
    archive.mkdir()
    for k in range(n_files):
        name = f"20140310_{k // 60:02d}{k % 60:02d}_gill_themis19_full.pgm.gz"
        (archive / name).symlink_to(path)
    paths, small = sorted(archive.iterdir()), AuroraPreprocessor(size=64, dtype="uint8")
    n_frames = n_files * len(read_frames(path))

    def read_and_reduce(path):
        small.transform(read_frames(path).images)

    def pack():
        with tempfile.TemporaryDirectory() as store:
            pack_frames(paths, store, preprocessor=small, n_threads=n_threads)

    torch.set_num_threads(1)
    for n_threads in sorted({1, cpu_count()}):
        with ThreadPoolExecutor(n_threads) as pool:
            ways = [lambda: list(pool.map(read_and_reduce, paths)), pack]
            rounds = [list(map(times_of, ways)) for _ in range(n_rounds + 1)][1:]
        bare, packed = np.array(rounds)[:, 0], np.array(rounds)[:, 1]
        speed, (wall, cpu) = (
            n_frames / np.median(packed[:, 0]),
            np.median(bare / packed, 0),
        )
        print(
            f"pack_frames, {n_threads} threads: {speed:.0f} frames/s; a bare loop "
            f"takes {wall:.3f} of its time, {cpu:.3f} of its processors' time",
            flush=True,
        )


def times_of(function):
    """Return the seconds that a call takes, and those of all processors."""
    began = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def gpu_frames_per_second():
    """Return what one H100 should embed in float32 (TF32), by counting."""
    operations, _, values, _ = count("resnet18", SIZE)
    passes = {**FORWARD_PASSES, nn.BatchNorm2d: 0, "add": 3}
    n_bytes = 4 * sum(passes[kind] * n for kind, n in values)
    return 1 / (2 * operations / PEAK_FLOPS + n_bytes / PEAK_BYTES)


def main():
    """Print what was measured, and the model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pack", action="store_true")
    parser.add_argument("--files", type=int, default=1000, help="of --pack, up to 1440")
    parser.add_argument("--rounds", type=int, default=5, help="of --pack")
    options = parser.parse_args()
    if options.pack:
        with tempfile.TemporaryDirectory() as folder:
            return compare_packing(Path(folder), options.files, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    on_gpu = gpu_frames_per_second()
    print("measured, ms per frame on one core: ", end="")
    print(", ".join(f"{k} {found[k]:.3f}" for k in ("read", "prepare", "embed")))
    for n_threads, speed in found["threads"].items():
        print(f"measured, label_archive, {n_threads} threads: {speed:.0f} frames/s")
    print(f"bytes per frame in the archive: {found['archive']:.0f}")
    print(f"counted, one H100: {on_gpu:.0f} frames per second")
    print(f"\nmodel for {N_FRAMES:.0f} frames, {N_FRAMES * found['archive']:.1e} bytes")
    print("machine                 frames/s     days  bound by   read, GB/s")
    for name, n_gpus, n_cores in MACHINES:
        on_core = found["read"] + found["prepare"] + (0 if n_gpus else found["embed"])
        rates = {"cores": 1e3 * n_cores / on_core}
        if n_gpus:
            rates["GPU"] = n_gpus * on_gpu
        bound = min(rates, key=rates.get)
        rate = rates[bound]
        print(
            f"{name:22} {rate:9.0f} {N_FRAMES / rate / 86400:8.2f}  {bound:8} "
            f"{rate * found['archive'] / 1e9:10.2f}"
        )


if __name__ == "__main__":
    main()
