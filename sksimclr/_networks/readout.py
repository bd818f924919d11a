"""What is read out of a network: its last stage or all, of an image and its mirrors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

FEATURES = ("last", "stages")


def _same(images: Tensor) -> Tensor:
    return images


def _upside_down(images: Tensor) -> Tensor:
    return images.flip(-2)


def _left_right(images: Tensor) -> Tensor:
    return images.flip(-1)


def _half_turn(images: Tensor) -> Tensor:
    return images.flip(-2, -1)


def _transposed(flip: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return flip(images.transpose(-2, -1))


_FLIPS = (_same, _upside_down, _left_right, _half_turn)
# each is a group: mirroring an image only changes the order of its members
SYMMETRIES: dict[str | None, tuple[Callable[[Tensor], Tensor], ...]] = {
    None: (_same,),
    "vertical": (_same, _upside_down),
    "horizontal": (_same, _left_right),
    "flips": _FLIPS,
    "square": (*_FLIPS, *(partial(_transposed, flip) for flip in _FLIPS)),
}


def mean_over_mirrors(
    network: Callable[[Tensor], Tensor], images: Tensor, symmetry: str | None
) -> Tensor:
    """Return what a network gives for images, the mean over their mirror images.

    Parameters
    ----------
    network : callable
        From images to (n, d).
    images : Tensor of shape (n, C, S, S)
    symmetry : {None, "vertical", "horizontal", "flips", "square"}
        The images alone; with those upside down; with those whose left is right; with
        both; with these turned by a quarter, too. One pass through the network each.

    Returns
    -------
    Tensor of shape (n, d)
        The same for an image and any of its mirror images, up to rounding.
    """
    total: Tensor | None = None
    members = SYMMETRIES[symmetry]
    for member in members:
        mirrored = member(images).contiguous(memory_format=torch.channels_last)
        result = network(mirrored)
        total = result if total is None else total + result
    assert total is not None
    return total / len(members) if len(members) > 1 else total


class AllStages(nn.Module):
    """A network that returns the mean of the output of each of its stages.

    Parameters
    ----------
    network : nn.Module
        Shared, not copied.

    Raises
    ------
    ValueError
        Its stages are not known.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        if not has_stages(network):
            raise ValueError(
                "The outputs of all stages are known of torchvision's ResNets, and of "
                "networks with a method stages(images) that returns a list of maps (n, "
                f"C, H, W); got {type(network).__name__}. Use features='last' (of "
                "PretrainedTransformer, layer='features'), or add the method."
            )
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, d) of images (n, C, H, W), d the channels of all stages."""
        return torch.cat([_pooled(stage) for stage in _stages(self.network, images)], 1)


class MeanOverMirrors(nn.Module):
    """A network that returns :func:`mean_over_mirrors` of another one.

    Parameters
    ----------
    network : nn.Module
        Shared, not copied.
    symmetry : {None, "vertical", "horizontal", "flips", "square"}
    """

    def __init__(self, network: nn.Module, symmetry: str | None):
        super().__init__()
        self.network = network
        self.symmetry = symmetry

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, d) of images (n, C, S, S)."""
        return mean_over_mirrors(self.network, images, self.symmetry)


def has_stages(network: nn.Module) -> bool:
    """Say whether the stages of a network are known."""
    return isinstance(network, ResNet) or callable(getattr(network, "stages", None))


def read_out(network: nn.Module, features: str) -> nn.Module:
    """Return the network that gives the embedding; it shares the given one's layers.

    Parameters
    ----------
    network : nn.Module
        From images (n, C, H, W) to (n, d).
    features : {"last", "stages"}

    Raises
    ------
    ValueError
        Its stages are not known.
    """
    return AllStages(network) if features == "stages" else network


def _stages(network: Any, images: Tensor) -> Iterator[Tensor]:
    """Yield the maps (n, C, H, W) that the stages of a network put out."""
    if not isinstance(network, ResNet):
        yield from network.stages(images)
        return
    maps = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        maps = stage(maps)
        yield maps


def _pooled(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))
