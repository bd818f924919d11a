"""Networks that were trained on ImageNet, as encoders of grey and colour images."""

from __future__ import annotations

import difflib
import os
import pickle
import re
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from sksimclr._machine.random import torch_seeded
from sksimclr._networks.encoders import EncoderFactory
from sksimclr._networks.readout import read_out
from sksimclr._networks.timm_models import (
    is_timm_name,
    make_timm_model,
    scaling_of,
    without_classifier,
)
from sksimclr._networks.weights import load_state, read_tensors

Weights = Any  # str, path-like, member of a WeightsEnum of torchvision, or None

IMAGE_SIZE = 224  # pixels, for networks that ask for no other
_UNCHANGED = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])  # mean, standard deviation
# How torchvision builds the networks whose weights came from elsewhere, without minutes
# of drawing truncated normals
_AS_TRAINED: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "aux_logits": True, "init_weights": False}
    for name in ("googlenet", "inception_v3")
}
_AUXILIARY = ("AuxLogits", "aux1", "aux2")  # outputs that are for training alone
# A module was once named "norm.1" where it is "norm1" now
_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
_DAMAGED = (RuntimeError, EOFError, pickle.UnpicklingError)  # torch.hub finds it so


class Backbone(nn.Module):
    """A network for RGB images, fed with images of 1 to 4 channels.

    Parameters
    ----------
    network : nn.Module
        From images (n, 3, H, W) to features (n, d).
    mean, std : list of 3 float
        Of the images it was trained on, subtracted and divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return features (n, d) of images (n, C, H, W) in [0, 1].

        Grey (one channel, or two with alpha) is repeated to RGB; of four channels the
        last, alpha, is left out.
        """
        rgb = images[:, :1].expand(-1, 3, -1, -1)
        if images.shape[1] >= 3:
            rgb = images[:, :3]
        features: Tensor = self.network((rgb - self.mean) / self.std)
        return features


def make_backbone(
    backbone: str | EncoderFactory,
    weights: Weights,
    *,
    layer: str,
    image_size: int | None,
    seed: int,
) -> tuple[Backbone, int]:
    """Build a network and load its weights.

    Parameters
    ----------
    backbone : str or callable
        Name of a classifier of torchvision, "timm:" and the name of a model of timm, or
        a factory that is called as ``f(3)`` and returns a network for RGB images in
        [0, 1] that normalises them itself.
    weights : str, path-like, WeightsEnum or None
        "imagenet" (torchvision's best, or what timm has for the name), a member of
        torchvision's enumeration or its name, the file of a state dict, or None for
        what the factory returns; for a name, random weights.
    layer : {"features", "stages", "logits"}
        Of a torchvision classifier, return the input of its last linear layer, the
        outputs of its stages, or its output. Networks of factories are taken as they
        are, but for their stages.
    image_size : int or None
        Side of the images, pixels, for networks that are built for one.
    seed : int
        Of random weights.

    Returns
    -------
    backbone : Backbone
    image_size : int
        Side of the images the weights are for, pixels.

    Raises
    ------
    ValueError
        There is no such network or no such weights, or they do not fit.
    FileNotFoundError
        There is no such file of weights.
    OSError
        Weights cannot be downloaded.
    """
    if isinstance(backbone, nn.Module):
        raise ValueError(
            "Expected a name or a factory f(n_channels) -> nn.Module that every fit "
            f"calls; got a network, {type(backbone).__name__}(...)."
        )
    with torch_seeded(seed):
        if callable(backbone):
            network, size = _from_factory(backbone, weights), IMAGE_SIZE
        elif is_timm_name(backbone):
            network, size = _from_timm(backbone, weights, layer, image_size)
        else:
            network, size = _from_torchvision(backbone, weights, layer)
    if layer == "stages":
        network.network = read_out(network.network, "stages")
    return network, size


def _from_factory(factory: EncoderFactory, weights: Weights) -> Backbone:
    """Call a factory, and load a file of weights into what it returns."""
    if weights is not None and not _is_file_name(weights):
        raise ValueError(
            f"weights={weights!r} is for networks of torchvision. With a "
            "factory, use None, which takes the network as the factory returns it, or "
            "a path."
        )
    network = factory(3)
    if weights is not None:
        _load_file(network, _existing(weights))
    return Backbone(network, *_UNCHANGED)


