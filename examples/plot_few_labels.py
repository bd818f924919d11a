"""
What 1 to 50 % of the labels are worth
======================================

Labels are what space physicists do not have. Here 1, 5, 10 and 50 % of the frames are
labelled, SimCLR sees all of them without labels, and every system is scored on
sequences that no classifier has seen:

* logistic regression on raw pixels, on frozen ImageNet features (if their weights are
  on this machine), and on SimCLR's embeddings;
* self-training on the embeddings, which labels the unlabelled frames it is sure of;
* SimCLR fine-tuned on the labelled frames, for as many steps whatever their number.

``--backbone module:factory`` takes the frozen features of another network;
``--quick`` shows on few frames that everything runs.
"""

# %%
# Frames, and SimCLR without labels
# ---------------------------------
import argparse
import time

import numpy as np

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK

parser = argparse.ArgumentParser(description="Scores against the number of labels.")
parser.add_argument("--backbone", help="module:factory of a network with its weights")
parser.add_argument("--quick", action="store_true")
options = parser.parse_known_args()[0]  # those of a notebook are not ours

started = time.perf_counter()
data = make_aurora(120 if options.quick else 800, size=64, random_state=0)
images = AuroraPreprocessor(dtype="uint8").fit_transform(data.images)
epochs = 1 if options.quick else 100
size = {"image_size": 32, "stem": "imagenet"}
simclr = SimCLRTransformer(**QUICK, **size, max_epochs=epochs, random_state=0)
embeddings = simclr.fit(images, sequences=data.sequences).transform(images)

# %%
# Systems
# -------
# Each has its features X, means over mirror images, and a classifier.
from importlib import import_module
from pathlib import Path

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from torchvision.models import ResNet18_Weights

from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer

logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
fine_tuned = FineTunedClassifier(FrozenEstimator(simclr), batch_size=32, random_state=0)
pixels = AuroraPreprocessor(size=32).transform(data.images)
systems = {
    "raw pixels": (pixels.reshape(len(pixels), -1), logistic),
    "SimCLR": (embeddings, logistic),
    "SimCLR, self-training": (embeddings, SelfTrainingClassifier(logistic)),
    "SimCLR, fine-tuned": (images, fine_tuned),
}
url = ResNet18_Weights.DEFAULT.url
path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
frozen = PretrainedTransformer("resnet18", weights=path, symmetry="flips")
if options.backbone:
    module, factory = options.backbone.split(":")
    backbone = getattr(import_module(module), factory)
    frozen = PretrainedTransformer(backbone, weights=None, symmetry="flips")
if options.backbone or path.exists():
    systems["frozen features"] = (frozen.fit_transform(images), logistic)

# %%
# Scores
# ------
# Three times, other sequences are held out and other frames are labelled, at least one
# of every class.
from sklearn.model_selection import StratifiedGroupKFold

percentages, n_repeats = [1, 5, 10, 50], 2 if options.quick else 3
scores = {system: np.zeros((len(percentages), n_repeats)) for system in systems}
splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
splits = list(splitter.split(images, data.target, data.groups))
for fold, (train, test) in enumerate(splits[:n_repeats]):
    order = np.random.default_rng(fold).permutation(train)
    _, firsts = np.unique(data.target[order], return_index=True)
    order = np.concatenate([order[firsts], np.delete(order, firsts)])
    for row, percentage in enumerate(percentages):
        n_labels = max(len(firsts), round(percentage / 100 * len(train)))
        steps = 4 if options.quick else 40
        epochs = int(np.ceil(steps / np.ceil(n_labels / fine_tuned.batch_size)))
        fine_tuned.set_params(max_epochs=epochs)
        for system, (X, classifier) in systems.items():
            rows, y = order[:n_labels], data.target[order[:n_labels]]
            if isinstance(classifier, SelfTrainingClassifier):
                rows = order  # -1 marks those without a label
                y = np.where(np.arange(len(rows)) < n_labels, data.target[rows], -1)
            score = classifier.fit(X[rows], y).score(X[test], data.target[test])
            scores[system][row, fold] = 100 * score

print(f"{'labelled frames, %':24}" + "".join(f"{p:>13}" for p in percentages))
for system, found in scores.items():
    cells = (f"{row.mean():6.1f} +- {row.std():3.1f}" for row in found)
    print(f"{system:24}" + " ".join(cells))

# %%
# The curve
# ---------
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
colours = ["#000000", "#0072B2", "#56B4E9", "#D55E00", "#009E73"]
styles = ["s:", "o-", "v-", "D--", "^:"]
for k, (system, found) in enumerate(scores.items()):
    x = np.array(percentages) * 1.03**k  # side by side
    look = {"color": colours[k], "capsize": 2, "label": system}
    ax.errorbar(x, found.mean(1), found.std(1), fmt=styles[k], **look)
ax.set(xscale="log", xlabel="labelled frames, percent", ylabel="top-1, percent")
ax.set(title="Held-out sequences", xticks=percentages, xticklabels=percentages)
figure.legend(loc="outside lower center", ncols=2, frameon=False)
ax.spines[["top", "right"]].set_visible(False)
figure.savefig("few_labels.png", dpi=150)
print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes")
plt.show()
