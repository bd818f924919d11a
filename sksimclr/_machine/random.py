"""Randomness that leaves the caller's random state as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

_global_state = threading.RLock()  # a factory may itself fit an estimator


def _renew_lock() -> None:
    """Forget who held the lock in the process of which this one is a fork."""
    global _global_state
    _global_state = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def spawn_seeds(seed: int | Sequence[int], n_seeds: int) -> list[int]:
    """Derive independent seeds from one, or from several numbers.

    Examples
    --------
    >>> spawn_seeds(0, 2) == spawn_seeds(0, 3)[:2]
    True
    """
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(n_seeds)]


def make_generator(seed: int) -> torch.Generator:
    """Return a new generator on the CPU, whose draws no device changes."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a while, then put their states back.

    For code that draws from nothing else: the initialisation of torchvision's networks,
    and dropout. The lock keeps threads that fit at the same time apart; others that
    draw from these generators meanwhile draw from this seed.
    """
    devices = range(torch.cuda.device_count())
    with _global_state, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
