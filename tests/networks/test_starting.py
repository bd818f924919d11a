"""Encoders that start from ImageNet's weights, or other state dicts of torchvision."""

import numpy as np
import pytest
import torch
import torchvision
from numpy.testing import assert_allclose, assert_array_equal
from random_network import random_network
from safetensors.torch import load_file
from tiny import tiny_encoder, tiny_simclr
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr._networks.encoders import make_networks
from sksimclr._networks.first_layer import AppendOnes
from sksimclr._networks.folding import inference_copy
from sksimclr.archive import load_model, save_model
from sksimclr.augmentations import VerticalFlip
from sksimclr.baselines import FineTunedClassifier

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
SMALL = "shufflenet_v2_x0_5"  # a network of 5 MB
SMALL_FILE = "shufflenetv2_x0.5-f707e7126e.pth"
_PARAMS = {"googlenet": {"init_weights": False, "transform_input": True}}


@pytest.fixture(scope="module")
def network_of():
    """Return a function from a name to torchvision's network with random weights.

    Batch normalisation has the statistics of noise, not those of a new network, in
    which images would get lost on their way.
    """
    made = {}

    def get(name):
        if name not in made:
            made[name] = random_network(name, **_PARAMS.get(name, {}))
            with_statistics(made[name])
        return made[name]

    return get


def with_statistics(network):
    """Let batch normalisation have seen scaled noise."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    noise = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.train()((noise - MEAN) / STD)
    return network.eval()


@pytest.fixture(scope="module")
def file_of(network_of, tmp_path_factory):
    """Return a function from a name to the file of that network's state dict."""

    def get(name):
        path = tmp_path_factory.getbasetemp() / f"starting-{name}.pth"
        if not path.exists():
            torch.save(network_of(name).state_dict(), path)
        return path

    return get


@pytest.fixture
def grey(rng):
    """Six grey images of 40 pixels, in [0, 1], bright at the borders."""
    return rng.random((6, 40, 40), dtype=np.float32)


def from_file(encoder, weights, **params):
    """Return a transformer that embeds with these weights as they are."""
    defaults = {"encoder": encoder, "weights": weights, "image_size": 40}
    return tiny_simclr(**(defaults | {"max_epochs": 0, "batch_size": 4} | params))


def features_of(network, images):
    """Return what the last linear layer is given, of RGB images in [0, 1]."""
    given = []
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda layer, args: given.append(args[0]))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        network((pixels - MEAN) / STD)
    hook.remove()
    return given[0].numpy()


# What it computes


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "densenet121", "googlenet", "mnasnet0_5"]
)
def test_embeddings_are_those_of_scaled_images(name, network_of, file_of, rng):
    """Grey ones repeated, alpha left out; borders and batch statistics included."""
    rgb = rng.random((3, 40, 40, 3), dtype=np.float32)
    grey, alpha = rgb[..., :1], rng.random((3, 40, 40, 1), dtype=np.float32)
    of_rgb = features_of(network_of(name), rgb)
    of_grey = features_of(network_of(name), grey.repeat(3, axis=3))
    assert np.abs(of_rgb - of_grey).max() > 1e-2 * np.abs(of_rgb).max()
    for X, expected in [
        (grey[..., 0], of_grey),
        (np.concatenate([grey, alpha], axis=3), of_grey),
        (rgb, of_rgb),
        (np.concatenate([rgb, alpha], axis=3), of_rgb),
    ]:
        simclr = from_file(name, file_of(name))
        scale = max(1, np.abs(expected).max())
        assert_allclose(simclr.fit_transform(X), expected, rtol=0, atol=1e-5 * scale)


def test_borders_are_exact(network_of, file_of, grey):
    """Where a bias of the first convolution in the place of ones would be wrong."""
    old = network_of("resnet18").conv1
    first = from_file("resnet18", file_of("resnet18")).fit(grey).encoder_.conv1
    images = torch.from_numpy(grey)[:, None]
    with torch.no_grad():
        expected = old((images.expand(-1, 3, -1, -1) - MEAN) / STD)
        assert_allclose(first(images), expected, rtol=0, atol=1e-5)
        convolution = first[1]
        weight = convolution.weight
        bias = weight[:, 1].sum(dim=(1, 2))
        biased = nn.functional.conv2d(images, weight[:, :1], bias, 2, 3)
    wrong = (biased - expected).abs().amax(dim=(0, 1)) > 1e-3
    assert wrong[0].all() and wrong[:, -1].all()
    assert not wrong[2:-2, 2:-2].any()


