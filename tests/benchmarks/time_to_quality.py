"""Accuracy per minute: the paper's recipe against `QUICK`, on two kinds of images.

Run as ``python tests/benchmarks/time_to_quality.py`` (40 minutes on one core). Prints
a row for each system: seconds of training, and accuracy of logistic regression on
standardised features and on the features as they are. Of synthetic frames, SimCLR sees
all of a draw without labels (transductive) and the probe is tested on held-out
sequences; of Fashion-MNIST, it sees the training images, and the probe is tested on
images of the given test part. With more than one seed, rows are means over them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

PAPER = {}  # the defaults
PROBES = [
    make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
    LogisticRegression(max_iter=1000),
]


def aurora(draw):
    """Return images, pixels, labels, folds, unlabelled rows of a draw of frames."""
    data = make_aurora(800, size=64, random_state=draw)
    images = AuroraPreprocessor().fit_transform(data.images)
    pixels = AuroraPreprocessor(size=32).fit_transform(data.images)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    folds = list(splitter.split(images, data.target, data.groups))
    return images, pixels.reshape(len(images), -1), data.target, folds, slice(None)


def fashion(subset, n_train=2000, n_test=5000):
    """Return the same of a part of Fashion-MNIST; an odd `subset` has other tests."""
    (train, y_train), (test, y_test) = real_data.read_fashion_mnist(
        real_data.FASHION_MNIST
    )
    seen = slice(subset * n_train, (subset + 1) * n_train)
    unseen = slice(subset % 2 * n_test, (subset % 2 + 1) * n_test)
    images = np.concatenate([train[seen], test[unseen]])
    y = np.concatenate([y_train[seen], y_test[unseen]])
    folds = [(np.arange(n_train), np.arange(n_train, len(images)))]
    return images, images.reshape(len(images), -1) / 255, y, folds, slice(n_train)


# name: how to read it, which parts, image_size, epochs of (the paper's recipe, ours)
DATA = {
    "aurora": (aurora, [0, 21], 64, [(24, 10), (48, 20)]),
    "fashion": (fashion, [0, 1], 48, [(15, 6)]),
}


def probed(X, y, folds):
    """Return the accuracy of each probe, percent, mean over the folds."""
    return [
        100 * cross_val_score(probe, X, y, cv=folds, error_score="raise").mean()
        for probe in PROBES
    ]


def trained(images, unlabelled, y, folds, **params):
    """Return seconds of training, and the accuracy of each probe."""
    simclr = SimCLRTransformer(**params).fit(images[unlabelled])
    seconds = sum(row["seconds"] for row in simclr.history_)
    return [seconds, *probed(simclr.transform(images), y, folds)]


def report(name, rows, target=None):
    """Print the mean of `rows`, beside the mean of `target`; return it."""
    mean = np.mean(rows, axis=0)
    share = "" if target is None else f"{mean[0] / target[0]:8.2f}"
    print(f"{name:32} {mean[0]:8.0f} {mean[1]:9.1f} {mean[2]:9.1f} {share}")
    sys.stdout.flush()
    return mean


def compare(name, part, n_seeds):
    """Print the rows of one part of one kind of images."""
    read, _, size, epochs = DATA[name]
    images, pixels, y, folds, unlabelled = read(part)
    print(f"\n{name} {part}: {len(images[unlabelled])} images, {size} px")
    head = ("system", "seconds", "scaled", "plain", "of time")
    print("{:32} {:>8} {:>9} {:>9} {:>8}".format(*head))
    report("raw pixels", [[0, *probed(pixels, y, folds)]])

    def run(max_epochs, settings):
        return [
            trained(
                images,
                unlabelled,
                y,
                folds,
                image_size=size,
                max_epochs=max_epochs,
                random_state=seed,
                **settings,
            )
            for seed in range(n_seeds)
        ]

    report("untrained encoder", run(0, PAPER))
    for theirs, ours in epochs:
        target = report(f"paper's recipe, {theirs} epochs", run(theirs, PAPER))
        report(f"quick recipe, {ours} epochs", run(ours, QUICK), target)


def main():
    """Print a table for each part of each kind of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for name in options.data:
        for part in DATA[name][1]:
            compare(name, part, options.seeds)


if __name__ == "__main__":
    main()
