"""
Is it learning? Monitoring and collapse
=======================================

A self-supervised encoder has no score to watch, and it can fail in silence: when all
images get the same embedding, nothing crashes and the loss is a finite number. Here is
a healthy run beside one that collapsed, and what tells them apart.
"""

# %%
# Two runs
# --------
# The second has an optimizer whose learning rate is far too large: it destroys the
# encoder in the first steps. A ``ConvergenceWarning`` says so at the end of ``fit``; it
# is caught and printed here.
import warnings

from sklearn.exceptions import ConvergenceWarning
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


data = make_aurora(384, size=48, n_sequences=96, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
params = dict(QUICK) | {"encoder": small_encoder, "image_size": 32, "random_state": 0}
too_fast = params | {"optimizer": "sgd", "lr": 10.0}
runs = {
    "healthy: Adam, lr=0.001": SimCLRTransformer(**params, max_epochs=8),
    "collapsed: SGD, lr=10": SimCLRTransformer(**too_fast, max_epochs=8),
}
for name, simclr in runs.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        simclr.fit(images)
    print(f"{name}: {caught[0].message if caught else 'no warning'}\n")

# %%
# What to look at
# ---------------
# ``history_`` has a row for each epoch, and
# :class:`~sksimclr.plotting.LearningCurveDisplay` draws it.
#
# * The *loss* of a collapsed run is about ln(2N - 1) for batches of N images: that of
#   guessing which of the other views belongs to an image.
# * *Alignment*, how far apart the two views of an image lie, is near 0 after a
#   collapse, the best there is: it says nothing on its own.
# * *Uniformity* is what a collapsed encoder cannot have: 0 when all images lie on one
#   point, the more negative the more evenly they are spread.
# * The *effective rank* counts the dimensions in use, close to 1 after a collapse.
import matplotlib.pyplot as plt
import numpy as np

from sksimclr.plotting import LearningCurveDisplay

figure, axes = plt.subplots(
    4, 2, figsize=(8, 6.4), sharex=True, sharey="row", layout="constrained"
)
for column, (name, simclr) in zip(axes.T, runs.items(), strict=True):
    LearningCurveDisplay.from_estimator(simclr, ax=column)
    column[0].axhline(np.log(2 * 32 - 1), color="0.5", ls="--", lw=1, zorder=0)
    column[0].set_title(name)
axes[0, 0].text(4.5, np.log(63) - 0.05, "ln(2N - 1)", va="top", size=8)
for ax in axes[:, 1]:
    ax.set_ylabel("")
plt.show()

# %%
# A probe in the history, and a stop
# ----------------------------------
# With a few labels, a score of your own says more than all of these. A callback of
# skorch adds one to every row of ``history_``: here k-NN on the second half of the
# sequences, by the labels of the first half. Another callback ends training early, when
# the loss has not fallen by 2 % for two epochs. There is no validation loss, so it
# monitors "train_loss".
import torch
from sklearn.neighbors import KNeighborsClassifier
from skorch.callbacks import EarlyStopping, EpochScoring

frames = torch.from_numpy(images[:, np.newaxis])


def probe(net, X, y):
    """Return the accuracy of five nearest neighbours on the encoder as it is now."""
    with torch.inference_mode():
        embeddings = net.module_.encoder.eval()(frames).numpy()
    neighbours = KNeighborsClassifier(5, metric="cosine")
    neighbours.fit(embeddings[:192], data.target[:192])
    return neighbours.score(embeddings[192:], data.target[192:])


watched = SimCLRTransformer(
    **(params | {"lr_schedule": None}),
    max_epochs=20,
    callbacks=[
        EpochScoring(probe, lower_is_better=False, name="probe", on_train=True),
        EarlyStopping(monitor="train_loss", patience=2, threshold=0.02),
    ],
).fit(images)
print(f"stopped after {watched.n_iter_} of 20 epochs")

figure, (upper, lower) = plt.subplots(
    2, sharex=True, figsize=(6, 4), layout="constrained"
)
epochs = [row["epoch"] for row in watched.history_]
upper.plot(epochs, [row["loss"] for row in watched.history_], "o-", ms=4)
upper.set(ylabel="NT-Xent loss", title="Loss and probe, epoch by epoch")
lower.plot(epochs, [row["probe"] for row in watched.history_], "s-", ms=4, c="#D55E00")
lower.set(ylabel="accuracy of k-NN", xlabel="epoch", xticks=epochs)
plt.show()
