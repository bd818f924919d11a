"""
Twelve clusters, or noise?
==========================

Johnson et al. (2021) ran K-means on their embeddings for k = 3 to 15, found the mean
silhouette best at k = 12 (0.212, against 0.011 for the six labels), and read that as a
finer classification than the usual six. Here is that analysis, and the question that
the silhouette cannot answer: would other images have given the same clusters?

It runs on OATH if that lies in the data home, else on synthetic frames; ``--quick``
shows on few of them that everything runs.
"""

# %%
# Embeddings, without labels
# --------------------------
import argparse
import time

import numpy as np

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip
from sksimclr.datasets import fetch_oath, make_aurora

parser = argparse.ArgumentParser(description="How many clusters, and how stable.")
parser.add_argument("--quick", action="store_true")
quick = parser.parse_args().quick

started = time.perf_counter()
try:
    if quick:
        raise FileNotFoundError
    data, zenith = fetch_oath(download_if_missing=False, as_array=True), (127, 128)
except FileNotFoundError:
    data, zenith = make_aurora(120 if quick else 800, size=64, random_state=0), None
images = AuroraPreprocessor(center=zenith, dtype="uint8").fit_transform(data.images)
simclr = SimCLRTransformer(
    image_size=64,
    augmentations=(ResizedCrop(scale=(0.2, 1.0)), VerticalFlip()),
    max_epochs=1 if quick else 24,
    batch_size=64,
    lr=1e-3,
    lr_schedule="cosine",
    random_state=0,
    verbose=1,
)
embeddings = simclr.fit_transform(images)

# %%
# The silhouette curve
# --------------------
import matplotlib.pyplot as plt
from sklearn.cluster import KMeans

from sksimclr.plotting import SilhouetteDisplay

k_means = KMeans(n_init=5, random_state=0)
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
silhouette = SilhouetteDisplay.from_estimator(
    k_means, embeddings, data.target, n_clusters=range(3, 16), ax=left
)
best_k = silhouette.best_n_clusters
print(f"Best k {best_k}: mean silhouette {max(silhouette.scores):.3f}")
print(f"The {len(data.target_names)} labels: {silhouette.y_score:.3f}")

# %%
# Would other images give the same clusters?
# ------------------------------------------
# Two clusterings, of two bootstrap samples and with two seeds, label all images; their
# adjusted Rand index is 1 if they agree, 0 if only by chance. Whole sequences are
# drawn, since the frames of one are near copies. More clusters agree less, even where
# there are none, so the same is done with embeddings that have no clusters: a normal
# distribution with the covariance of the sequences, and around it the frames of each
# sequence as they are. A k that stands above that is a finding.
from itertools import combinations

from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

sequences, sequence_of = np.unique(data.groups, return_inverse=True)
centers = np.stack([embeddings[data.groups == group].mean(0) for group in sequences])
rng = np.random.default_rng(0)
null_centers = rng.multivariate_normal(
    centers.mean(axis=0), np.cov(centers.T), len(centers), method="eigh"
)
null_embeddings = embeddings + (null_centers - centers)[sequence_of]


def stability(X, k, n_samples=3 if quick else 10):
    """Return the adjusted Rand indices of all pairs of bootstrap clusterings."""
    labels = []
    for seed in range(n_samples):
        drawn = np.random.default_rng(seed).choice(len(sequences), len(sequences))
        rows = np.concatenate([np.flatnonzero(sequence_of == group) for group in drawn])
        clusters = KMeans(k, n_init=5, random_state=seed).fit(X[rows])
        labels.append(clusters.predict(X))
    return [adjusted_rand_score(*pair) for pair in combinations(labels, 2)]


sizes = silhouette.n_clusters
found = np.array([stability(embeddings, k) for k in sizes])
null = np.array([stability(null_embeddings, k) for k in sizes])
for values, colour, style, label in [
    (found, "#0072B2", "o-", "embeddings"),
    (null, "#D55E00", "s--", "no clusters"),
]:
    mean, spread = values.mean(axis=1), values.std(axis=1)
    look = {"color": colour, "capsize": 2, "lw": 1.2, "ms": 3.5}
    right.errorbar(sizes, mean, spread, fmt=style, label=label, **look)
right.set_xlabel("number of clusters", size=8)
right.set_ylabel("stability: adjusted Rand index", size=8)
right.set_xticks(sizes[1::2])
right.tick_params(labelsize=7)
right.spines[["top", "right"]].set_visible(False)
right.legend(frameon=False, fontsize=7)
figure.savefig("clusters_k.png", dpi=150)

print("\n  k  silhouette  stability     without clusters  AMI with the labels")
for k, score, ours, theirs, labels in zip(
    sizes, silhouette.scores, found, null, silhouette.labels, strict=True
):
    ami = adjusted_mutual_info_score(data.target, labels)
    print(
        f"{k:3}{score:12.3f}   {ours.mean():.2f} +- {ours.std():.2f}"
        f"   {theirs.mean():.2f} +- {theirs.std():.2f}{ami:17.3f}"
    )
excess = found.mean(axis=1) - null.mean(axis=1)
for k in sorted({12, best_k, sizes[int(excess.argmax())]}):
    row = sizes.index(k)
    print(
        f"k = {k}: silhouette {silhouette.scores[row]:.3f} (rank "
        f"{1 + sum(s > silhouette.scores[row] for s in silhouette.scores)} of "
        f"{len(sizes)}), stability {excess[row]:+.2f} against no clusters (rank "
        f"{1 + sum(excess > excess[row])})"
    )

# %%
# Clusters against labels
# -----------------------
from sklearn.metrics.cluster import contingency_matrix

clusters = silhouette.labels[silhouette.n_clusters.index(12)]
print("\nImages of each label (row) in each of 12 clusters")
for name, row in zip(
    data.target_names, contingency_matrix(data.target, clusters), strict=True
):
    print(f"{name:10}" + "".join(f"{count:5}" for count in row))

# %%
# What is in a cluster, and which clusters a label has
# ----------------------------------------------------
# Captions as in the paper's figures 4 and 5: G is the label, S the cluster.
from sksimclr.plotting import EmbeddingDisplay, ImageGridDisplay

grid = ImageGridDisplay.from_predictions(
    images,
    data.target,
    clusters,
    target_names=data.target_names,
    group_by="y_pred",
    n_images=6,
    random_state=0,
)
grid.figure_.savefig("clusters_grid.png", dpi=150)
discrete = data.target == data.target_names.index("discrete")
ImageGridDisplay.from_predictions(
    images[discrete], clusters[discrete], n_images=6, random_state=0
)
embedding_map = EmbeddingDisplay.from_predictions(
    embeddings, data.target, images=images, target_names=data.target_names
)
embedding_map.figure_.savefig("clusters_map.png", dpi=150)
print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes")
plt.show()
