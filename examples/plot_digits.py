"""
Not only aurora: handwritten digits
===================================

SimCLR needs images and a choice of views, nothing about the sky. Here are the digits
that come with scikit-learn: views that keep a digit what it is, a classifier with one
to fifty labels of each digit, and a map of the embeddings.
"""

# %%
# Views that keep a digit what it is
# ----------------------------------
# A digit may be a little larger, turned a little or fainter. It must not be mirrored or
# turned upside down: a 6 would become a 9, and the encoder would learn that they are
# the same. Such views are below too, as a warning.
from sklearn.datasets import load_digits
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
)
from sksimclr.plotting import AugmentationDisplay

digits = load_digits()
images = digits.images / 16  # in [0, 1]
views = (ResizedCrop(scale=(0.5, 1.0)), Rotation(15), BrightnessContrast())
turned = (*views[:1], Rotation(180), HorizontalFlip(), *views[2:])
display = AugmentationDisplay.from_augmentations(
    views, images, image_size=8, random_state=0
)

# %%
# An encoder for eight pixels
# ---------------------------
# ResNet18 is made for larger images; three convolutions suffice and train in seconds.
# SimCLR is trained on all digits, without their labels (transductive).


def small_encoder(n_channels):
    """Return a network of three convolutions: (n, C, H, W) -> (n, 128)."""
    layers = []
    for n_in, n_out, stride in [(n_channels, 32, 1), (32, 64, 2), (64, 128, 2)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


simclr = SimCLRTransformer(
    small_encoder,
    image_size=8,
    augmentations=views,
    temperature=0.2,
    max_epochs=10,
    lr=2e-3,
    lr_schedule="cosine",
    random_state=0,
)
untrained = SimCLRTransformer(small_encoder, image_size=8, max_epochs=0, random_state=0)
mirrored = SimCLRTransformer(**simclr.get_params() | {"augmentations": turned})
features = {
    "SimCLR": simclr.fit_transform(images),
    "SimCLR, mirrored views": mirrored.fit_transform(images),
    "raw pixels": digits.data,
    "untrained encoder": untrained.fit_transform(images),
}

# %%
# Few labels
# ----------
# Logistic regression with one to fifty labels of each digit, scored on a thousand
# others; mean and standard deviation of ten draws, percent. Raw pixels are a strong
# baseline here, since the digits are centred and of one size: given enough labels, they
# come close. And views that mirror and turn lose what they hide.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
per_digit = [1, 2, 5, 10, 50]
scores = {}
for name, X in features.items():
    scores[name] = []
    for number in per_digit:
        draws = StratifiedShuffleSplit(
            10, train_size=10 * number, test_size=1000, random_state=0
        )
        found = cross_val_score(classifier, X, digits.target, cv=draws)
        scores[name].append((100 * found.mean(), 100 * found.std()))
    print(f"{name:24}", *(f"{mean:5.1f} +- {std:3.1f}" for mean, std in scores[name]))

# %%
# The curve, and a map
# --------------------
# t-SNE of SimCLR's embeddings: neighbours are alike, distances across the map mean
# nothing.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.manifold import TSNE

from sksimclr.plotting import EmbeddingDisplay

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
colours = ["#0072B2", "#56B4E9", "#E69F00", "0.5"]
for (name, found), colour in zip(scores.items(), colours, strict=True):
    mean, spread = np.transpose(found)
    left.errorbar(per_digit, mean, spread, fmt="o-", color=colour, label=name)
left.set(xscale="log", xlabel="labels of each digit", ylabel="accuracy, percent")
left.set_xticks(per_digit, per_digit)
left.minorticks_off()
left.legend(frameon=False)
left.spines[["top", "right"]].set_visible(False)
EmbeddingDisplay.from_predictions(
    features["SimCLR"],
    digits.target,
    images=images,
    reducer=TSNE(random_state=0),
    n_thumbnails=15,
    ax=right,
)
# sphinx_gallery_thumbnail_number = 2
plt.show()