def test_first_layer_is_a_convolution_of_a_channel_more(file_of, rng):
    """Of torch's own class, so that batch normalisation is folded into it."""
    for n_channels in (1, 2, 3, 4):
        X = rng.random((2, 40, 40, n_channels))
        encoder = from_file("resnet18", file_of("resnet18")).fit(X).encoder_
        ones, convolution = encoder.conv1
        assert isinstance(ones, AppendOnes) and type(convolution) is nn.Conv2d
        assert convolution.in_channels == n_channels + 1
        assert convolution.kernel_size == (7, 7) and convolution.bias is None
        if n_channels in (2, 4):
            assert not convolution.weight[:, n_channels - 1].any()
    folded = inference_copy(encoder, (2, 4, 40, 40), torch.device("cpu"))
    assert "forward" in vars(folded.bn1) and "forward" not in vars(encoder.bn1)


def test_training_goes_on_from_the_weights(file_of, rng):
    """All of them learn, alpha's too; the seed decides on it."""
    X = rng.random((6, 40, 40, 2), dtype=np.float32)
    start = from_file(SMALL, file_of(SMALL)).fit(X)
    params = {"max_epochs": 1, "augmentations": (VerticalFlip(),)}
    simclr = from_file(SMALL, file_of(SMALL), **params).fit(X)
    assert np.isfinite(simclr.history_[0]["loss"])
    before, after = (
        start.encoder_.conv1[0][1].weight,
        simclr.encoder_.conv1[0][1].weight,
    )
    moved = (after - before).abs().amax(dim=(0, 2, 3))
    assert (moved > 1e-5).all() and (moved < 1e-2).all()
    again = from_file(SMALL, file_of(SMALL), **params)
    assert_array_equal(again.fit_transform(X), simclr.transform(X))


# ImageNet's weights


def test_imagenet_is_what_torch_hub_has(hub, file_of, grey, tmp_path):
    """The same as the path of the file; a stored one needs neither."""
    (hub / SMALL_FILE).write_bytes(file_of(SMALL).read_bytes())
    simclr = from_file(SMALL, "imagenet")
    expected = simclr.fit_transform(grey)
    assert_array_equal(from_file(SMALL, file_of(SMALL)).fit_transform(grey), expected)
    save_model(simclr, tmp_path / "model.skops")
    (hub / SMALL_FILE).unlink()
    again = load_model(tmp_path / "model.skops")
    assert_array_equal(again.transform(grey), expected)


def test_without_a_network_the_error_says_what_to_do(hub, grey):
    """The address, and the folder to put the file into."""
    with pytest.raises(OSError) as caught:
        from_file(SMALL, "imagenet").fit(grey)
    message = str(caught.value)
    assert "no network in tests" in message
    url = f"https://download.pytorch.org/models/{SMALL_FILE}"
    assert f"by hand, download {url} and put it into {str(hub)!r}" in message


def test_imagenet_needs_a_name(grey):
    """Nobody knows what a factory's network would look like with it."""
    with pytest.raises(ValueError, match="'imagenet' is for networks with a name"):
        from_file(tiny_encoder, "imagenet").fit(grey)


# The stem


@pytest.mark.parametrize("stem", ["auto", "imagenet"])
def test_stem_is_that_of_the_weights(stem, network_of, file_of, rng):
    """Also for images of up to 32 pixels."""
    X = rng.random((2, 32, 32), dtype=np.float32)
    found = from_file("resnet18", file_of("resnet18"), image_size=32, stem=stem)
    expected = features_of(network_of("resnet18"), X[..., None].repeat(3, axis=3))
    assert_allclose(found.fit_transform(X), expected, rtol=0, atol=1e-4)


def test_another_stem_is_refused(hub, file_of, grey, tmp_path):
    """Of a file of torchvision, of ours, and before anything is downloaded."""
    simclr = from_file("resnet18", file_of("resnet18")).fit(grey)
    simclr.save_weights(tmp_path / "w")
    for weights in ("imagenet", file_of("resnet18"), tmp_path / "w"):
        with pytest.raises(ValueError, match="7 x 7.*got stem='cifar'"):
            from_file("resnet18", weights, stem="cifar").fit(grey)
    other = from_file(SMALL, file_of(SMALL), stem="cifar")  # which has no such stem
    assert other.fit_transform(grey).shape == (6, 1024)


# Stored, and gone on from


