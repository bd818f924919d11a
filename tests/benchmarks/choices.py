"""What views, temperature, batch, epochs and image size change, one at a time.

Run as ``python tests/benchmarks/choices.py docs/measured/choices.csv`` (an hour and a
half on one core). Starts from `QUICK` at 32 pixels and 10 epochs and changes one
setting at a time: ResNet18, 800 synthetic frames in 160 sequences, SimCLR trained on
all of them without labels (transductive). Adds a row to the file for each setting and
draw: CPU seconds of `fit`, and the accuracy of logistic regression on standardised
embeddings, mean and standard deviation over five folds of held-out sequences, percent.
Rows that are there are not computed again.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
from embeddings import aurora
from sklearn.model_selection import cross_val_score

from sksimclr import SimCLRTransformer
from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
)
from sksimclr.recipes import QUICK

START = QUICK | {
    "width": 64,
    "symmetry": None,
    "batch_size": 32,
    "image_size": 32,
    "stem": "imagenet",
    "max_epochs": 10,
}
VIEWS = {
    "the paper's": (ResizedCrop(), VerticalFlip()),
    "without brightness": (ResizedCrop((0.3, 1.0)), VerticalFlip(), HorizontalFlip()),
    "without crops": (
        ResizedCrop((1.0, 1.0), (1.0, 1.0)),
        VerticalFlip(),
        HorizontalFlip(),
        BrightnessContrast(),
    ),
    "with rotation": (*QUICK["augmentations"], Rotation()),
}
# what is changed: name of the setting: parameters
CHANGES = {
    "start": {"the recipe": {}},
    "views": {name: {"augmentations": views} for name, views in VIEWS.items()},
    "temperature": {str(t): {"temperature": t} for t in (0.05, 0.1, 0.5, 1.0)},
    "batch": {str(n): {"batch_size": n} for n in (16, 64, 128)},
    "epochs": {str(n): {"max_epochs": n} for n in (0, 5, 20, 40)},
    "image size": {str(n): {"image_size": n} for n in (24, 48, 64)},
}
DRAWS = (21, 22, 23, 24)
COLUMNS = ["change", "to", "draw", "seconds", "accuracy", "deviation"]


def measure(data, **params):
    """Return CPU seconds of training, mean and deviation of the accuracy."""
    started = time.process_time()
    simclr = SimCLRTransformer(**params, random_state=0).fit(data.images)
    seconds = time.process_time() - started
    embeddings = simclr.transform(data.images)
    scores = 100 * cross_val_score(
        data.probe, embeddings, data.y, cv=data.folds, error_score="raise"
    )
    return seconds, scores.mean(), scores.std()


def read(path):
    """Return the rows that a run before has written."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path, row):
    """Write a row, and print it."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerow(row)
    print(*row, sep="\t", flush=True)


def main(path):
    """Measure what the file does not have yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["change"], row["to"], int(row["draw"])) for row in read(path)}
    for draw in DRAWS:
        data = aurora(draw)
        for change, settings in CHANGES.items():
            for name, params in settings.items():
                if (change, name, draw) in done:
                    continue
                found = measure(data, **(START | params))
                add(path, [change, name, draw, *np.round(found, 2)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
