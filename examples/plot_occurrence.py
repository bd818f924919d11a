"""
When each kind of aurora occurs
===============================

A catalogue of labels answers what no single night can: when, and in which season, each
kind of sky is seen. ``OccurrenceDisplay`` counts a catalogue of any size, station by
station, and puts the hours in magnetic local time, in which the aurora is ordered.
"""

# %%
# A winter at five stations
# -------------------------
# Synthetic frames stand in for an archive. Each month has two nights per station, with
# three frames an hour; what is seen is drawn at random: arcs in the evening, discrete
# aurora around magnetic midnight, diffuse aurora in the morning, and clouds above all
# in autumn. A night is an ``.npz`` file, with its frames and their times.
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from sksimclr.datasets import make_aurora

data = make_aurora(1200, size=48, n_sequences=400, random_state=0)  # threes of frames
kinds = np.take(data.target_names, data.target)
train, sky = data.groups < 200, data.groups >= 200
sequences = {k: np.flatnonzero(sky & (kinds == k)).reshape(-1, 3) for k in set(kinds)}

midnight = {"gako": 10.7, "fsim": 9.0, "fsmi": 8.2, "gill": 6.4, "gbay": 3.3}  # UTC
winter = {  # hours of darkness on each side of midnight, and how cloudy it is
    **{"2013-10": (6, 1.2), "2013-11": (7, 0.9), "2013-12": (8, 0.5)},
    **{"2014-01": (8, 0.3), "2014-02": (7, 0.3), "2014-03": (6, 0.4)},
}
rng = np.random.default_rng(0)


def draw_kind(hour, cloudy):
    """Return what is seen at an hour from magnetic midnight."""
    arc, discrete, diffuse = np.exp(-((hour - [-3.5, 0, 4]) ** 2) / [6, 4, 6])
    weights = np.array([arc, diffuse, discrete, cloudy, 0.1, 0.4])
    return rng.choice(data.target_names, p=weights / weights.sum())


folder = Path(mkdtemp())
for month, (n_hours, cloudy) in winter.items():
    hours = np.arange(-n_hours, n_hours) + 0.5
    for site, day in product(midnight, ("08", "22")):
        frames = [rng.choice(sequences[draw_kind(hour, cloudy)]) for hour in hours]
        minutes = 60 * (hours[:, None] + midnight[site]) + [-20, 0, 20]
        np.savez(
            folder / f"{month}-{day}_{site}.npz",
            counts=data.images[np.concatenate(frames)],
            times=np.datetime64(f"{month}-{day}") + minutes.ravel().astype("m8[m]"),
        )

# %%
# Files of another form
# ---------------------
# THEMIS files, images and arrays need no reader. These do: a function that returns
# ``Frames``.
from sksimclr.archive import Frames, label_archive, occurrence, register_reader


def read_night(path):
    """Return the frames of a night."""
    with np.load(path) as file:
        return Frames(file["counts"], times=file["times"], site=path.stem[-4:])


register_reader(".npz", read_night)

# %%
# Labels
# ------
# SimCLR with a small encoder and a logistic regression, trained on other frames.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 128)."""
    layers = []
    for n_in, n_out in [(n_channels, 32), (32, 64), (64, 128)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


short = QUICK | {"image_size": 32, "max_epochs": 20, "random_state": 0}
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
simclr = SimCLRTransformer(small_encoder, **short)
pipe = make_pipeline(AuroraPreprocessor(), simclr, classifier)
pipe.fit(data.images[train], kinds[train])
run = label_archive(pipe, folder, folder / "catalogue")
print(f"{run.n_frames} frames in {run.n_files} files")

# %%
# By magnetic local time
# ----------------------
# Magnetic midnight comes at 3.3 UTC to Goose Bay and at 10.7 UTC to Gakona. In magnetic
# local time all stations tell one story: arcs before midnight, discrete aurora around
# it, diffuse aurora after it. Positions of the stations of THEMIS are known; those of
# others are passed as ``sites={"abcd": (latitude, longitude)}``. Hours with few frames
# are blank.
import matplotlib.pyplot as plt

from sksimclr.plotting import OccurrenceDisplay

OccurrenceDisplay.from_catalogue(folder / "catalogue", min_frames=10)
plt.show()

# %%
# In UTC, the stations smear it out.
OccurrenceDisplay.from_catalogue(folder / "catalogue", hour="hour", min_frames=10)
plt.show()

# %%
# The numbers
# -----------
# ``occurrence`` gives the counts behind the figure as a table, by any of site, date,
# month and hour. It streams over the catalogue, which may have millions of rows.
table = occurrence(folder / "catalogue", by=["site"]).to_pandas()
shares = table.pivot(index="site", columns="label", values="n_frames")
print((100 * shares.div(shares.sum(axis=1), axis=0)).round(1).to_string())
