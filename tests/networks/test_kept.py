"""Copies of networks that are kept from call to call."""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from random_network import random_network
from sklearn.base import clone
from tiny import tiny_simclr
from torch import nn

from sksimclr._engine.embedding import embed
from sksimclr._estimators.fingerprint import model_fingerprint
from sksimclr._images.images import as_images
from sksimclr._networks import kept
from sksimclr._networks.kept import fast_copy

CPU = torch.device("cpu")
SHAPE = (4, 1, 32, 32)


class Owner:
    """Something that owns a network."""


def slim_resnet18():
    """Return a ResNet18 for small grey images, with a layer of dropout."""
    network = random_network("resnet18")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.layer3, network.layer4 = nn.Identity(), nn.Dropout()
    network.fc = nn.Identity()
    return network.eval()


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Begin and end without copies."""
    monkeypatch.setattr(kept, "_kept", {})


def embed_with(owner, network, X, image_size=32, **params):
    """Embed with a kept copy, or with a new one if there is no owner."""
    params = {"image_size": image_size, "device": CPU, "owner": owner} | params
    return embed(network, as_images(X), **params)


def optimizer_step(network):
    """Change the weights as training does."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.ones(SHAPE)).sum().backward()
    optimizer.step()


def load_others(network):
    """Load the weights of another network."""
    other = random_network("resnet18", seed=1).state_dict()
    names = network.state_dict().keys() - {"conv1.weight"}
    network.load_state_dict({name: other[name] for name in names}, strict=False)


def by_data(network):
    """Change weights behind torch's back, which counts no such change."""
    before = network.layer1[0].conv1.weight._version
    network.layer1[0].conv1.weight.data[3] += 1.0
    assert network.layer1[0].conv1.weight._version == before


def by_numpy(network):
    """Change statistics through a view of NumPy."""
    network.layer2[1].bn2.running_var.numpy()[:] *= 2


def other_data(network):
    """Put other values into a parameter."""
    network.layer1[1].bn1.bias.data = torch.ones(64)


def other_strides(network):
    """Let a weight read the bytes that it has in another order."""
    weight = network.layer1[0].conv2.weight
    weight.data = weight.data.transpose(2, 3)


def flipped(network):
    """Keep all values of a weight, in another order."""
    weight = network.layer1[0].conv2.weight
    weight.data = weight.data.flip(-1)


def other_layer(network):
    """Replace a layer."""
    network.layer2[0].relu = nn.Tanh()


def other_stride(network):
    """Set an attribute of a layer."""
    network.maxpool.stride = 1


def other_eps(network):
    """Set a number of a layer."""
    network.bn1.eps = 0.5


def hooked(network):
    """Register a hook."""
    network.layer1.register_forward_hook(lambda layer, args, result: result * 2)


def own_forward(network):
    """Give a layer another forward."""
    network.layer2.forward = lambda maps: maps.repeat(1, 2, 1, 1)


