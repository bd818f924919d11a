"""A tiny encoder with batch normalisation, and estimators cheap enough to test."""

from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer


def tiny_encoder(n_channels):
    """Return a network of some hundred weights: (n, C, H, W) -> (n, 8).

    Files under tests/data name it and hold its weights, so it must stay as it is.
    """
    return nn.Sequential(
        nn.Conv2d(n_channels, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def tiny_simclr(**params):
    """Return a `SimCLRTransformer` that fits in milliseconds."""
    defaults = {
        "encoder": tiny_encoder,
        "image_size": 8,
        "max_epochs": 1,
        "batch_size": 16,
        "random_state": 0,
        "device": "cpu",
    }
    return SimCLRTransformer(**(defaults | params))


def flat_encoder(n_channels):
    """Return a network that keeps where things are: (n, C, 8, 8) -> (n, 16)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64 * n_channels, 16), nn.BatchNorm1d(16), nn.ReLU()
    )


def tiny_pretrained(**params):
    """Return a `PretrainedTransformer` that fits in milliseconds."""
    defaults = {
        "backbone": tiny_encoder,
        "weights": None,
        "image_size": 8,
        "device": "cpu",
    }
    return PretrainedTransformer(**(defaults | params))


def tiny_fine_tuned(**params):
    """Return a `FineTunedClassifier` that learns blobs in a second."""
    defaults = {
        "encoder": flat_encoder,
        "weights": None,
        "augmentations": (),
        "image_size": 8,
        "max_epochs": 30,
        "batch_size": 16,
        "lr": 1e-2,
        "random_state": 0,
        "device": "cpu",
    }
    return FineTunedClassifier(**(defaults | params))
