"""The first layers of a ResNet with less to keep for the backward pass.

Behind the first convolution, torchvision's ResNets apply a ReLU and then take maxima.
The other order gives the same numbers, and a ReLU of a quarter of the size. What is
then kept are the places of the maxima, in 16 bits instead of 64, and not what they were
taken from: a fifth less in all, of what a ResNet18 keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torchvision.models import ResNet


@contextmanager
def thin_stem(network: nn.Module) -> Iterator[None]:
    """Let a ResNet with max pooling take maxima before its first ReLU.

    Loss and gradients are the same to the bit; weights and their names too. Other
    networks stay as they are, and so does this one afterwards.
    """
    relu, pool = (getattr(network, name, None) for name in ("relu", "maxpool"))
    if not (isinstance(network, ResNet) and isinstance(pool, nn.MaxPool2d)):
        yield
        return
    network.relu, network.maxpool = nn.Identity(), _MaxPoolReLU(pool)
    try:
        yield
    finally:
        network.relu, network.maxpool = relu, pool


class _MaxPoolReLU(nn.Module):
    """A ReLU of the maxima of a layer."""

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        self._window = (pool.kernel_size, pool.stride, pool.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of half the size."""
        maxima: Tensor = _MaxPool.apply(x, *self._window)
        return F.relu(maxima, inplace=True)


class _MaxPool(torch.autograd.Function):
    """Max pooling that keeps the places of the maxima alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        """Return the maxima."""
        maxima, places = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
        n_pixels = x.shape[-2] * x.shape[-1]
        dtype = torch.int16 if n_pixels <= 1 << 15 else torch.int32
        ctx.save_for_backward(places.to(dtype))
        ctx.shape, ctx.window = x.shape, (kernel, stride, padding)
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.memory_format = torch.channels_last if is_last else torch.contiguous_format
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of what the maxima were taken from."""
        (places,) = ctx.saved_tensors
        kernel, stride, padding = ((n, n) for n in ctx.window)
        # of which only shape and order of the axes are read
        like = torch.empty(
            ctx.shape,
            dtype=grad.dtype,
            device=grad.device,
            memory_format=ctx.memory_format,
        )
        return (
            torch.ops.aten.max_pool2d_with_indices_backward(
                grad, like, kernel, stride, padding, (1, 1), False, places.long()
            ),
            None,
            None,
            None,
        )