CHANGES = [
    optimizer_step,
    load_others,
    by_data,
    by_numpy,
    other_data,
    other_strides,
    flipped,
    other_layer,
    other_stride,
    other_eps,
    hooked,
    own_forward,
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_a_network_goes_unseen(change, rng):
    """Whether torch counts it or not: the embeddings are those of a new copy."""
    network, owner = slim_resnet18(), Owner()
    X = rng.random((3, 32, 32), np.float32)
    before = embed_with(owner, network, X)
    assert_array_equal(embed_with(owner, network, X), before)
    change(network)
    changed = embed_with(owner, network, X)
    assert_array_equal(changed, embed_with(None, network, X))
    assert not np.allclose(changed, before)


def test_an_unchanged_network_is_copied_once():
    """For a shape of batches; another one, or another owner, has its own copy."""
    network, owner, other = slim_resnet18(), Owner(), Owner()
    first = fast_copy(owner, network, SHAPE, CPU)
    assert fast_copy(owner, network, SHAPE, CPU) is first
    assert fast_copy(other, network, SHAPE, CPU) is not first
    assert fast_copy(owner, copy.deepcopy(network), SHAPE, CPU) is first
    assert fast_copy(owner, network, (8, 1, 32, 32), CPU) is not first
    assert len(kept._kept) == 2
    assert fast_copy(None, network, SHAPE, CPU) is not first


class Counting(nn.Module):
    """A layer of a stranger, which may keep what it likes."""

    n_calls = 0

    def forward(self, images):
        """Return other features in each call."""
        self.n_calls += 1
        return images.flatten(1) * self.n_calls


def test_layers_that_may_keep_something_begin_anew_in_each_call(rng):
    """Their networks are not kept."""
    X, owner = rng.random((3, 8, 8), np.float32), Owner()
    for _ in range(2):
        got = embed_with(owner, Counting(), X, image_size=8)
        assert_array_equal(got, X.reshape(3, 64))
    assert not kept._kept


def test_a_copy_dies_with_its_owner():
    """And the oldest ones when there are many."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2))
    owners = [Owner() for _ in range(kept._N_KEPT + 3)]
    copies = [fast_copy(owner, network, SHAPE, CPU) for owner in owners]
    assert list(kept._kept) == [id(owner) for owner in owners[3:]]
    assert fast_copy(owners[-1], network, SHAPE, CPU) is copies[-1]
    assert fast_copy(owners[0], network, SHAPE, CPU) is not copies[0]
    del owners
    gc.collect()
    assert not kept._kept


def test_nothing_of_it_is_in_the_estimator(rng):
    """In pickles, copies, clones or fingerprints."""
    simclr = tiny_simclr(encoder="resnet18", width=16, max_epochs=0, image_size=32)
    X = rng.random((4, 32, 32), np.float32)
    simclr.fit(X)
    found = pickle.dumps(simclr), model_fingerprint(simclr), set(vars(simclr))
    expected = simclr.transform(X)
    assert kept._kept
    assert found == (pickle.dumps(simclr), model_fingerprint(simclr), set(vars(simclr)))
    for other in (copy.deepcopy(simclr), pickle.loads(found[0]), clone(simclr).fit(X)):
        assert id(other) not in kept._kept
        assert_array_equal(other.transform(X), expected)


@pytest.mark.parametrize("features", ["last", "stages"])
def test_transform_makes_one_copy(features, rng, monkeypatch):
    """Until it is fitted anew."""
    made = []
    make = kept.inference_copy
    monkeypatch.setattr(
        kept, "inference_copy", lambda *args: made.append(args) or make(*args)
    )
    simclr = tiny_simclr(
        encoder="resnet18", width=16, max_epochs=0, image_size=32, features=features
    )
    X = rng.random((4, 32, 32), np.float32)
    simclr.fit(X)
    for n_images in (4, 1, 2):
        simclr.transform(X[:n_images])
    assert len(made) == 1
    before = simclr.transform(X)
    assert not np.allclose(
        simclr.set_params(random_state=5).fit(X).transform(X), before
    )
    assert len(made) == 2


def test_threads_share_a_copy(rng):
    """And get the same bits."""
    network, owner = slim_resnet18(), Owner()
    X = rng.random((9, 32, 32), np.float32)
    expected = embed_with(None, network, X)
    results = [None] * 8

    def run(k):
        results[k] = embed_with(owner, network, X)

    threads = [threading.Thread(target=run, args=[k]) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert_array_equal(result, expected)
    assert len(kept._kept) == 1


# Few images


class ByBatch(nn.Module):
    """A layer whose results depend on the size of the batch, as rounding may."""

    __module__ = "torch.nn"

    def forward(self, images):
        """Return rows."""
        return images.flatten(1) * (1 + len(images) / 1000)


@pytest.mark.parametrize("network", [slim_resnet18(), ByBatch()])
def test_few_images_have_the_same_bits_in_every_call(network, rng):
    """One by one where that is the same, padded where it is not."""
    owner = Owner()
    X = rng.random((20, 32, 32), np.float32)
    together = embed_with(owner, network, X, batch_size=16)
    for n_images in (1, 2, 3, 17, 18, 1):
        got = embed_with(owner, network, X[:n_images], batch_size=16)
        assert_array_equal(got, together[:n_images])
    (_, only), *others = kept._kept.values()
    assert not others
    same_sizes = () if isinstance(network, ByBatch) else (1, 2)
    assert only.copy.same_sizes == same_sizes


def test_few_images_run_alone(rng, monkeypatch):
    """Or in smaller batches, once it is known that they may."""
    owner, sizes = Owner(), []
    network = nn.Sequential(nn.ReLU(), nn.Flatten())
    X = rng.random((3, 32, 32), np.float32)
    embed_with(owner, network, X, batch_size=32)
    (_, only) = kept._kept[id(owner)]
    assert only.copy.same_sizes == (1, 4)
    run = only.copy.network
    only.copy.network = lambda images: sizes.append(len(images)) or run(images)
    many = np.repeat(X, 10, axis=0)
    for n_images, expected in ((1, [1]), (3, [4]), (9, [4, 4, 4]), (30, [32])):
        sizes.clear()
        got = embed_with(owner, network, many[:n_images], batch_size=32)
        assert sizes == expected
        assert_array_equal(got, many[:n_images].reshape(n_images, -1))
