"""Bits of a run that was killed many times against those of one that was not.

Run as ``python tests/benchmarks/kill.py``. Processes that train with `checkpoint_dir`
are killed with SIGKILL at random moments and started again, run after run, until there
were as many kills as asked for; a line is printed for each. Every run that ends must
have the weights, statistics and history of the one that nobody stopped, to the bit.
With ``--shards`` the images lie in files, as those of a store do, are shuffled in
windows, and checkpoints are also written within epochs, every tenth of a second.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_READY = "training"


def train(folder, options):
    """Be the process that is killed: print when training begins, and its result."""
    import torch

    from sksimclr import SimCLRTransformer

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    size = options.size
    images = rng.integers(0, 256, (options.images, size, size), dtype=np.uint8)
    simclr = SimCLRTransformer(
        options.encoder,
        width=16 if options.shards else 64,  # for checkpoints that are quick
        image_size=size,
        max_epochs=options.epochs,
        batch_size=options.batch_size,
        lr_schedule="cosine",
        device=options.device,
        checkpoint_dir=folder,
        random_state=0,
    )
    if options.shards:
        images = on_disk(folder.parent / "shards", images)
    print(_READY, flush=True)
    simclr.fit(images)
    digest = hashlib.sha256()
    for network in (simclr.encoder_, simclr.projector_):
        for values in network.state_dict().values():
            digest.update(values.numpy().tobytes())
    times = ("seconds", "images_per_second")
    rows = [[v for k, v in row.items() if k not in times] for row in simclr.history_]
    print(json.dumps([digest.hexdigest(), rows]), flush=True)


def on_disk(folder, images):
    """Return images in files, in small windows, with frequent checkpoints."""
    from sksimclr._engine import checkpoints, order

    sys.path.append(str(Path(__file__).parent.parent))
    from shards import Shards, write_shards

    checkpoints.SECONDS = 0.1
    order.RUN_BYTES, order.WINDOW_BYTES = images[:4].nbytes, images[:128].nbytes
    if folder.exists():
        return Shards(folder)
    folder.mkdir()
    n_shards = 1 + len(images) // 100
    lengths = [len(part) for part in np.array_split(images, n_shards)]
    return write_shards(folder, images, lengths)


def start(folder):
    """Start a process; return it when it trains."""
    command = [sys.executable, "-W", "ignore::UserWarning", __file__, *sys.argv[1:]]
    process = subprocess.Popen(
        [*command, "--train", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == _READY, "a process failed"
    return process


def result_of(process):
    """Return what a process printed at its end, None if it was killed."""
    output = process.communicate()[0]
    assert process.returncode in (0, -9), f"a process ended with {process.returncode}"
    return output if process.returncode == 0 else None


def killed_run(folder, moments, longest, n_kills, first):
    """Kill a run up to `n_kills` times; return its result and how often it was."""
    for number in range(n_kills):
        begin = time.perf_counter()
        process = start(folder)
        start_up = time.perf_counter() - begin
        moment = moments.uniform(0, longest)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
        result = result_of(process)
        if result is not None:
            return result, number
        names = sorted(path.name for path in folder.glob("*.ckpt"))
        newest = names[-1] if names else "none"
        writing = "  while writing" if list(folder.glob("*.tmp")) else ""
        print(
            f"{first + number:5} {start_up:9.2f} {moment:9.3f}  {newest}{writing}",
            flush=True,
        )
    return result_of(start(folder)), n_kills


def main():
    """Print a line per kill, and a verdict; exit with 1 if bits differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kills-per-run", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=16, help="of images, pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shards", action="store_true", help="images on the disk")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(Path(options.train), options)
        return
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        process = start(Path(folder) / "uninterrupted")
        begin = time.perf_counter()
        expected = result_of(process)
        seconds = time.perf_counter() - begin
        print(
            f"{options.encoder}, {options.epochs} epochs of {options.images} images of "
            f"{options.size} px, {seconds:.1f} s; kills within half of that time"
        )
        print(" kill  start-up  after s  newest checkpoint then")
        n_kills, results = 0, []
        while n_kills < options.kills:
            result, n = killed_run(
                Path(folder) / f"run {len(results)}",
                moments,
                seconds / 2,
                min(options.kills_per_run, options.kills - n_kills),
                n_kills + 1,
            )
            n_kills += n
            results.append(result == expected)
            print(
                f"run {len(results)} ended, its bits equal: {results[-1]}", flush=True
            )
    print(f"{n_kills} kills, {sum(results)} of {len(results)} runs have the same bits")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
