"""
Which frames to label next
==========================

An archive is mostly cloud and empty sky: of frames labelled at random, few show aurora.
``suggest`` chooses frames that the classifier is unsure of and that are unlike each
other. Here it reaches the score of random choice with a fraction of the labels.

It is a choice of frames, not of a classifier: the score is that of logistic regression
on the embeddings of SimCLR, on sequences that neither has seen.
"""

# %%
# An archive
# ----------
# Synthetic frames, five to a sequence. Nearly three quarters of the archive are cloud
# and empty sky, one frame in eight shows aurora. Twenty-four sequences of every class
# are held out.
import numpy as np

from sksimclr import AuroraPreprocessor
from sksimclr.datasets import make_aurora

SHARES = {"arc": 0.1, "diffuse": 0.15, "discrete": 0.1, "moon": 0.4}  # others: all

data = make_aurora(5400, size=64, random_state=0)
rng = np.random.default_rng(0)
is_archive, is_test = np.zeros((2, len(data.images)), bool)
for kind, name in enumerate(data.target_names):
    sequences = rng.permutation(np.unique(data.groups[data.target == kind]))
    n_kept = round(SHARES.get(name, 1) * len(sequences[24:]))
    is_test |= np.isin(data.groups, sequences[:24])
    is_archive |= np.isin(data.groups, sequences[24:][:n_kept])
y, y_test = data.target[is_archive], data.target[is_test]
print(dict(zip(data.target_names, np.bincount(y).tolist(), strict=True)))

# %%
# Embeddings, without a label
# ---------------------------
# SimCLR learns from a third of the archive, and embeds all of it.
from sksimclr import SimCLRTransformer
from sksimclr.recipes import QUICK

preprocessor = AuroraPreprocessor(dtype="uint8")
archive, test = (preprocessor.transform(data.images[k]) for k in (is_archive, is_test))
small = {"image_size": 32, "stem": "imagenet", "max_epochs": 8, "random_state": 0}
simclr = SimCLRTransformer(**QUICK, **small).fit(archive[::3])
X, X_test = simclr.transform(archive), simclr.transform(test)

# %%
# Label, fit, ask again
# ---------------------
# In each round, somebody labels the twelve frames that are suggested, and the
# classifier is fitted anew. The first round has no classifier yet: then the frames are
# typical of what the archive holds. Of a catalogue that ``label_archive`` has written
# with ``embeddings=True``, ``suggest("catalogue", 12)`` gives the files and frames.
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr.archive import suggest

BATCH, N_ROUNDS = 12, 15
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


def score():
    """Return the mean recall of the six classes, percent."""
    found = classifier.predict(X_test)
    return 100 * recall_score(y_test, found, average="macro")


labelled, probabilities, suggested = [], None, []
for _ in range(N_ROUNDS):
    labelled += [*suggest(X, BATCH, probabilities=probabilities, labelled=labelled)]
    classifier.fit(X[labelled], y[labelled])
    probabilities = classifier.predict_proba(X)
    suggested.append(score())

# %%
# And at random
# -------------
# Twenty times, other frames are drawn. One archive says little: of ten such draws, half
# need at most two fifths of the labels that reach the score of 120 at random, one a
# tenth, and one seven tenths (``tests/benchmarks/active_labelling.py``). A class that
# the first labels miss, and that the classifier is sure is another, is found late.
n_labels = BATCH * np.arange(1, N_ROUNDS + 1)
at_random = np.empty((20, N_ROUNDS))
for curve in at_random:
    order = rng.permutation(len(X))
    for k, n in enumerate(n_labels):
        curve[k] = classifier.fit(X[order[:n]], y[order[:n]]) and score()
low, median, high = np.percentile(at_random, [10, 50, 90], axis=0)

print("labels     suggested  at random (10 to 90 %)")
for row in zip(n_labels, suggested, median, low, high, strict=True):
    print("{:6} {:13.1f} {:10.1f} ({:.1f} to {:.1f})".format(*row))
goal = median[-1]
needed = n_labels[np.argmax(np.array(suggested) >= goal)]
print(f"{goal:.1f} %: {needed} labels suggested, {n_labels[-1]} at random")

# %%
# The curves
# ----------
# Right, what there is to see for the first sixty labels.
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.fill_between(n_labels, low, high, color="#D55E00", alpha=0.2, lw=0)
left.plot(n_labels, median, "s--", color="#D55E00", label="at random, 10 to 90 %")
left.plot(n_labels, suggested, "o-", color="#0072B2", label="suggested")
left.set(xlabel="labels", ylabel="mean recall of six classes, percent")
left.set_title("Held-out sequences")
left.legend(loc="lower right", frameon=False)
counts = np.bincount(y[labelled[:60]], minlength=6)
right.bar(np.arange(6) - 0.2, counts, 0.4, color="#0072B2", label="suggested")
shares = 60 * np.bincount(y) / len(y)
right.bar(np.arange(6) + 0.2, shares, 0.4, color="#D55E00", label="at random")
right.set_xticks(range(6), data.target_names, rotation=30)
right.set(ylabel="frames", title="The first sixty labels")
right.legend(frameon=False)
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
