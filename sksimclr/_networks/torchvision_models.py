"""Classifiers of torchvision, by names such as "mobilenet_v3_small"."""

from __future__ import annotations

import difflib
import pickle
import re
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models import WeightsEnum

# How torchvision builds the networks whose weights came from elsewhere, without minutes
# of drawing truncated normals
_AS_TRAINED: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "aux_logits": True, "init_weights": False}
    for name in ("googlenet", "inception_v3")
}
_AUXILIARY = ("AuxLogits", "aux1", "aux2")  # outputs that are for training alone
_VISION = "vit_"  # transformers whose positions go with one image size
# A module was once named "norm.1" where it is "norm1" now
_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
_DAMAGED = (RuntimeError, EOFError, pickle.UnpicklingError)  # torch.hub finds it so


def make_torchvision_model(
    name: str, *, weights: Any = None, image_size: int | None = None
) -> nn.Module:
    """Build a classifier; :func:`without_last_linear` makes it an encoder.

    Parameters
    ----------
    name : str
        Of a classifier, ``torchvision.models.list_models()``.
    weights : WeightsEnum or None
        A member of its enumeration, downloaded once by torch.hub; None draws some.
    image_size : int or None
        Side of the images, pixels, for vision transformers, which are built for one.
        Weights decide on it themselves; so does torchvision when it is None.

    Returns
    -------
    nn.Module
        Without the outputs that are for training alone; it takes images that were
        scaled as :func:`scaling_of` says.

    Raises
    ------
    ValueError
        There is no such classifier, or none for images of that size.
    OSError
        The weights cannot be downloaded.
    """
    _check_name(name)
    if weights is not None:
        network = _download(name, weights)
    else:
        settings = dict(_AS_TRAINED.get(name, {}))
        if image_size is not None and name.startswith(_VISION):
            settings["image_size"] = image_size
        network = _build(name, settings)
    _remove_auxiliary_outputs(network)
    return network


def choose_weights(name: str, weights: Any) -> Any:
    """Return a member of torchvision's enumeration for a network, or None.

    Parameters
    ----------
    name : str
    weights : object
        Such a member or its name, or "imagenet" for the best; None for others.

    Raises
    ------
    ValueError
        There is no such classifier, or the member is of another one.
    """
    _check_name(name)
    enum: type[Enum] = torchvision.models.get_model_weights(name)
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


def scaling_of(name: str, weights: Any) -> tuple[list[float], list[float], int]:
    """Return mean, standard deviation and image size that some weights want.

    `weights` is a member of torchvision's enumeration; None are its best.
    """
    enum: Any = torchvision.models.get_model_weights(name)
    asked = (weights or enum.DEFAULT).transforms()
    size = int(asked.crop_size[0])
    if name in _AS_TRAINED:  # what these networks would make of the other scaling
        return [0.5] * 3, [0.5] * 3, size
    return list(asked.mean), list(asked.std), size


def with_names_of_now(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a classifier without what it has for training alone."""
    if name in _AS_TRAINED:
        tensors = {k: t for k, t in tensors.items() if not k.startswith(_AUXILIARY)}
    if name.startswith("densenet"):
        tensors = {_OLD_DENSENET_KEY.sub(r"\1", k): t for k, t in tensors.items()}
    return tensors


def without_last_linear(network: nn.Module, name: str) -> nn.Module:
    """Put an identity in the place of the last linear layer, which gives the logits.

    Raises
    ------
    ValueError
        It has none.
    """
    linear = [key for key, layer in network.named_modules() if type(layer) is nn.Linear]
    if not linear:
        raise ValueError(
            "Features are what the last linear layer of a network is given, and "
            f"{name} has none. Use another network, or layer='logits' of "
            "PretrainedTransformer."
        )
    owner, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(owner), last, nn.Identity())
    return network


def _check_name(name: str) -> None:
    """Raise a ValueError unless torchvision has a classifier of that name."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3) or ["resnet18"]
        raise ValueError(
            "Expected the name of a classifier of torchvision, such as "
            f"{', '.join(map(repr, close))}, got {name!r}. "
            "torchvision.models.list_models() lists them; those of timm begin with "
            "'timm:'."
        )


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    """Build a classifier with random weights."""
    try:
        network: nn.Module = torchvision.models.get_model(
            name, weights=None, **settings
        )
    except AssertionError as error:  # of vision transformers
        raise ValueError(
            f"There is no {name} for {settings}: {error} Try another image_size."
        ) from error
    return network


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


def _remove_auxiliary_outputs(network: Any) -> None:
    """Take away what Inception networks have for training, and a scaling of theirs."""
    if getattr(network, "transform_input", False):
        network.transform_input = False
    if getattr(network, "aux_logits", False):
        network.aux_logits = False
        for name in _AUXILIARY:
            if hasattr(network, name):
                setattr(network, name, None)
