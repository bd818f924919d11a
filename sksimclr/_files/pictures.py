"""Frames in PNG, JPEG, TIFF and other image files, with the values as written."""

from __future__ import annotations

import io
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sksimclr._files.compressed import check_size, read_bytes
from sksimclr._files.file_names import named_frames
from sksimclr._files.frames import Frames
from sksimclr._files.modes import as_light, mode_of, raw_mode_of, upright
from sksimclr._files.tiff import count_pages

_HINT = "Files of other formats need a reader: sksimclr.archive.register_reader"
_FORMATS = ("PNG", "JPEG", "TIFF")  # Pillow would run other programs for some
_ALL_FORMATS = (*_FORMATS, "BMP", "GIF", "PPM", "WEBP")
_MAX_PIXELS = 1 << 26  # of one image: 8,192 x 8,192; half as many if decoding is dear
_MAX_STRIPS = 1 << 18  # of the images in a file
_MAX_SCANS = 100  # of a JPEG, each of which may be as much work as the image
_GREY_ALPHA = "LA;16B"
_WIDE = ("RGB;16B", "RGBA;16B", _GREY_ALPHA)  # of PNGs, of which Pillow keeps half
_WIDE_TIFF = re.compile("RGB[AX]?;16[LBN]")
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_TEXT_TOO_LARGE = re.compile("MAX_TEXT|Decompressed Data Too Large")  # Pillow's words
_SCAN = b"\xff\xda"  # what begins one
_PIXEL_BYTES = 8  # of any mode, as Pillow or NumPy keeps it


def read_picture(path: Path) -> Frames:
    """Read a PNG, JPEG or TIFF image with the values it was written with.

    Parameters
    ----------
    path : Path
        Of 8 or 16 bits; PNG and TIFF with 16-bit colours keep their 16 bits. A file may
        have several images, such as the pages of a TIFF; of an MPO, the first
        is read.

    Returns
    -------
    Frames
        The site is that of a name such as 20140310_060000_gill.png, and so is the time
        of a single image.

    Raises
    ------
    ValueError
        It is none of these, empty, damaged, too large, its images differ in size or
        type, or Pillow would change its numbers: it has colours of 16 bits, each in a
        plane of its own, white is 0 in it, or 8 bits have a sign.
    """
    return _read(path, _FORMATS)


def read_other_picture(path: Path) -> Frames:
    """Read a BMP, GIF, PPM or WebP image too, as :func:`read_picture` does."""
    return _read(path, _ALL_FORMATS)


def _read(path: Path, formats: tuple[str, ...]) -> Frames:
    """Read what :func:`read_picture` says, in some formats."""
    # Pillow maps files it opens by name, which may shrink
    images, damage = images_of(read_bytes(path), formats)
    return named_frames(path, images, damage)


def images_of(
    data: bytes, formats: tuple[str, ...] = _FORMATS
) -> tuple[NDArray[Any], str]:
    """Return the images (n, H, W) or (n, H, W, C) of a file, and what is wrong with it.

    Raises a ValueError as :func:`read_picture` does.
    """
    expected = f"a {', '.join(formats[:-1])} or {formats[-1]}"
    hint = "" if formats == _FORMATS else f". {_HINT}"
    try:
        n_pages, damage = _check(data, formats)
        return _decode(data, n_pages), damage
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"it is too large. At most {_MAX_PIXELS:,} pixels are read of an image"
        ) from error
    except ValueError as error:
        if not _TEXT_TOO_LARGE.search(str(error)):
            raise
        reason = f"its text, or profile of colours, is too large ({error})"
        raise ValueError(reason) from error
    except UnidentifiedImageError as error:
        reason = f"expected {expected} image, got something else{hint}"
        raise ValueError(reason) from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"it is damaged ({error}){hint}") from error


def _decode(data: bytes, n_pages: int) -> NDArray[Any]:
    """Return the images in a file, (n, H, W) or (n, H, W, C)."""
    images, first, n_strips = None, None, 0
    with _open(data) as image, _open(data) as again:
        for number in range(n_pages):
            image.seek(number)
            again.seek(number)
            n_strips += len(image.tile)
            if n_strips > _MAX_STRIPS:
                raise ValueError(f"it is cut into more than {_MAX_STRIPS:,} strips")
            form = image.size, mode_of(image)
            first = first or form
            if form != first:
                raise ValueError(
                    f"all frames of a file must be alike. Expected {first} (size and "
                    f"Pillow's mode) as in frame 0, got {form} in frame {number}"
                )
            pixels = _pixels(image, again)
            if n_pages == 1:
                return pixels[np.newaxis]
            if images is None:
                images = np.empty((n_pages, *pixels.shape), pixels.dtype)
            images[number] = pixels
    assert images is not None
    return images


