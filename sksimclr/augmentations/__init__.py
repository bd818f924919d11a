"""Random augmentations that make the views SimCLR compares.

Each is a frozen dataclass that is called on a whole batch. Its result depends on the
batch and the generator alone, and it compares, prints and hashes by its parameters,
so a tuple of them can be searched over with ``GridSearchCV`` and cached.

They are applied in the order of the tuple. Put `ResizedCrop` first: it brings images to
the size of the views, so that those behind it have less to do and count in the pixels
that the network will see.
"""

from sksimclr.augmentations._geometric import (
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
)
from sksimclr.augmentations._photometric import (
    BrightnessContrast,
    GaussianBlur,
    GaussianNoise,
)
from sksimclr.augmentations._shared import Augmentation, make_view

__all__ = [
    "Augmentation",
    "BrightnessContrast",
    "GaussianBlur",
    "GaussianNoise",
    "HorizontalFlip",
    "ResizedCrop",
    "Rotation",
    "VerticalFlip",
    "make_view",
]

for _public in (
    BrightnessContrast,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
):
    _public.__module__ = __name__  # by which pickles and caches know them
