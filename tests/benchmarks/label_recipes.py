"""Frames labelled per second on one core, by recipe, and where the time goes.

Run as ``python tests/benchmarks/label_recipes.py`` with the real THEMIS files of
tests/real_data.py (three minutes). Each recipe, with random weights, labels the same
copies of them three times, in turns; prints medians. *no network* only reads,
preprocesses and writes.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.archive import label_archive, read_frames
from sksimclr.recipes import QUICK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

N_COPIES, N_ROUNDS = 10, 3


def first_pixels(images):
    """Return something to classify."""
    return images.reshape(len(images), -1)[:, :8]


def embedders():
    """Return what turns preprocessed frames into features, by name."""
    quick = dict(QUICK)
    return {
        "no network": (64, FunctionTransformer(first_pixels)),
        "QUICK, 64 px": (64, SimCLRTransformer(**quick, image_size=64, max_epochs=0)),
        "QUICK without mirror images, 64 px": (
            64,
            SimCLRTransformer(
                **(quick | {"symmetry": None}), image_size=64, max_epochs=0
            ),
        ),
        "ResNet18, 64 px": (64, SimCLRTransformer(image_size=64, max_epochs=0)),
        "ResNet18, 224 px": (224, SimCLRTransformer(max_epochs=0)),
    }


def main():
    """Print a row for each recipe."""
    torch.set_num_threads(1)
    files = sorted((real_data.FOLDER / "themis").glob("*full.pgm.gz"))
    images = np.concatenate([read_frames(path).images for path in files])
    y = np.arange(len(images)) % 3
    pipelines = {
        name: make_pipeline(
            AuroraPreprocessor(size=size),
            embedder,
            StandardScaler(),
            LogisticRegression(max_iter=20),
        ).fit(images, y)
        for name, (size, embedder) in embedders().items()
    }
    speeds = {name: [] for name in pipelines}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        archive.mkdir()
        for path in files:
            for copy in range(N_COPIES):
                name = path.name.replace("_06", f"_{copy:02}")
                shutil.copy(path, archive / name)
        for number in range(N_ROUNDS):
            for name, pipeline in pipelines.items():
                catalogue = Path(folder, f"{name} {number}")
                began = time.perf_counter()
                done = label_archive(pipeline, archive, catalogue, n_threads=1)
                seconds = time.perf_counter() - began
                speeds[name].append(done.n_frames / seconds)
    for name, found in speeds.items():
        print(f"{name:36} {np.median(found):7.0f} frames/s")


if __name__ == "__main__":
    main()
