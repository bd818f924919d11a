"""A ResNet trains with a stem that keeps less, to the same bits."""

import copy

import pytest
import torch
from torch import nn

from sksimclr._networks.encoders import make_encoder
from sksimclr._networks.thin_stem import thin_stem

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def make_network(stem="imagenet", name="resnet18"):
    """Return a slim ResNet with weights of a seed."""
    torch.manual_seed(0)
    return make_encoder(name, n_channels=1, image_size=64, stem=stem, width=16)


def images(device="cpu"):
    """Return images with ties, and with a plain one."""
    torch.manual_seed(1)
    batch = torch.rand(6, 1, 64, 48).mul(4).round().div(4)
    batch[2] = 0
    return batch.to(device).contiguous(memory_format=torch.channels_last)


def gradients(network, batch):
    """Return output and gradients of a step, and the bytes that were kept for it."""
    kept, weights = {}, {weight.data_ptr() for weight in network.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = network(batch)
    n_bytes = sum(kept.values())
    out.square().sum().backward()
    return out.detach(), [weight.grad for weight in network.parameters()], n_bytes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "memory_format", [torch.channels_last, torch.contiguous_format]
)
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_gradients_are_the_same_to_the_bit(name, memory_format, device):
    """Of plain images and ties too; the first maps are not kept; all is put back."""
    network = make_network(name=name).to(device, memory_format=memory_format)
    other = copy.deepcopy(network)
    batch = images(device).contiguous(memory_format=memory_format)
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        expected, expected_gradients, n_plain = gradients(network, batch)
        names = list(other.state_dict())
        with thin_stem(other):
            assert list(other.state_dict()) == names
            found, found_gradients, n_thin = gradients(other, batch)
    assert torch.equal(found, expected)
    assert all(map(torch.equal, found_gradients, expected_gradients))
    n_first, n_maxima = 6 * 16 * 32 * 24, 6 * 16 * 16 * 12
    assert n_plain - n_thin == 4 * n_first + (8 - 2) * n_maxima
    assert isinstance(other.relu, nn.ReLU) and isinstance(other.maxpool, nn.MaxPool2d)
    assert str(other) == str(network)


def test_large_maps_have_places_beyond_16_bits():
    """More than 32,768 pixels behind the first convolution."""
    network, batch = make_network(), torch.rand(2, 1, 400, 400)
    other = copy.deepcopy(network)
    expected = gradients(network, batch)
    with thin_stem(other):
        found = gradients(other, batch)
    assert all(map(torch.equal, found[1], expected[1]))


@pytest.mark.parametrize("make", [lambda: make_network("cifar"), lambda: nn.Identity()])
def test_other_networks_stay_as_they_are(make):
    """Those without max pooling, and those that are no ResNets."""
    network = make()
    before = str(network)
    with thin_stem(network):
        assert str(network) == before


def test_an_error_puts_all_back():
    """As Ctrl-C does."""
    network = make_network()
    before = str(network)
    with pytest.raises(KeyboardInterrupt), thin_stem(network):
        assert str(network) != before
        raise KeyboardInterrupt
    assert str(network) == before
