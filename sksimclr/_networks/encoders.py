"""The networks: an encoder for images of any number of channels, a projection head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision.models
from torch import nn
from torch.overrides import TorchFunctionMode

from sksimclr._machine.device import in_float32
from sksimclr._machine.random import torch_seeded
from sksimclr._networks.first_layer import append_ones, set_channels
from sksimclr._networks.timm_models import (
    is_timm_name,
    make_timm_model,
    without_classifier,
)
from sksimclr._networks.torchvision_models import (
    make_torchvision_model,
    without_last_linear,
)

RESNET_WIDTH = 64  # channels of the first stage of torchvision's ResNets
SMALLEST_WIDTH = 16  # in less, the backward pass of torch 2.14 on a CPU can crash
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
CIFAR_SIZE = 32  # largest image side, in pixels, that gets the small stem by default

_WEIGHTS_ARE_MADE_BY = {  # by layers
    *(torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros)
}

EncoderFactory = Callable[[int], nn.Module]


@in_float32()
def make_networks(
    encoder: str | EncoderFactory,
    *,
    stem: str,
    n_channels: int,
    image_size: int,
    projection_dim: int,
    seed: int,
    width: int = RESNET_WIDTH,
    scaled: bool = False,
    n_features: int | None = None,
) -> tuple[nn.Module, nn.Module]:
    """Build an encoder and its projection head; the same ones for the same arguments.

    Arguments as those of :func:`make_encoder` and :func:`make_projection_head`; None as
    `n_features` asks the encoder.

    Returns
    -------
    encoder, projector : nn.Module
    """
    shape = {"n_channels": n_channels, "image_size": image_size}
    with torch_seeded(seed):
        network = make_encoder(encoder, stem=stem, width=width, scaled=scaled, **shape)
        if n_features is None:
            n_features = embedding_dim(network, **shape)
        return network, make_projection_head(n_features, projection_dim)


class WithoutValues(TorchFunctionMode):
    """A context in which networks are made that have shapes, but take no memory.

    Unlike with ``torch.device("meta")``, what is computed has values: RegNets find
    their widths so.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func in _WEIGHTS_ARE_MADE_BY:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def make_encoder(
    encoder: str | EncoderFactory,
    *,
    n_channels: int,
    image_size: int,
    stem: str,
    width: int = RESNET_WIDTH,
    scaled: bool = False,
) -> nn.Module:
    """Build an encoder with random weights.

    Parameters
    ----------
    encoder : str or callable
        Name of a classifier of torchvision, "timm:" and the name of a model of timm, or
        a factory ``f(n_channels) -> nn.Module``.
    n_channels : int
        Channels of the images.
    image_size : int
        Side of the images, pixels.
    stem : {"auto", "imagenet", "cifar"}
        First layers of a ResNet: 7 x 7 convolution of stride 2 and max pooling, or
        3 x 3 convolution alone; "auto" is "cifar" up to 32 pixels.
    width : int
        Channels of the first stage of a ResNet; each next stage has twice as many.
    scaled : bool
        Of a name, a network as it is trained on scaled images, whose first convolution
        has a channel more for the scaling (see :mod:`sksimclr._networks.first_layer`).

    Returns
    -------
    nn.Module
        Maps (n, n_channels, image_size, image_size) to embeddings (n, d).

    Raises
    ------
    ValueError
        `encoder` is a network, not a factory; neither torchvision nor timm has a
        network of that name; or `scaled` is for another stem or width.
    ImportError
        timm is not installed.
    """
    if isinstance(encoder, nn.Module):
        raise ValueError(
            "encoder must be a name or a factory f(n_channels) -> nn.Module that every "
            f"fit calls; got a network, {type(encoder).__name__}(...)."
        )
    if scaled:
        stem = _stem_of_imagenet(encoder, stem)
        if encoder in RESNETS and width != RESNET_WIDTH:
            raise ValueError(
                f"width={width} is not that of ImageNet's weights for {encoder!r}. Use "
                f"width={RESNET_WIDTH}, or weights=None."
            )
        network = make_encoder(encoder, n_channels=3, image_size=image_size, stem=stem)
        return append_ones(network, n_channels)
    if is_timm_name(encoder):
        network = make_timm_model(
            str(encoder), n_channels=n_channels, trained=False, image_size=image_size
        )
        return without_classifier(network)
    if encoder in RESNETS:
        stem = _resolve_stem(stem, image_size)
        return _make_resnet(str(encoder), n_channels, stem, width)
    if isinstance(encoder, str):
        network = make_torchvision_model(encoder, image_size=image_size)
        return set_channels(without_last_linear(network, encoder), n_channels)
    return encoder(n_channels)