@pytest.mark.parametrize("image_size", [32, 40])
def test_saved_weights_load_again(image_size, file_of, grey, tmp_path):
    """By the encoder's name alone, from either format, to the bit."""
    params = {"image_size": image_size, "random_state": 3}
    simclr = from_file("resnet18", file_of("resnet18"), max_epochs=1, **params)
    expected = simclr.fit_transform(grey)
    simclr.save_weights(tmp_path / "w")
    torch.save(load_file(tmp_path / "w"), tmp_path / "w.pt")
    for path in (tmp_path / "w", tmp_path / "w.pt"):
        again = from_file("resnet18", path, image_size=image_size).fit(grey)
        assert_array_equal(again.transform(grey), expected)
        assert torch.equal(again.projector_[0].weight, simclr.projector_[0].weight)
    with pytest.raises(ValueError, match="'0.weight' is only in the network"):
        from_file(tiny_encoder, tmp_path / "w").fit(grey)


def test_other_starts_have_no_channel_of_ones(grey, tmp_path):
    """Random weights, and files of them."""
    simclr = tiny_simclr(encoder="resnet18", image_size=40, max_epochs=0).fit(grey)
    simclr.save_weights(tmp_path / "w")
    again = from_file("resnet18", tmp_path / "w").fit(grey)
    for each in (simclr, again):
        assert type(each.encoder_.conv1) is nn.Conv2d
        assert not each._made_from["scaled"]
    assert_array_equal(again.transform(grey), simclr.transform(grey))


def test_models_of_old_versions_have_no_channel_of_ones(grey):
    """They do not say what they were made from in this respect."""
    simclr = tiny_simclr(encoder=SMALL, image_size=40, max_epochs=0).fit(grey)
    expected, state = simclr.transform(grey), simclr.__getstate__()
    del state["_made_from"]["scaled"]
    again = type(simclr).__new__(type(simclr))
    again.__setstate__(state)
    assert_array_equal(again.transform(grey), expected)


def test_a_checkpoint_is_of_one_start(hub, file_of, grey, tmp_path):
    """A run goes on from it, and one from other weights of that name does not."""
    (hub / SMALL_FILE).write_bytes(file_of(SMALL).read_bytes())
    run = from_file(SMALL, "imagenet", max_epochs=1, checkpoint_dir=tmp_path / "run")
    run.fit(grey)
    found = run.set_params(max_epochs=2).fit_transform(grey)
    whole = from_file(SMALL, "imagenet", max_epochs=2)
    assert_array_equal(whole.fit_transform(grey), found)
    torch.save(random_network(SMALL, seed=1).state_dict(), hub / SMALL_FILE)
    with pytest.raises(ValueError, match="weights at the start"):
        run.fit(grey)


def test_fine_tuning_goes_on_from_it(file_of, grey):
    """A classifier on a copy of the encoder, for images of its channels."""
    simclr = from_file(SMALL, file_of(SMALL)).fit(grey)
    classifier = FineTunedClassifier(
        simclr, max_epochs=1, batch_size=3, random_state=0, device="cpu"
    )
    classifier.fit(grey, [0, 1] * 3)
    assert classifier.predict_proba(grey).shape == (6, 2)
    assert isinstance(classifier.network_[0].conv1[0][0], AppendOnes)


# What is refused


def test_files_of_another_network(file_of, grey):
    """The first name that differs is named, as in a file of ours."""
    with pytest.raises(ValueError, match="'layer1.2.conv1.weight' is only in the net"):
        from_file("resnet34", file_of("resnet18")).fit(grey)
    with pytest.raises(ValueError, match=r"named encoder\.\* and projector\.\*"):
        from_file(tiny_encoder, file_of(SMALL)).fit(grey)


def test_structure_does_not_depend_on_weights(file_of, grey):
    """It is made again without them, for skops, with names that tell it apart."""
    simclr = from_file(SMALL, file_of(SMALL)).fit(grey)
    encoder, _ = make_networks(**simclr._made_from)
    assert list(encoder.state_dict()) == list(simclr.encoder_.state_dict())
    assert "conv1.0.behind_ones.weight" in encoder.state_dict()


def test_weights_of_imagenet_have_a_width(tmp_path, rng):
    """That of torchvision's; a slim network has no such weights."""
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    simclr = SimCLRTransformer(width=16, weights=path, image_size=32, max_epochs=0)
    with pytest.raises(ValueError, match="Use width=64"):
        simclr.fit(rng.random((2, 32, 32)))


def test_stages_of_a_network_with_the_scaling(tmp_path, rng):
    """The last of them is the embedding."""
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    images = rng.random((3, 32, 32), dtype=np.float32)
    simclr = SimCLRTransformer(weights=path, image_size=32, max_epochs=0).fit(images)
    last = simclr.transform(images)
    found = simclr.set_params(features="stages").transform(images)
    np.testing.assert_allclose(found[:, -512:], last, rtol=1e-4, atol=1e-5)
