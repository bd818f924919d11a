"""
Find frames like this one
=========================

An archive has more frames than anyone can label, and a frame of interest in it. Frames
like it lie next to it among the embeddings: ``NearestNeighbors`` finds them, without a
label or a classifier.
"""

# %%
# Embeddings
# ----------
# SimCLR never sees a label. The recipe is ``QUICK``, the encoder a small one that
# trains in seconds. For real frames take ResNet18, the default: leave out ``encoder``,
# and with it `small_encoder`, and write ``stem="imagenet"`` or ``image_size=64``.
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network of three convolutions: (n, C, H, W) -> (n, 128)."""
    layers = []
    for n_in, n_out in [(n_channels, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


data = make_aurora(500, size=64, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
small = QUICK | {"encoder": small_encoder, "image_size": 32, "random_state": 0}
untrained = SimCLRTransformer(**small, max_epochs=0)
simclr = SimCLRTransformer(**small, max_epochs=20)
features = {
    "raw pixels": AuroraPreprocessor(size=32).transform(data.images).reshape(500, -1),
    "untrained encoder": untrained.fit_transform(images),
    "SimCLR": simclr.fit_transform(images),
}

# %%
# Nearest frames of other sequences
# ---------------------------------
# The nearest frame of all is the one taken just before or after: true, and of no use.
# So the query's own sequence is passed over, and of every other one only the nearest
# frame is taken. The distance is the angle between embeddings, which is what SimCLR's
# loss compares.
import numpy as np
from sklearn.neighbors import NearestNeighbors


def nearest(X, n_neighbors=5):
    """Return for each row the nearest rows, each of another sequence."""
    index = NearestNeighbors(n_neighbors=len(X), metric="cosine").fit(X)
    chosen = []
    for query, found in enumerate(index.kneighbors(X, return_distance=False)):
        found = found[data.groups[found] != data.groups[query]]
        _, firsts = np.unique(data.groups[found], return_index=True)
        chosen.append(found[np.sort(firsts)[:n_neighbors]])
    return np.array(chosen)


# %%
# How often are they of the same kind?
# ------------------------------------
# Precision at 5: the share of the five nearest frames that have the label of the query.
# Labels come in here for the first time. The untrained encoder, with the same network
# and random weights, is what training must beat. Not in every class: a sky without
# aurora is easy for pixels as well.
found = {name: nearest(X) for name, X in features.items()}
print(
    f"{'precision at 5, percent':24}" + "".join(f"{n:>10}" for n in data.target_names)
)
for name, neighbours in found.items():
    hits = (data.target[neighbours] == data.target[:, np.newaxis]).mean(axis=1)
    cells = [100 * hits[data.target == k].mean() for k in range(6)]
    print(f"{name:18}{100 * hits.mean():6.1f}" + "".join(f"{c:10.1f}" for c in cells))

# %%
# A query of every class
# ----------------------
# Labels that differ from the query's are orange. Read the mistakes: frames that look
# alike and are labelled differently are where the classes shade into each other.
import matplotlib.pyplot as plt

queries = [np.flatnonzero(data.target == k)[35] for k in range(6)]
figure, axes = plt.subplots(6, 6, figsize=(7, 8.2), layout="constrained")
figure.suptitle("The query (bold), and its nearest frames of other sequences", size=11)
for row, query in zip(axes, queries, strict=True):
    for ax, frame in zip(row, [query, *found["SimCLR"][query]], strict=True):
        ax.imshow(images[frame], cmap="gray", vmin=0, vmax=1)
        agrees = data.target[frame] == data.target[query]
        colour = "black" if agrees else "#D55E00"
        ax.set_title(data.target_names[data.target[frame]], size=9, color=colour)
        ax.set_axis_off()
    row[0].title.set_weight("bold")
plt.show()