def _stem_of_imagenet(encoder: str | EncoderFactory, stem: str) -> str:
    """Return the stem of networks that were trained on ImageNet."""
    if stem == "cifar" and encoder in RESNETS:
        raise ValueError(
            f"These weights are for a {encoder} whose first convolution is 7 x 7, "
            "stem='imagenet' or 'auto', got stem='cifar', which has one of 3 x 3."
        )
    return "imagenet"


def _resolve_stem(stem: str, image_size: int) -> str:
    if stem != "auto":
        return stem
    return "cifar" if image_size <= CIFAR_SIZE else "imagenet"


def _make_resnet(name: str, n_channels: int, stem: str, width: int) -> nn.Module:
    network: Any = torchvision.models.get_model(name, weights=None)
    if width != RESNET_WIDTH:
        _set_width(network, width)
    kernel, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
    network.conv1 = nn.Conv2d(n_channels, width, kernel, stride, padding, bias=False)
    _draw(network.conv1)
    if stem == "cifar":
        network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    encoder: nn.Module = network
    return encoder


def _set_width(network: Any, width: int) -> None:
    """Make the stages of a ResNet anew, of the blocks that it has, with new widths."""
    network.bn1, network.inplanes = nn.BatchNorm2d(width), width
    for number in range(4):
        old = getattr(network, f"layer{number + 1}")
        stride, planes = (2 if number else 1), width << number
        stage = network._make_layer(type(old[0]), planes, len(old), stride=stride)
        for layer in stage.modules():
            if isinstance(layer, nn.Conv2d):
                _draw(layer)
        setattr(network, f"layer{number + 1}", stage)


def _draw(convolution: nn.Conv2d) -> None:
    """Draw weights as torchvision does for ResNets."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")


@in_float32()
def embedding_dim(encoder: nn.Module, *, n_channels: int, image_size: int) -> int:
    """Return d, the length of an embedding, from one forward of an empty image.

    Raises
    ------
    ValueError
        The encoder does not take such images, or does not return an array of shape
        (n, d).
    """
    images = torch.zeros(2, n_channels, image_size, image_size)
    was_training = encoder.training
    try:
        with torch.inference_mode():
            shape = tuple(encoder.eval()(images).shape)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"The encoder cannot take images of shape {tuple(images.shape)}, (n, C, H, "
            f"W); it said: {error}. Try another image_size or encoder."
        ) from error
    encoder.train(was_training)
    if len(shape) != 2 or shape[0] != 2:
        raise ValueError(
            "An encoder must map images (n, C, H, W) to embeddings (n, d); for "
            f"{tuple(images.shape)} the given one returned shape {shape}."
        )
    return int(shape[1])


def make_projection_head(n_features: int, projection_dim: int) -> nn.Sequential:
    """Build the projection head W2 max(0, W1 h), without biases.

    Its hidden layer is as wide as the embedding, `n_features`.
    """
    return nn.Sequential(
        nn.Linear(n_features, n_features, bias=False),
        nn.ReLU(),
        nn.Linear(n_features, projection_dim, bias=False),
    )
