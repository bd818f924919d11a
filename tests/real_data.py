"""Readers of real images for tests and benchmarks; none of the images is ours to ship.

`SKSIMCLR_TEST_DATA` names a folder with `oath/` and `themis/`, by default
`../shared/data` beside the checkout; `SKSIMCLR_FASHION_MNIST` the folder of the four
files of Fashion-MNIST, by default where Debian's package puts them.
"""

import gzip
import os
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("SKSIMCLR_TEST_DATA", _ROOT.parent / "shared" / "data"))
FASHION_MNIST = Path(
    os.environ.get("SKSIMCLR_FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
)


def oath_paths(folder):
    """Return the paths of the released OATH images."""
    return sorted((folder / "oath" / "images").glob("*.png"))


def read_pgm_frames(folder):
    """Return the raw THEMIS frames (n, 256, 256) uint16 of all PGM files."""
    paths = sorted((folder / "themis").glob("*.pgm.gz"))
    return np.concatenate([_read_pgm_gz(path) for path in paths])


def read_cdf_frames(folder):
    """Return the raw THEMIS frames (n, 256, 256) uint16 of the CDF file."""
    import cdflib

    (path,) = (folder / "themis").glob("thg_*.cdf")
    site = path.name.split("_")[3]
    return np.asarray(cdflib.CDF(str(path)).varget(f"thg_asf_{site}"))


def read_fashion_mnist(folder):
    """Return ((images, labels) to train on, (images, labels) to test on)."""
    return [_read_mnist(folder, part) for part in ("train", "t10k")]


def read_infrared(folder):
    """Return 20,000 images of solar modules (n, 40, 24), uint8, and their classes."""
    with np.load(folder / "infrared" / "infrared.npz") as data:
        return data["images"], data["target"]


def _read_pgm_gz(path):
    """Read binary PGM images that follow each other in one file."""
    frames = []
    with gzip.open(path) as file:
        while file.readline() == b"P5\n":
            numbers = []
            while len(numbers) < 3:
                line = file.readline()
                numbers += [] if line.startswith(b"#") else line.split()
            width, height, _ = (int(number) for number in numbers)
            pixels = np.frombuffer(file.read(2 * width * height), dtype=">u2")
            frames.append(pixels.reshape(height, width).astype(np.uint16))
    return np.stack(frames)


def _read_mnist(folder, part):
    """Read images (n, 28, 28) uint8 and labels (n,) in MNIST's format."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)
