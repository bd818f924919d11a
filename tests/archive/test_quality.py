"""What frames are worth, whatever camera took them."""

import numpy as np
import pytest
from archives import fitted_pipeline
from PIL import Image
from real_data import FOLDER

from sksimclr.archive import label_archive, read_catalogue, read_failures, read_frames
from sksimclr.archive._quality import frame_quality
from sksimclr.datasets import make_aurora

REAL = sorted(
    path for path in FOLDER.glob("[dt]*/*") if path.suffix in (".gz", ".FITS")
)


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [("u1", 255), ("u2", 65535), ("u2", 4095), ("u2", 16383), ("u2", 40_000)],
)
@pytest.mark.parametrize(("part", "word"), [(0.3, "saturated"), (0.2, "good")])
def test_saturation_is_where_counts_pile_up(rng, dtype, largest, part, word):
    """Be it the largest number of the type, of 12 or 14 bits, or of a full well."""
    image = rng.integers(0, largest, (1, 40, 40)).astype(dtype)
    image[0].flat[: int(part * 1600)] = largest
    assert frame_quality(image).tolist() == [word]


@pytest.mark.parametrize("n_channels", [2, 4])
def test_alpha_is_no_saturation(rng, n_channels):
    """Opaque images have the largest number everywhere there."""
    image = rng.integers(0, 200, (1, 40, 40, n_channels), np.uint8)
    image[..., -1] = 255
    assert frame_quality(image).tolist() == ["good"]
    image[..., :-1] = 9
    assert frame_quality(image).tolist() == ["constant"]


@pytest.mark.skipif(not REAL, reason="real data are absent")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_frames_are_good(path):
    """Night and twilight, of four cameras."""
    frames = read_frames(path)
    assert set(frame_quality(frames.images, frames.damage)) == {"good"}


def test_one_camera_in_many_colours_is_one_run(tmp_path):
    """Each file as its program wrote it; the labels are those of the grey ones."""
    frames = make_aurora(5, size=16, random_state=3).images
    grey = (frames >> 8).astype(np.uint8)
    opaque, black = np.full((16, 16), 255, np.uint8), np.zeros((16, 16), np.uint8)
    forms = {
        "20140310_060000_gill.png": lambda g: g,
        "20140310_060100_gill.png": lambda g: np.stack([g, opaque], axis=2),
        "20140310_060200_gill.png": lambda g: np.stack([g, g, g], axis=2),
        "20140310_060300_gill.png": lambda g: np.stack([g, g, g, opaque], axis=2),
        "20140310_060400_gill.png": lambda g: np.stack([black, g, black], axis=2),
    }
    for folder in ("grey", "colours"):
        (tmp_path / folder).mkdir()
    for (name, colour), image in zip(forms.items(), grey, strict=True):
        Image.fromarray(image).save(tmp_path / "grey" / name)
        Image.fromarray(colour(image)).save(tmp_path / "colours" / name)
    pipe, found = fitted_pipeline(), {}
    for folder in ("grey", "colours"):
        label_archive(pipe, tmp_path / folder, tmp_path / f"{folder}-out")
        assert read_failures(tmp_path / f"{folder}-out").num_rows == 0
        found[folder] = read_catalogue(tmp_path / f"{folder}-out")
    assert found["grey"].num_rows == found["colours"].num_rows == 5
    for name in found["grey"].column_names:
        if name.startswith("probability"):
            np.testing.assert_allclose(
                found["colours"][name], found["grey"][name], atol=1e-4
            )


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
    """Of those in them; not less than that."""
    images = rng.integers(0, 60_000, (3, 10, 10), dtype=np.uint16)
    images[0].ravel()[:25] = images[1].ravel()[:24] = 65535
    assert frame_quality(images).tolist() == ["saturated", "good", "good"]
    assert frame_quality(images, "short").tolist() == ["saturated", "short", "short"]
