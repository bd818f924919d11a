"""Training that goes on: partial_fit and warm_start."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from tiny import tiny_encoder, tiny_simclr
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from sksimclr import SimCLRTransformer
from sksimclr.augmentations import GaussianNoise, ResizedCrop

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
)
TIMES = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def images():
    """Forty noisy images of 8 x 8 pixels: batches of 16, 16 and 8."""
    return np.random.default_rng(0).random((40, 8, 8), dtype=np.float32)


def dropout_encoder(n_channels):
    """Return a network that draws from torch's global generator."""
    return nn.Sequential(*tiny_encoder(n_channels), nn.Dropout(0.5))


def outcome(simclr):
    """Return what must be equal: weights and statistics as bytes, and the history."""
    weights = {
        f"{name}.{key}": values.numpy().tobytes()
        for name in ("encoder", "projector")
        for key, values in getattr(simclr, f"{name}_").state_dict().items()
    }
    rows = [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in simclr.history_
    ]
    return weights, rows, simclr.n_iter_, simclr.image_size_


# partial_fit


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"encoder": dropout_encoder},
        {"batch_size": 13},  # and a last batch of one image, which is left out
        {"precision": "bfloat16"},
        {"callbacks": [LRScheduler(StepLR, step_size=2, gamma=0.5)]},
        {"callbacks": [LRScheduler(StepLR, step_size=4, step_every="batch")]},
        {"callbacks": [LRScheduler(ReduceLROnPlateau, patience=0, threshold=0.1)]},
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("pickled", [False, True])
def test_n_times_partial_fit_equals_fit(images, params, pickled):
    """To the bit, also if it is pickled between the calls."""
    params = {"lr": 0.01, "augmentations": (ResizedCrop(),)} | params
    whole = tiny_simclr(max_epochs=3, **params).fit(images)
    simclr = tiny_simclr(**params)
    for n in range(1, 4):
        simclr.partial_fit(images)
        assert simclr.n_iter_ == len(simclr.history_) == n
        if pickled:
            simclr = pickle.loads(pickle.dumps(simclr))
    assert outcome(simclr) == outcome(whole)
    assert [row["epoch"] for row in simclr.history_] == [1, 2, 3]
    assert_array_equal(simclr.transform(images), whole.transform(images))


def test_partial_fit_ignores_what_concerns_whole_fits(images, tmp_path):
    """A schedule over all epochs, their number, and checkpoints."""
    params = {"lr_schedule": "cosine", "max_epochs": 7, "checkpoint_dir": tmp_path}
    simclr = tiny_simclr(**params).partial_fit(images)
    assert outcome(simclr) == outcome(tiny_simclr().fit(images))
    assert list(tmp_path.iterdir()) == []


def test_partial_fit_on_chunks_of_different_lengths(images):
    """The optimizer goes on: its steps are those of all chunks together."""
    chunks = (images[:20], images[20:22], images[22:])
    simclr = tiny_simclr(lr=0.01)
    for chunk in chunks:
        simclr.partial_fit(chunk)
    steps = {int(s["step"]) for s in simclr._state["optimizer"]["state"].values()}
    assert steps == {2 + 1 + 2}
    assert simclr.transform(images).shape == (40, 8)
    again = tiny_simclr(lr=0.01)
    for chunk in chunks:
        again.partial_fit(chunk)
    assert outcome(again) == outcome(simclr)
    assert len({row["loss"] for row in simclr.history_}) == 3


class Fail(Callback):
    """Raise an error, or what Ctrl-C raises, in the middle of an epoch."""

    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, **kwargs):
        """Raise it after the second batch."""
        if len(net.history[-1, "batches"]) == 2:
            raise self.error


