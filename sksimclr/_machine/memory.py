"""Keep the memory that a step frees, so that the next one need not ask for it again.

A training step allocates and frees gigabytes of activations. By default glibc gives
each large block back to the kernel, which then maps and zeroes it anew, page by page:
a tenth to a third of a step of ResNet18 where that is slow, as in virtual machines.
"""

from __future__ import annotations

import ctypes
from typing import Any

# parameters of mallopt(3): no block of its own mapping, nothing trimmed, much asked for
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
_KEEP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))


def keep_freed_memory() -> None:
    """Let glibc keep what this process frees, until it ends.

    For whoever owns the process, such as a command: memory that is kept is not there
    for others. Without effect where the C library is another one.
    """
    libc = _glibc()
    if libc is not None:
        for parameter, value in _KEEP:
            libc.mallopt(parameter, value)


def _glibc() -> Any:
    """Return the C library of the process if it is glibc, else None."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (other libraries do not have it)
    except (OSError, TypeError, AttributeError):
        return None
    return libc
