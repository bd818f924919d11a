"""
Nights, folds and leakage
=========================

All-sky cameras take a frame every few seconds, so the frames of one night look alike.
Random folds put such twins on both sides of the split, and every method looks good on
them, even one that sees no image at all. Folds that hold out whole sequences ask what
is wanted: how well does it do on a night that it has never seen?
"""

# %%
# Four ways to see a frame
# ------------------------
# The running number of the frame, without a pixel; its pixels; an encoder with random
# weights; and that encoder trained by SimCLR, on all frames without their labels.
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.model_selection import NearestIndexClassifier


def small_encoder(n_channels):
    """Return a network of three convolutions: (n, C, H, W) -> (n, 128)."""
    layers = []
    for n_in, n_out in [(n_channels, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


data = make_aurora(400, size=64, random_state=0)
y, groups = data.target, data.groups
images = AuroraPreprocessor(size=32).fit_transform(data.images)
small = {"encoder": small_encoder, "image_size": 32, "random_state": 0}
recipe = {"batch_size": 32, "lr": 1e-3, "lr_schedule": "cosine"}
simclr = SimCLRTransformer(**small, **recipe, max_epochs=20)
untrained = SimCLRTransformer(**small, max_epochs=0)
probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
systems = {
    "image number": (np.arange(len(y))[:, np.newaxis], NearestIndexClassifier()),
    "raw pixels": (images.reshape(len(y), -1), probe),
    "untrained encoder": (untrained.fit_transform(images), probe),
    "SimCLR": (simclr.fit_transform(images), probe),
}

# %%
# Three kinds of folds
# --------------------
# Those given with the data are five random splits, as those of OATH. Where stations and
# nights are known, they are the groups; ``sksimclr.model_selection.sequence_groups``
# makes blocks of consecutive images where they are not.
from sklearn.model_selection import GroupKFold, KFold, cross_val_score

by_sequence = GroupKFold(5, shuffle=True, random_state=0)
protocols = {
    "random folds": list(KFold(5, shuffle=True, random_state=0).split(images)),
    "given folds": data.folds,
    "held-out sequences": list(by_sequence.split(images, y, groups)),
}

# %%
# Which frames are tested
# -----------------------
# The first fifty frames; thin lines part the sequences. Between random test frames
# there is nearly always a training frame of the same sequence; between held-out
# sequences there is none.
import matplotlib.pyplot as plt

n_shown = 50
figure, axes = plt.subplots(3, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
for ax, (name, folds) in zip(axes, protocols.items(), strict=True):
    tested = np.array([np.isin(np.arange(len(y)), test) for _, test in folds])
    ax.pcolormesh(tested[:, :n_shown], cmap="Blues", vmax=1.4)
    ax.vlines(np.flatnonzero(np.diff(groups[:n_shown])) + 1, 0, 5, color="0.5", lw=0.8)
    ax.set(title=f"{name}: test frames are dark", ylabel="fold", ylim=(5, 0))
    ax.set_yticks(np.arange(5) + 0.5, range(1, 6))
axes[-1].set_xlabel("image number")

# %%
# The scores
# ----------
# On random and on given folds the three that see pixels are hard to tell apart, and
# copying the label of the nearest frame is not far behind. Held-out sequences bring
# that down to chance, and show what the pixels and the encoders are worth.
# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
colours = ["0.7", "#E69F00", "#56B4E9", "#0072B2"]
for k, (name, (X, classifier)) in enumerate(systems.items()):
    scores = [cross_val_score(classifier, X, y, cv=cv) for cv in protocols.values()]
    scores = 100 * np.array(scores)
    place = np.arange(len(protocols)) + 0.2 * (k - 1.5)
    style = {"width": 0.18, "color": colours[k], "capsize": 2, "label": name}
    ax.bar(place, scores.mean(axis=1), yerr=scores.std(axis=1), **style)
    cells = (f"{row.mean():5.1f} +- {row.std():3.1f}" for row in scores)
    print(f"{name:18}", *cells, sep="   ")
ax.axhline(100 * np.bincount(y).max() / len(y), color="black", ls=":", lw=1)
ax.set_xticks(range(len(protocols)), protocols)
ax.set(ylabel="accuracy, percent", title="Dotted: the most frequent class")
ax.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside lower center", ncols=4, frameon=False)

# %%
# A search inside the folds
# -------------------------
# The best score of a search tends to be optimistic; an outer loop tells what the chosen
# model is worth. Both loops must hold out whole sequences, and only metadata routing
# takes the groups to the inner one.
from sklearn import config_context
from sklearn.model_selection import GridSearchCV

X = systems["SimCLR"][0]
search = GridSearchCV(
    probe, {"logisticregression__C": [0.001, 0.01, 0.1, 1, 10]}, cv=GroupKFold(4)
)
with config_context(enable_metadata_routing=True):
    nested = cross_val_score(search, X, y, cv=by_sequence, params={"groups": groups})
    search.fit(X, y, groups=groups)
print(f"best score of the search {search.best_score_:.3f}, nested {nested.mean():.3f}")
plt.show()
