"""A writer of TIFF for 16-bit colours, which Pillow does not have."""

import zlib

import numpy as np


def colour_tiff(pixels, *, order="<", packed=False, strips=1, planes=False):
    """Return (H, W, C) uint16 as the bytes of a TIFF file."""
    height, width, n_channels = pixels.shape
    array = pixels.astype(f"{order}u2")
    parts = np.split(np.moveaxis(array, 2, 0) if planes else array, strips)
    parts = [part.tobytes() for part in parts]
    parts = [zlib.compress(part) if packed else part for part in parts]
    n_tags = 11
    start = 8 + 2 + n_tags * 12 + 4
    lists = start + 2 * n_channels  # of offsets, then of sizes
    offsets = lists + 8 * strips + np.cumsum([0, *map(len, parts)])[:-1]
    sizes = [len(part) for part in parts]
    first = [offsets[0], sizes[0]] if strips == 1 else [lists, lists + 4 * strips]
    rows = height if planes else height // strips
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, n_channels, start)]
    tags += [
        (259, 3, 1, 8 if packed else 1),
        (262, 3, 1, 2),
        (273, 4, strips, first[0]),
    ]
    tags += [(277, 3, 1, n_channels), (278, 3, 1, rows), (279, 4, strips, first[1])]
    tags += [(284, 3, 1, 2 if planes else 1), (338, 3, n_channels - 3, 0)]
    tags[-1:] = [] if n_channels == 3 else tags[-1:]
    data = (b"II" if order == "<" else b"MM") + np.array([42], f"{order}u2").tobytes()
    data += np.array([8], f"{order}u4").tobytes()
    data += np.array([len(tags)], f"{order}u2").tobytes()
    for tag, kind, count, value in tags:
        data += np.array([tag, kind], f"{order}u2").tobytes()
        data += np.array([count], f"{order}u4").tobytes()
        is_short = kind == 3 and count == 1
        values = [value, 0] if is_short else [value]
        data += np.array(values, f"{order}u{2 if is_short else 4}").tobytes()
    data = data.ljust(start, b"\0") + np.full(n_channels, 16, f"{order}u2").tobytes()
    data += np.array([*offsets, *sizes], f"{order}u4").tobytes()
    return b"".join([data, *parts])
