"""How many labels `suggest` saves against labels given at random.

Run as ``python tests/benchmarks/active_labelling.py`` (five minutes on one core). Each
draw of synthetic frames is an archive, mostly cloud and empty sky, or with ``--images
balanced`` one that has as many frames of every class, and 24 held-out sequences of
every class. SimCLR (`QUICK`, 32 pixels, 8 epochs) learns from a third of the archive.
With ``--images infrared`` (see tests/real_data.py) a draw is 2,000 pictures of solar
modules and 2,000 others that are held out, embedded by `QUICK`'s network without
training. Frames are labelled in rounds, and scored is logistic regression on the
standardised embeddings: the mean recall of the classes. Prints the mean score over the
draws for each way of choosing, its difference to `suggest` with the standard error over
the draws, and how many times fewer labels it needs to reach the median of twenty random
choices: the median over the draws, the smallest and the largest.

``--peers`` tries the strategies of scikit-activeml 1.0 too (``pip install
scikit-activeml``), on the same standardised embeddings.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.archive import suggest
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402

SHARES = {
    "archive": (0.1, 0.15, 0.1, 1, 0.4, 1),  # of the sequences of each class
    "balanced": (0.4,) * 6,
}
N_RANDOM = 20
LOGISTIC = LogisticRegression(C=0.1, max_iter=1000)
CLASSIFIER = make_pipeline(StandardScaler(), LOGISTIC)


def infrared(draw, n=2000):
    """Return embeddings and classes of an archive and of held-out images."""
    images, target = real_data.read_infrared(real_data.FOLDER)
    rows = np.random.default_rng(draw).permutation(len(images))[: 2 * n]
    plain = QUICK | {"symmetry": None}  # which is four times as fast
    simclr = SimCLRTransformer(**plain, image_size=32, max_epochs=0, random_state=0)
    X, y = simclr.fit_transform(images[rows]), target[rows]
    return [X[:n], y[:n], X[n:], y[n:]]


def aurora(draw, shares):
    """Return embeddings and classes of an archive and of held-out sequences."""
    data = make_aurora(5400, size=64, random_state=draw)
    rng = np.random.default_rng(draw)
    archive, test = np.zeros((2, len(data.images)), bool)
    for kind, share in enumerate(shares):
        sequences = rng.permutation(np.unique(data.groups[data.target == kind]))
        rest = sequences[24:]
        test |= np.isin(data.groups, sequences[:24])
        archive |= np.isin(data.groups, rest[: round(share * len(rest))])
    images = AuroraPreprocessor(dtype="uint8").fit_transform(data.images)
    simclr = SimCLRTransformer(
        **QUICK, image_size=32, stem="imagenet", max_epochs=8, random_state=0
    ).fit(images[archive][::3])
    return [
        values
        for rows in (archive, test)
        for values in (simclr.transform(images[rows]), data.target[rows])
    ]


def by_doubt(X, y, n, probabilities, labelled):
    """Choose the smallest margins, wherever they are, once there is a classifier."""
    if probabilities is None:
        return suggest(X, n)
    margin = np.diff(np.sort(probabilities, axis=1)[:, -2:], axis=1).ravel()
    margin[labelled] = np.inf
    return np.argsort(margin, kind="stable")[:n]


def at_random(seed):
    """Return a way to choose without looking."""
    rng = np.random.default_rng(seed)

    def choose(X, y, n, probabilities, labelled):
        return rng.permutation(np.setdiff1d(np.arange(len(X)), labelled))[:n]

    return choose


WAYS = {
    "suggest": lambda X, y, n, P, labelled: suggest(
        X, n, probabilities=P, labelled=labelled
    ),
    "distance alone": lambda X, y, n, P, labelled: suggest(X, n, labelled=labelled),
    "doubt alone": by_doubt,
}


def peers():
    """Return ways to choose of scikit-activeml."""
    from skactiveml import pool
    from skactiveml.classifier import SklearnClassifier

    def way(strategy, needs_classifier=False):
        def choose(X, y, n, probabilities, labelled):
            X = StandardScaler().fit_transform(X)
            known = np.full(len(X), np.nan)
            known[labelled] = y[labelled]
            classes, made, more = np.unique(y), strategy(random_state=0), {}
            if needs_classifier:
                more["clf"] = SklearnClassifier(LOGISTIC, classes=classes)
            if strategy is pool.ProbCover:  # its radii are for vectors of length 1
                X = normalize(X)
                made.set_params(n_classes=len(classes))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the first round: no label
                return made.query(X, known, batch_size=int(n), **more)

        return choose

    return {
        "TypiClust": way(pool.TypiClust),
        "ProbCover": way(pool.ProbCover),
        "MaxHerding": way(pool.MaxHerding),
        "CoreSet": way(pool.CoreSet),
        "BADGE": way(pool.Badge, needs_classifier=True),
    }


def scores(choose, n_labels, X, y, X_test, y_test):
    """Return the mean recall, percent, for each number of labels."""
    labelled, probabilities, found = [], None, []
    for n in n_labels:
        new = choose(X, y, n - len(labelled), probabilities, labelled)
        labelled.extend(new)
        if len(set(y[labelled])) == 1:  # nothing to tell apart
            found.append(100 / len(set(y_test)))
            continue
        CLASSIFIER.fit(X[labelled], y[labelled])
        probabilities = CLASSIFIER.predict_proba(X)
        predicted = CLASSIFIER.predict(X_test)
        found.append(100 * recall_score(y_test, predicted, average="macro"))
    return found


def savings(curves, references, n_labels, column):
    """Return for each draw n / (labels that first reach the reference at n labels).

    0 where they never do.
    """
    reached = curves >= references[:, [column]]
    needed = np.where(reached.any(axis=1), n_labels[reached.argmax(axis=1)], np.inf)
    return n_labels[column] / needed


def main():
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--batch", type=int, default=12, help="labels in a round")
    parser.add_argument("--most", type=int, default=240, help="labels in all")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument(
        "--images", choices=("archive", "balanced", "infrared"), default="archive"
    )
    options = parser.parse_args()
    if options.images == "infrared":  # half of the pictures are of one class
        LOGISTIC.set_params(class_weight="balanced")
    ways = WAYS | (peers() if options.peers else {})
    n_labels = np.arange(options.batch, options.most + 1, options.batch)
    curves = {way: [] for way in ["at random", *ways]}
    for draw in range(options.draws):
        if options.images == "infrared":
            sets = infrared(draw)
        else:
            sets = aurora(draw, SHARES[options.images])
        if draw == 0:
            print(f"{options.images}: {np.bincount(sets[1])} frames of the classes")
        chance = [scores(at_random(k), n_labels, *sets) for k in range(N_RANDOM)]
        curves["at random"].append(np.median(chance, axis=0))
        for way, choose in ways.items():
            curves[way].append(scores(choose, n_labels, *sets))
    report({way: np.array(found) for way, found in curves.items()}, n_labels)


def report(curves, n_labels):
    """Print the scores, their differences to `suggest`, and the savings."""
    wanted = [n for n in (12, 24, 48, 60, 120, 180, 240) if n <= n_labels[-1]]
    columns = [np.argmin(abs(n_labels - n)) for n in wanted]
    print(f"{'labels':16}" + "".join(f"{n:7}" for n in n_labels[columns]))
    for way, found in curves.items():
        cells = found.mean(axis=0)[columns]
        print(f"{way:16}" + "".join(f"{cell:7.1f}" for cell in cells))
    print("\nDifference to suggest, mean and standard error")
    for way, found in curves.items():
        gaps = (found - curves["suggest"])[:, columns]
        errors = gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))
        pairs = zip(gaps.mean(axis=0), errors, strict=True)
        print(f"{way:16}" + "  ".join(f"{gap:+5.1f} {e:.1f}" for gap, e in pairs))
    print("\nTimes fewer labels than at random, median (smallest to largest)")
    for way in list(curves)[1:]:
        cells = [
            savings(curves[way], curves["at random"], n_labels, column)
            for column in columns[2:]
        ]
        text = (f"{np.median(c):4.1f} ({c.min():.1f} to {c.max():.1f})" for c in cells)
        print(f"{way:16}" + "  ".join(text))


if __name__ == "__main__":
    main()