def _from_torchvision(name: str, weights: Weights, layer: str) -> tuple[Backbone, int]:
    """Build a classifier of torchvision, which scales as its weights ask."""
    _check_name(name)
    enum = torchvision.models.get_model_weights(name)
    chosen = _choose(enum, weights)
    if chosen is not None:
        network = _download(name, chosen)
    else:
        network = torchvision.models.get_model(
            name, weights=None, **_AS_TRAINED.get(name, {})
        )
    _remove_auxiliary_outputs(network)
    if chosen is None and weights is not None:
        _load_file(network, _existing(weights), name)
    if layer != "logits":
        _remove_last_linear(network, name)
    asked = (chosen or enum.DEFAULT).transforms()
    image_size = int(asked.crop_size[0]) if chosen or weights else IMAGE_SIZE
    return Backbone(network, list(asked.mean), list(asked.std)), image_size


def _from_timm(
    name: str, weights: Weights, layer: str, image_size: int | None
) -> tuple[Backbone, int]:
    """Build a network of timm, which scales as its weights ask."""
    is_trained = weights == "imagenet"
    if not is_trained and weights is not None and not _is_file_name(weights):
        raise ValueError(
            "Weights of networks of timm are 'imagenet' (those that timm has for the "
            f"name), the path of a state dict, or None, got {weights!r}."
        )
    network = make_timm_model(
        name, n_channels=3, trained=is_trained, image_size=image_size
    )
    if _is_file_name(weights):
        _load_file(network, _existing(weights))
    mean, std, size = scaling_of(network)
    if layer != "logits":
        network = without_classifier(network)
    return Backbone(network, mean, std), size


def _check_name(name: str) -> None:
    """Raise a ValueError unless torchvision has a classifier of that name."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3) or ["resnet18"]
        raise ValueError(
            "Expected the name of a classifier of torchvision, such as "
            f"{', '.join(map(repr, close))}, got {name!r}. "
            "torchvision.models.list_models() lists them."
        )


def _choose(enum: type[Enum], weights: Weights) -> Any:
    """Return the member of torchvision's enumeration, or None for others."""
    if isinstance(weights, WeightsEnum):
        if not isinstance(weights, enum):
            raise ValueError(
                f"Expected one of {[str(member) for member in enum]}, got {weights}."
            )
        return weights
    if weights == "imagenet":
        return enum["DEFAULT"]
    if isinstance(weights, str) and weights in enum.__members__:
        return enum[weights]
    return None


def _download(name: str, weights: Any) -> nn.Module:
    """Build a classifier with torchvision's weights, downloaded once by torch.hub."""
    try:
        network: nn.Module = torchvision.models.get_model(
            name, weights=weights, progress=False
        )
    except (OSError, *_DAMAGED) as error:
        folder = Path(torch.hub.get_dir(), "checkpoints")
        raise OSError(
            f"Cannot download or read {weights} ({error}). To get them by hand, "
            f"download {weights.url} and put it into {str(folder)!r}, or pass its path "
            "as weights."
        ) from error
    return network


def _load_file(network: nn.Module, path: Path, name: str = "") -> None:
    """Load a file of weights into a network, maybe one of torchvision's."""
    tensors, _ = read_tensors(path)
    if name in _AS_TRAINED:
        tensors = {k: t for k, t in tensors.items() if not k.startswith(_AUXILIARY)}
    if name.startswith("densenet"):
        tensors = {_OLD_DENSENET_KEY.sub(r"\1", k): t for k, t in tensors.items()}
    load_state(network, tensors, f"weights in {str(path)!r}")


def _existing(weights: Any) -> Path:
    """Return the path of a file of weights, which must be there."""
    path = Path(os.path.expanduser(weights))
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file of weights {str(path)!r}. Expected 'imagenet', the name "
            "of weights of torchvision such as 'IMAGENET1K_V1', the path of a state "
            "dict, or None."
        )
    return path


def _is_file_name(weights: Weights) -> bool:
    """Say whether weights can be the name of a file."""
    is_path = isinstance(weights, (str, os.PathLike))
    return is_path and weights != "imagenet"


def _remove_auxiliary_outputs(network: Any) -> None:
    """Take away the outputs that Inception networks have for training alone."""
    if getattr(network, "aux_logits", False):
        network.aux_logits = False
        for name in _AUXILIARY:
            if hasattr(network, name):
                setattr(network, name, None)


def _remove_last_linear(network: nn.Module, name: str) -> None:
    """Put an identity in the place of the last linear layer, which gives the logits."""
    linear = [key for key, layer in network.named_modules() if type(layer) is nn.Linear]
    if not linear:
        raise ValueError(
            "Features are what the last linear layer of a network is given, and "
            f"{name} has none. Use another network, or layer='logits' of "
            "PretrainedTransformer."
        )
    owner, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(owner), last, nn.Identity())
