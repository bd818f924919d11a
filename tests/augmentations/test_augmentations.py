import math
import pickle
from dataclasses import FrozenInstanceError

import joblib
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tvf

import sksimclr.augmentations
from sksimclr._images.resizing import _crop_by_matrices, _crop_one_by_one, resized_crop
from sksimclr.augmentations import (
    BrightnessContrast,
    GaussianBlur,
    GaussianNoise,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
    _photometric,
    make_view,
)
from sksimclr.augmentations._geometric import _rotate
from sksimclr.augmentations._photometric import _blur, _nan_outside
from sksimclr.augmentations._shared import generator_on

ALL = [
    ResizedCrop(),
    VerticalFlip(),
    HorizontalFlip(),
    Rotation(),
    BrightnessContrast(),
    GaussianBlur(),
    GaussianNoise(),
]
# one to four channels, upright and flat, batches of one, strips, a pixel
SHAPES = [
    (16, 1, 40, 56),
    (8, 2, 31, 20),
    (1, 3, 24, 24),
    (6, 4, 9, 33),
    (5, 1, 1, 64),
    (4, 3, 17, 1),
    (3, 1, 1, 1),
]
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_rotation_equals_torchvision_at_the_same_draws(shape, dtype, tolerance):
    """Bilinear, about the centre, counterclockwise, with zeros outside."""
    images = torch.rand(shape, generator=generator(1), dtype=dtype)
    ours = Rotation(degrees=170)(images, generator=generator(2), size=8)
    degrees = -170 + 340 * torch.rand(len(images), generator=generator(2)).double()
    for image, result, angle in zip(images, ours, degrees.tolist(), strict=True):
        expected = tvf.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("side", [8, 33])
def test_quarter_turns_only_move_pixels(side, dtype, tolerance):
    """Of squares with an odd or even side; 0 degrees leave them as they are."""
    images = torch.rand(4, 2, side, side, generator=generator(1), dtype=dtype)
    degrees = torch.tensor([0, 90, 180, -90], dtype=dtype)
    for turns, (image, result) in enumerate(
        zip(images, _rotate(images, degrees), strict=True)
    ):
        expected = torch.rot90(image, turns, dims=(1, 2))
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)
    unchanged = Rotation(degrees=0)(images, generator=generator(), size=8)
    torch.testing.assert_close(unchanged, images, rtol=0, atol=tolerance)


def test_rotation_keeps_a_circular_field_of_view():
    """The brightness in a disc stays within 0.1 %, whatever the angle."""
    y, x = torch.meshgrid(*2 * [torch.arange(64) - 31.5], indexing="ij")
    disc = (26 - torch.hypot(x, y)).clamp(0, 8).expand(8, 1, 64, 64)
    rotated = Rotation()(disc, generator=generator(), size=64)
    totals = rotated.sum(dim=(1, 2, 3)) / disc[0].sum()
    torch.testing.assert_close(totals, torch.ones(8), rtol=0, atol=1e-3)


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


@pytest.mark.parametrize("excess", [-0.01, 0.01])
def test_off_the_cpu_other_ranges_become_nan(excess):
    """Only the images that leave [0, 1]; what resizing adds is tolerated."""
    images = torch.rand(4, 2, 8, 8, generator=generator())
    images[0, 0, 0, 0] = -0.0005
    images[1, 1, 3, 3] = 1.0005
    images[2, 1, 3, 3] = (excess > 0) + excess
    images[3, 0, 7, 7] = math.nan
    before = images.clone()
    checked = _nan_outside(images)
    assert torch.equal(checked[:2], images[:2])
    assert checked[2:].isnan().all()
    torch.testing.assert_close(images, before, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_blur_equals_torchvision_at_the_same_draws(shape, dtype, tolerance):
    """Up to 3 sigma, as far as the borders allow; images not chosen are untouched."""
    images = torch.rand(shape, generator=generator(1), dtype=dtype)
    blur = GaussianBlur(sigma=(0.3, 2.5), p=0.6)
    ours = blur(images, generator=generator(2), size=8)
    choice, width = torch.rand(2, len(images), generator=generator(2)).double()
    kernel_size = [2 * min(8, side - 1) + 1 for side in (shape[3], shape[2])]
    for image, result, draw, sigma in zip(
        images, ours, choice, 0.3 + 2.2 * width, strict=True
    ):
        if draw < 0.6:
            expected = tvf.gaussian_blur(image, kernel_size, [sigma.item()] * 2)
            torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)
        else:
            assert torch.equal(result, image)
    if len(images) > 4:
        assert 0 < (choice < 0.6).sum() < len(images)


