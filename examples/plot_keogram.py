"""
A night as a keogram, with labels
=================================

A keogram is a cut through the zenith of every frame, side by side: one picture of a
whole night. Under it, ``KeogramDisplay`` writes what a classifier says of each frame,
so that a night of labels can be checked at a glance.
"""

# %%
# A night of one station
# ----------------------
# Synthetic frames stand in for yours. ``make_aurora`` has six cameras, told apart by
# the dark level in the corner of a frame, outside the field of view. Sequences of one
# of them become a night at Gillam: quiet at first, then an arc that moves south, its
# breakup around magnetic midnight, diffuse aurora, clouds. A frame each five minutes is
# a file, named by time and station; for half an hour the camera was off.
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from sksimclr.datasets import make_aurora

data = make_aurora(960, size=96, n_sequences=80, random_state=4)
kinds = np.take(data.target_names, data.target)
dark = np.median(data.images[:, :4, :4], axis=(1, 2))
gillam = dark > dark.max() - 30

story = ["noaurora", "arc", "discrete", "diffuse", "cloudy"]
night = np.flatnonzero(gillam & np.isin(kinds, story))
night = sorted(night, key=lambda k: story.index(kinds[k]))
minutes = 120 + 5 * np.arange(len(night))

folder = Path(mkdtemp())
for k, minute in zip(night, minutes, strict=True):
    if not 180 < minute < 210:
        name = f"20140310_{minute // 60:02}{minute % 60:02}_gill.npy"
        np.save(folder / name, data.images[k])
print(f"{len(list(folder.iterdir()))} files, the last of them {name}")

# %%
# A classifier, from the other five cameras
# -----------------------------------------
# SimCLR and a logistic regression, for a quick run with a small encoder; for real
# frames leave out ``encoder``.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 128)."""
    layers = []
    for width in (32, 64, 128):
        layers += [
            nn.Conv2d(n_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        n_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


pipe = make_pipeline(
    AuroraPreprocessor(dtype="uint8"),
    SimCLRTransformer(
        small_encoder, **QUICK, image_size=32, max_epochs=20, random_state=0
    ),
    StandardScaler(),
    LogisticRegression(C=0.1, max_iter=1000),
)
pipe.fit(data.images[~gillam], kinds[~gillam])

# %%
# The catalogue, and the keogram from it
# --------------------------------------
# ``label_archive`` labels the folder. ``from_catalogue`` looks up the night and reads
# a cut through its frames again from their files. Contrast is stretched over the whole
# night, so that brightness can be compared; the square root brings out what is faint.
# Which side is north, and how far down the cut goes, is known of THEMIS files, and said
# here for the others. ``mlt`` adds an axis of magnetic local time.
import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm

from sksimclr.archive import label_archive, read_catalogue
from sksimclr.plotting import KeogramDisplay

run = label_archive(pipe, folder, folder / "catalogue")
print(f"{run.n_frames} frames labelled, {run.n_failures} files without any")

level = np.median(dark[night])
display = KeogramDisplay.from_catalogue(
    folder / "catalogue",
    "gill",
    "2014-03-10",
    hours=(2, 12),
    north="top",
    edge_elevation=10,
    mlt=True,
    image_kw={"norm": PowerNorm(0.5, level + 200, level + 4000)},
)
plt.show()

# %%
# Each class has its colour in every night. Where the camera was off, time goes on. A
# frame without a label, for lack of contrast say, would be white in the strip.
#
# How many labels are right can be told here, because the frames are synthetic:
table = read_catalogue(folder / "catalogue", columns=["time", "label"])
clock = table["time"].to_numpy().astype("datetime64[m]") - np.datetime64("2014-03-10")
truth = dict(zip(minutes, kinds[night], strict=True))
right = [truth[m] for m in clock.astype(int)] == table["label"].to_numpy()
print(f"{right.mean():.0%} of {len(right)} labels are right")
