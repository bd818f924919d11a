"""
Few labels: fine-tuning or a linear classifier
==============================================

When a tenth of the frames have labels, an encoder that SimCLR trained without any can
be used in two ways: as it is, with a logistic regression behind it, or trained further
with those labels. Beside both: the same network trained with the labels alone.
"""

# %%
# SimCLR on all frames, without labels
# ------------------------------------
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 128)."""
    layers = []
    for width in (32, 64, 128):
        layers += [
            nn.Conv2d(n_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        n_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


data = make_aurora(600, size=48, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
simclr = SimCLRTransformer(
    small_encoder, **QUICK, image_size=32, max_epochs=20, random_state=0
).fit(images)

# %%
# Three classifiers
# -----------------
# :class:`~sksimclr.baselines.FineTunedClassifier` trains an encoder and a linear layer
# behind it together. Of a fitted transformer it takes a copy. ``FrozenEstimator`` keeps
# what was learnt when scikit-learn clones a classifier, as cross-validation does.
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr.baselines import FineTunedClassifier

settings = {"max_epochs": 30, "batch_size": 32, "lr": 1e-3, "random_state": 0}
classifiers = {
    "labels alone,\nfrom random weights": FineTunedClassifier(
        small_encoder, weights=None, image_size=32, **settings
    ),
    "SimCLR,\nfine-tuned": FineTunedClassifier(FrozenEstimator(simclr), **settings),
    "SimCLR,\nlogistic regression": make_pipeline(
        FrozenEstimator(simclr),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    ),
}

# %%
# Scores
# ------
# Labels of whole sequences, a tenth of them, drawn five times; scored on the frames of
# all other sequences. It matters which sequences have labels, so every draw is shown.
# SimCLR has seen all frames, without labels (transductive).
import numpy as np
from sklearn.model_selection import GroupShuffleSplit, cross_val_score

draws = GroupShuffleSplit(5, train_size=0.1, random_state=0)
scores = {
    name: 100
    * cross_val_score(classifier, images, data.target, groups=data.groups, cv=draws)
    for name, classifier in classifiers.items()
}
for name, values in scores.items():
    label = name.replace("\n", " ")
    print(f"{label:33} {values.mean():.1f} +- {values.std():.1f} %")

# %%
# A line joins the scores of one draw. Whether fine-tuning is worth its time depends on
# the data and the number of labels: try the logistic regression first.
import matplotlib.pyplot as plt

table = np.array(list(scores.values()))
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.plot(table, color="0.8", zorder=0)
for place, (values, color) in enumerate(
    zip(table, ("#E69F00", "#009E73", "#0072B2"), strict=True)
):
    ax.plot([place] * len(values), values, "o", ms=8, color=color)
    ax.hlines(values.mean(), place - 0.12, place + 0.12, color=color, lw=3)
ax.set(xticks=range(3), xticklabels=scores, xlim=(-0.4, 2.4))
ax.set(ylabel="accuracy on other sequences, %", title="Labels of a tenth of the frames")
plt.show()
