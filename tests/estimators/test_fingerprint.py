"""What decides on the result of a fit, in the same words in every process."""

import copy
import dataclasses
import functools
import itertools
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from PIL import Image
from runs import (
    dropout_encoder,
    fingerprint_elsewhere,
    fingerprint_of,
    make_images,
    make_run,
)
from shards import Shards
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tiny import tiny_encoder
from torch import nn
from torchvision.models import resnet18

from sksimclr import AuroraPreprocessor, SimCLRTransformer, augmentations
from sksimclr._estimators.fingerprint import fit_fingerprint, model_fingerprint
from sksimclr._images.images import as_images
from sksimclr.augmentations import GaussianBlur, HorizontalFlip, ResizedCrop, Rotation

WITHOUT_EFFECT = {
    "callbacks",
    "checkpoint_dir",
    "checkpoint_every",
    "compile",
    "device",
    "features",
    "symmetry",
    "verbose",
    "warm_start",
}


class Factory:
    """An encoder factory with parameters and no repr."""

    def __init__(self, width, layer=nn.ReLU):
        self.width, self.layer = width, layer

    def __call__(self, n_channels):
        """Make an encoder."""
        return nn.Sequential(tiny_encoder(n_channels), self.layer())

    @classmethod
    def make(cls, n_channels):
        """Make an encoder."""
        return tiny_encoder(n_channels)


class Invert:
    """An augmentation without repr."""

    def __call__(self, images, *, generator, size):
        """Turn black to white."""
        return 1 - images


@dataclasses.dataclass(frozen=True)
class Apply:
    """An augmentation whose repr holds that of a function."""

    function: object

    def __call__(self, images, *, generator, size):
        """Do nothing."""
        return images


class Noise(nn.Module):
    """An augmentation that is a module, whose repr does not say how strong it is."""

    def __init__(self, sigma, table=(0.0,)):
        super().__init__()
        self.sigma = sigma
        self.register_buffer("table", torch.tensor(table))

    def forward(self, images, *, generator, size):
        """Add noise."""
        noise = torch.randn(images.shape, generator=generator)
        return images + self.sigma * noise

    def view(self, images, *, generator, size):
        """Add noise."""
        return self(images, generator=generator, size=size)


class Slotted:
    """An augmentation without a dictionary, with a repr that says nothing."""

    __slots__ = ("sigma",)

    def __init__(self, sigma):
        self.sigma = sigma

    def __repr__(self):
        return "Slotted()"

    def __call__(self, images, *, generator, size):
        """Multiply."""
        return images * self.sigma


def noise_function(sigma):
    """Return an augmentation that is a closure."""

    def view(images, *, generator, size):
        return images * sigma

    return view


def lambda_of(sigma):
    """Return one of two lambdas, the same but for a number in their code."""
    weak, strong = (
        lambda images, *, generator, size: images * 0.01,
        lambda images, *, generator, size: images * 5.0,
    )
    return weak if sigma < 1 else strong


def array_of(sigma):
    """Return an augmentation with an array whose repr is shortened."""
    table = np.zeros(5000)
    table[2500] = sigma
    return Apply(table)


def itself(sigma):
    """Return an augmentation that holds itself, and a module."""
    noise = Noise(sigma)
    noise.modules_ = [noise, np]
    return noise


HOLDING = {
    "module": Noise,
    "modules in a module": lambda sigma: nn.Sequential(nn.ReLU(), Noise(sigma)),
    "buffer": lambda sigma: Noise(1.0, table=(0.0,) * 2000 + (sigma,) + (0.0,) * 2000),
    "bfloat16": lambda sigma: Noise(torch.tensor([sigma], dtype=torch.bfloat16)),
    "closure": noise_function,
    "closure of a module": lambda sigma: noise_function(Noise(sigma)),
    "lambda": lambda_of,
    "default": lambda sigma: lambda images, *, generator, size, by=sigma: images * by,
    "bound method": lambda sigma: Noise(sigma).view,
    "partial": lambda sigma: functools.partial(Noise(1).view, table=Noise(sigma)),
    "array": array_of,
    "set": lambda sigma: Apply({"a", "b", "c", sigma}),
    "slots": Slotted,
    "random state": lambda sigma: Apply(np.random.default_rng(int(sigma))),
    "generator": lambda sigma: Apply(torch.Generator().manual_seed(int(sigma))),
    "wrapped": lambda sigma: functools.lru_cache(noise_function(sigma)),
    "itself": itself,
}


