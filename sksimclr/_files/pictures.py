"""Image files, with the values they were written with."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one image file with the values it was written with.

    Parameters
    ----------
    path : str or path-like
        Any format that Pillow reads, with one frame. PNG with 16-bit colours, as OATH
        has it, keeps its 16 bits.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is a directory, damaged, not an image, or has several frames, or
        colours of 16 bits in another format than PNG, of which Pillow would keep 8.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"Expected an image file, got a directory: {str(path)!r}. Pass its files, "
            "e.g. sorted(pathlib.Path(folder).glob('*.png'))."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no image file {str(path)!r}.")
    try:
        return _decode(path)
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"Cannot read {str(path)!r} as an image; it is damaged or of another "
            f"format than its name says. The decoder said: {error}"
        ) from error


def _decode(path: Path) -> NDArray[Any]:
    """Read a file with Pillow, around what it would not say or not keep."""
    from PIL import Image

    image: Any
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1 or _has_more_frames(image, path):
            raise ValueError(
                f"Expected one image in a file, got several in {str(path)!r}. Read "
                "them into an array (n, H, W) first."
            )
        check_colours(image)
        raw_mode = _raw_mode(image)
        mode, is_16_bit = image.mode, image.format in ("PNG", "PPM")
        pixels = np.asarray(image.convert("RGB") if mode == "P" else image)
    if raw_mode in ("RGB;16B", "RGBA;16B"):
        return (pixels.astype(np.uint16) << 8) | _low_bytes(path)
    if mode == "I" and is_16_bit:
        return pixels.astype(np.uint16)  # Pillow reads their 16 bits as 32
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def check_colours(image: Any) -> None:
    """Raise a ValueError for an open image of whose colours Pillow loses bits."""
    if image.format != "PNG" and _raw_mode(image).startswith(("RGB;16", "RGBA;16")):
        raise ValueError(
            f"Expected colours of 8 bits in a {image.format} image, got 16 in "
            f"{str(image.filename)!r}, of which Pillow keeps 8. Save it as PNG, or "
            "read it with another library into an array."
        )


def _low_bytes(path: Path) -> NDArray[np.uint8]:
    """Read the low bytes of 16-bit colours, of which Pillow keeps the high ones.

    Taken for little-endian numbers, they are the bytes that Pillow keeps.
    """
    from PIL import Image

    image: Any
    with Image.open(path) as image:
        codec, extents, offset, raw_mode = image.tile[0]
        image.tile = [(codec, extents, offset, raw_mode.replace("16B", "16L"))]
        return np.array(image)


def _raw_mode(image: Any) -> str:
    """Return Pillow's name of the layout of the pixels in the file."""
    layout = image.tile[0][3] if image.tile else ""
    return layout if isinstance(layout, str) else str(layout[0])


def _has_more_frames(image: Any, path: Path) -> bool:
    """Say whether images follow the first one in a binary PGM or PPM file."""
    if image.format != "PPM" or image.tile[0][0] != "raw":
        return False
    n_values = math.prod(image.size) * len(image.getbands())
    n_bytes = n_values * (2 if _raw_mode(image).endswith("16B") else 1)
    return bool(path.stat().st_size >= image.tile[0][2] + 2 * n_bytes)
