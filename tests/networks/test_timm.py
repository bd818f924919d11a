"""Networks of timm by name: frozen, fine-tuned, and as encoders of SimCLR."""

import copy
import pickle
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from tiny import tiny_simclr
from torchvision.models import ResNet18_Weights

from sksimclr import SimCLRTransformer
from sksimclr.archive import load_model, save_model
from sksimclr.baselines import FineTunedClassifier, PretrainedTransformer

timm = pytest.importorskip("timm")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
SMALL = "timm:test_resnet.r160_in1k"  # some hundred thousand weights, made for tests
VISION = "timm:test_vit.r160_in1k"


@pytest.fixture(scope="module")
def images():
    """Twelve grey images of 32 pixels, in [0, 1]."""
    return np.random.default_rng(0).random((12, 32, 32), dtype=np.float32)


def network_output(network, images, mean, std, pre_logits):
    """Return features or logits of a network of timm, by its own methods."""
    network = network.eval()
    x = torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        maps = network.forward_features(x)
        return network.forward_head(maps, pre_logits=pre_logits).numpy()


@pytest.mark.parametrize("layer", ["features", "logits"])
def test_frozen_network_is_that_of_timm(images, layer, tmp_path):
    """With weights from a file, scaled as its weights ask, and its own head."""
    network = timm.create_model("test_resnet.r160_in1k")
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    about = network.pretrained_cfg
    expected = network_output(
        network, images, about["mean"], about["std"], layer == "features"
    )
    frozen = PretrainedTransformer(
        SMALL, weights=path, layer=layer, image_size=32, device="cpu"
    )
    found = frozen.fit_transform(images)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert_array_equal(clone(frozen).fit_transform(images), found)


def test_image_size_is_what_the_weights_ask_for(images):
    """Unless another one is given, to which transformers are fitted."""
    assert PretrainedTransformer(SMALL, weights=None).fit(images).image_size_ == 160
    vision = PretrainedTransformer(VISION, weights=None, image_size=48)
    assert vision.fit_transform(images).shape == (12, 64)


@pytest.mark.parametrize(
    ("name", "n_features"),
    [("inception_v4.tf_in1k", 1536), ("vit_small_patch14_dinov2.lvd142m", 384)],
)
def test_network_of_the_paper_and_that_of_today(images, name, n_features):
    """Inception-v4 of its first row; DINOv2."""
    frozen = PretrainedTransformer(f"timm:{name}", weights=None, image_size=84)
    assert frozen.fit_transform(images[:2]).shape == (2, n_features)


def test_fine_tuning_starts_from_timm(images):
    """With a new linear layer behind its features."""
    classifier = FineTunedClassifier(
        SMALL, weights=None, image_size=32, max_epochs=1, batch_size=6, random_state=0
    )
    classifier.fit(images, np.arange(12) % 3)
    assert classifier.predict_proba(images).shape == (12, 3)
    assert classifier.network_[1].in_features == 96


@pytest.fixture(scope="module")
def simclr(images):
    """Return a fitted transformer whose encoder is of timm, for grey images."""
    return tiny_simclr(encoder=SMALL, image_size=32, batch_size=6).fit(images)


def test_encoder_of_simclr_is_trained(images, simclr):
    """From weights that the seed decides, for images of any number of channels."""
    untrained = clone(simclr).set_params(max_epochs=0).fit(images)
    features = simclr.transform(images)
    assert features.shape == (12, 96)
    assert np.abs(features - untrained.transform(images)).max() > 1e-3
    assert_array_equal(clone(simclr).fit(images).transform(images), features)
    colour = np.repeat(images[..., None], 3, axis=3)
    assert clone(simclr).fit(colour).encoder_.conv1[0].in_channels == 3
    vision = tiny_simclr(encoder=VISION, image_size=48, max_epochs=0)
    assert vision.fit_transform(images).shape == (12, 64)


def from_file(name, weights, **params):
    """Return a transformer that starts from weights of timm."""
    defaults = {"image_size": 32, "max_epochs": 0, "batch_size": 6}
    return tiny_simclr(encoder=name, weights=weights, **(defaults | params))


@pytest.mark.parametrize("name", [SMALL, VISION, "timm:test_efficientnet.r160_in1k"])
def test_encoder_starts_from_a_state_dict_of_timm(images, name, tmp_path):
    """It embeds grey images as the network does scaled ones, also when stored."""
    sizes = {"img_size": 32} if name == VISION else {}
    network = timm.create_model(name.removeprefix("timm:"), **sizes)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    about = network.pretrained_cfg
    expected = network_output(network, images, about["mean"], about["std"], True)
    assert np.ptp(expected, axis=0).max() > 1e-3
    simclr = from_file(name, str(tmp_path / "w.pt"))
    assert_allclose(simclr.fit_transform(images), expected, rtol=0, atol=1e-5)
    rgba = np.concatenate([images[..., None].repeat(3, 3), images[..., None]], axis=3)
    assert_allclose(clone(simclr).fit_transform(rgba), expected, rtol=0, atol=1e-5)
    simclr.save_weights(tmp_path / "w.safetensors")
    save_model(simclr, tmp_path / "model.skops")
    again = load_model(tmp_path / "model.skops")
    found = from_file(name, tmp_path / "w.safetensors").fit_transform(images)
    for each in (again.transform(images), found):
        assert_array_equal(each, simclr.transform(images))