def make_encoder(n_channels, block=None, **options):
    """Make an encoder."""
    return tiny_encoder(n_channels)


def describe(**params):
    """Return the part of a fingerprint that a parameter has."""
    (name,) = params
    return fingerprint_of(**params)[name]


def test_every_parameter_counts_but_for_those_without_effect():
    """Also those that will be added: they are there by default."""
    names = set(SimCLRTransformer().get_params(deep=False))
    expected = names - WITHOUT_EFFECT - {"max_epochs"}
    expected |= {"X", "objective"}
    assert set(fingerprint_of()) == expected
    assert set(fingerprint_of(lr_schedule="cosine")) == expected | {"max_epochs"}


@pytest.mark.parametrize(
    "params",
    [
        {"encoder": "resnet34"},
        {"encoder": dropout_encoder},
        {"encoder": resnet18},
        {"encoder": functools.partial(make_encoder, width=8)},
        {"encoder": functools.partial(make_encoder, block=dropout_encoder)},
        {"encoder": functools.partial(make_encoder, blocks=[{"a": dropout_encoder}])},
        {"encoder": functools.partial(functools.partial(make_encoder, a=1), None, b=2)},
        {"encoder": Factory(8)},
        {"encoder": Factory(8, nn.GELU)},
        {"encoder": Factory.make},
        {"augmentations": (GaussianBlur(), HorizontalFlip(0.3), Rotation())},
        {"augmentations": [ResizedCrop(scale=(0.5, 1.0)), Invert()]},
        {"weights": Path("a") / "b.safetensors"},
        {"random_state": np.random.RandomState(3)},
        {"augmentations": (Apply(make_encoder),)},
        {"augmentations": (Noise(0.5), Noise(0.5).view, Slotted(1), Apply(Noise))},
        {"augmentations": (array_of(0.5), Apply({"a", "b", "c"}))},
        {"temperature": np.float64(0.1), "batch_size": np.int64(7)},
    ],
    ids=itertools.count(),
)
def test_fingerprint_is_the_same_in_another_process(params, tmp_path):
    """Though functions and objects lie at other addresses there."""
    found = fingerprint_of(**params)
    assert found == fingerprint_elsewhere(tmp_path / "result", **params)
    assert found != fingerprint_of()
    assert "0x" not in str(found)


def test_different_values_are_told_apart():
    """Of functions, partials, objects, augmentations and generators."""
    partial = functools.partial
    encoders = [
        tiny_encoder,
        make_encoder,
        partial(make_encoder),
        partial(make_encoder, width=8),
        partial(make_encoder, width=16),
        partial(make_encoder, block=tiny_encoder),
        partial(make_encoder, block=dropout_encoder),
        partial(make_encoder, block=Factory(8)),
        Factory(8),
        Factory(16),
        Factory(16, nn.GELU),
        Factory.make,
    ]
    assert len({describe(encoder=encoder) for encoder in encoders}) == len(encoders)
    kinds = [getattr(augmentations, name) for name in augmentations.__all__]
    kinds = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    assert len(kinds) >= 7
    chains = [(), *[(kind(),) for kind in kinds]]
    chains += [chains[1] + chains[2], chains[2] + chains[1], (HorizontalFlip(0.3),)]
    assert len({describe(augmentations=chain) for chain in chains}) == len(chains)
    states = [np.random.RandomState(seed) for seed in (0, 0, 0, 1)]
    for n_drawn, state in enumerate(states):
        state.random_sample(n_drawn)
    states += [None, 0, 1]
    assert len({describe(random_state=state) for state in states}) == len(states)


