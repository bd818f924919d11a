"""What ``memory=`` hashes, importable in a process that has little to import."""

from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import (
    BrightnessContrast,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
)


def make_hashed():
    """Return every augmentation, a tuple of them, and estimators."""
    views = (
        BrightnessContrast(),
        GaussianBlur(),
        GaussianNoise(),
        HorizontalFlip(),
        ResizedCrop(),
        Rotation(),
        VerticalFlip(),
    )
    return [
        *views,
        views,
        SimCLRTransformer(augmentations=views, random_state=0),
        AuroraPreprocessor(),
        tiny_simclr(),
        tiny_pretrained(),
        tiny_fine_tuned(),
    ]