@pytest.mark.parametrize("error", [OSError("no disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("n_before", [0, 2])
def test_partial_fit_that_fails_leaves_all_as_it_was(images, error, n_before):
    """Also the state of the optimizer: what follows is equal."""
    simclr, expected = tiny_simclr(lr=0.01), tiny_simclr(lr=0.01)
    for _ in range(n_before):
        simclr.partial_fit(images)
        expected.partial_fit(images)
    simclr.set_params(callbacks=[Fail(error)])
    before = {name: id(value) for name, value in vars(simclr).items()}
    with pytest.raises(type(error)):
        simclr.partial_fit(images)
    assert {name: id(value) for name, value in vars(simclr).items()} == before
    assert hasattr(simclr, "encoder_") == (n_before > 0)
    simclr.set_params(callbacks=None).partial_fit(images)
    assert outcome(simclr) == outcome(expected.partial_fit(images))


@pytest.mark.parametrize("shape", [(40, 8, 9), (40, 8, 8, 3), (40, 16, 16)])
def test_partial_fit_on_other_images_is_an_error(images, shape):
    """It says which shape is expected, and nothing changes."""
    simclr = tiny_simclr().partial_fit(images)
    before = outcome(simclr)
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        simclr.partial_fit(np.zeros(shape))
    with pytest.raises(ValueError, match="at least 2"):
        simclr.partial_fit(images[:1])
    assert outcome(simclr) == before


def test_fit_then_partial_fit_goes_on_from_its_weights(images):
    """With a learning rate of almost nothing, it stays there; epochs count on."""
    simclr = tiny_simclr(max_epochs=2, lr=0.05).fit(images)
    weights = copy.deepcopy(simclr.encoder_[0].weight.detach())
    start = tiny_simclr(max_epochs=0).fit(images).encoder_[0].weight
    simclr.set_params(lr=1e-9).partial_fit(images)
    moved = (simclr.encoder_[0].weight - weights).abs().max()
    assert moved < 1e-7 < 0.01 < (weights - start).abs().max()
    assert [row["epoch"] for row in simclr.history_] == [1, 2, 3]
    assert simclr.n_iter_ == 3


def test_fit_forgets_partial_fits(images):
    """It equals the fit of a clone, and the optimizer's state is gone."""
    simclr = tiny_simclr().partial_fit(images).partial_fit(images)
    assert hasattr(simclr, "_state")
    fresh = tiny_simclr().fit(images)
    assert outcome(simclr.fit(images)) == outcome(fresh)
    assert set(vars(simclr)) == set(vars(fresh))


def test_pickles_hold_the_optimizer_between_partial_fits_alone():
    """Two numbers for each weight of Adam; one encoder, not two. Here of ResNet18."""
    images = np.random.default_rng(0).random((4, 8, 8), dtype=np.float32)
    params = {"image_size": 8, "random_state": 0, "device": "cpu"}
    simclr = SimCLRTransformer(max_epochs=1, **params)
    networks = simclr.partial_fit(images).encoder_, simclr.projector_
    n_bytes = sum(p.nbytes for net in networks for p in net.state_dict().values())
    pickled = pickle.dumps(simclr)
    assert len(pickled) == pytest.approx(3 * n_bytes, rel=0.01)
    further = pickle.loads(pickled).partial_fit(images)
    assert len(pickle.dumps(simclr.fit(images))) == pytest.approx(n_bytes, rel=0.01)
    whole = SimCLRTransformer(max_epochs=2, **params).fit(images)
    assert outcome(further) == outcome(whole)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_lr_and_weight_decay_may_change_between_partial_fits(images, optimizer):
    """They take effect from then on; what the optimizer has learnt stays."""
    simclr = tiny_simclr(lr=0.01, optimizer=optimizer).partial_fit(images)
    unchanged = copy.deepcopy(simclr).partial_fit(images)
    weights = simclr.projector_[0].weight.detach().clone()
    state = simclr._state["optimizer"]["state"]
    moments = copy.deepcopy(state)
    simclr.set_params(lr=1e-12, weight_decay=0.25).partial_fit(images)
    assert [row["lr"] for row in simclr.history_] == [0.01, 1e-12]
    assert simclr._state["optimizer"]["param_groups"][0]["weight_decay"] == 0.25
    torch.testing.assert_close(simclr.projector_[0].weight, weights, atol=1e-9, rtol=0)
    simclr.set_params(lr=0.01, weight_decay=0.0).partial_fit(images)
    assert [row["lr"] for row in simclr.history_] == [0.01, 1e-12, 0.01]
    steps = [
        int(s["step"])
        for s in simclr._state["optimizer"]["state"].values()
        if "step" in s
    ]
    assert set(steps) == ({9} if optimizer == "adam" else set())
    assert outcome(unchanged)[0] != outcome(simclr)[0]
    assert {k: str(v) for k, v in state.items()} == {
        k: str(v) for k, v in moments.items()
    }


def test_another_optimizer_between_partial_fits_starts_anew(images):
    """From the weights that there are; draws of images and views go on differently."""
    simclr = tiny_simclr(lr=0.01).partial_fit(images).set_params(optimizer="sgd")
    simclr.partial_fit(images)
    assert "momentum" in simclr._state["optimizer"]["param_groups"][0]
    after_fit = tiny_simclr(lr=0.01).fit(images).set_params(optimizer="sgd")
    assert outcome(simclr) == outcome(after_fit.partial_fit(images))


def test_other_parameters_may_change_between_partial_fits(images):
    """Batches, views and temperature; `image_size_` is that of the last call."""
    simclr = tiny_simclr().partial_fit(images)
    simclr.set_params(
        batch_size=20, image_size=12, temperature=0.1, augmentations=(GaussianNoise(),)
    ).partial_fit(images)
    assert simclr.image_size_ == 12 and simclr.n_iter_ == 2
    assert {int(s["step"]) for s in simclr._state["optimizer"]["state"].values()} == {5}


def test_callbacks_go_on_between_partial_fits(images):
    """What they have learnt is kept, as within one fit."""
    stopper = EarlyStopping(monitor="train_loss", patience=9, threshold=10.0)
    simclr = tiny_simclr(callbacks=[stopper])
    for _ in range(4):
        simclr.partial_fit(images)
    assert simclr._state["callbacks"]["EarlyStopping"]["misses_"] == 3
    assert stopper.misses_ == 0


def test_clone_of_a_partially_fitted_one_starts_anew(images):
    """It has neither weights nor state."""
    simclr = tiny_simclr().partial_fit(images).partial_fit(images)
    fresh = tiny_simclr().partial_fit(images)
    assert outcome(clone(simclr).partial_fit(images)) == outcome(fresh)


# warm_start


class Views(Callback):
    """Note the order of the images and the views that were drawn from them."""

    def __init__(self):
        self.images, self.draws = [], []

    def on_batch_begin(self, net, batch=None, **kwargs):
        """Look at the first pixels, and at the generator of the views."""
        self.images.append(batch[0][:, 0, 0, 0].tolist())
        self.draws.append(net.module_.generator.get_state().numpy().tobytes())

    def __deepcopy__(self, memo):
        """Stay the same object."""
        return self


def test_first_fit_with_warm_start_is_a_plain_one(images):
    """To the bit."""
    warm = tiny_simclr(max_epochs=2, warm_start=True).fit(images)
    assert outcome(warm) == outcome(tiny_simclr(max_epochs=2).fit(images))


def test_warm_start_goes_on_from_the_weights_with_other_draws(images):
    """History accumulates; the order of the images and their views are new ones."""
    log = Views()
    params = {"augmentations": (ResizedCrop(),), "lr": 0.01}
    simclr = tiny_simclr(max_epochs=2, warm_start=True, callbacks=[log], **params)
    first = copy.deepcopy(simclr.fit(images))
    simclr.fit(images)
    assert [row["epoch"] for row in simclr.history_] == [1, 2, 3, 4]
    assert simclr.n_iter_ == 4
    assert simclr.history_[:2] == first.history_
    n = 2 * 3  # batches of a fit
    assert len(log.images) == 2 * n
    assert log.images[:3] != log.images[n : n + 3]
    assert not set(log.draws[:n]) & set(log.draws[n:])
    # and is it reproducible?
    again = tiny_simclr(max_epochs=2, warm_start=True, **params).fit(images).fit(images)
    assert outcome(again) == outcome(simclr)
    # with next to no learning rate, nothing moves
    before = simclr.encoder_[0].weight.detach().clone()
    simclr.set_params(lr=1e-12).fit(images)
    torch.testing.assert_close(simclr.encoder_[0].weight, before, atol=1e-9, rtol=0)
    assert outcome(simclr)[0] != outcome(first)[0]


def test_warm_start_has_a_new_optimizer(images):
    """A change of it is no problem, and nothing of it stays in the estimator."""
    seen = []

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append((type(net.optimizer_), len(net.optimizer_.state)))

    simclr = tiny_simclr(warm_start=True, callbacks=[Look()])
    simclr.partial_fit(images).fit(images).set_params(optimizer="sgd").fit(images)
    kinds = [torch.optim.Adam, torch.optim.Adam, torch.optim.SGD]
    assert seen == [(kind, 0) for kind in kinds]
    assert not hasattr(simclr, "_state")
    # what `partial_fit` left in the optimizer is of no effect
    other = tiny_simclr(warm_start=True).fit(images).fit(images)
    expected = tiny_simclr(warm_start=True).partial_fit(images).fit(images)
    assert outcome(other) == outcome(expected)


def test_warm_start_with_growing_images(images):
    """Progressive sizes: `transform` then resizes to the last one."""
    simclr = tiny_simclr(image_size=4, warm_start=True).fit(images)
    sizes = []

    class Sizes(nn.Module):
        def forward(self, views):
            sizes.append(views.shape[2:])
            return views

    simclr.encoder_.insert(0, Sizes())
    simclr.set_params(image_size=16).fit(images)
    assert set(sizes) == {(16, 16)} and simclr.image_size_ == 16
    sizes.clear()
    assert simclr.transform(images).shape == (40, 8)
    assert set(sizes) == {(16, 16)}


def test_warm_start_keeps_the_networks_it_has(images):
    """Parameters that describe new ones are without effect."""
    simclr = tiny_simclr(warm_start=True).fit(images)
    simclr.set_params(encoder="resnet18", projection_dim=5, stem="cifar").fit(images)
    assert simclr.transform(images).shape == (40, 8)
    assert simclr.projector_[2].out_features == 64
    assert simclr.set_params(max_epochs=0).fit(images).n_iter_ == 2


@pytest.mark.parametrize("shape", [(40, 8, 8, 3), (40, 8, 9)])
def test_warm_start_on_other_images_is_an_error(images, shape):
    """It names both shapes, and the estimator stays as it was."""
    simclr = tiny_simclr(warm_start=True).fit(images)
    before = outcome(simclr)
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        simclr.fit(np.zeros(shape))
    assert outcome(simclr) == before
    assert simclr.image_shape_ == (8, 8)


def test_without_warm_start_every_fit_is_the_first(images):
    """Also after others: equal to a fresh one, of images of any shape."""
    simclr = tiny_simclr().fit(np.zeros((4, 6, 6, 3))).fit(images)
    assert outcome(simclr.fit(images)) == outcome(tiny_simclr().fit(images))


def test_warm_start_that_fails_leaves_all_as_it_was(images):
    """Networks are trained as copies."""
    simclr = tiny_simclr(warm_start=True, lr=0.01).fit(images)
    expected = copy.deepcopy(simclr)
    simclr.set_params(callbacks=[Fail(OSError("no disk"))])
    with pytest.raises(OSError, match="no disk"):
        simclr.fit(images)
    assert outcome(simclr) == outcome(expected)
    assert outcome(simclr.set_params(callbacks=None).fit(images)) == outcome(
        expected.fit(images)
    )
