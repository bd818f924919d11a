"""First convolutions: for any number of channels, with the scaling of images inside.

Networks that were trained on ImageNet want RGB images whose mean was subtracted and
that were divided by the standard deviation, channel by channel. Division goes into the
weights of the first convolution, w' = w / std. The mean cannot go into its bias: what
it pads images with at their borders are zeros *behind* the scaling. So the images get
one more channel, of ones, whose weights are -sum_c w'_c mean_c: it is padded alike.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BEHIND_ONES = "behind_ones"  # in the names of the weights of such a convolution


class AppendOnes(nn.Module):
    """Appends a channel of ones to images."""

    def forward(self, images: Tensor) -> Tensor:
        """Return images (n, C + 1, H, W)."""
        return F.pad(images, (0, 0, 0, 0, 0, 1), value=1.0)


def set_channels(network: nn.Module, n_channels: int) -> nn.Module:
    """Let a network for RGB images see others: new first weights, as torch draws them.

    Those of a network for three channels stay as they are.
    """
    if n_channels != 3:
        for name in _first_convolutions(network):
            _put(network, name, _like(network.get_submodule(name), n_channels))
    return network


def append_ones(network: nn.Module, n_channels: int) -> nn.Module:
    """Let a network for RGB images see others, and a channel of ones behind them."""
    for name in _first_convolutions(network):
        layer = _like(network.get_submodule(name), n_channels + 1)
        layers = OrderedDict({"ones": AppendOnes(), BEHIND_ONES: layer})
        _put(network, name, nn.Sequential(layers))
    return network


def with_scaling(
    tensors: dict[str, Tensor],
    encoder: nn.Module,
    mean: Tensor,
    std: Tensor,
    n_channels: int,
) -> dict[str, Tensor]:
    """Return the weights of a network for scaled RGB images for what it became.

    Parameters
    ----------
    tensors : dict of str to Tensor
        State of the network for images (rgb - mean) / std.
    encoder : nn.Module
        What :func:`append_ones` made of such a network, for images in [0, 1]: grey,
        grey and alpha, RGB, or RGB and alpha. Not changed.
    mean, std : Tensor
        Of shape (3, 1, 1).
    n_channels : int
        Of those images, 1 to 4. Alpha gets weights of zero.

    Returns
    -------
    dict of str to Tensor
    """
    behind_ones = [
        name.rpartition(".")[0]
        for name, layer in encoder.named_modules()
        if isinstance(layer, AppendOnes)
    ]
    found = {}
    for key, tensor in tensors.items():
        layer, _, name = key.rpartition(".")
        if layer in behind_ones:
            key = f"{layer}.{BEHIND_ONES}.{name}"
            if name == "weight":
                tensor = _with_scaling(tensor, mean, std, n_channels)
        found[key] = tensor
    return found


def _with_scaling(weight: Tensor, mean: Tensor, std: Tensor, n_channels: int) -> Tensor:
    """Return the weights for C channels and ones of those for scaled RGB."""
    rgb = weight.double() / std.double()
    ones = -(rgb * mean.double()).sum(dim=1, keepdim=True)
    colours = rgb if n_channels >= 3 else rgb.sum(dim=1, keepdim=True)
    alpha = torch.zeros_like(ones) if n_channels in (2, 4) else ones[:, :0]
    return torch.cat([colours, alpha, ones], dim=1).to(weight.dtype)


def _first_convolutions(network: Any) -> list[str]:
    """Return the names of the layers that see the images; networks of timm know."""
    names = getattr(network, "pretrained_cfg", {}).get("first_conv")
    if names is None:
        layers = network.named_modules()
        names = next(name for name, each in layers if isinstance(each, nn.Conv2d))
    return [names] if isinstance(names, str) else list(names)


def _like(layer: Any, n_channels: int) -> nn.Module:
    """Return a convolution with all settings of another one, for other images."""
    new = copy.deepcopy(layer)
    new.in_channels = n_channels
    new.weight = nn.Parameter(new.weight.new_empty(_shape(new, n_channels)))
    new.reset_parameters()
    made: nn.Module = new
    return made


def _shape(layer: nn.Conv2d, n_channels: int) -> tuple[int, ...]:
    return (layer.out_channels, n_channels, *layer.kernel_size)


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace a layer."""
    owner, _, last = name.rpartition(".")
    setattr(network.get_submodule(owner), last, layer)
