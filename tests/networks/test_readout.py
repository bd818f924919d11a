"""What is read out of networks: stages, and means over mirror images."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_network import random_network
from sklearn.exceptions import NotFittedError
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr
from torch import nn

from sksimclr._networks.encoders import make_encoder
from sksimclr._networks.readout import SYMMETRIES, read_out

GROUPS = {None: 1, "vertical": 2, "horizontal": 2, "flips": 4, "square": 8}
MIRRORS = {
    "vertical": lambda images: images[:, ::-1],
    "horizontal": lambda images: images[:, :, ::-1],
    "flips": lambda images: images[:, ::-1, ::-1],
    "square": lambda images: np.rot90(images, axes=(1, 2)),
}


class TwoStages(nn.Module):
    """An encoder with a method `stages`; it sees where things are."""

    def __init__(self, n_channels):
        super().__init__()
        self.first = nn.Conv2d(n_channels, 3, 3, stride=2, padding=1)
        self.second = nn.Conv2d(3, 5, (3, 2), stride=2)

    def stages(self, images):
        """Return two maps."""
        first = self.first(images).relu()
        return [first, self.second(first).relu()]

    def forward(self, images):
        """Return the mean of the last stage's."""
        return self.stages(images)[-1].mean((2, 3))


@pytest.fixture
def frames(rng):
    """Noise that no mirror image equals."""
    return rng.random((9, 8, 8), dtype=np.float32)


def of_mirrors(transform, images, symmetry):
    """Return the mean over mirror images that NumPy made, in float64."""
    flipped = {
        None: [images],
        "vertical": [images, images[:, ::-1]],
        "horizontal": [images, images[:, :, ::-1]],
        "flips": [images[:, ::a, ::b] for a, b in itertools.product((1, -1), (1, -1))],
    }
    flipped["square"] = [
        np.rot90(each, k, axes=(1, 2))
        for each in (images, images[:, ::-1])
        for k in range(4)
    ]
    return np.mean([transform(each.copy()) for each in flipped[symmetry]], 0, float)


# Symmetry


@pytest.mark.parametrize("symmetry", GROUPS)
@pytest.mark.parametrize("image_size", [8, 6])
@pytest.mark.parametrize("features", ["last", "stages"])
def test_embedding_is_the_mean_over_mirror_images(
    symmetry, image_size, features, frames
):
    """Of 1, 2, 2, 4 and 8 of them, embedded one after the other; also resized."""
    params = {"encoder": TwoStages, "image_size": image_size, "features": features}
    simclr = tiny_simclr(**params, max_epochs=0).fit(frames)
    expected = of_mirrors(simclr.transform, frames, symmetry)
    found = simclr.set_params(symmetry=symmetry).transform(frames)
    assert found.dtype == np.float32
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert len(SYMMETRIES[symmetry]) == GROUPS[symmetry]


@pytest.mark.parametrize("symmetry", MIRRORS)
@pytest.mark.parametrize("features", ["last", "stages"])
@pytest.mark.parametrize("shape", [(24, 24), (17, 17), (24, 24, 3)])
def test_mirror_images_have_the_same_embedding(symmetry, features, shape, rng):
    """Within 1e-6; without symmetry they have not. A ResNet18, slim."""
    images = rng.random((6, *shape), dtype=np.float32)
    params = {"encoder": "resnet18", "width": 16, "features": features}
    simclr = tiny_simclr(**params, image_size=16, max_epochs=0).fit(images)
    mirrored = MIRRORS[symmetry](images).copy()

    def difference():
        first, second = simclr.transform(images), simclr.transform(mirrored)
        return np.abs(first - second).max() / np.abs(first).max()

    assert difference() > 1e-2
    assert simclr.set_params(symmetry=symmetry) and difference() < 1e-6


