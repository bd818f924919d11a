"""What a frame is worth, by the definitions."""

import numpy as np
import pytest

from sksimclr.archive._quality import frame_quality


def is_constant(image):
    """Say so by sorting all the pixels that count, as the slow definition has it."""
    pixels = np.sort(image.ravel() if image.size <= 1 << 14 else image.ravel()[::17])
    last = len(pixels) - 1
    return pixels[round(0.01 * last)] == pixels[round(0.99 * last)]


@pytest.mark.parametrize("side", [1, 2, 5, 16, 40, 128, 140])
def test_constant_frames_are_those_of_equal_percentiles(side, rng):
    """With all shares of other pixels, above and below, near the limit of 1 %."""
    images = []
    for share in (0, 0.002, 0.008, 0.0099, 0.0101, 0.012, 0.02, 0.3):
        for others in ((3,), (9,), (3, 9)):
            image = np.full((side, side), 7, np.uint16)
            image.ravel()[rng.random(side**2) < share] = others[0]
            image.ravel()[rng.random(side**2) < share] = others[-1]
            images.append(image)
    images = np.stack(images)
    expected = [is_constant(image) for image in images]
    assert (frame_quality(images) == "constant").tolist() == expected
    assert side < 16 or {True, False} == set(expected)
    floats = images.astype(np.float32)
    assert (frame_quality(floats) == "constant").tolist() == expected


def test_saturated_frames_have_a_quarter_of_the_largest_value(rng):
    """Of their type; not less than that."""
    images = rng.integers(0, 60_000, (3, 10, 10), dtype=np.uint16)
    images[0].ravel()[:25] = images[1].ravel()[:24] = 65535
    assert frame_quality(images).tolist() == ["saturated", "good", "good"]
    assert frame_quality(images, "short").tolist() == ["saturated", "short", "short"]
