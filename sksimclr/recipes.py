"""Settings of :class:`~sksimclr.SimCLRTransformer` that are worth a name.

The defaults of the transformer are the recipe of Johnson et al. (2021), which wants a
GPU. ``QUICK`` is what to use on a laptop: a ResNet18 with a quarter of the channels,
which costs a tenth, so that many more epochs fit into the same minutes; a larger
learning rate that falls to zero; a temperature at which 126 negatives are enough; views
that share more of an image but differ in brightness and contrast; and embeddings that
are means over an image and its mirror images. Give the size of the images and the
epochs that the time allows, and say which images are moments of one sky:
``fit(images, sequences=...)``. Images must lie in [0, 1]; where left and right differ,
as east and west do, leave out ``HorizontalFlip`` and take ``symmetry="vertical"``.

``FROM_IMAGENET`` starts from the weights of a network that was trained on ImageNet, a
ResNet18 unless ``encoder`` names another classifier of torchvision. It needs few
epochs, and 96 pixels or more.

Both were found on synthetic aurora (see the page of benchmarks).

Examples
--------
>>> from sksimclr import SimCLRTransformer
>>> from sksimclr.recipes import QUICK
>>> simclr = SimCLRTransformer(**QUICK, image_size=64, max_epochs=120)
>>> simclr.width, simclr.batch_size, simclr.temperature, simclr.symmetry
(16, 64, 0.2, 'flips')
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    VerticalFlip,
)

__all__ = ["FROM_IMAGENET", "QUICK"]

_VIEWS = (
    ResizedCrop(scale=(0.3, 1.0)),
    VerticalFlip(),
    HorizontalFlip(),
    BrightnessContrast(),
)
QUICK: Mapping[str, Any] = MappingProxyType(
    {
        "width": 16,
        "symmetry": "flips",
        "augmentations": _VIEWS,
        "temperature": 0.2,
        "batch_size": 64,
        "lr": 1e-3,
        "lr_schedule": "cosine",
    }
)
"""Better than the paper's recipe in a fraction of its time, by the settings shown here.

``SimCLRTransformer(**QUICK, image_size=64)`` takes them as they are,
``SimCLRTransformer(**(QUICK | {"batch_size": 128}), image_size=64)`` changes one.
"""

FROM_IMAGENET: Mapping[str, Any] = MappingProxyType(
    {
        "weights": "imagenet",
        "symmetry": "flips",
        "augmentations": _VIEWS,
        "temperature": 0.2,
        "batch_size": 64,
        "lr": 3e-4,
        "lr_schedule": "cosine",
    }
)
"""SimCLR from ImageNet's weights, which are downloaded once.

``SimCLRTransformer(**FROM_IMAGENET, image_size=96, max_epochs=8)`` takes a ResNet18,
``SimCLRTransformer("efficientnet_b0", **FROM_IMAGENET, image_size=96, max_epochs=8)``
another network.
"""
