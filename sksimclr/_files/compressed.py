"""The bytes of a file, decompressed, and never more than a limit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

try:  # takes a third less time than zlib
    from isal import isal_zlib as zlib
except ImportError:
    import zlib  # type: ignore[no-redef]

MAX_BYTES = 1 << 30  # of one file, when decompressed; and no more than
_FREE_BYTES = 1 << 28  # or, if that is more,
_MAX_RATIO = 20  # times its size: frames of the sky become some five times smaller
DEFLATE_RATIO = 1032  # no compressed byte becomes more
GZIP = b"\x1f\x8b"  # what such data begin with
ENOUGH = 1 << 16  # decompressed bytes, to tell what they are

_CHUNK = 1 << 14  # compressed bytes taken at a time
_MAX_MEMBERS = 100_000  # of a gzip file
_GZIP_FORMAT = 31  # zlib's number for data with a header and a checksum


class Content(NamedTuple):
    """What a file holds, and what is wrong with it nevertheless."""

    data: bytes
    damage: str = ""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return a file as it is.

    Raises a ValueError if it is empty, or has more than `MAX_BYTES`.
    """
    with open(path, "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if not n_bytes:
            raise ValueError("it is empty")
        check_size(n_bytes)
        return file.read(n_bytes)


def check_size(n_bytes: int, n_stored: int | None = None) -> None:
    """Raise a ValueError if a file holds too much, for the `n_stored` bytes it has."""
    most, of_what = MAX_BYTES, "one file"
    if n_stored is not None and n_bytes <= most:
        most = max(_FREE_BYTES, _MAX_RATIO * n_stored)
        of_what = f"a file of {n_stored:,} bytes"
    if n_bytes > most:
        raise ValueError(
            f"it holds {n_bytes:,} bytes or more when decompressed. At most "
            f"{most:,} are read of {of_what}. Split it, or register a reader of "
            "your own."
        )


def read_content(
    path: str | os.PathLike[str], check: Callable[[bytes], None]
) -> Content:
    """Return a file, decompressed if it is a gzip file, whatever its name.

    Parameters
    ----------
    path : path-like
    check : callable
        Is called with the first decompressed bytes, at least `ENOUGH` of them, and
        raises a ValueError if the rest is not worth the effort.

    Raises
    ------
    ValueError
        The compressed data are damaged, or are too many.
    """
    raw = read_bytes(path)
    return _gunzip(memoryview(raw), check) if raw[:2] == GZIP else Content(raw)


def inflate(block: memoryview, n_bytes: int) -> bytes:
    """Return the `n_bytes` to which a gzip block decompresses.

    Raises a ValueError for damaged blocks and for more or fewer bytes.
    """
    member = zlib.decompressobj(_GZIP_FORMAT)
    data = _decompress(member, block, n_bytes + 1)
    if not member.eof or len(data) != n_bytes:
        than = "fewer" if len(data) < n_bytes else "more"
        raise ValueError(
            f"a compressed block holds {than} than the {n_bytes:,} bytes expected"
        )
    return data


def _gunzip(raw: memoryview, check: Callable[[bytes], None]) -> Content:
    """Decompress the members of a gzip file, which follow each other."""
    parts, size, position, n_members = [], 0, 0, 0
    member: Any = None
    while position < len(raw) and n_members <= _MAX_MEMBERS:
        if member is None or member.eof:
            if raw[position : position + 2] != GZIP:
                break
            member, n_members = zlib.decompressobj(_GZIP_FORMAT), n_members + 1
        chunk = raw[position : position + _CHUNK]
        parts.append(_decompress(member, chunk))
        position += len(chunk) - len(member.unused_data)
        size += len(parts[-1])
        check_size(size, len(raw))
        if size - len(parts[-1]) < ENOUGH <= size:
            check(b"".join(parts))
    damage = "" if member.eof else "its compressed data end too early"
    if member.eof and bytes(raw[position:]).strip(b"\0"):  # some systems fill up blocks
        damage = f"{len(raw) - position} bytes follow its compressed data"
    return Content(b"".join(parts), damage)


def _decompress(member: Any, chunk: memoryview, *limit: int) -> bytes:
    """Decompress with an error that any reader of the message understands."""
    try:
        data: bytes = member.decompress(chunk, *limit)
        return data
    except zlib.error as error:  # type: ignore[misc]
        raise ValueError(f"its compressed data are damaged ({error})") from error
