"""The images of Pillow as arrays of light, by their modes: one rule, files or not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

# What each mode becomes, by Pillow's own conversion where it is another one
_LIGHT = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
    "I": "I",
    "F": "F",
    "I;16": "I;16",
    "I;16L": "I;16L",
    "I;16B": "I;16B",
    "I;16N": "I;16N",
}
_ORIENTATION = 0x0112  # Exif's number for it
_FLIPPED = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}  # axes,
_FIRST_TRANSPOSED = 5  # after rows and columns were exchanged from this one on
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _SIGNED = 258, 262, 339, 2  # TIFF's
_ANOTHER = "read it with another library into an array"


def mode_of(image: Any) -> str:
    """Return the mode of :func:`as_light`; raise a ValueError where there is none."""
    if image.mode not in _LIGHT:
        raise ValueError(
            f"expected an image of Pillow's mode {', '.join(_LIGHT)}, got "
            f"{image.mode}. Convert it to one of them"
        )
    return _LIGHT[image.mode]


def as_light(image: Any) -> NDArray[Any]:
    """Return the pixels of an image of Pillow's, with the values they are stored with.

    Palettes, ink and other spaces of colour become RGB. Raises a ValueError for pixels
    of which Pillow does not give these values.
    """
    mode, raw_mode = mode_of(image), raw_mode_of(image)
    problem = _what_pillow_changes(image, mode, raw_mode)
    if problem:
        raise ValueError(problem)
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    if mode == "I" and image.format in ("PNG", "PPM"):
        return pixels.astype(np.uint16)  # Pillow reads their 16 bits as 32
    if raw_mode == "I;32N":
        return pixels.view(np.uint32)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _what_pillow_changes(image: Any, mode: str, raw_mode: str) -> str:
    """Say of which stored values Pillow gives other ones; "" for none."""
    is_number = mode[0] in "IF"
    tags = getattr(image, "tag_v2", {})
    is_wide = ";16" in raw_mode or max(tags.get(_BITS) or [0]) > 8
    if not is_number and (is_wide or _ppm_maximum(image) > 255):
        is_read_here = image.format == "PNG"
        how = "Give its path" if is_read_here else f"Save it as PNG, or {_ANOTHER}"
        return (
            f"expected colours of 8 bits in a {image.format} image, got 16 in it, of "
            f"which Pillow keeps 8. {how}"
        )
    if is_number and tags.get(_PHOTOMETRIC) == 0:
        return (
            "its largest numbers are black, and Pillow does not turn them round. Save "
            f"it with black as 0, or {_ANOTHER}"
        )
    if mode == "L" and _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        return (
            "it has numbers of 8 bits with a sign, of which Pillow makes others. Save "
            f"it with 16 bits, or {_ANOTHER}"
        )
    return ""


def _ppm_maximum(image: Any) -> int:
    """Return the largest value of a PPM image of more than 8 bits, else 0."""
    layout = image.format == "PPM" and image.tile and image.tile[0][3]
    is_wide = isinstance(layout, tuple) and len(layout) == 2
    return int(layout[1]) if is_wide else 0


def upright(image: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels turned as the Exif data of their image say, and as viewers do."""
    if image.format == "TIFF":
        return pixels  # Pillow did so
    orientation = orientation_of(image)
    if orientation not in _FLIPPED:
        return pixels
    if orientation >= _FIRST_TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(np.flip(pixels, _FLIPPED[orientation]))


def orientation_of(image: Any) -> int:
    """Return Exif's number of how an image is to be turned, 1 for as it is."""
    with suppress(Exception):  # Pillow raises anything for damaged ones
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def raw_mode_of(image: Any) -> str:
    """Return Pillow's name of the layout of the pixels in the file."""
    layout = getattr(image, "tile", None) and image.tile[0][3]
    if isinstance(layout, tuple):
        layout = layout[0]
    return layout if isinstance(layout, str) else ""


def as_array(image: Any) -> NDArray[Any]:
    """Return an image of Pillow's in memory as an array, as that of its file would be.

    Raises a ValueError as :func:`as_light` does, and for one that was changed after it
    was opened and still is to be turned: whoever changed it may have turned it.
    """
    pixels = as_light(image)
    if isinstance(image, ImageFile.ImageFile):
        return upright(image, pixels)
    if orientation_of(image) in _FLIPPED:
        raise ValueError(
            "its Exif data say that it is to be turned. Do so, with "
            "PIL.ImageOps.exif_transpose(image), or take them away: "
            "del image.info['exif']"
        )
    return pixels
