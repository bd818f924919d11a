"""
Starting from pretrained weights
================================

Frames without labels are plenty, frames with labels are few. So train the encoder once
on all that there is, save its weights, and start from them wherever labels are few: to
embed images with it as it is, or to go on training.
"""

# %%
# Pretrain once, and save
# -----------------------
# Frames of one campaign, without labels. ``save_weights`` writes the encoder and its
# projection head as safetensors; that needs ``pip install "sksimclr[weights]"``.
from pathlib import Path
from tempfile import mkdtemp

from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 256)."""
    layers = []
    for width in (32, 64, 128, 256):
        layers += [
            nn.Conv2d(n_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        n_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


many = AuroraPreprocessor().fit_transform(
    make_aurora(1200, size=48, random_state=1).images
)
params = dict(QUICK) | {"encoder": small_encoder, "image_size": 32, "random_state": 0}
weights = Path(mkdtemp()) / "campaign.safetensors"
SimCLRTransformer(**params, max_epochs=10).fit(many).save_weights(weights)
print(f"{weights.name}: {weights.stat().st_size / 1e3:.0f} kB")

# %%
# Another campaign, few labels
# ----------------------------
# Other stations and other nights. The frames of 30 sequences have labels, those of 150
# have not and are there to be classified. Four encoders embed them: with
# ``max_epochs=0``, one with its random weights and one with the saved weights as they
# are; and both after ten more epochs on the few frames with labels.
new = make_aurora(900, size=48, n_sequences=180, random_state=2)
images = AuroraPreprocessor().fit_transform(new.images)
few = new.groups < 30
starts = {"random": None, "saved": weights}
encoders = {
    (start, n_epochs): SimCLRTransformer(**params, weights=path, max_epochs=n_epochs)
    for start, path in starts.items()
    for n_epochs in (0, 10)
}

# %%
# A logistic regression learns the labels of the few, and is scored on all others.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

scores = {}
for (start, n_epochs), simclr in encoders.items():
    classifier = LogisticRegression(C=0.1, max_iter=1000)
    pipe = make_pipeline(simclr, StandardScaler(), classifier)
    pipe.fit(images[few], new.target[few])
    score = pipe.score(images[~few], new.target[~few])
    scores[f"{start},\n{n_epochs} epochs"] = 100 * score
    print(f"{start} weights, {n_epochs:2} epochs: {100 * score:.1f} %")

# %%
# Scores, and how training goes from either start
# -----------------------------------------------
import matplotlib.pyplot as plt
import numpy as np

colors = ("#E69F00", "#0072B2")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
bars = left.bar(*zip(*scores.items(), strict=True), color=np.repeat(colors, 2))
left.bar_label(bars, fmt="%.0f")
left.set(ylabel="accuracy, %", ylim=(0, 100))
left.set_title(f"{few.sum()} frames with labels, {sum(~few)} scored")
for start, color in zip(starts, colors, strict=True):
    history = encoders[start, 10].history_
    epochs, losses = zip(*[(row["epoch"], row["loss"]) for row in history], strict=True)
    right.plot(epochs, losses, "o-", color=color, label=f"{start} weights")
right.set(xlabel="epoch", ylabel="NT-Xent loss", title="Going on, without labels")
right.legend()
plt.show()

# %%
# Weights of others
# -----------------
# ``"aurora-fm"`` is the ResNet18 that the author of the paper published: 46 MB,
# downloaded once. It wants frames of 224 pixels, scaled over the whole frame::
#
#     aurora_fm = make_pipeline(
#         AuroraPreprocessor(percentiles_over="frame"),
#         SimCLRTransformer(weights="aurora-fm", max_epochs=0),
#         LogisticRegression(max_iter=1000),
#     )
#
# ImageNet's weights, for any network of torchvision or timm, take grey frames too,
# and are where SimCLR may start::
#
#     simclr = SimCLRTransformer(weights="imagenet", image_size=96, lr=3e-4)
#
# As they are, without SimCLR: :class:`~sksimclr.baselines.PretrainedTransformer`.
