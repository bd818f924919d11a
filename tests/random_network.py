"""Networks of torchvision with random weights, batch normalisation included."""

import torch
import torchvision
from torch import nn


def random_network(name, seed=0, **params):
    """Return a network in evaluation mode; the caller's generator stays as it was.

    Batch normalisation gets statistics that are not those of a new network, so that
    a network which forgets them does not pass for one that has them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.get_model(name, weights=None, **params)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_mean, -0.5, 0.5)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.2, 0.2)
    return network.eval()
