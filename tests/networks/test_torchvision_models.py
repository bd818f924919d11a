"""Classifiers of torchvision by name, as encoders from random weights."""

import numpy as np
import pytest
import torch
import torchvision
from numpy.testing import assert_array_equal
from tiny import tiny_simclr
from torch import nn

from sksimclr._networks.encoders import make_networks
from sksimclr._networks.torchvision_models import make_torchvision_model

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
SMALL = "mobilenet_v3_small"
NETWORKS = {SMALL: 1024, "shufflenet_v2_x0_5": 1024, "mnasnet0_5": 1280}
NETWORKS |= {"efficientnet_b0": 1280, "googlenet": 1024, "regnet_y_400mf": 440}


def networks(name, n_channels, image_size=32, seed=7):
    """Return encoder and projection head."""
    return make_networks(
        name,
        stem="auto",
        n_channels=n_channels,
        image_size=image_size,
        projection_dim=8,
        seed=seed,
    )


def first_convolution(network):
    """Return the layer that sees the images."""
    return next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("name", NETWORKS)
def test_encoders_have_features_for_all_channels(name):
    """What the last linear layer was given, also in training mode."""
    for n_channels in (1, 4):
        encoder, _ = networks(name, n_channels)
        assert first_convolution(encoder).in_channels == n_channels
        features = encoder.train()(torch.rand(2, n_channels, 32, 32))
        assert isinstance(features, torch.Tensor)
        assert features.shape == (2, NETWORKS[name])


def test_network_for_colours_is_that_of_torchvision():
    """Bit by bit, as it draws its weights."""
    encoder, _ = networks(SMALL, 3)
    torch.manual_seed(7)
    expected = torchvision.models.get_model(SMALL, weights=None).state_dict()
    found = encoder.state_dict()
    assert set(expected) - set(found) == {"classifier.3.weight", "classifier.3.bias"}
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key


def test_other_channels_get_weights_of_their_own():
    """Of a size that suits their number, the rest stays as it is."""
    of_colours, of_grey = networks(SMALL, 3)[0], networks(SMALL, 1)[0]
    bound = 1 / np.sqrt(9)  # torch draws uniformly, by the number of inputs
    weight = first_convolution(of_grey).weight
    assert bound / 2 < weight.abs().max() <= bound
    found, expected = of_grey.state_dict(), of_colours.state_dict()
    different = [key for key in found if not torch.equal(found[key], expected[key])]
    assert different == ["features.0.0.weight"]
    four = first_convolution(networks(SMALL, 4)[0]).weight
    assert not torch.equal(four[:, 0], four[:, 3])


def test_random_layers_draw_from_the_random_state(rng):
    """Dropout and stochastic depth; torch's own generator stays as it was."""
    images = rng.random((8, 32, 32), dtype=np.float32)
    before = torch.get_rng_state()
    simclr = tiny_simclr(encoder=SMALL, image_size=32, batch_size=4)
    first = simclr.fit_transform(images)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(torch.initial_seed() + 1)
    assert_array_equal(simclr.fit_transform(images), first)
    torch.set_rng_state(before)
    untrained = simclr.set_params(max_epochs=0).fit_transform(images)
    assert first.shape == (8, 1024)
    assert np.abs(first - untrained).max() > 1e-3 * np.abs(first).max()


def test_vision_transformers_are_built_for_the_image_size():
    """Which must be a multiple of their patches."""
    network = make_torchvision_model("vit_b_16", image_size=32)
    assert network.encoder.pos_embedding.shape == (1, 1 + 4, 768)
    with pytest.raises(ValueError, match=r"no vit_b_16 for .*: 40.*another image_size"):
        networks("vit_b_16", 1, image_size=40)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenet_v3_smal", "of torchvision, such as 'mobilenet_v3_small'.*'timm:'"),
        ("efficientnetb0", "such as 'efficientnet_b0'.*got 'efficientnetb0'"),
        ("fcn_resnet50", "classifier of torchvision.*got 'fcn_resnet50'"),
        ("", "such as 'resnet18', got ''"),
        ("squeezenet1_1", "squeezenet1_1 has none"),
    ],
)
@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_names_that_cannot_be_used_are_explained(name, message, weights):
    """With those that are near."""
    images = np.zeros((2, 32, 32))
    with pytest.raises(ValueError, match=message):
        tiny_simclr(encoder=name, weights=weights, image_size=32).fit(images)
