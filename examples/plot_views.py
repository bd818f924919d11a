"""
What the views look like
========================

SimCLR learns what two random views of one image have in common and what tells them
from views of other images. So the augmentations *are* the definition of what matters:
whatever they change, the encoder learns to ignore. Look at the views before a long
training; what you cannot see in them, the encoder cannot learn from them.
"""

# %%
# Each augmentation alone
# -----------------------
# One frame with discrete aurora, and four views by each augmentation.
# ``AugmentationDisplay`` draws them as ``SimCLRTransformer.fit`` does.
import matplotlib.pyplot as plt
import numpy as np

from sksimclr import AuroraPreprocessor, augmentations
from sksimclr.datasets import make_aurora
from sksimclr.plotting import AugmentationDisplay

data = make_aurora(48, size=192, n_sequences=48, random_state=0)
images = AuroraPreprocessor().fit_transform(data.images)
discrete = np.flatnonzero(data.target == data.target_names.index("discrete"))
image = images[discrete[[7]]]
choices = {
    "ResizedCrop(): boxes of 8 to 100 %": augmentations.ResizedCrop(),
    "ResizedCrop(scale=(0.3, 1))": augmentations.ResizedCrop(scale=(0.3, 1)),
    "VerticalFlip()": augmentations.VerticalFlip(),
    "HorizontalFlip()": augmentations.HorizontalFlip(),
    "Rotation()": augmentations.Rotation(),
    "BrightnessContrast()": augmentations.BrightnessContrast(),
    "GaussianBlur()": augmentations.GaussianBlur(),
    "GaussianNoise()": augmentations.GaussianNoise(),
}
figure, axes = plt.subplots(4, 2, figsize=(9, 4.8), layout="constrained")
for ax, (name, augmentation) in zip(axes.flat, choices.items(), strict=True):
    AugmentationDisplay.from_augmentations(
        (augmentation,), image, image_size=96, n_views=4, random_state=4, ax=ax
    )
    ax.set_title(name, size=9, loc="left")
    ax.set_xticks([])

# %%
# Which of them for all-sky images?
# ---------------------------------
# An all-sky image is a map: up is roughly north, and left and right are east and west.
# Its classes, though, are forms.
#
# * ``ResizedCrop`` is what SimCLR lives on: views of different parts of one sky must
#   agree. A small box may hold little but dark sky, see below.
# * ``VerticalFlip`` (the paper's) gives up whether an arc lies to the north or south.
# * ``HorizontalFlip`` gives up east and west as well, and ``Rotation`` all of the
#   geography, also that arcs run from east to west. Take them if a form is the same
#   wherever it stands and too few images show it at every angle; leave them out if the
#   embeddings shall tell where it was.
# * ``BrightnessContrast`` keeps the histogram from giving away which two views belong
#   together. ``AuroraPreprocessor`` has taken the absolute brightness already.
# * ``GaussianBlur`` hides the camera's noise, and with it stars and the fine rays by
#   which discrete aurora differs from diffuse. ``GaussianNoise`` buries weak forms
#   (its row is greyer because it is shown over the range of all its values).

# %%
# The paper's recipe
# ------------------
# The defaults of ``SimCLRTransformer``: boxes of 8 to 100 % of the area, upside down or
# not.
from sksimclr import SimCLRTransformer

simclr = SimCLRTransformer(image_size=96)
chosen = images[[np.flatnonzero(data.target == k)[0] for k in range(4)]]
print(f"One frame each of {', '.join(data.target_names[:4])}")
display = AugmentationDisplay.from_estimator(simclr, chosen, random_state=0)
display.figure_.suptitle("The paper's recipe", size=10)

# %%
# QUICK
# -----
# The recipe of ``sksimclr.recipes`` for half the time: the boxes are larger, flips go
# both ways, brightness and contrast vary.
from sksimclr.recipes import QUICK

simclr = SimCLRTransformer(**QUICK, image_size=96)
display = AugmentationDisplay.from_estimator(simclr, chosen, random_state=0)
display.figure_.suptitle("QUICK", size=10)

# %%
# Views with hardly anything in them
# ----------------------------------
# Two views of dark sky teach nothing: the loss still asks to tell them from the dark
# sky of other frames. In how many views of aurora does no more than 1 % of the pixels
# reach half of the scale? That is one reason for larger boxes; the other is that two
# large ones share more of the sky.
import torch

aurora = torch.from_numpy(images[data.target_aurora == 0][:, np.newaxis])
smallest = [2, 8, 20, 30, 50]
dark = []
for percent in smallest:
    crop = augmentations.ResizedCrop(scale=(percent / 100, 1))
    generator = torch.Generator().manual_seed(0)
    views = torch.cat([crop(aurora, generator=generator, size=96) for _ in range(20)])
    bright_part = (views > 0.5).float().mean(dim=(1, 2, 3))
    dark.append(100 * float((bright_part <= 0.01).float().mean()))
    print(f"boxes of at least {percent:2} % of the area: {dark[-1]:4.1f} % are dark")

figure, ax = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
ax.plot(smallest, dark, "o-", color="#0072B2")
ax.set(xlabel="smallest box, percent of the area", ylabel="dark views, percent")
ax.set_ylim(0)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
