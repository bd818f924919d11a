"""Peak memory of `fit` and `transform` as the number of images grows.

Run as ``python tests/benchmarks/memory.py``. The images are a memory-mapped file of
uint16 frames of 256 pixels; every row is a process of its own. Printed is the growth of
its largest private memory (without pages of the file) while it worked, and the size of
the result that it must hold.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from sksimclr import SimCLRTransformer

SIDE = 256


def private_megabytes():
    """Return the memory of this process that no file backs (Linux)."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


def peak_while(function):
    """Return by how many megabytes private memory grew at most, looking every 20 ms."""
    before, peak, done = private_megabytes(), [0.0], threading.Event()

    def look():
        while not done.wait(0.02):
            peak[0] = max(peak[0], private_megabytes())

    thread = threading.Thread(target=look)
    thread.start()
    function()
    done.set()
    thread.join()
    return peak[0] - before


def run(options):
    """Do one row's work and print its memory."""
    frames = np.memmap(options.file, np.uint16, "r").reshape(-1, SIDE, SIDE)
    frames = frames[: options.images]
    simclr = SimCLRTransformer(
        image_size=options.size, stem="imagenet", batch_size=64, random_state=0
    )
    if options.run == "fit":
        simclr.set_params(max_epochs=1)
        print(peak_while(lambda: simclr.fit(frames)))
        return
    simclr.set_params(max_epochs=0).fit(frames)
    simclr.transform(frames[:64])  # what is needed once
    print(peak_while(lambda: simclr.transform(frames)))


def main():
    """Print a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096, help="at most")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--run", choices=["fit", "transform"])
    parser.add_argument("--file")
    options = parser.parse_args()
    if options.run:
        return run(options)
    print(f"ResNet18, {options.size} px, growth of private memory in MB")
    print("images  result  transform   fit")
    with tempfile.NamedTemporaryFile() as file:
        rng = np.random.default_rng(0)
        for _ in range(0, options.images, 256):
            file.write(rng.integers(0, 65536, (256, SIDE, SIDE), np.uint16).tobytes())
        file.flush()
        for n_images in (options.images // 16, options.images // 4, options.images):
            command = [sys.executable, __file__, "--file", file.name]
            command += ["--images", str(n_images), "--size", str(options.size)]
            grown = {}
            for what in ("transform", "fit"):
                done = subprocess.check_output([*command, "--run", what], text=True)
                grown[what] = float(done.split()[-1])
            result = n_images * 512 * 4 / 2**20
            print(
                f"{n_images:6} {result:7.1f} {grown['transform']:10.0f} "
                f"{grown['fit']:5.0f}"
            )


if __name__ == "__main__":
    main()
