"""
Tutorial: from a folder of images to a labelled catalogue
=========================================================

You have a folder of all-sky images, no labels, and you know scikit-learn. Here is the
way from those files to a map of what is on them, and to a table with a label for every
file. Copy the pieces into a notebook one after the other; each runs in seconds, the
training in one or two minutes. They need :doc:`sksimclr </install>` and pandas
(``pip install pandas``). Some words are explained in :ref:`words`.
"""

# %%
# Images for practice
# -------------------
# Skip this if you have images. It writes 400 frames of twenty "nights" as 16-bit PNG
# files. Some hundreds it should be: forty frames of the same four minutes are one image
# to SimCLR, and teach it nothing.
import tempfile
from pathlib import Path

from PIL import Image

from sksimclr.datasets import make_aurora

folder = Path(tempfile.mkdtemp())
practice = make_aurora(400, size=64, n_sequences=80, random_state=0)
for number, frame in enumerate(practice.images):
    Image.fromarray(frame).save(folder / f"night{number // 20:02}_{number % 20:02}.png")

# %%
# Your folder
# -----------
# Write the path of your own images instead of the second line, and where the results
# are to go instead of the third.
import numpy as np
import pandas as pd

folder = Path(folder)
results = Path(tempfile.mkdtemp())

files = sorted(folder.glob("*.png"))
names = [path.name for path in files]
print(len(files), "files:", names[0], "to", names[-1])

# %%
# All estimators of sksimclr take such a list of files as X. They also take arrays. All
# images of a list must have one size: :doc:`/user_guide/images`.

# %%
# Crop and scale
# --------------
# Raw frames differ in brightness from camera to camera. ``AuroraPreprocessor`` keeps
# the field of view and stretches the contrast of each frame; with ``size=64`` and
# ``dtype="uint8"``, even 100,000 frames fit into memory. Images that are not of the sky
# need none of this: ``images = np.stack([np.asarray(Image.open(f)) for f in files])``.
# Always look at what comes out.
import matplotlib.pyplot as plt

from sksimclr import AuroraPreprocessor

crop = AuroraPreprocessor(size=64, dtype="uint8")
images = crop.fit_transform(files)
print(images.shape, images.dtype, images.min(), images.max())


def show(numbers, n_columns=6):
    """Show some of the images, with their file names."""
    n_rows = -(-len(numbers) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(9, 1.6 * n_rows), layout="constrained"
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, number in zip(axes.flat, numbers, strict=False):
        ax.imshow(images[number], cmap="gray")
        ax.set_title(files[number].stem[-12:], fontsize=8)


show(np.linspace(0, len(files) - 1, 12, dtype=int))

# %%
# Learn without labels
# --------------------
# ``fit`` makes two random views of each image and trains a network until it can tell
# which views belong together. That is all the training there is, and it needs no label.
# ``QUICK`` has settings for a laptop; it also mirrors images, so pass
# ``augmentations=...`` of your own if left and right matter. Larger ``image_size`` and
# more ``max_epochs``, passes over the images, may learn more and take longer.
from sksimclr import SimCLRTransformer
from sksimclr.recipes import QUICK

simclr = SimCLRTransformer(
    **QUICK,
    image_size=32,
    stem="imagenet",  # fast first layers; from 33 pixels on, they are the default
    max_epochs=60,
    random_state=0,
    verbose=1,
)
embeddings = simclr.fit_transform(images)
print(embeddings.shape)

# %%
# The column ``train_loss`` should fall, here from about 4 to below 3.
# :doc:`/user_guide/monitoring` says what else to watch, and
# :doc:`/user_guide/troubleshooting` what to do if it does not.

# %%
# A map of the images
# -------------------
# An embedding is a row of 512 numbers. t-SNE puts similar rows next to each other on a
# map, and pictures on it tell what lies where.
from sklearn.manifold import TSNE

from sksimclr.plotting import EmbeddingDisplay

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
perplexity = min(30, len(files) // 4)
EmbeddingDisplay.from_predictions(
    embeddings,
    images=images,
    reducer=TSNE(perplexity=perplexity, init="pca", random_state=0),
    n_thumbnails=60,
    ax=ax,
)

# %%
# Which images to label?
# ----------------------
# You have the patience for 60 labels. Choose images that stand for all others: those in
# the middle of 60 clusters. Here are the first of them. The table with their names goes
# into a file, where you fill in the column "label" with an editor.
from sklearn.cluster import KMeans

k_means = KMeans(min(60, len(files) // 2), n_init=3, random_state=0)
chosen = np.unique(k_means.fit_transform(embeddings).argmin(axis=0))
to_label = pd.DataFrame({"file": [names[number] for number in chosen], "label": ""})
to_label.to_csv(results / "labels.csv", index=False)
show(chosen[:12])

# %%
# For practice, this fills it in. Skip it, and do that yourself.
truth = pd.Series(np.array(practice.target_names)[practice.target], index=names)
to_label["label"] = truth[to_label["file"]].to_numpy()
to_label.to_csv(results / "labels.csv", index=False)

# %%
# Rows without a label are left out, so that you can begin with few.
labelled = pd.read_csv(results / "labels.csv").dropna()
rows = [names.index(name) for name in labelled["file"]]
print(labelled["label"].value_counts().to_string())

# %%
# Is it good enough?
# ------------------
# Images of one night look alike. A score on images of nights that the classifier has
# seen is too good to be true, so hold out whole nights (:doc:`/user_guide/evaluation`).
# Here the night is what stands before the first ``_`` in the name: adapt that line to
# your names. There must be at least five.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

nights = [name.split("_")[0] for name in labelled["file"]]
print(len(set(nights)), "nights:", *sorted(set(nights))[:3], "...")
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
held_out = {"cv": GroupKFold(5), "groups": nights}
pixels = images.reshape(len(images), -1)
for name, X in [("embeddings", embeddings), ("raw pixels", pixels)]:
    scores = cross_val_score(classifier, X[rows], labelled["label"], **held_out)
    print(f"{name}: {scores.mean():.0%} of the images of other nights are right")

# %%
# A label for every file
# ----------------------
# One row for each file, with the probability of the label. Sort by it to see what the
# classifier is unsure of, and label those next.
classifier.fit(embeddings[rows], labelled["label"])
probabilities = classifier.predict_proba(embeddings)
catalogue = pd.DataFrame(
    {
        "file": names,
        "label": classifier.classes_[probabilities.argmax(axis=1)],
        "probability": probabilities.max(axis=1).round(2),
    }
)
catalogue.to_csv(results / "catalogue.csv", index=False)
print(catalogue.sort_values("probability").head(8).to_string(index=False))

# %%
# For practice again: how many of the files that nobody labelled are right? More than
# above, since most of them look like one that was labelled.
others = np.setdiff1d(np.arange(len(files)), rows)
right = (catalogue["label"].to_numpy() == truth.to_numpy())[others]
print(f"{right.mean():.0%} of {len(others)} files")

# %%
# Keep it, and label next week's files
# ------------------------------------
# A pipeline of the fitted steps goes from files to labels; without ``crop``, if you
# left that out. ``joblib.load`` brings it back in another session
# (:doc:`/user_guide/saving`).
import joblib

joblib.dump(make_pipeline(crop, simclr, classifier), results / "model.joblib")

pipe = joblib.load(results / "model.joblib")
for name, label in zip(names[:3], pipe.predict(files[:3]), strict=True):
    print(name, label)
plt.show()
