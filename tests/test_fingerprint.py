"""What decides on the result of a fit, in the same words in every process."""

import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import (
    dropout_encoder,
    fingerprint_elsewhere,
    fingerprint_of,
    make_images,
    make_run,
)
from tiny import tiny_encoder
from torch import nn
from torchvision.models import resnet18

from sksimclr import SimCLRTransformer, augmentations
from sksimclr._fingerprint import fit_fingerprint
from sksimclr._images import as_images
from sksimclr.augmentations import GaussianBlur, HorizontalFlip, ResizedCrop, Rotation

WITHOUT_EFFECT = {
    "callbacks",
    "checkpoint_dir",
    "checkpoint_every",
    "compile",
    "device",
    "verbose",
    "warm_start",
}


class Factory:
    """An encoder factory with parameters and no repr."""

    def __init__(self, width, layer=nn.ReLU):
        self.width, self.layer = width, layer

    def __call__(self, n_channels):
        """Make an encoder."""
        return nn.Sequential(tiny_encoder(n_channels), self.layer())

    @classmethod
    def make(cls, n_channels):
        """Make an encoder."""
        return tiny_encoder(n_channels)


class Invert:
    """An augmentation without repr."""

    def __call__(self, images, *, generator, size):
        """Turn black to white."""
        return 1 - images


@dataclasses.dataclass(frozen=True)
class Apply:
    """An augmentation whose repr holds that of a function."""

    function: object

    def __call__(self, images, *, generator, size):
        """Do nothing."""
        return images


def make_encoder(n_channels, block=None, **options):
    """Make an encoder."""
    return tiny_encoder(n_channels)


def describe(**params):
    """Return the part of a fingerprint that a parameter has."""
    (name,) = params
    return fingerprint_of(**params)[name]


def test_every_parameter_counts_but_for_those_without_effect():
    """Also those that will be added: they are there by default."""
    names = set(SimCLRTransformer().get_params(deep=False))
    expected = names - WITHOUT_EFFECT - {"max_epochs"}
    assert set(fingerprint_of()) == expected | {"X"}
    assert set(fingerprint_of(lr_schedule="cosine")) == expected | {"X", "max_epochs"}


@pytest.mark.parametrize(
    "params",
    [
        {"encoder": "resnet34"},
        {"encoder": dropout_encoder},
        {"encoder": resnet18},
        {"encoder": functools.partial(make_encoder, width=8)},
        {"encoder": functools.partial(make_encoder, block=dropout_encoder)},
        {"encoder": functools.partial(make_encoder, blocks=[{"a": dropout_encoder}])},
        {"encoder": functools.partial(functools.partial(make_encoder, a=1), None, b=2)},
        {"encoder": Factory(8)},
        {"encoder": Factory(8, nn.GELU)},
        {"encoder": Factory.make},
        {"augmentations": (GaussianBlur(), HorizontalFlip(0.3), Rotation())},
        {"augmentations": [ResizedCrop(scale=(0.5, 1.0)), Invert()]},
        {"weights": Path("a") / "b.safetensors"},
        {"random_state": np.random.RandomState(3)},
        {"augmentations": (Apply(make_encoder),)},
        {"temperature": np.float64(0.1), "batch_size": np.int64(7)},
    ],
    ids=itertools.count(),
)
def test_fingerprint_is_the_same_in_another_process(params, tmp_path):
    """Though functions and objects lie at other addresses there."""
    found = fingerprint_of(**params)
    assert found == fingerprint_elsewhere(tmp_path / "result", **params)
    assert found != fingerprint_of()
    assert "0x" not in str(found)


def test_different_values_are_told_apart():
    """Of functions, partials, objects, augmentations and generators."""
    partial = functools.partial
    encoders = [
        tiny_encoder,
        make_encoder,
        partial(make_encoder),
        partial(make_encoder, width=8),
        partial(make_encoder, width=16),
        partial(make_encoder, block=tiny_encoder),
        partial(make_encoder, block=dropout_encoder),
        partial(make_encoder, block=Factory(8)),
        Factory(8),
        Factory(16),
        Factory(16, nn.GELU),
        Factory.make,
    ]
    assert len({describe(encoder=encoder) for encoder in encoders}) == len(encoders)
    kinds = [getattr(augmentations, name) for name in augmentations.__all__]
    kinds = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    assert len(kinds) >= 7
    chains = [(), *[(kind(),) for kind in kinds]]
    chains += [chains[1] + chains[2], chains[2] + chains[1], (HorizontalFlip(0.3),)]
    assert len({describe(augmentations=chain) for chain in chains}) == len(chains)
    states = [np.random.RandomState(seed) for seed in (0, 0, 0, 1)]
    for n_drawn, state in enumerate(states):
        state.random_sample(n_drawn)
    states += [None, 0, 1]
    assert len({describe(random_state=state) for state in states}) == len(states)


def test_equal_values_of_other_types_are_one_value():
    """Lists, numpy's numbers, paths."""
    assert describe(augmentations=[ResizedCrop()]) == describe(
        augmentations=(ResizedCrop(),)
    )
    assert describe(image_shape=[8, 8]) == describe(image_shape=(8, np.int64(8)))
    assert describe(temperature=np.float64(0.1)) == describe(temperature=0.1)
    assert describe(weights=Path("a") / "b") == describe(weights=str(Path("a") / "b"))


def test_all_values_of_arrays_count_and_their_layout_does_not(rng):
    """A memory order, a view, and another byte order are the same images."""
    X = rng.random((600, 8, 8))
    base = fit_fingerprint(make_run(), as_images(X))
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.astype(">f8")):
        assert fit_fingerprint(make_run(), as_images(same)) == base
    for row in (0, 255, 256, 300, 599):
        other = X.copy()
        other[row, 3, 4] = np.nextafter(other[row, 3, 4], 2)
        assert fit_fingerprint(make_run(), as_images(other))["X"] != base["X"]


def test_lazy_images_count_by_a_sample(rng, tmp_path):
    """All of 256, of more the first, the last and some between; files by content."""
    X = rng.integers(0, 256, (600, 8, 8), dtype=np.uint8)

    def fingerprint(images):
        np.save(tmp_path / "X.npy", images)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        return fit_fingerprint(make_run(), as_images(mapped))["X"]

    base, small = fingerprint(X), fingerprint(X[:256])
    for row in (0, 599):
        other = X.copy()
        other[row, 0, 0] ^= 1
        assert fingerprint(other) != base
    for row in (1, 100, 255):
        other = X[:256].copy()
        other[row, 7, 7] ^= 1
        assert fingerprint(other) != small
    found = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.png"
        Image.fromarray(X[0]).save(path)
        found.append(fit_fingerprint(make_run(), as_images([path, path]))["X"])
    assert found[0] == found[1]


def test_start_weights_count():
    """To the bit."""
    images, weights = as_images(make_images()), [np.ones(3, np.float32), np.array(4)]
    found = [
        fit_fingerprint(make_run(), images, start)
        for start in (
            weights,
            [w.copy() for w in weights],
            [weights[0] + 1, weights[1]],
        )
    ]
    assert found[0] == found[1] != found[2]
    assert "weights at the start" not in fit_fingerprint(make_run(), images)
