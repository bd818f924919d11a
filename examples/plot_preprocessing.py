"""
From a raw frame to an image, step by step
==========================================

An all-sky camera counts photons: its frames hold 16-bit counts on top of a bias, with
dark corners and a horizon around the sky. ``AuroraPreprocessor`` makes images in
[0, 1] of them, by equation (1) of Johnson et al. (2021). Here is each of its steps by
hand, what its parameters do, and a check that the steps are all there is to it.
"""

# %%
# A raw frame
# -----------
# ``make_aurora`` draws frames as a THEMIS camera would record them. Shown from 0 to
# 65,535 this one is black: most counts lie in a narrow band above the bias, and only a
# few pixels, stars and what is brightest of the aurora, reach far beyond it.
import matplotlib.pyplot as plt
import numpy as np

from sksimclr.datasets import make_aurora

data = make_aurora(48, size=192, n_sequences=48, random_state=0)
frame = data.images[np.flatnonzero(data.target == 2)[7]]
print(f"{frame.dtype}, {frame.min()} to {frame.max()} counts, of 0 to 65,535")

# %%
# 1. The field of view
# --------------------
# Near the horizon there are trees, town lights and thick air. Only pixels within 0.85
# of half the side of the frame are kept, a circle around the zenith.
row, column = np.ogrid[: frame.shape[0], : frame.shape[1]]
half = frame.shape[0] / 2
field = (row - half) ** 2 + (column - half) ** 2 <= (0.85 * half) ** 2
print(f"{field.mean():.0%} of the pixels lie in the field of view")

# %%
# 2. Two percentiles, and 3. the stretch
# --------------------------------------
# The 1st percentile of the field becomes 0, the 99th becomes 1, and what lies beyond
# is cut off: one bright star, or the bias of one camera, no longer sets the scale.
low, high = np.percentile(frame[field], (1, 99))
image = np.clip((frame - low) / (high - low), 0, 1) * field

figure, axes = plt.subplots(1, 4, figsize=(10, 3.3), layout="constrained")
raw, cropped, counts, stretched = axes
raw.imshow(frame, cmap="gray", vmin=0, vmax=65535)
raw.set_title("raw: 0 to 65,535")
cropped.imshow(np.where(field, frame, np.nan), cmap="gray", vmin=0, vmax=high)
cropped.set_title("1. field of view")
counts.hist(frame[field], bins=np.linspace(0, 1.3 * high, 80), color="0.6")
counts.axvspan(low, high, color="#0072B2", alpha=0.15, lw=0)
for count, name, side in [(low, "1 %", "right"), (high, "99 %", "left")]:
    counts.axvline(count, color="#0072B2")
    counts.text(
        count, 0.9, f" {name} ", transform=counts.get_xaxis_transform(), ha=side
    )
counts.set(title="2. percentiles", xlabel="counts", yticks=[])
counts.set_box_aspect(1)
stretched.imshow(image, cmap="gray", vmin=0, vmax=1)
stretched.set_title("3. stretched to 0 to 1")
for ax in (raw, cropped, stretched):
    ax.set_axis_off()

# %%
# What the parameters do
# ----------------------
# A larger ``radius`` lets the horizon in, whose darkness then takes the lowest
# percentile, and the sky turns grey; a smaller one loses sky. ``center`` is
# the zenith as (row, column): the middle for raw frames, (127, 128) for the released
# OATH images, another pixel for a camera that was mounted askew. With
# ``percentiles_over="frame"`` the dark corners count as sky: the 1st percentile falls
# to the bias of the camera, and the sky stays grey. Aurora-FM was trained that way.
# Wider ``percentiles`` keep the brightest forms apart and darken all others.
from sksimclr import AuroraPreprocessor

settings = {
    "the defaults": {},
    "radius=1": {"radius": 1},
    "radius=0.5": {"radius": 0.5},
    "center=(86, 106)": {"center": (86, 106)},
    'percentiles_over="frame"': {"percentiles_over": "frame"},
    "percentiles=(0, 100)": {"percentiles": (0, 100)},
}
figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.4), layout="constrained")
for ax, (name, params) in zip(axes.flat, settings.items(), strict=True):
    seen = AuroraPreprocessor(**params).transform(frame[np.newaxis])[0]
    ax.imshow(seen, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, size=10)
    ax.set_axis_off()

# %%
# The same, in one line
# ---------------------
# A single frame is ``frame[np.newaxis]``, since two dimensions mean flattened rows.
# The steps by hand differ from the result by the rounding of float32 alone. It is
# stateless, so ``fit`` learns nothing and test frames cannot leak through it; ``size``
# resizes the result and ``dtype="uint8"`` keeps it in a quarter of the memory.
difference = np.abs(AuroraPreprocessor().transform(frame[np.newaxis])[0] - image)
print(f"Largest difference: {difference.max():.1e}")
assert difference.max() < 1e-6
plt.show()
