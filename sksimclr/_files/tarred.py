"""Frames in tar files of PNG images, as the colour imagers of TREx write a minute."""

from __future__ import annotations

import io
import posixpath
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.compressed import check_size, read_bytes
from sksimclr._files.file_names import instrument_of, site_and_time
from sksimclr._files.frames import Frames
from sksimclr._files.pictures import images_of

_MAX_MEMBERS = 10_000


def read_png_tar(path: Path) -> Frames:
    """Read the PNG images in a tar file, in the order of their names.

    Parameters
    ----------
    path : Path
        Its images have one size and type; whatever else is in it is passed over.

    Returns
    -------
    Frames
        The site is that of the first image's name, times those of each: see
        :func:`~sksimclr._files.file_names.site_and_time`.

    Raises
    ------
    ValueError
        It is no tar file, or has no image, several in one member, or unlike ones.
    """
    members, damage = _members(read_bytes(path))
    if not members:
        raise ValueError(damage or "there is no PNG image in it")
    images, first = [], None
    for name in sorted(members):
        try:
            found, more = images_of(members[name])
            first = found if first is None else first
            _check_alike(found, first)
        except ValueError as error:
            raise ValueError(f"{name!r} in it: {error}") from error
        damage = damage or more
        images.append(found[0])
        check_size(len(images) * first.nbytes)
    told = [site_and_time(name) for name in sorted(members)]
    return Frames(
        np.stack(images),
        times=np.array([time for _, time in told]),
        site=told[0][0] or site_and_time(path)[0],
        damage=damage,
        instrument=instrument_of(min(members)) or instrument_of(path),
    )


def _check_alike(found: NDArray[Any], first: NDArray[Any]) -> None:
    """Raise a ValueError unless these are one image like the first one."""
    if len(found) != 1:
        raise ValueError(f"expected one image, got {len(found)}")
    if (found.shape, found.dtype) != (first.shape, first.dtype):
        raise ValueError(
            f"all frames of a file must be alike. Expected {first.shape[1:]} "
            f"{first.dtype} as in the first, got {found.shape[1:]} {found.dtype}"
        )


def _members(data: bytes) -> tuple[dict[str, bytes], str]:
    """Return the PNG files in a tar file by name, and what is wrong with it."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for number, member in enumerate(tar):
                if number == _MAX_MEMBERS:
                    raise ValueError(f"it has more than {_MAX_MEMBERS:,} members")
                name = posixpath.basename(member.name).lower()
                is_png = name.endswith(".png") and not name.startswith(".")
                file = tar.extractfile(member) if is_png and member.isreg() else None
                if file is None:
                    continue
                found[member.name] = file.read()
                if len(found[member.name]) < member.size:
                    del found[member.name]
                    return found, f"it ends in {member.name!r}"
    except (tarfile.TarError, OSError, EOFError, OverflowError) as error:
        return found, f"it is damaged ({error})"
    if not data.endswith(bytes(2 * tarfile.BLOCKSIZE)):
        return found, "its end is missing"
    return found, ""