@pytest.mark.parametrize("kind", HOLDING)
def test_what_augmentations_hold_is_told_apart(kind):
    """Though their names and reprs are the same; and made again, they are the same."""
    weak, again, strong = (
        describe(augmentations=(HOLDING[kind](sigma),)) for sigma in (0.01, 0.01, 5.0)
    )
    assert weak == again != strong
    assert "0x" not in weak and len(weak) < 1000


@pytest.mark.parametrize(
    "held", [threading.Lock(), (each for each in ())], ids=["lock", "iterator"]
)
def test_what_cannot_be_compared_is_an_error(held):
    """Rather than a run that goes on with something else."""
    with pytest.raises(ValueError, match=r"needs augmentations that can be compared.*"):
        fingerprint_of(augmentations=(noise_function(held),))


def test_equal_values_of_other_types_are_one_value():
    """Lists, numpy's numbers, paths."""
    assert describe(augmentations=[ResizedCrop()]) == describe(
        augmentations=(ResizedCrop(),)
    )
    assert describe(image_shape=[8, 8]) == describe(image_shape=(8, np.int64(8)))
    assert describe(temperature=np.float64(0.1)) == describe(temperature=0.1)
    assert describe(weights=Path("a") / "b") == describe(weights=str(Path("a") / "b"))


def test_all_values_of_arrays_count_and_their_layout_does_not(rng):
    """A memory order, a view, and another byte order are the same images."""
    X = rng.random((600, 8, 8))
    base = fit_fingerprint(make_run(), as_images(X))
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.astype(">f8")):
        assert fit_fingerprint(make_run(), as_images(same)) == base
    for row in (0, 255, 256, 300, 599):
        other = X.copy()
        other[row, 3, 4] = np.nextafter(other[row, 3, 4], 2)
        assert fit_fingerprint(make_run(), as_images(other))["X"] != base["X"]


def test_lazy_images_count_by_a_sample(rng, tmp_path):
    """All of 256, of more the first, the last and some between; files by content."""
    X = rng.integers(0, 256, (600, 8, 8), dtype=np.uint8)

    def fingerprint(images):
        np.save(tmp_path / "X.npy", images)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        return fit_fingerprint(make_run(), as_images(mapped))["X"]

    base, small = fingerprint(X), fingerprint(X[:256])
    for row in (0, 599):
        other = X.copy()
        other[row, 0, 0] ^= 1
        assert fingerprint(other) != base
    for row in (1, 100, 255):
        other = X[:256].copy()
        other[row, 7, 7] ^= 1
        assert fingerprint(other) != small
    found = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.png"
        Image.fromarray(X[0]).save(path)
        found.append(fit_fingerprint(make_run(), as_images([path, path]))["X"])
    assert found[0] == found[1]


def test_shards_count(rng, tmp_path):
    """By which images on a disk are shuffled; a single one is none."""
    images = rng.integers(0, 256, (6, 5, 5), np.uint8)
    found = []
    for name, bounds in (("a", [2]), ("b", [2]), ("c", [3]), ("d", [])):
        (tmp_path / name).mkdir()
        for k, part in enumerate(np.split(images, bounds)):
            np.save(tmp_path / name / f"{k}.npy", part)
        found.append(fit_fingerprint(make_run(), as_images(Shards(tmp_path / name))))
    assert found[0] == found[1]
    assert found[0]["X"] == found[2]["X"] == found[3]["X"]
    assert found[0]["shards"] != found[2]["shards"] and "shards" not in found[3]


