import pickle
from dataclasses import FrozenInstanceError

import joblib
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as tvf

from sksimclr._resizing import _crop_by_matrices, _crop_one_by_one, resized_crop
from sksimclr.augmentations import (
    BrightnessContrast,
    HorizontalFlip,
    ResizedCrop,
    VerticalFlip,
    make_view,
)

ALL = [ResizedCrop(), VerticalFlip(), HorizontalFlip(), BrightnessContrast()]


def generator(seed=0):
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    """Batch of two-channel images that are not square."""
    return torch.rand(32, 2, 40, 56, generator=generator(1))


@pytest.mark.parametrize("crop_all", [_crop_one_by_one, _crop_by_matrices])
@pytest.mark.parametrize("size", [8, 33, 96])
def test_resized_crop_equals_torchvision_at_the_same_boxes(images, size, crop_all):
    """Antialiased and bilinear, shrinking or growing, for the CPU and for others."""
    boxes = ResizedCrop().draw_boxes(32, 40, 56, generator())
    ours = crop_all(images, boxes, size)
    for image, box, crop in zip(images, boxes.tolist(), ours, strict=True):
        expected = tvf.resized_crop(image, *box, [size, size], antialias=True)
        torch.testing.assert_close(crop, expected, rtol=0, atol=3e-6)


def test_call_crops_at_the_boxes_its_generator_draws(images):
    """A call is `draw_boxes` and `resized_crop` with the same draws."""
    crop = ResizedCrop(scale=(0.2, 0.6))
    boxes = crop.draw_boxes(32, 40, 56, generator(3))
    expected = resized_crop(images, boxes, 16)
    torch.testing.assert_close(crop(images, generator=generator(3), size=16), expected)


@pytest.mark.parametrize(
    ("scale", "ratio", "shape"),
    [
        ((0.08, 1.0), (3 / 4, 4 / 3), (64, 64)),
        ((0.5, 1.0), (0.5, 2.0), (40, 96)),
        ((0.9, 1.0), (1.0, 1.0), (32, 64)),  # no box fits: the central one
    ],
)
def test_boxes_are_distributed_as_torchvisions(scale, ratio, shape):
    """Kolmogorov-Smirnov on each side of the box, 4,000 boxes each."""
    boxes = ResizedCrop(scale, ratio).draw_boxes(4000, *shape, generator()).numpy()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = RandomResizedCrop(8, scale=scale, ratio=ratio)
        image = torch.zeros(1, *shape)
        draws = [reference.make_params([image]) for _ in range(4000)]
    for k, name in enumerate(("top", "left", "height", "width")):
        theirs = np.array([draw[name] for draw in draws])
        assert ks_2samp(boxes[:, k], theirs).pvalue > 1e-3, name


@pytest.mark.parametrize(
    ("flip", "torchvision_flip"),
    [(VerticalFlip, tvf.vertical_flip), (HorizontalFlip, tvf.horizontal_flip)],
)
def test_flips_equal_torchvision_at_the_same_draws(images, flip, torchvision_flip):
    """Images whose draw lies below p are flipped, the others are untouched."""
    flipped = flip(p=0.3)(images, generator=generator(5), size=8)
    chosen = torch.rand(32, generator=generator(5)) < 0.3
    assert 0 < chosen.sum() < 32
    assert torch.equal(flipped[chosen], torchvision_flip(images[chosen]))
    assert torch.equal(flipped[~chosen], images[~chosen])


@pytest.mark.parametrize("flip", [VerticalFlip, HorizontalFlip])
def test_flip_probability_limits(images, flip):
    """Never at 0, always at 1."""
    assert torch.equal(flip(p=0)(images, generator=generator(), size=8), images)
    twice = flip(p=1)(
        flip(p=1)(images, generator=generator(), size=8), generator=generator(), size=8
    )
    assert torch.equal(twice, images)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_brightness_contrast_equals_torchvision_at_the_same_draws(n_channels):
    """First brightness, then contrast around the mean grey, cut to [0, 1] each time."""
    images = torch.rand(16, n_channels, 12, 9, generator=generator(1))
    change = BrightnessContrast(brightness=0.5, contrast=0.8)
    ours = change(images, generator=generator(2), size=8)
    draws = torch.rand(2, 16, generator=generator(2)).double()
    for image, result, b, c in zip(
        images, ours, 0.5 + draws[0], 0.2 + 1.6 * draws[1], strict=True
    ):
        expected = tvf.adjust_brightness(image, b.item())
        expected = tvf.adjust_contrast(expected, c.item())
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert ours.min() == 0 and ours.max() == 1
    unchanged = BrightnessContrast(0, 0)(images, generator=generator(), size=8)
    torch.testing.assert_close(unchanged, images)


def test_brightness_contrast_refuses_other_ranges():
    """Cutting digits in [0, 16] to [0, 1] would destroy them."""
    images = torch.rand(2, 1, 8, 8, generator=generator()) * 16
    with pytest.raises(ValueError, match=r"needs images in \[0, 1\], got 0.* to 15"):
        BrightnessContrast()(images, generator=generator(), size=8)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_augmentations_are_pure(images, augmentation):
    """Same batch and generator, same result; neither input nor globals change."""
    before, state = images.clone(), torch.get_rng_state()
    first = augmentation(images, generator=generator(7), size=8)
    again = augmentation(images, generator=generator(7), size=8)
    other = augmentation(images, generator=generator(8), size=8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_augmentations_are_values(augmentation):
    """They compare, hash, pickle and cache by their parameters and cannot change."""
    copy = pickle.loads(pickle.dumps(augmentation))
    assert copy == augmentation and hash(copy) == hash(augmentation)
    assert joblib.hash(copy) == joblib.hash(augmentation)
    assert eval(repr(augmentation)) == augmentation
    with pytest.raises(FrozenInstanceError):
        augmentation.p = 1.0


def test_lists_and_tuples_are_the_same_value():
    """Both can be hashed, cached and compared."""
    crop = ResizedCrop(scale=[0.2, 1])
    assert crop == ResizedCrop(scale=(0.2, 1.0))
    assert hash(crop) == hash(ResizedCrop(scale=(0.2, 1.0)))


def test_view_has_the_wanted_size_without_a_crop(images):
    """Without `ResizedCrop` a view is the whole image, resized as torchvision does."""
    view = make_view(images, (), generator=generator(), size=16)
    expected = tvf.resize(images, [16, 16], antialias=True)
    torch.testing.assert_close(view, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizedCrop(scale=(0.0, 1.0)), r"scale of ResizedCrop.*\(0.0, 1.0\)"),
        (lambda: ResizedCrop(scale=(0.5, 1.5)), "largest <= 1"),
        (lambda: ResizedCrop(ratio=(2.0, 0.5)), "ratio of ResizedCrop"),
        (lambda: ResizedCrop(scale=(0.5,)), "two numbers"),
        (lambda: ResizedCrop(scale=0.2), "scale of ResizedCrop.*got 0.2"),
        (lambda: ResizedCrop(scale=("a", 1)), "scale of ResizedCrop"),
        (lambda: VerticalFlip(p="often"), "p of VerticalFlip.*'often'"),
        (lambda: VerticalFlip(p=1.5), r"p of VerticalFlip.*1.5"),
        (lambda: BrightnessContrast(2), r"brightness of BrightnessContrast.*got 2"),
        (lambda: BrightnessContrast(contrast=-1), "contrast of BrightnessContrast"),
        (lambda: HorizontalFlip(p=-0.1), r"p of HorizontalFlip.*-0.1"),
    ],
)
def test_bad_parameters_are_named(make, message):
    """The error says who, what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        make()
