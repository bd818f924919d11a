"""Writers of PNG, one for 16-bit colour, which Pillow does not have."""

import struct
import zlib

from PIL import Image


def write_png_16(path, pixels):
    """Write (H, W, 3 or 4) uint16 with nothing but zlib."""
    height, width, n_channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    colour = {3: 2, 4: 6}[n_channels]
    size = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        crc = zlib.crc32(kind + data)
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)
    path.write_bytes(png)


def write_grey_files(folder, images):
    """Write (n, H, W) of 8 or 16 bits to files that sort like them; return paths."""
    paths = [folder / f"{k:03}.png" for k in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths
