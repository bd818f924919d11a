"""
The paper in one pipeline
=========================

Johnson et al. (2021) trained SimCLR on all-sky images without labels and put a logistic
regression on the embeddings. This is that job beside its baselines, two protocols each:

* **given folds**: five random 70/30 splits, as in the literature. Images follow one
  another in time, so nearly every test image has a twin among the training images.
* **held-out sequences**: what the classifier is worth on nights it has never seen.

It runs on OATH if that lies in the data home (``fetch_oath()`` gets it), else on
synthetic frames of the same six classes; with ``--quick``, on few of those.
"""

# %%
# The images
# ----------
import sys
import time
from contextlib import suppress

import numpy as np

from sksimclr import AuroraPreprocessor
from sksimclr.datasets import fetch_oath, make_aurora

started = time.perf_counter()
quick = "--quick" in sys.argv
data_name, preprocessor = "make_aurora", AuroraPreprocessor()
data = make_aurora(240 if quick else 800, size=64, random_state=0)
if not quick:
    with suppress(FileNotFoundError):
        data, data_name = fetch_oath(download_if_missing=False, as_array=True), "OATH"
        preprocessor = AuroraPreprocessor(center=(127, 128))

images = preprocessor.fit_transform(data.images)
print(f"{data_name}: {len(images)} images in {len(set(data.groups))} sequences")

# %%
# SimCLR, without labels
# ----------------------
# Trained once, on all images, as in the paper: *transductive*, it saw the test images.
# The recipe is ``QUICK``, for a laptop. It knows which frames are moments of one sky.
from sksimclr import SimCLRTransformer
from sksimclr.recipes import QUICK

size = {"image_size": 64, "random_state": 0}
simclr = SimCLRTransformer(**QUICK, **size, max_epochs=2 if quick else 120, verbose=1)
simclr.fit(images, sequences=data.sequences)
untrained = SimCLRTransformer(**size, max_epochs=0).fit(images)

# %%
# Four ways to see an image
# -------------------------
# SimCLR; a network with random weights; the pixels; the number of the image. The
# networks are read out in the same two ways: as in the paper, and all four stages, mean
# over an image and its mirror images.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr.model_selection import NearestIndexClassifier

probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
pixels = AuroraPreprocessor(center=preprocessor.center, size=32).transform(data.images)
numbers = np.arange(len(images))[:, np.newaxis]
systems = {}
for name, network in {"SimCLR": simclr, "untrained encoder": untrained}.items():
    X = network.set_params(features="last", symmetry=None).transform(images)
    systems[name] = X, probe
    X = network.set_params(features="stages", symmetry="flips").transform(images)
    systems[f"{name}, stages and mirrors"] = X, probe
systems["raw pixels"] = pixels.reshape(len(pixels), -1), probe
systems["label of the nearest image number"] = numbers, NearestIndexClassifier()

# %%
# The table
# ---------
# Means and standard deviations over the folds, in percent.
from sklearn.model_selection import StratifiedGroupKFold, cross_validate

by_sequence = StratifiedGroupKFold(5, shuffle=True, random_state=0)
protocols = {
    "given folds": data.folds,
    "held-out sequences": list(by_sequence.split(images, data.target, data.groups)),
}
metrics = ["accuracy", "precision_macro", "recall_macro", "f1_macro"]
for protocol, folds in protocols.items():
    print(f"\n{data_name}, {protocol}; SimCLR trained outside the folds, no labels")
    print(f"{'':40} {'top-1':>12} {'precision':>9} {'recall':>7} {'F1':>7}")
    for name, (features, classifier) in systems.items():
        score = {"cv": folds, "scoring": metrics}
        scores = cross_validate(classifier, features, data.target, **score)
        top_1, *macro = (100 * scores[f"test_{metric}"] for metric in metrics)
        means = " ".join(f"{values.mean():7.1f}" for values in macro)
        print(f"{name:40} {top_1.mean():5.1f} +- {top_1.std():3.1f}   {means}")

# %%
# One fold, and how the loss fell
# -------------------------------
import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

train, test = protocols["held-out sequences"][0]
embeddings = simclr.transform(images)
probe.fit(embeddings[train], data.target[train])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    probe,
    embeddings[test],
    data.target[test],
    labels=range(6),
    display_labels=data.target_names,
    xticks_rotation=45,
    cmap="Blues",
    colorbar=False,
    ax=left,
)
left.set_title("SimCLR + logistic regression, held-out sequences")
epochs = range(1, 1 + len(simclr.history_))
right.plot(epochs, [row["loss"] for row in simclr.history_], "o-", label="SimCLR")
right.axhline(np.log(2 * 64 - 1), color="0.5", ls="--", label="collapsed: ln(2N - 1)")
right.set(xlabel="epoch", ylabel="NT-Xent loss", title="Training, without labels")
right.legend()
figure.savefig("paper_pipeline.png", dpi=150)
print(f"Done in {(time.perf_counter() - started) / 60:.1f} minutes")
plt.show()
