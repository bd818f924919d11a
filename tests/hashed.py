"""What ``memory=`` hashes, importable in a process that has little to import."""

import dataclasses

from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor, SimCLRTransformer, augmentations


def make_hashed():
    """Return every augmentation, a tuple of them, and estimators."""
    public = [getattr(augmentations, name) for name in augmentations.__all__]
    views = tuple(make() for make in public if dataclasses.is_dataclass(make))
    return [
        *views,
        views,
        SimCLRTransformer(augmentations=views, random_state=0),
        AuroraPreprocessor(),
        tiny_simclr(),
        tiny_pretrained(),
        tiny_fine_tuned(),
    ]
