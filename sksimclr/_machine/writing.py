"""Files that are either complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

TEMPORARY = "_*-{}.tmp"  # pattern of the names that a file has until it is complete


def temporary_path(path: Path) -> Path:
    """Return a new path that `TEMPORARY` fits, in the same folder."""
    return path.with_name(TEMPORARY.replace("*", uuid4().hex[:8]).format(path.name))


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Name a file in errors of the system that do not, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, whose file takes the place of `path` when it is whole.

    Neither an exception nor a crash nor a power cut leaves a part of it under its name.
    The other name begins with "_", so that readers of folders pass over what a killed
    process has left, and ends with ".tmp".
    """
    temporary = temporary_path(path)
    try:
        with naming(path):
            yield temporary
            sync_file(temporary)  # or a name could outlast a power cut alone
            os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)
            del error.filename2  # of a renaming
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what is in a file outlast a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make a new name in a folder outlast a power cut, where systems can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
