"""Where tensors live, and how images become numbers there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_lock = threading.Lock()
_n_in_float32 = 0
_has_used_threads = False
_default_dtype = torch.float32


def resolve_device(device: str) -> torch.device:
    """Return the device a name stands for.

    Parameters
    ----------
    device : str
        "auto" is the first of CUDA, MPS and CPU that there is; otherwise a name that
        ``torch.device`` knows. Without a number, CUDA is the GPU that torchrun gave
        this process.

    Raises
    ------
    ValueError
        No such device is known, or there is none on this machine.
    """
    available = ["cuda"] * torch.cuda.is_available()
    available += ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if device == "auto":
        return torch.device(available[0] + _own_number(available[0]))
    try:
        resolved = torch.device(device + _own_number(device))
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto' or one of {available} on this machine, got "
            f"{device!r}."
        ) from error
    n_devices = torch.cuda.device_count() if resolved.type == "cuda" else 1
    if resolved.type not in available or (resolved.index or 0) >= n_devices:
        raise ValueError(
            f"There is no device {device!r} on this machine, which has {available}. "
            "Use device='auto'; of a fitted estimator, set_params(device='auto')."
        )
    return resolved


def _own_number(device: str) -> str:
    """Return ":k" if the device is "cuda" and torchrun runs a process for each GPU."""
    distributed = torch.distributed
    if device != "cuda" or not distributed.is_available():
        return ""
    is_shared = distributed.is_torchelastic_launched()
    return f":{os.environ['LOCAL_RANK']}" if is_shared else ""


def resolve_bfloat16(precision: str, device: torch.device) -> bool:
    """Say whether a precision means bfloat16; "auto" does on GPUs made for it."""
    if precision != "auto":
        return precision == "bfloat16"
    # emulation is slower than float32
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _begin_fork() -> None:
    """Wait for no thread of the process of which this one is a fork.

    Those of torch, once they have run, would never be done here.
    """
    global _lock
    _lock = threading.Lock()
    if _has_used_threads:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_fork)


@contextmanager
def in_float32() -> Iterator[None]:
    """Let torch make float32, whatever ``torch.set_default_dtype`` was told.

    The default comes back when the last thread leaves.
    """
    global _n_in_float32, _default_dtype, _has_used_threads
    with _lock:
        _has_used_threads |= torch.get_num_threads() > 1
        if not _n_in_float32:
            _default_dtype = torch.get_default_dtype()
        _n_in_float32 += 1
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            _n_in_float32 -= 1
            if not _n_in_float32:
                torch.set_default_dtype(_default_dtype)


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 to [0, 1]; leave floats as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images
