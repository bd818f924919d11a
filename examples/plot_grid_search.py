"""
Temperature and augmentations by grid search
============================================

Parameters of SimCLR are searched over like those of any estimator. Two things differ:
there is no score without labels, so every candidate is scored by the classifier behind
it; and every candidate is a training, so parameters of the classifier alone should not
train SimCLR again. The frames here are few and small, the encoder is tiny; what is best
for them need not be best for yours.
"""

# %%
# Frames and a small encoder
# --------------------------
# ``encoder`` may be a function that returns a network. This one is some hundred times
# cheaper than ResNet18, which makes a search a matter of seconds.
import numpy as np
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora


def small_encoder(n_channels):
    """Return a network of three convolutions: (n, C, H, W) -> (n, 128)."""
    layers = []
    for n_in, n_out in [(n_channels, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


data = make_aurora(300, size=64, random_state=0)
images = AuroraPreprocessor(size=32).fit_transform(data.images)
simclr = SimCLRTransformer(
    small_encoder,
    image_size=32,
    max_epochs=4,
    batch_size=32,
    lr=1e-3,
    lr_schedule="cosine",
    random_state=0,
)

# %%
# The search
# ----------
# Augmentations are values: they print, compare and hash by their parameters. Give the
# search whole tuples. The last candidate is not trained at all. The folds hold out
# whole sequences: their frames are near copies, and random folds would flatter all.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    VerticalFlip,
)

views = {
    "small boxes, flip": (ResizedCrop(), VerticalFlip()),
    "large boxes, flip": (ResizedCrop(scale=(0.3, 1.0)), VerticalFlip()),
}
more = (HorizontalFlip(), BrightnessContrast())
views["large boxes, flips,\nbrightness"] = views["large boxes, flip"] + more
temperatures = [0.1, 0.5, 2.0]
search = GridSearchCV(
    make_pipeline(simclr, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
    [
        {
            "simclrtransformer__augmentations": list(views.values()),
            "simclrtransformer__temperature": temperatures,
        },
        {"simclrtransformer__max_epochs": [0]},
    ],
    cv=StratifiedGroupKFold(3, shuffle=True, random_state=0),
)
search.fit(images, data.target, groups=data.groups)
for name, value in search.best_params_.items():
    print(f"{name}: {value}")

# %%
# The scores
# ----------
# Mean and standard deviation over the folds, percent; every candidate should beat the
# untrained network, whose score stands in the title. Before you believe that one is
# better than another, compare their distance with that spread: in a search this small
# most cannot be told apart. And the best score of many is optimistic: a score to report
# needs an outer loop, see :ref:`sphx_glr_auto_examples_plot_nights_and_leakage.py`.
import matplotlib.pyplot as plt

shape = (len(views), len(temperatures))
*means, floor = 100 * search.cv_results_["mean_test_score"]
*spreads, _ = 100 * search.cv_results_["std_test_score"]
means, spreads = np.reshape(means, shape), np.reshape(spreads, shape)

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
picture = ax.imshow(means, cmap="cividis", aspect="auto")
for (row, column), mean in np.ndenumerate(means):
    colour = "black" if mean > (means.min() + means.max()) / 2 else "white"
    text = f"{mean:.0f} ± {spreads[row, column]:.0f}"
    ax.text(column, row, text, color=colour, ha="center", va="center")
ax.set_xticks(range(len(temperatures)), temperatures)
ax.set_yticks(range(len(views)), views)
ax.set(xlabel="temperature", title=f"Untrained: {floor:.0f}")
figure.colorbar(picture, label="accuracy, percent")

# %%
# Parameters of the classifier, without training again
# ----------------------------------------------------
# With ``memory``, SimCLR is trained once for every fold and once at the end, whatever
# the number of candidates behind it. Pass an int as ``random_state`` then: the cache
# returns the same encoder even where you asked for another draw.
import tempfile
import time

regularisations = {"logisticregression__C": [0.01, 0.1, 1.0]}
with tempfile.TemporaryDirectory() as folder:
    for memory in (None, folder):
        best = make_pipeline(*search.best_estimator_, memory=memory)
        second = GridSearchCV(best, regularisations, cv=search.cv)
        started = time.perf_counter()
        second.fit(images, data.target, groups=data.groups)
        seconds = time.perf_counter() - started
        print(f"{'with' if memory else 'without'} memory: {seconds:.1f} s", end="; ")
        print(f"best C {second.best_params_['logisticregression__C']}")
plt.show()
