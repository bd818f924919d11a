"""
Tutorial: from a folder of images to a labelled catalogue
=========================================================

You have a folder of all-sky images, no labels, and you know scikit-learn. Here is the
way from those files to a map of what is on them, and to a table with a label for every
file. Copy the pieces into a notebook one after the other; each runs in seconds, the
training in one or two minutes. They need :doc:`sksimclr </install>` and pandas.
"""

# %%
# A folder of files
# -----------------
# Put the path of your own folder here. If you have none yet, this makes one for
# practice: 400 frames of twenty "nights", as 16-bit PNG files.
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from sksimclr.datasets import make_aurora

folder = Path(tempfile.mkdtemp(), "frames")
folder.mkdir()
practice = make_aurora(400, size=64, n_sequences=80, random_state=0)
for number, frame in enumerate(practice.images):
    Image.fromarray(frame).save(folder / f"night{number // 20:02}_{number % 20:02}.png")

files = sorted(folder.glob("*.png"))
print(len(files), "files:", files[0].name, "to", files[-1].name)

# %%
# All estimators of sksimclr take such a list of files as X. They also take arrays; see
# :doc:`/user_guide/images`.

# %%
# Crop and scale
# --------------
# Raw frames differ in brightness from camera to camera. ``AuroraPreprocessor`` keeps
# the field of view and stretches the contrast of each frame. For images that are not of
# the sky, leave it out. Always look at what comes out.
import matplotlib.pyplot as plt

from sksimclr import AuroraPreprocessor

images = AuroraPreprocessor().fit_transform(files)
print(images.shape, images.dtype, images.min(), images.max())

figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for ax, number in zip(axes.flat, range(0, 400, 34), strict=True):
    ax.imshow(images[number], cmap="gray")
    ax.set_title(files[number].name, fontsize=8)
    ax.axis("off")

# %%
# Learn without labels
# --------------------
# ``fit`` makes two random views of each image and trains a network until it can tell
# which views belong together. That is all the training there is, and it needs no label.
# ``QUICK`` has settings for a laptop. Larger ``image_size`` and ``max_epochs`` learn
# more and take longer, in proportion to the number of pixels and epochs.
from sksimclr import SimCLRTransformer
from sksimclr.recipes import QUICK

simclr = SimCLRTransformer(
    **QUICK, image_size=32, stem="imagenet", max_epochs=10, random_state=0
)
embeddings = simclr.fit_transform(images)
print(embeddings.shape)
for row in simclr.history_[::3]:
    print(f"epoch {row['epoch']:2}: loss {row['loss']:.2f}, {row['seconds']:.1f} s")

# %%
# A loss that falls is a good sign. :doc:`/user_guide/monitoring` says what else to
# watch.

# %%
# A map of the images
# -------------------
# An embedding is a row of 512 numbers. t-SNE puts alike rows next to each other on a
# map, and pictures on it tell what lies where.
from sklearn.manifold import TSNE

from sksimclr.plotting import EmbeddingDisplay

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
EmbeddingDisplay.from_predictions(
    embeddings,
    images=images,
    reducer=TSNE(init="pca", random_state=0),
    n_thumbnails=60,
    ax=ax,
)

# %%
# Which images to label?
# ----------------------
# You have the patience for 60 labels. Choose images that stand for all others: those in
# the middle of 60 clusters.
from sklearn.cluster import KMeans

distances = KMeans(60, n_init=3, random_state=0).fit_transform(embeddings)
chosen = np.unique(distances.argmin(axis=0))
print("Label these:", *[files[number].name for number in chosen[:4]], "...")

# %%
# Now look at them and write down what you see. The practice frames bring their labels.
labels = np.array(practice.target_names)[practice.target[chosen]]

# %%
# Is it good enough?
# ------------------
# Images of one night look alike. A score on images of nights that the classifier has
# seen is too good to be true, so hold out whole nights (:doc:`/user_guide/evaluation`).
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

nights = [files[number].name[:7] for number in chosen]
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
held_out = {"cv": GroupKFold(5), "groups": nights}
pixels = images[chosen].reshape(len(chosen), -1)
for name, X in [("embeddings", embeddings[chosen]), ("raw pixels", pixels)]:
    scores = cross_val_score(classifier, X, labels, **held_out)
    print(f"{name}: {scores.mean():.0%} of the images of other nights are right")

# %%
# A label for every file
# ----------------------
# One row for each file, with the probability of the label. Sort by it to see what the
# classifier is unsure of, and label those next. More of these labels are right than of
# those above, since most of these files look like one that you did label.
import pandas as pd

classifier.fit(embeddings[chosen], labels)
probabilities = classifier.predict_proba(embeddings)
catalogue = pd.DataFrame(
    {
        "file": [path.name for path in files],
        "label": classifier.classes_[probabilities.argmax(axis=1)],
        "probability": probabilities.max(axis=1).round(2),
    }
)
catalogue.to_csv(folder.parent / "catalogue.csv", index=False)
print(catalogue.sample(8, random_state=0).to_string(index=False))
others = ~np.isin(np.arange(len(files)), chosen)
truth = np.array(practice.target_names)[practice.target]
right = (catalogue["label"] == truth)[others].mean()
print(f"\n{right:.0%} of the {others.sum()} files that nobody labelled are right")

# %%
# Keep it, and label next week's files
# ------------------------------------
# A pipeline of the fitted steps goes from files to labels. ``joblib.load`` brings it
# back (:doc:`/user_guide/saving`).
import joblib

pipe = make_pipeline(AuroraPreprocessor(), simclr, classifier)
joblib.dump(pipe, folder.parent / "model.joblib")

pipe = joblib.load(folder.parent / "model.joblib")
for path, label in zip(files[:3], pipe.predict(files[:3]), strict=True):
    print(path.name, label)
plt.show()