def test_start_weights_count():
    """To the bit."""
    images, weights = as_images(make_images()), [np.ones(3, np.float32), np.array(4)]
    found = [
        fit_fingerprint(make_run(), images, start)
        for start in (
            weights,
            [w.copy() for w in weights],
            [weights[0] + 1, weights[1]],
        )
    ]
    assert found[0] == found[1] != found[2]
    assert "weights at the start" not in fit_fingerprint(make_run(), images)


# Of fitted models


@pytest.fixture(scope="module")
def model():
    """Return a fitted pipeline with a scaler and a classifier."""
    pipe = make_pipeline(make_run(), StandardScaler(), LogisticRegression())
    return pipe.fit(make_images(), np.arange(40) % 3)


def test_model_is_known_again_after_every_way_of_saving(model, tmp_path):
    """pickle, a copy, skops, and another process, whose hashes have other seeds."""
    expected = model_fingerprint(model)
    assert model_fingerprint(pickle.loads(pickle.dumps(model))) == expected
    assert model_fingerprint(copy.deepcopy(model)) == expected
    skops.io.dump(model, tmp_path / "model.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    loaded = skops.io.load(tmp_path / "model.skops", trusted=types)
    assert model_fingerprint(loaded) == expected
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys\n"
        "from sksimclr._estimators.fingerprint import model_fingerprint\n"
        f"print(model_fingerprint(pickle.load(open({str(path)!r}, 'rb'))))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout.strip() == expected


def test_model_does_not_depend_on_what_predicts_nothing(model):
    """Where it runs, how long it took, and what it shows meanwhile."""
    expected = model_fingerprint(model)
    changed = copy.deepcopy(model)
    changed[0].set_params(device="auto", verbose=1, callbacks=[])
    changed[0].history_ = []
    changed.set_params(memory="somewhere", verbose=True)
    assert model_fingerprint(changed) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda pipe: pipe[0].encoder_[0].weight.data.mul_(1 + 1e-6),
        lambda pipe: pipe[0].encoder_[1].running_mean.add_(1e-6),
        lambda pipe: pipe[0].set_params(image_size=9),
        lambda pipe: pipe[1].mean_.__iadd__(1e-9),
        lambda pipe: pipe[2].coef_.__imul__(1 + 1e-6),
        lambda pipe: setattr(pipe[2], "classes_", np.array([0, 2, 1])),
        lambda pipe: pipe.steps.pop(1),
    ],
    ids=["weight", "statistic", "size", "mean", "coefficient", "classes", "step"],
)
def test_model_depends_on_all_that_predicts(model, change):
    """The smallest change of a number, an order or a step."""
    changed = copy.deepcopy(model)
    change(changed)
    assert model_fingerprint(changed) != model_fingerprint(model)


def test_models_with_the_same_digits_differ():
    """Where one number ends and the next begins counts."""
    found = [
        model_fingerprint(AuroraPreprocessor(center=center))
        for center in [(1, 23), (12, 3), (123,)]
    ]
    assert len(set(found)) == 3


def test_models_of_compiled_classes_differ():
    """Trees keep what they learnt where only pickle sees it."""
    X, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    first = DecisionTreeClassifier(random_state=0).fit(X, y)
    same = pickle.loads(pickle.dumps(first))
    other = DecisionTreeClassifier(random_state=0).fit(X, y)
    other.tree_.threshold[0] += 0.5
    assert model_fingerprint(same) == model_fingerprint(first)
    assert model_fingerprint(other) != model_fingerprint(first)


def test_read_out_counts_for_a_model_but_not_for_its_training(model):
    """A catalogue of other embeddings is another one; a training run goes on."""
    found = {model_fingerprint(model)}
    for params in ({"features": "stages"}, {"symmetry": "flips"}):
        changed = copy.deepcopy(model)
        changed[0].set_params(**params)
        found.add(model_fingerprint(changed))
        assert fingerprint_of(**params) == fingerprint_of()
    assert len(found) == 3
    assert fingerprint_of(width=32) != fingerprint_of()