def test_blur_probability_limits(images):
    """None at 0, all at 1."""
    none = GaussianBlur(p=0)(images, generator=generator(), size=8)
    assert torch.equal(none, images)
    blurred = GaussianBlur(sigma=(1, 2), p=1)(images, generator=generator(), size=8)
    assert (blurred != images).flatten(1).any(dim=1).all()


def test_narrow_blur_is_the_identity(images):
    """No neighbour has a share when sigma is far below a pixel."""
    for sigma in (0.05, 1e-30):
        blur = GaussianBlur(sigma=(sigma, sigma), p=1)
        assert torch.equal(blur(images, generator=generator(), size=8), images)


def test_wide_blur_is_the_mean_of_what_it_reaches():
    """Of a constant image nothing changes; a far wider one than the image is flat."""
    constant = torch.full((2, 1, 12, 7), 0.3)
    blur = GaussianBlur(sigma=(50, 60), p=1)
    blurred = blur(constant, generator=generator(), size=8)
    torch.testing.assert_close(blurred, constant)
    image = torch.rand(1, 1, 12, 7, generator=generator())
    assert blur(image, generator=generator(), size=8).std() < 0.2 * image.std()


def test_blur_keeps_the_light_and_widens_a_point():
    """Away from borders the sum stays; the variance is sigma squared, sampled."""
    point = torch.zeros(3, 2, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    sigma = torch.tensor([0.8, 1.5, 3.0], dtype=torch.float64)
    blurred = _blur(point, sigma, largest=6.0)
    torch.testing.assert_close(
        blurred.sum(dim=(2, 3)), torch.ones(3, 2, dtype=torch.float64)
    )
    distance = (torch.arange(41) - 20.0).double() ** 2
    for axis in (2, 3):
        variance = (blurred.sum(dim=axis) * distance).sum(dim=2)
        expected = (sigma**2)[:, None].expand(3, 2)
        torch.testing.assert_close(variance, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_noise_equals_torchvision_at_the_same_draws(shape):
    """Added to every pixel and channel, and not clipped."""
    images = torch.rand(shape, generator=generator(1))
    ours = GaussianNoise(sigma=0.3)(images, generator=generator(2), size=8)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        expected = tvf.gaussian_noise(images, sigma=0.3, clip=False)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-7)


def test_noise_is_white_and_as_strong_as_asked():
    """Mean 0, the wanted deviation, nothing shared by pixels, channels or images."""
    images = torch.full((4, 3, 64, 64), 0.5)
    noise = GaussianNoise(sigma=0.2)(images, generator=generator(), size=64) - 0.5
    n_values = noise.numel()
    assert abs(noise.mean()) < 4 * 0.2 / math.sqrt(n_values)
    assert abs(noise.std() / 0.2 - 1) < 4 / math.sqrt(2 * n_values)
    planes = torch.corrcoef(noise.reshape(12, -1)) - torch.eye(12)
    assert planes.abs().max() < 5 / 64
    neighbours = torch.corrcoef(
        torch.stack([noise[..., 1:].flatten(), noise[..., :-1].flatten()])
    )
    assert neighbours[0, 1].abs() < 4 / math.sqrt(n_values)
    unchanged = GaussianNoise(sigma=0)(images, generator=generator(), size=64)
    assert torch.equal(unchanged, images)


def test_generator_of_another_device_follows_the_given_one():
    """It is seeded by one draw; on its own device the given one is used itself."""
    given, other = generator(3), torch.device("cpu", 0)  # not equal to "cpu"
    assert generator_on(given.device, given) is given
    seeds = [generator_on(other, given).initial_seed() for _ in range(2)]
    again = generator(3)
    assert seeds == [generator_on(other, again).initial_seed() for _ in range(2)]
    assert seeds[0] != seeds[1]


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
def test_an_image_alone_is_augmented_like_any_batch(augmentation):
    """A batch of one works, and so do strips one pixel high."""
    for shape in [(1, 1, 12, 12), (1, 4, 1, 30), (2, 2, 30, 1)]:
        images = torch.rand(shape, generator=generator())
        view = make_view(images, (augmentation,), generator=generator(), size=8)
        assert view.shape == (*shape[:2], 8, 8) and view.isfinite().all()


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_augmentations_keep_the_dtype(images, augmentation, dtype):
    """And agree with what they make in single precision."""
    if augmentation == ResizedCrop() and dtype == torch.bfloat16:
        pytest.skip("torch has no antialiased resizing of bfloat16 on a CPU")
    view = augmentation(images.to(dtype), generator=generator(), size=8)
    assert view.dtype == dtype
    if augmentation != GaussianNoise():  # drawn in the precision of the images
        expected = augmentation(images, generator=generator(), size=8)
        tolerance = 0.02 if dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(view.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_views_are_not_rounded_by_autocast(images, augmentation):
    """A network may run in half precision; what it sees is made in full."""
    options = {"augmentations": (augmentation,), "size": 8}
    expected = make_view(images, generator=generator(), **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        view = make_view(images, generator=generator(), **options)
    assert torch.equal(view, expected)


class _Waits(TorchDispatchMode):
    """Collects the steps for which the host waits for a device.

    Reading a single number raises on fake tensors, so only copies remain.
    """

    def __init__(self):
        super().__init__()
        self.copies = []
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != out.device:
            self.copies.append(func)
            if out.device.type == "cpu" or not kwargs.get("non_blocking"):
                self.waits.append(func)
        return out


def _imitates_gpus():
    """Return whether fake tensors of a GPU can be indexed where there is none."""
    try:
        with FakeTensorMode():
            torch.empty(1, device="cuda")[:, None]
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not _imitates_gpus(), reason="this torch (2.6) needs a GPU for it")
@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_augmentations_never_wait_for_a_gpu(augmentation, monkeypatch):
    """Draws go there in one copy, and nothing comes back; tried without a GPU."""
    monkeypatch.setattr(_photometric, "generator_on", lambda device, generator: None)
    with FakeTensorMode(), _Waits() as record:
        images = torch.empty(4, 3, 20, 30, device="cuda")
        view = augmentation(images, generator=generator(), size=8)
    assert view.device.type == "cuda"
    assert len(record.copies) == (augmentation != GaussianNoise())
    assert not record.waits


@pytest.mark.gpu
@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_a_gpu_makes_the_views_of_a_cpu(images, augmentation):
    """From the same generator, without a wait; its noise is its own, but repeats."""
    on_gpu = images.cuda()
    options = {"augmentations": (augmentation,), "size": 8}
    torch.cuda.set_sync_debug_mode("error")
    try:
        view, again = (
            make_view(on_gpu, generator=generator(), **options) for _ in range(2)
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(view, again, rtol=0, atol=0)
    if augmentation != GaussianNoise():
        expected = make_view(images, generator=generator(), **options)
        torch.testing.assert_close(view.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_augmentations_are_values(augmentation):
    """They compare, hash, pickle and cache by their parameters and cannot change."""
    copy = pickle.loads(pickle.dumps(augmentation))
    assert copy == augmentation and hash(copy) == hash(augmentation)
    assert joblib.hash(copy) == joblib.hash(augmentation)
    assert eval(repr(augmentation)) == augmentation
    with pytest.raises(FrozenInstanceError):
        augmentation.p = 1.0


def test_augmentations_are_known_by_their_public_module():
    """So that pickles and caches outlive a change of the private ones."""
    for augmentation in ALL:
        assert type(augmentation).__module__ == "sksimclr.augmentations"
        assert b"_geometric" not in pickle.dumps(augmentation)
    names = {type(augmentation).__name__ for augmentation in ALL}
    public = set(sksimclr.augmentations.__all__)
    assert public - {"Augmentation", "make_view"} == names


def test_lists_and_tuples_are_the_same_value():
    """Both can be hashed, cached and compared."""
    crop = ResizedCrop(scale=[0.2, 1])
    assert crop == ResizedCrop(scale=(0.2, 1.0))
    assert hash(crop) == hash(ResizedCrop(scale=(0.2, 1.0)))
    assert hash(GaussianBlur(sigma=[1, 2])) == hash(GaussianBlur(sigma=(1.0, 2.0)))


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
        (lambda: ResizedCrop(ratio=(1, math.inf)), r"largest < inf, got \(1, inf\)"),
        (lambda: Rotation(degrees=181), r"degrees of Rotation.*\[0, 180\], got 181"),
        (lambda: Rotation(degrees=(0, 90)), "degrees of Rotation"),
        (lambda: GaussianBlur(sigma=(0, 2)), r"sigma of GaussianBlur.*got \(0, 2\)"),
        (lambda: GaussianBlur(sigma=2.0), "sigma of GaussianBlur.*two numbers.*got 2"),
        (lambda: GaussianBlur(p=math.nan), "p of GaussianBlur.*got nan"),
        (lambda: GaussianNoise(-0.1), r"sigma of GaussianNoise.*\[0, inf\), got -0.1"),
        (lambda: GaussianNoise(math.inf), "sigma of GaussianNoise.*got inf"),
    ],
)
def test_bad_parameters_are_named(make, message):
    """The error says who, what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        make()