def test_pretrained_and_fine_tuned_read_out_the_same_way(frames):
    """Features, and outputs before they become probabilities."""
    frozen = tiny_pretrained(backbone=TwoStages).fit(frames)
    expected = of_mirrors(frozen.transform, frames, "flips")
    found = frozen.set_params(symmetry="flips").transform(frames)
    assert_allclose(found, expected, rtol=1e-5)
    tuned = tiny_fine_tuned(encoder=TwoStages, max_epochs=2)
    tuned.fit(frames, np.arange(len(frames)) % 3)

    def log_odds(images):
        proba = np.log(tuned.predict_proba(images).astype(float))
        return proba - proba[:, :1]

    expected = of_mirrors(log_odds, frames, "square")
    before = log_odds(frames)
    tuned.set_params(symmetry="square")
    assert_allclose(log_odds(frames), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(before, expected, rtol=1e-2)
    turned = np.rot90(frames, axes=(1, 2)).copy()
    assert_allclose(tuned.predict_proba(turned), tuned.predict_proba(frames), rtol=1e-6)


def test_images_are_read_once(frames):
    """However many mirror images there are of them."""

    class Lazy:
        shape, dtype, ndim = frames.shape, frames.dtype, frames.ndim
        n_read = 0

        def __len__(self):
            return len(frames)

        def __getitem__(self, rows):
            Lazy.n_read += frames[rows].size // 64
            return frames[rows]

    simclr = tiny_simclr(symmetry="square", max_epochs=0).fit(frames)
    expected = simclr.transform(frames)
    Lazy.n_read = 0
    assert_array_equal(simclr.transform(Lazy()), expected)
    assert Lazy.n_read <= len(frames) + 1  # one to learn the type


# Stages


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stages_of_a_resnet_are_those_that_hooks_see(name):
    """Means over their places; those of the last are what the network returns."""
    network = random_network(name).eval()
    network.fc = nn.Identity()
    images, seen = torch.rand(2, 3, 40, 40), []
    for number in (1, 2, 3, 4):
        getattr(network, f"layer{number}").register_forward_hook(
            lambda *given: seen.append(given[2].mean((2, 3)))
        )
    with torch.no_grad():
        last = network(images)
        expected = torch.cat(seen, 1)
        found = read_out(network, "stages")(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[:, -last.shape[1] :], last)


def test_stages_of_an_encoder_with_the_method(frames):
    """3 and 5 features; training and what is learnt are those of the last one."""
    last = tiny_simclr(encoder=TwoStages, lr=0.1, max_epochs=2).fit(frames)
    every = tiny_simclr(encoder=TwoStages, lr=0.1, max_epochs=2, features="stages")
    every.fit(frames)
    assert last.history_[0]["loss"] == every.history_[0]["loss"]
    found = every.transform(frames)
    assert found.shape == (9, 8)
    assert_allclose(found[:, 3:], last.transform(frames), rtol=1e-6)
    names = every.get_feature_names_out()
    assert len(names) == 8 and len(last.get_feature_names_out()) == 5
    assert_array_equal(last.set_params(features="stages").transform(frames), found)


def test_stages_of_pretrained_networks(frames):
    """128 more than the last for a ResNet18 of torchvision: 64, 128, 256, 512."""
    params = {"weights": None, "image_size": 32, "device": "cpu"}
    last = tiny_pretrained(backbone="resnet18", **params)
    every = tiny_pretrained(backbone="resnet18", layer="stages", **params)
    found = every.fit_transform(frames)
    assert found.shape == (9, 960) and len(every.get_feature_names_out()) == 960
    assert_allclose(found[:, 448:], last.fit_transform(frames), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiny_simclr(features="stages"),
        lambda: tiny_pretrained(layer="stages"),
        lambda: tiny_pretrained(backbone="mobilenet_v3_small", layer="stages"),
    ],
)
def test_networks_whose_stages_are_not_known(make, frames):
    """The message says of which they are, before any training."""
    with pytest.raises(ValueError, match=r"a method stages\(images\) that"):
        make().fit(frames)


def test_network_that_embeds(frames):
    """`network_` gives the embeddings of images that have the size."""
    params = {"features": "stages", "symmetry": "flips", "max_epochs": 0}
    simclr = tiny_simclr(encoder=TwoStages, **params)
    with pytest.raises(NotFittedError):
        _ = simclr.network_
    simclr.fit(frames)
    with torch.inference_mode():
        found = simclr.network_(torch.from_numpy(frames)[:, None])
    assert_allclose(found.numpy(), simclr.transform(frames), rtol=1e-5, atol=1e-6)


# Width


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_width_scales_every_layer_but_the_ends(name, stem):
    """Each convolution of a ResNet of 16 channels has a quarter of those of 64."""
    made = {
        width: make_encoder(name, n_channels=2, image_size=32, stem=stem, width=width)
        for width in (64, 16)
    }
    shapes = [
        {key: tensor.shape for key, tensor in network.state_dict().items()}
        for network in made.values()
    ]
    assert shapes[0].keys() == shapes[1].keys()
    for key, shape in shapes[0].items():
        channels = [n // 4 if n >= 64 else n for n in shape]
        assert list(shapes[1][key]) == channels, key
    modules = [
        [(type(m), getattr(m, "stride", None)) for m in network.modules()]
        for network in made.values()
    ]
    assert modules[0] == modules[1]


def test_slim_resnet_is_drawn_as_torchvision_draws():
    """Kaiming's normal by the channels that go out, as the wide one."""
    network = make_encoder(
        "resnet18", n_channels=1, image_size=64, stem="imagenet", width=32
    )
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 20
    for layer in convolutions:
        fan_out = layer.out_channels * layer.kernel_size[0] ** 2
        expected = (2 / fan_out) ** 0.5
        n_weights = layer.weight.numel()
        tolerance = 5 / (2 * n_weights) ** 0.5  # five standard errors
        assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "resnet18", "width": 15}, "'width' parameter"),
        ({"features": "all"}, "'features' parameter"),
        ({"symmetry": "rotations"}, "'symmetry' parameter"),
    ],
)
def test_bad_parameters(params, message, frames):
    """Named in the message."""
    with pytest.raises(ValueError, match=message):
        tiny_simclr(**params).fit(frames)
