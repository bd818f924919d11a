"""Where tensors live, and how images become numbers there."""

from __future__ import annotations

import os

import torch
from torch import Tensor


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


def to_float(images: Tensor) -> Tensor:
    """Scale uint8 to [0, 1]; leave floats as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
