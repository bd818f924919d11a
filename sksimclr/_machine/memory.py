"""Keep the memory that a step frees, so that the next one need not ask for it again.

A training step allocates and frees gigabytes of activations. By default glibc gives
each large block back to the kernel, which then maps and zeroes it anew, page by page:
a tenth to a third of a step of ResNet18 where that is slow, as in virtual machines.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# parameters of mallopt(3), and what they are while freed memory is kept and after
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -4, -1, -2, -3
_KEEP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))
# glibc's own: the thresholds it comes to after a block of 32 MB was freed
_RETURN = (
    (_MMAP_MAX, 65536),
    (_MMAP_THRESHOLD, 2**25),
    (_TRIM_THRESHOLD, 2**26),
    (_TOP_PAD, 2**17),
)

_lock = threading.Lock()
_n_users = 0


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """Let glibc keep what is freed in the block, and give it back at the end.

    Without effect where the C library is another one. Threads may nest.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _change_users(libc, 1)
    try:
        yield
    finally:
        _change_users(libc, -1)


def _change_users(libc: Any, change: int) -> None:
    """Count the blocks, and set the parameters for the first and after the last."""
    global _n_users
    with _lock:
        before, _n_users = _n_users, _n_users + change
        if before and _n_users:
            return
        for parameter, value in _KEEP if _n_users else _RETURN:
            libc.mallopt(parameter, value)
        if not _n_users:
            libc.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library of the process if it is glibc, else None."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (other libraries do not have it)
    except (OSError, TypeError, AttributeError):
        return None
    return libc
