"""Frames in PNG, JPEG and TIFF images and in NumPy's own files."""

import io
import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from sksimclr._files.compressed import check_size, read_bytes
from sksimclr._files.file_names import site_and_time
from sksimclr._files.frames import Frames
from sksimclr._files.pictures import check_colours, read_image

_FORMATS = ("PNG", "JPEG", "TIFF")
_MAX_PIXELS = 1 << 26  # of one image: 8,192 x 8,192
_PIXEL_BYTES = 8  # of any mode, as Pillow or NumPy keeps it


def read_still(path):
    """Read a PNG, JPEG or TIFF image with the values it was written with.

    Parameters
    ----------
    path : path-like
        Of 8 or 16 bits. Colour images with nothing but green, as the OATH data set has
        them, are taken as grey. A TIFF may have several pages.

    Returns
    -------
    Frames
        The site is that of a name such as 20140310_060000_gill.png, and so is the time
        of a single image.

    Raises
    ------
    ValueError
        It is none of these, damaged, or its pages differ in size or type.
    """
    try:
        n_pages, mode = _check(path)
    except UnidentifiedImageError as error:
        raise ValueError("expected a PNG, JPEG or TIFF image, got another") from error
    images = _pages(path, n_pages) if n_pages > 1 else read_image(path)[np.newaxis]
    if mode in ("RGB", "RGBA", "P") and not images[..., (0, 2)].any():
        images = np.ascontiguousarray(images[..., 1])
    return _named(path, images)


def read_npy(path):
    """Read an array that :func:`numpy.save` has written.

    Parameters
    ----------
    path : path-like
        An array of shape (H, W), (n, H, W) or (n, H, W, C).

    Returns
    -------
    Frames
        The site is that of a name such as 20140310_060000_gill.npy, and so is the time
        of a single image.

    Raises
    ------
    ValueError
        It is no such array.
    """
    data = read_bytes(path)
    shape, fortran, dtype, start = _header(data)
    frame_bytes = dtype.itemsize * math.prod(shape[1:])
    expected, got = frame_bytes * shape[0], len(data) - start
    if got < expected and (fortran or got < frame_bytes):
        raise ValueError(
            f"an array of shape {shape} has {expected:,} bytes, there are {got:,}"
        )
    n_frames = min(got // max(1, frame_bytes), shape[0])
    values = np.frombuffer(data, dtype, n_frames * math.prod(shape[1:]), start)
    array = values.reshape(n_frames, *shape[1:], order="F" if fortran else "C")
    damage = f"{got - expected:,} bytes follow its array" if got > expected else ""
    if got < expected:
        damage = f"it ends after {n_frames} of {shape[0]} frames"
    return _named(path, np.array(array, dtype.newbyteorder("="), order="C"), damage)


def _check(path):
    """Return number of pages and mode of an image that is not too large."""
    with Image.open(path, formats=_FORMATS) as image:
        kind, mode, n_pixels = image.format, image.mode, math.prod(image.size)
        if n_pixels > _MAX_PIXELS:
            raise ValueError(
                f"it has {image.width:,} x {image.height:,} pixels. At most "
                f"{_MAX_PIXELS:,} are read"
            )
        if kind == "PNG":
            image.verify()  # checksums, which are not looked at otherwise
        n_pages = image.n_frames if kind == "TIFF" else 1
    check_size(n_pixels * n_pages * _PIXEL_BYTES)
    return n_pages, mode


def _pages(path, n_pages):
    """Read the pages of a TIFF, which must be alike."""
    pages = []
    with Image.open(path, formats=_FORMATS) as image:
        first = image.size, image.mode
        for number in range(n_pages):
            image.seek(number)
            check_colours(image)
            if (image.size, image.mode) != first:
                raise ValueError(
                    f"all frames of a file must be alike. Expected {first} (size and "
                    "Pillow's mode) as in frame 0, got "
                    f"{(image.size, image.mode)} in frame {number}"
                )
            pages.append(np.array(image.convert("RGB") if image.mode == "P" else image))
    pixels = np.stack(pages)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _header(data):
    """Return shape, whether columns come first, dtype and start of an array's values.

    Raises a ValueError for what is not an array of images; one (H, W) gets an axis.
    """
    file = io.BytesIO(data[: 1 << 16])
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject or dtype.kind not in "biuf" or not 2 <= len(shape) <= 4:
        raise ValueError(
            "expected an array of numbers of shape (H, W), (n, H, W) or (n, H, W, C), "
            f"got {dtype} of shape {shape}"
        )
    if min(shape) < 1:
        raise ValueError(f"its array has the shape {shape}: there are no pixels")
    return (1, *shape) if len(shape) == 2 else shape, fortran, dtype, file.tell()


def _named(path, images, damage=""):
    """Return frames with the site, and the time of a single one, of the file's name."""
    if images.dtype == bool:
        images = images * np.uint8(255)
    site, time = site_and_time(path)
    times = np.array([time]) if len(images) == 1 else None
    return Frames(images, times=times, site=site, damage=damage)
