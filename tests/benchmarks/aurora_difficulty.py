"""How hard `make_aurora` is for raw pixels, and how much that differs between draws.

Run as ``python tests/benchmarks/aurora_difficulty.py``. For each draw it prints the
accuracy of logistic regression on 32 x 32 preprocessed pixels with sequences held out,
and on random folds; then the range over five draws at a time. Also frames per second.
"""

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr import AuroraPreprocessor
from sksimclr.datasets import make_aurora


def main():
    """Print a row for each draw, then the ranges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2400)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    start = time.perf_counter()
    make_aurora(1000, size=128, random_state=0)
    print(f"1,000 frames of 128 px take {time.perf_counter() - start:.1f} s")
    print(f"{options.frames} frames of 64 px, logistic regression on 32 x 32 pixels")
    print(f"{'draw':>4} {'held-out sequences':>19} {'random folds':>13}")
    held_out = []
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    for draw in range(options.draws):
        data = make_aurora(options.frames, size=64, random_state=draw)
        pixels = AuroraPreprocessor(size=32).fit_transform(data.images)
        X, y = pixels.reshape(len(pixels), -1), data.target
        by_sequence = cross_val_score(probe, X, y, groups=data.groups, cv=GroupKFold(5))
        at_random = cross_val_score(probe, X, y, cv=data.folds[:1])
        held_out.append(100 * by_sequence.mean())
        print(f"{draw:4} {held_out[-1]:17.1f} % {100 * at_random.mean():11.1f} %")
    for first in range(0, options.draws - 4, 5):
        spread = np.ptp(held_out[first : first + 5])
        print(f"range of draws {first} to {first + 4}: {spread:.1f} points")


if __name__ == "__main__":
    main()
