"""What an encoder starts from: our files, ImageNet's weights, state dicts of others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sksimclr._machine.random import make_generator
from sksimclr._networks.encoders import EncoderFactory
from sksimclr._networks.first_layer import BEHIND_ONES, with_scaling
from sksimclr._networks.pretrained import make_backbone
from sksimclr._networks.weights import (
    IMAGENET,
    PARTS,
    find_weights,
    load_state,
    load_weights,
    read_tensors,
)

_TOLERANCE = 1e-2  # of features, relative to the largest; rounding alone is 1e-6


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes
    ----------
    encoder : str or callable
        The network that they are for, a name or a factory.
    source : Path or str
        A file, or "imagenet".
    tensors : dict of str to Tensor
        Of our own files, with the names of two parts; else empty.
    notes : dict of str to str
        Beside them.
    is_of_others : bool
        Whether they are those of a classifier of torchvision or timm.
    """

    encoder: str | EncoderFactory
    source: Path | str
    tensors: dict[str, Tensor]
    notes: dict[str, str]
    is_of_others: bool

    @property
    def is_scaled(self) -> bool:
        """Whether the scaling of images is in the first convolution."""
        is_name = isinstance(self.encoder, str)
        return self.is_of_others or (
            is_name and any(f".{BEHIND_ONES}." in key for key in self.tensors)
        )

    def load(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        *,
        n_channels: int,
        image_size: int,
    ) -> None:
        """Load them into networks that were made for them.

        Weights of others leave the projection head as it is.

        Raises
        ------
        ValueError
            They do not fit.
        OSError
            They cannot be downloaded.
        """
        if self.is_of_others:
            self._load_classifier(encoder, n_channels, image_size)
        else:
            load_weights(
                self.tensors,
                self.notes,
                encoder,
                projector,
                n_channels=n_channels,
                path=Path(self.source),
            )

    def _load_classifier(
        self, encoder: nn.Module, n_channels: int, image_size: int
    ) -> None:
        """Load what a classifier learnt, and compare what both make of images."""
        backbone, _ = make_backbone(
            self.encoder, self.source, layer="features", image_size=image_size, seed=0
        )
        scaling = backbone.mean, backbone.std
        tensors = with_scaling(
            backbone.network.state_dict(), encoder, *scaling, n_channels
        )
        load_state(encoder, tensors, f"weights of {self.encoder} ({self.source})")
        images = torch.rand(
            2, n_channels, image_size, image_size, generator=make_generator(0)
        )
        with torch.inference_mode():
            expected = backbone.eval()(images)
            found = encoder.eval()(images)
        encoder.train()
        if (found - expected).abs().max() > _TOLERANCE * expected.abs().max():
            raise ValueError(
                f"The scaling of images cannot go into the first layer of "
                f"{self.encoder}. Use another network, or a factory of encoders."
            )


def find_start(weights: str | os.PathLike[str], encoder: str | EncoderFactory) -> Start:
    """Find the weights that the parameter `weights` names, after a download if need be.

    Parameters
    ----------
    weights : str or path-like
        A path, "aurora-fm", or "imagenet".
    encoder : str or callable
        What they are for.

    Raises
    ------
    ValueError
        "imagenet" is asked for a factory; or the file is damaged.
    FileNotFoundError
        There is no such file.
    OSError
        A download failed.
    ImportError
        The file is in safetensors format and safetensors is not installed.
    """
    if weights == IMAGENET:
        if not isinstance(encoder, str):
            raise ValueError(
                f"weights={IMAGENET!r} is for networks with a name, of torchvision or "
                "timm. A factory returns its networks with the weights that it likes; "
                "use weights=None, or the path of a file."
            )
        return Start(encoder, IMAGENET, {}, {}, is_of_others=True)
    path = find_weights(weights)
    tensors, notes = read_tensors(path)
    is_ours = all(key.startswith(PARTS) for key in tensors)
    if isinstance(encoder, str) and not is_ours:
        return Start(encoder, path, {}, {}, is_of_others=True)
    return Start(encoder, path, tensors, notes, is_of_others=False)
