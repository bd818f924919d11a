"""A tiny encoder with batch normalisation, and estimators cheap enough to test."""

from torch import nn

from sksimclr import SimCLRTransformer


def tiny_encoder(n_channels):
    """Return a network of some hundred weights: (n, C, H, W) -> (n, 8)."""
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
