"""
Synthetic frames of six kinds of sky
====================================

``make_aurora`` draws raw all-sky frames as a THEMIS camera would record them: counts
in 16 bits, with bias, noise, stars, airglow and a horizon. They stand in for real
frames wherever a download is too much to ask, and they are hard in the way real ones
are: frames of one sequence look alike, those of another night do not.

``AuroraPreprocessor`` brings them, like real frames, to the field of view and to one
scale.
"""

# %%
# Eight sequences of every class
# ------------------------------
import numpy as np

from sksimclr import AuroraPreprocessor
from sksimclr.datasets import make_aurora

data = make_aurora(48, size=192, n_sequences=48, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
print(f"Counts from {data.images.min()} to {data.images.max()}, as in raw frames")

# %%
# The raw frames above, what the encoder sees below
# -------------------------------------------------
import matplotlib.pyplot as plt

# sphinx_gallery_thumbnail_number = 2
rows = [np.flatnonzero(data.target == k)[:8] for k in range(6)]


def show(images, title, **limits):
    """Draw eight images of every class."""
    figure, axes = plt.subplots(6, 8, figsize=(10, 8), layout="constrained")
    figure.suptitle(title)
    for name, row, line in zip(data.target_names, rows, axes, strict=True):
        line[0].set_ylabel(name)
        for number, ax in zip(row, line, strict=True):
            ax.imshow(images[number], cmap="gray", **limits)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    return figure


show(data.images, "Raw frames, 2,000 to 15,000 counts", vmin=2000, vmax=15000)
figure = show(images, "After AuroraPreprocessor", vmin=0, vmax=1)
figure.savefig("aurora_samples.png", dpi=80)

# %%
# Frames of one sequence
# ----------------------
# Five frames of the same sky, five minutes apart, in each row. Whoever has seen the
# first four knows the fifth, which is why a score must hold out whole sequences.
sequences = make_aurora(15, size=192, n_sequences=3, random_state=3)
images = AuroraPreprocessor().fit_transform(sequences.images)
figure, axes = plt.subplots(3, 5, figsize=(8, 5.2), layout="constrained")
for number, ax in enumerate(axes.flat):
    ax.imshow(images[number], cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    if number % 5 == 0:
        ax.set_ylabel(data.target_names[sequences.target[number]])
plt.show()
