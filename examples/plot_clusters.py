"""
Twelve clusters, or noise?
==========================

Johnson et al. (2021) ran K-means on their embeddings for k = 3 to 15, found the mean
silhouette best at k = 12 (0.212, against 0.011 for the six labels), and read that as a
finer classification than the usual six. Here is that analysis, and the question that
the silhouette cannot answer: would other images have given the same clusters?

It runs on OATH if that is there, else on synthetic frames; ``--quick`` takes few.
"""

# %%
# Embeddings, without labels
# --------------------------
import sys
import time

import numpy as np

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip
from sksimclr.datasets import fetch_oath, make_aurora

quick = "--quick" in sys.argv
started = time.perf_counter()
try:
    if quick:
        raise FileNotFoundError
    data, zenith = fetch_oath(download_if_missing=False, as_array=True), (127, 128)
except FileNotFoundError:
    data, zenith = make_aurora(120 if quick else 800, size=64, random_state=0), None
images = AuroraPreprocessor(center=zenith, dtype="uint8").fit_transform(data.images)
views = (ResizedCrop(scale=(0.2, 1.0)), VerticalFlip())
recipe = {"augmentations": views, "batch_size": 64, "lr": 1e-3, "lr_schedule": "cosine"}
epochs = 1 if quick else 24
size = {"image_size": 64, "max_epochs": epochs}
simclr = SimCLRTransformer(**recipe, **size, random_state=0, verbose=1)
embeddings = simclr.fit_transform(images)

# %%
# The silhouette curve
# --------------------
import matplotlib.pyplot as plt
from sklearn.cluster import KMeans

from sksimclr.plotting import SilhouetteDisplay

k_means = KMeans(n_init=5, random_state=0)
plt.rcParams["font.size"] = 8
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
# drawn, since their frames are near copies. The same is done with embeddings that have
# no clusters: a normal distribution with the covariance of the sequences, and around it
# the frames of each sequence as they are. A k that stands above that is a finding.
from itertools import combinations

from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

sequences, sequence_of = np.unique(data.groups, return_inverse=True)
centers = np.stack([embeddings[data.groups == group].mean(0) for group in sequences])
null = {"mean": centers.mean(axis=0), "cov": np.cov(centers.T), "size": len(centers)}
null_centers = np.random.default_rng(0).multivariate_normal(**null, method="eigh")
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
curves = {"embeddings": (found, "C0o-"), "no clusters": (null, "C1s--")}
for label, (values, look) in curves.items():
    mean, spread = values.mean(axis=1), values.std(axis=1)
    right.errorbar(sizes, mean, spread, fmt=look, capsize=2, ms=3.5, label=label)
right.set(xlabel="number of clusters", ylabel="stability: adjusted Rand index")
right.set_xticks(sizes[1::2])
right.spines[["top", "right"]].set_visible(False)
right.legend(frameon=False)
figure.savefig("clusters_k.png", dpi=150)

print("\n  k  silhouette  stability     without clusters  AMI with the labels")
for row, k in enumerate(sizes):
    ami = adjusted_mutual_info_score(data.target, silhouette.labels[row])
    ours, theirs = (f"{v[row].mean():.2f} +- {v[row].std():.2f}" for v in (found, null))
    print(f"{k:3}{silhouette.scores[row]:12.3f}   {ours}   {theirs}{ami:17.3f}")
score, excess = np.array(silhouette.scores), found.mean(axis=1) - null.mean(axis=1)
for row in sorted({sizes.index(12), sizes.index(best_k), int(excess.argmax())}):
    print(
        f"k = {sizes[row]}: silhouette {score[row]:.3f} (rank "
        f"{1 + sum(score > score[row])} of {len(sizes)}), stability {excess[row]:+.2f} "
        f"against no clusters (rank {1 + sum(excess > excess[row])})"
    )

# %%
# What is in a cluster
# --------------------
# Captions as in the paper's figures 4 and 5: G is the label, S the cluster.
from sksimclr.plotting import EmbeddingDisplay, ImageGridDisplay

names = data.target_names
clusters = silhouette.labels[sizes.index(12)]
look = {"target_names": names, "group_by": "y_pred", "n_images": 6, "random_state": 0}
grid = ImageGridDisplay.from_predictions(images, data.target, clusters, **look)
grid.figure_.savefig("clusters_grid.png", dpi=150)

# %%
# Clusters within the label that has most kinds of forms, "discrete".
discrete = data.target == names.index("discrete")
ImageGridDisplay.from_predictions(
    images[discrete], clusters[discrete], n_images=6, random_state=0
)

# %%
# All of them on a map, coloured by label.
embedding_map = EmbeddingDisplay.from_predictions(
    embeddings, data.target, images=images, target_names=names
)
embedding_map.figure_.savefig("clusters_map.png", dpi=150)
print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes")
plt.show()
