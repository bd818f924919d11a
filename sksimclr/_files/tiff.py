"""The pages of a TIFF file, counted before Pillow follows where they lead."""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

_STARTS = (b"II\x2a\0", b"II\0\x2a", b"MM\0\x2a", b"MM\x2a\0")  # as Pillow takes them
_LARGE = (b"II\x2b\0", b"MM\0\x2b")  # with places of 64 bits
_MAX_PAGES = 10_000
_SIZES = np.zeros(1 << 16, np.int64)  # bytes of a value of each type, 0 for no type
_SIZES[1:14] = 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4
_SIZES[16:19] = 8


def count_pages(data: bytes) -> int:
    """Return the number of pages of a TIFF file, 1 for what is none.

    Raises a ValueError if there are too many, or if they share what describes them: a
    small file can then be any amount of work.
    """
    if data[:4] not in _STARTS + _LARGE:
        return 1
    order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
    is_large = data[2] == 43  # as Pillow decides it
    position, seen, work = _at(data, order, is_large, 8 if is_large else 4), set(), 0
    while position and position not in seen:
        seen.add(position)
        if len(seen) > _MAX_PAGES:
            raise ValueError(f"it has more than {_MAX_PAGES:,} pages. Split it.")
        entries, end = _page(data, position, order, is_large)
        n_bytes = _SIZES[entries["kind"]] * np.minimum(entries["count"], len(data))
        work += entries.nbytes + int(n_bytes[n_bytes <= len(data)].sum())
        if work > 2 * len(data):
            raise ValueError("its pages overlap: they have more bytes than the file")
        position = _at(data, order, is_large, end)
    return max(1, len(seen))


def _page(
    data: bytes, position: int, order: Literal["<", ">"], is_large: bool
) -> tuple[np.ndarray, int]:
    """Return the entries that describe a page, and where they end."""
    head, place = ("Q", "u8") if is_large else ("H", "u4")
    dtype = np.dtype(
        [("tag", "u2"), ("kind", "u2"), ("count", place), ("value", place)]
    ).newbyteorder(order)
    start = position + struct.calcsize(f"={head}")
    if start > len(data):
        raise ValueError(f"a page should be at byte {position:,}, behind its end")
    (n_entries,) = struct.unpack_from(order + head, data, position)
    end = start + n_entries * dtype.itemsize
    if end > len(data):
        raise ValueError(f"the page at byte {position:,} ends behind the file")
    return np.frombuffer(data, dtype, n_entries, start), end


def _at(data: bytes, order: str, is_large: bool, position: int) -> int:
    """Return the number that says where a page is, 0 where the file ends before."""
    form = order + ("Q" if is_large else "L")
    if position + struct.calcsize(form) > len(data):
        return 0
    place: int = struct.unpack_from(form, data, position)[0]
    return place