def test_encoder_starts_from_the_weights_of_timm(images, monkeypatch, tmp_path):
    """Those that it has for the name; a layer of them for several branches."""
    create, asked = timm.create_model, []

    def downloaded(name, pretrained, **settings):
        asked.append(pretrained)
        torch.manual_seed(3 if pretrained else 4)
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", downloaded)
    name = "timm:repvgg_a0"
    simclr = from_file(name, "imagenet").fit(images)
    assert sorted(asked) == [False, True]
    torch.save(downloaded("repvgg_a0", True).state_dict(), tmp_path / "w.pt")
    expected = from_file(name, tmp_path / "w.pt").fit_transform(images)
    assert_array_equal(simclr.transform(images), expected)
    names = [key for key in simclr.encoder_.state_dict() if ".behind_ones." in key]
    assert names == [
        "stem.conv_kxk.conv.behind_ones.weight",
        "stem.conv_1x1.conv.behind_ones.weight",
    ]


def test_first_layers_that_cannot_hold_the_scaling_are_refused(images, tmp_path):
    """Such as those that scale their weights themselves."""
    torch.save(timm.create_model("test_nfnet").state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="cannot go into the first layer of timm:test"):
        from_file("timm:test_nfnet", tmp_path / "w.pt").fit(images)


def test_fit_leaves_the_random_state_alone(images):
    """Although timm draws its weights from torch's."""
    before = torch.get_rng_state()
    tiny_simclr(encoder=SMALL, image_size=32, max_epochs=0).fit(images)
    assert_array_equal(torch.get_rng_state(), before)


def test_encoder_is_stored_and_goes_on(images, simclr, tmp_path):
    """By pickle, copy and skops, which names no code of timm; from a checkpoint."""
    expected = simclr.transform(images)
    save_model(simclr, tmp_path / "model.skops")
    for again in (
        pickle.loads(pickle.dumps(simclr)),
        copy.deepcopy(simclr),
        load_model(tmp_path / "model.skops"),
    ):
        assert_array_equal(again.transform(images), expected)
    run = clone(simclr).set_params(checkpoint_dir=tmp_path / "run")
    run.fit(images)
    run.set_params(max_epochs=2).fit(images)
    whole = clone(simclr).set_params(max_epochs=2).fit(images)
    assert_array_equal(run.transform(images), whole.transform(images))


@pytest.mark.parametrize(
    "estimator",
    [
        SimCLRTransformer("timm:resnet1818", max_epochs=0),
        PretrainedTransformer("timm:resnet1818"),
    ],
    ids=["SimCLR", "frozen"],
)
def test_unknown_names_are_explained(images, estimator):
    """With those that are near."""
    with pytest.raises(
        ValueError, match=r"network of timm, such as 'timm:.*resnet1818"
    ):
        estimator.fit(images)


def test_tags_that_do_not_exist_are_explained(images):
    """By what timm says of them, with the name that was asked for."""
    for weights in (None, "imagenet"):
        with pytest.raises(ValueError, match="'timm:test_resnet.nobodys': .*tag"):
            frozen = PretrainedTransformer("timm:test_resnet.nobodys", weights=weights)
            frozen.fit(images)


def test_other_weights_are_explained(images):
    """Names of torchvision's, or a file that is not there."""
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        PretrainedTransformer(SMALL, weights="nowhere.pt").fit(images)
    with pytest.raises(ValueError, match="Weights of networks of timm are"):
        PretrainedTransformer(SMALL, weights=ResNet18_Weights.DEFAULT).fit(images)


def test_weights_that_cannot_be_downloaded_are_explained(images, monkeypatch):
    """Whatever the hub raises."""
    create = timm.create_model

    def fail(*args, pretrained, **kwargs):
        if not pretrained:
            return create(*args, **kwargs)
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    for estimator in (PretrainedTransformer(SMALL), from_file(SMALL, "imagenet")):
        with pytest.raises(
            OSError, match=r"cannot download .*\(no network\).*pass the path"
        ):
            estimator.fit(images)


def test_without_timm_the_extra_is_named(images, monkeypatch):
    """When it is needed, and not before."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"sksimclr\[timm\]"):
        tiny_simclr(encoder=SMALL).fit(images)
