"""Writers of PNG, one for 16-bit colour, which Pillow does not have."""

import struct
import zlib

from PIL import Image


def png_chunk(kind, data):
    """Return a part of a PNG, with its checksum."""
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def write_png_16(path, pixels, *more):
    """Write (H, W, 2 to 4) uint16, and more chunks, with nothing but zlib."""
    height, width, n_channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    colour = {2: 4, 3: 2, 4: 6}[n_channels]
    size = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", size), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [png_chunk(kind, data) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_grey_files(folder, images):
    """Write (n, H, W) of 8 or 16 bits to files that sort like them; return paths."""
    paths = [folder / f"{k:03}.png" for k in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths
