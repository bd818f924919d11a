"""
An embedding map with thumbnails
================================

SimCLR puts similar images close together, without a label. A map of its embeddings
shows whether that is what you would call alike: here beside a map of the raw pixels,
with pictures on both and the classes as colours.
"""

# %%
# The frames
# ----------
# Synthetic all-sky frames of six classes, cropped to the field of view and stretched in
# contrast. They come in sequences of five similar frames.
from sksimclr import AuroraPreprocessor
from sksimclr.datasets import make_aurora

data = make_aurora(700, size=64, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
print(f"{len(images)} frames in {len(set(data.groups))} sequences")

# %%
# SimCLR, without labels
# ----------------------
# ``encoder`` takes any function that makes a network of torch. Four small layers keep
# this example short; leave ``encoder`` out for the ResNet18 of the paper, which wants a
# GPU or patience.
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 256)."""
    layers = []
    for width in (32, 64, 128, 256):
        layers += [
            nn.Conv2d(n_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        n_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


params = {"encoder": small_encoder, "image_size": 32, "random_state": 0}
simclr = SimCLRTransformer(**QUICK, **params, max_epochs=20)
untrained = SimCLRTransformer(**QUICK, **params, max_epochs=0)
features = {
    "raw pixels": AuroraPreprocessor(size=32).transform(data.images).reshape(700, -1),
    "untrained encoder": untrained.fit_transform(images),
    "SimCLR": simclr.fit_transform(images),
}

# %%
# Are neighbours of one kind?
# ---------------------------
# A map can deceive, so a number goes with it: how often the five nearest neighbours
# vote for the right class. They come from other sequences, since frames of the same one
# are alike in any case. SimCLR saw all frames, but no labels (transductive). The
# encoder before training is the baseline that it must beat.
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

neighbours = KNeighborsClassifier(5, metric="cosine")
by_sequence = StratifiedGroupKFold(5, shuffle=True, random_state=0)
accuracy = {}
for name, X in features.items():
    scores = cross_val_score(
        neighbours, X, data.target, groups=data.groups, cv=by_sequence
    )
    accuracy[name] = 100 * scores.mean()
    print(f"{name:17} k-NN accuracy {accuracy[name]:.1f} %")

# %%
# The two maps
# ------------
# :class:`~sksimclr.plotting.EmbeddingDisplay` takes any reducer with two columns, t-SNE
# here, and puts images on the map that lie well apart, framed in the colour of their
# class. With a transparent corner each and a round frame, they look like the sky.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox
from sklearn.manifold import TSNE

from sksimclr.plotting import EmbeddingDisplay

sky = images[:, 5:-5, 5:-5]  # the square around the field of view
rows, columns = np.ogrid[-1:1:54j, -1:1:54j]
opaque = np.broadcast_to(rows**2 + columns**2 <= 1, sky.shape)
discs = np.stack([sky, sky, sky, opaque], axis=-1)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for ax, name in zip(axes, ("raw pixels", "SimCLR"), strict=True):
    EmbeddingDisplay.from_predictions(
        features[name],
        data.target,
        images=discs,
        target_names=data.target_names,
        reducer=TSNE(perplexity=50, metric="cosine", init="pca", random_state=0),
        n_thumbnails=45,
        ax=ax,
        scatter_kw={"s": 14},
    )
    for thumbnail in ax.findobj(AnnotationBbox):
        thumbnail.patch.set(boxstyle="circle,pad=0", linewidth=1.8)
    ax.set_title(f"{name}: k-NN accuracy {accuracy[name]:.0f} %", size=12)
    ax.set(xlabel="", ylabel="")
    ax.spines[:].set_visible(False)
axes[0].get_legend().remove()
plt.show()