def _open(data: bytes, formats: tuple[str, ...] = _ALL_FORMATS) -> Any:
    return Image.open(io.BytesIO(data), formats=formats)


def _check(data: bytes, formats: tuple[str, ...]) -> tuple[int, str]:
    """Return the number of images in a file, and what is wrong with it.

    Raises a ValueError if it is too large.
    """
    n_pages = count_pages(data)
    with _open(data, formats) as image:
        n_pixels = math.prod(image.size)
        most = _MAX_PIXELS // (2 if _is_dear(image) else 1)
        if n_pixels > most:
            raise ValueError(
                f"it has {image.width:,} x {image.height:,} pixels. At most "
                f"{most:,} are read of such an image"
            )
        if image.format == "MPO":
            n_pages = 1  # a photo; those that follow are previews or a second view
        elif image.format != "TIFF":
            n_pages = getattr(image, "n_frames", 1)
        check_size(n_pixels * n_pages * _PIXEL_BYTES)
        if image.format in ("JPEG", "MPO") and data.count(_SCAN) > _MAX_SCANS:
            raise ValueError(f"it is a JPEG of more than {_MAX_SCANS} scans")
        if image.format == "PNG":
            image.verify()  # checksums, which are not looked at otherwise
        return n_pages, _following(image, len(data))


def _pixels(image: Any, again: Any) -> NDArray[Any]:
    """Return the pixels of an image, opened twice, also what Pillow would not keep."""
    pixels = _wide_pixels(image, again) if _is_wide(image) else as_light(image)
    return upright(image, pixels)


def _is_wide(image: Any) -> bool:
    """Say whether it has colours of 16 bits, or such grey and alpha, to be had here."""
    raw_mode = raw_mode_of(image)
    if image.format == "TIFF":
        return _WIDE_TIFF.fullmatch(raw_mode) is not None
    return image.format == "PNG" and raw_mode in _WIDE


def _wide_pixels(image: Any, again: Any) -> NDArray[np.uint16]:
    """Return the pixels of an image that :func:`_is_wide`."""
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format == "PNG":
        raise ValueError(f"it is an animation in 16-bit colours, of {n_frames} frames")
    raw_mode = raw_mode_of(image)
    if raw_mode == _GREY_ALPHA:
        pairs = _bytes_as(again, "RGBA").view(">u2")
        return pairs.astype(np.uint16)
    wide = np.array(image).astype(np.uint16)
    wide <<= 8
    # taken for numbers of the other byte order, the low bytes are those that are kept
    kind, order = raw_mode[:-1], raw_mode[-1]
    wide |= _bytes_as(again, kind + _OTHER_ORDER[order])
    return wide


def _bytes_as(image: Any, raw_mode: str) -> NDArray[np.uint8]:
    """Read an image as if its pixels were laid out otherwise, in as many bytes."""
    image.tile = [_with_layout(tile, raw_mode) for tile in image.tile]
    image.load()
    return np.array(image)


def _with_layout(tile: Any, raw_mode: str) -> Any:
    """Return what Pillow is to decode, with another layout of its pixels."""
    codec, extents, offset, layout = tile
    layout = raw_mode if isinstance(layout, str) else (raw_mode, *layout[1:])
    values = codec, extents, offset, layout
    return values if type(tile) is tuple else type(tile)(*values)


def _is_dear(image: Any) -> bool:
    """Say whether decoding takes memory twice: 16-bit colours, a JPEG in many scans."""
    return _is_wide(image) or "progressive" in image.info


def _following(image: Any, n_bytes: int) -> str:
    """Say whether images follow the first one in a binary PGM or PPM file."""
    if image.format != "PPM" or image.tile[0][0] != "raw":
        return ""
    n_values = math.prod(image.size) * len(image.getbands())
    size = n_values * (
        4 if image.mode == "F" else 2 if raw_mode_of(image).endswith("16B") else 1
    )
    n_more = (n_bytes - image.tile[0][2]) // size - 1
    return f"{n_more} or more images follow its first one" if n_more > 0 else ""
