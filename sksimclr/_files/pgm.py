"""Frames in binary PGM files, as the THEMIS, REGO and other imagers write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sksimclr._files.compressed import ENOUGH, read_content
from sksimclr._files.file_names import (
    as_instrument,
    as_times,
    instrument_of,
    site_and_time,
)
from sksimclr._files.frames import Frames
from sksimclr._files.pictures import read_other_picture

_MAX_HEADER = ENOUGH  # bytes; THEMIS has 1,100
_MAX_FRAMES = 100_000  # in a file
_GAP = rb"(?:\s|#[^\r\n]*+[\r\n])++"  # white space and comments
_HEADER = re.compile(  # with width, height and maximum
    rb"\s*+P5" + 3 * (_GAP + rb"0*+([1-9]\d{0,4})") + rb"(?:\r\n|\s)"
)
_END = re.compile(rb"\s*+\Z")
_COMMENT = re.compile(rb'#"([^"\r\n]+)"[ \t]*([^\r\n]*)')
_TIME = re.compile(
    rb'#"Image request start"\s*((?:19|20)\d\d-\d\d-\d\d)'
    rb"[ T](\d\d:\d\d:\d\d(?:\.\d{1,9})?)"
)
_SITE = re.compile("[a-z0-9-]{1,16}")
_Header = re.Match[bytes]


def read_pgm(path: Path) -> Frames:
    """Read binary PGM images (P5) that follow each other in a file.

    Parameters
    ----------
    path : Path
        Of 8 or 16 bits, compressed with gzip or not. One whose pixels are text (P2) is
        left to Pillow.

    Returns
    -------
    Frames
        Site, times, instrument and metadata are those of the comments ``#"Key" value``
        that the University of Calgary writes; else site and instrument are those of
        the file's name, and so is the time of a single frame.

    Raises
    ------
    ValueError
        It does not begin with an image, its images have several sizes, or its
        compressed data are damaged.
    """
    data, damage = read_content(path, _check_start)
    if data.startswith(b"P2"):
        return read_other_picture(path)
    headers, starts, rest = _find_frames(data)
    if not headers:
        raise ValueError(_and(damage, rest) or "it is empty")
    height, width, stored = _form(headers[0])
    dtype = stored.newbyteorder("=")
    images = np.empty((len(headers), height, width), dtype)
    for image, start in zip(images, starts, strict=True):
        pixels = np.frombuffer(data, stored, height * width, start)
        image[:] = pixels.reshape(height, width)
    metadata = _metadata(headers[0].group())
    site, time = site_and_time(path)
    times = as_times([_time(header.group()) for header in headers])
    if len(times) == 1 and np.isnat(times[0]):
        times[0] = time
    return Frames(
        images,
        times=times,
        site=_site(metadata) or site,
        metadata=metadata,
        damage=_and(damage, rest),
        instrument=_instrument(metadata) or instrument_of(path),
    )


def _check_start(data: bytes) -> None:
    """Raise a ValueError if no image can begin here."""
    if _header(data, 0) is None:
        raise ValueError(_no_frame(data, 0, 0))


def _find_frames(data: bytes) -> tuple[list[_Header], list[int], str]:
    """Return the headers of all complete images, where their pixels begin, and damage.

    Raises a ValueError if they are not alike or too many.
    """
    headers: list[_Header] = []
    starts: list[int] = []
    position = 0
    while not _END.match(data, position):
        header = _header(data, position)
        if header is None:
            return headers, starts, _no_frame(data, position, len(headers))
        form = height, width, dtype = _form(header)
        if headers and form != _form(headers[0]):
            raise ValueError(_unlike(headers, header))
        start, n_bytes = header.end(), height * width * dtype.itemsize
        position = start + n_bytes
        if position > len(data):
            damage = (
                f"it ends in frame {len(headers)} (from 0), after {len(data) - start:,}"
                f" of {n_bytes:,} bytes of its pixels"
            )
            return headers, starts, damage
        headers.append(header)
        starts.append(start)
        if len(headers) > _MAX_FRAMES:
            raise ValueError(f"it holds more than {_MAX_FRAMES:,} frames. Split it.")
    return headers, starts, ""


def _header(data: bytes, position: int) -> _Header | None:
    """Return the match of a header, None if there is none at a position."""
    header = _HEADER.match(data, position, position + _MAX_HEADER)
    return header if header and int(header[3]) < 1 << 16 else None


def _form(header: _Header) -> tuple[int, int, np.dtype[Any]]:
    """Return height, width and dtype as stored of the image with a header."""
    width, height, maximum = (int(header[k]) for k in (1, 2, 3))
    return height, width, np.dtype("u1" if maximum < 256 else ">u2")


def _no_frame(data: bytes, position: int, n_frames: int) -> str:
    """Say what is at a position where a frame should begin."""
    head = data[position : position + _MAX_HEADER]
    words = re.sub(rb"#[^\r\n]*+", b"", head).split()
    is_begun = words[:1] in ([b"P"], [b"P5"])
    if is_begun and len(words) + head[-1:].isspace() <= 4 and len(head) < _MAX_HEADER:
        return f"it ends in the header of frame {n_frames} (from 0)"
    what = f"frame {n_frames} (from 0)" if n_frames else "a binary PGM image"
    return (
        f"expected the header of {what} at byte {position:,}, got {bytes(head[:8])!r}, "
        f"and {len(data) - position:,} bytes are not read"
        f"{'; the frame before may be wrong too' if n_frames else ''}"
    )


def _unlike(headers: list[_Header], header: _Header) -> str:
    """Say that an image has another form than the first one."""
    (height, width, dtype), (other, wide, kind) = _form(headers[0]), _form(header)
    return (
        "all frames of a file must be alike. Expected "
        f"{width} x {height} pixels of {8 * dtype.itemsize} bits as in frame 0, got "
        f"{wide} x {other} pixels of {8 * kind.itemsize} bits in frame {len(headers)}"
    )


def _metadata(header: bytes) -> dict[str, str]:
    """Return the comments of a header as a dict."""
    pairs = _COMMENT.findall(header)
    return {_text(key): _text(value) for key, value in pairs}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _time(header: bytes) -> str:
    """Return the ISO 8601 text of when a frame was begun, or "NaT"."""
    match = _TIME.search(header)
    return b"T".join(match.groups()).decode() if match else "NaT"


def _site(metadata: dict[str, str]) -> str:
    """Return the site that a frame names, "" if that is no code of a site."""
    site = metadata.get("Site unique ID", "").lower()
    return site if _SITE.fullmatch(site) else ""


def _instrument(metadata: dict[str, str]) -> str:
    """Return imager and mode that a frame names, "" if it names no imager."""
    imager = metadata.get("Imager unique ID")
    return as_instrument(imager, metadata.get("Mode unique ID")) if imager else ""


def _and(*damages: str) -> str:
    """Join what is known of the damage of a file."""
    return "; ".join(filter(None, damages))
