"""The pipeline on real images: Fashion-MNIST, and every real frame there is.

Run as ``python tests/benchmarks/real_images.py``; see tests/real_data.py for where the
images are looked for. Prints the accuracy on a given test part for SimCLR, for the same
encoder untrained and for raw pixels, each with logistic regression; then, file by file,
what `AuroraPreprocessor` makes of all-sky frames.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr._images import read_image
from sksimclr.augmentations import HorizontalFlip, ResizedCrop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402


def classify_fashion(n_train, max_epochs):
    """Fit on `n_train` images of Fashion-MNIST, score on its given test part."""
    (train, y_train), (test, y_test) = real_data.read_fashion_mnist(
        real_data.FASHION_MNIST
    )
    train, y_train = train[:n_train], y_train[:n_train]
    simclr = SimCLRTransformer(
        image_size=56,
        augmentations=(ResizedCrop(scale=(0.3, 1.0)), HorizontalFlip()),
        max_epochs=max_epochs,
        lr=1e-3,
        lr_schedule="cosine",
        random_state=0,
    )
    untrained = SimCLRTransformer(**(simclr.get_params() | {"max_epochs": 0}))
    pixels = FunctionTransformer(lambda images: images.reshape(len(images), -1) / 255)
    print(f"Fashion-MNIST: {n_train} training images, {len(test)} test images")
    for name, features in [
        ("SimCLR", simclr),
        ("untrained encoder", untrained),
        ("raw pixels", pixels),
    ]:
        start = time.perf_counter()
        probe = LogisticRegression(C=0.1, max_iter=1000)
        pipe = make_pipeline(features, StandardScaler(), probe)
        score = 100 * pipe.fit(train, y_train).score(test, y_test)
        seconds = time.perf_counter() - start
        print(f"{name + ' + logistic regression':42} {score:5.1f} %  {seconds:4.0f} s")


def preprocess_frames():
    """Preprocess every real frame and describe the result."""
    folder = real_data.FOLDER
    paths = real_data.oath_paths(folder)
    images = AuroraPreprocessor(center=(127, 128)).fit_transform(paths)
    before = np.stack([read_image(path)[..., 1] / 65535 for path in paths])
    change = 100 * np.abs(images - before).max()
    print(f"OATH: {len(paths)} images change by at most {change:.3f} % of full scale")
    readers = {"PGM": real_data.read_pgm_frames, "CDF": real_data.read_cdf_frames}
    for name, read in readers.items():
        frames = read(folder)
        images = AuroraPreprocessor().fit_transform(frames)
        inside = images[:, images.any(axis=0)]
        print(
            f"THEMIS {name}: {len(frames)} frames, counts {frames.min()} to "
            f"{frames.max()}; {100 * (inside == 0).mean():.2f} % of the field becomes "
            f"0 and {100 * (inside == 1).mean():.2f} % becomes 1"
        )


def main():
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    preprocess_frames()
    classify_fashion(options.images, options.epochs)


if __name__ == "__main__":
    main()
