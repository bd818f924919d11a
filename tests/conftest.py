"""What all tests share: real data, if it is there, and a fixed number of threads."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # or scikit-learn skips check_array_api_input

import gzip  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

_ROOT = Path(__file__).resolve().parents[1]
_FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="session")
def real_data():
    """Folder of real images and labels, which are not part of the repository."""
    default = _ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("SKSIMCLR_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip("real data is absent; point SKSIMCLR_TEST_DATA to it")
    return folder


@pytest.fixture(scope="session")
def raw_frames(real_data):
    """Raw THEMIS frames (40, 256, 256) uint16 of two PGM files."""
    paths = sorted((real_data / "themis").glob("*.pgm.gz"))
    return np.concatenate([_read_pgm_gz(path) for path in paths])


@pytest.fixture(scope="session")
def fashion_mnist():
    """(images, labels) of the training and of the test part of Fashion-MNIST."""
    folder = Path(os.environ.get("SKSIMCLR_FASHION_MNIST", _FASHION))
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST is absent (Debian package dataset-fashion-mnist)")
    return [_read_mnist(folder, part) for part in ("train", "t10k")]


@pytest.fixture
def rng():
    """Return a seeded random generator."""
    return np.random.default_rng(0)


def _read_pgm_gz(path):
    """Read binary PGM images of 256 x 256 pixels that follow each other."""
    frames = []
    with gzip.open(path) as file:
        while file.readline() == b"P5\n":
            numbers = []
            while len(numbers) < 3:
                line = file.readline()
                numbers += [] if line.startswith(b"#") else line.split()
            width, height, maximum = (int(number) for number in numbers)
            assert maximum == 65535
            pixels = np.frombuffer(file.read(2 * width * height), dtype=">u2")
            frames.append(pixels.reshape(height, width).astype(np.uint16))
    return np.stack(frames)


def _read_mnist(folder, part):
    """Read images (n, 28, 28) uint8 and labels in MNIST's format."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)
