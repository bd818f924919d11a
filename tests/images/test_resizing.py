import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from sksimclr import AuroraPreprocessor, _preprocessing
from sksimclr._images.resizing import resize_part


def whole(part, box, shape):
    """Return images that are zero but for a part of them."""
    images = np.zeros((len(part), *shape), np.float32)
    images[:, *box] = part
    return images


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((256, 256), (slice(20, 237), slice(20, 237))),
        ((480, 640), (slice(36, 445), slice(116, 525))),
        ((48, 64), (slice(0, 48), slice(0, 64))),
        ((37, 100), (slice(30, 37), slice(0, 3))),
        ((1, 300), (slice(0, 1), slice(299, 300))),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 64, 224, 301])
def test_parts_are_resized_as_pillow_resizes_whole_images(shape, box, size, rng):
    """To rounding, for any place of the part, larger and smaller."""
    lengths = [lines.stop - lines.start for lines in box]
    part = rng.random((2, *lengths), np.float32)
    resized, place = resize_part(part, box, shape, size)
    expected = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.BILINEAR))
        for image in whole(part, box, shape)
    ]
    assert_allclose(whole(resized, place, (size, size)), expected, atol=3e-7)


def test_images_of_the_size_stay_as_they_are(rng):
    """To the bit."""
    part, box = rng.random((3, 20, 30), np.float32), (slice(4, 24), slice(2, 32))
    resized, place = resize_part(part, box, (32, 32), 32)
    assert_array_equal(whole(resized, place, (32, 32)), whole(part, box, (32, 32)))


@pytest.mark.parametrize("size", [None, 32])
def test_blocks_and_threads_do_not_change_a_bit(size, rng, monkeypatch):
    """A frame becomes the same alone, among others, and in a thread."""
    frames = rng.integers(0, 65535, (30, 64, 96), dtype=np.uint16)
    preprocessor = AuroraPreprocessor(size=size)
    expected = preprocessor.transform(frames)
    alone = [preprocessor.transform(frame[np.newaxis])[0] for frame in frames]
    assert_array_equal(alone, expected)
    monkeypatch.setattr(_preprocessing, "_FEW_PIXELS", 0)
    monkeypatch.setattr(_preprocessing, "_BLOCK_PIXELS", 4 * 64 * 96)
    monkeypatch.setattr(_preprocessing, "cpu_count", lambda: 4)
    assert_array_equal(preprocessor.transform(frames), expected)
