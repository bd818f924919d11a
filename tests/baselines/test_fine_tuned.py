"""Training a pretrained encoder further, with labels."""

import copy
import pickle
import threading
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from random_network import random_network
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback, LRScheduler
from tiny import flat_encoder, tiny_encoder, tiny_fine_tuned, tiny_simclr
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR

from sksimclr import AuroraPreprocessor
from sksimclr._machine.random import spawn_seeds
from sksimclr.augmentations import ResizedCrop, VerticalFlip
from sksimclr.baselines import FineTunedClassifier, _fine_tuned

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # of SimCLR, which runs few steps
)


@pytest.fixture(scope="module")
def digits():
    """One hundred and twenty digits, 8 x 8 pixels in [0, 1], and their labels."""
    images, target = load_digits(return_X_y=True)
    return images[:120].reshape(-1, 8, 8).astype(np.float32) / 16, target[:120]


@pytest.fixture(scope="module")
def simclr(digits):
    """Return a SimCLRTransformer that keeps where things are, after two epochs."""
    return tiny_simclr(encoder=flat_encoder, max_epochs=2, lr=0.01).fit(digits[0])


def weights_of(module):
    """Return a copy of the weights of a network."""
    return {name: t.clone() for name, t in module.state_dict().items()}


def assert_same_weights(first, second):
    """Compare two states of a network to the bit."""
    assert list(first) == list(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def weights_with(weight):
    """Return weights of the digits, with this one for threes."""
    return dict.fromkeys(range(10), 1.0) | {3: weight}


class RowLog(Callback):
    """Note which images were in the batches of training, and of validation."""

    def __init__(self, X):
        self.X = X
        self.rows = {True: [], False: []}

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Find the images of the batch in X."""
        for image in batch[0][:, 0].numpy():
            same = (self.X == image).all(axis=(1, 2))
            self.rows[training].append(int(np.flatnonzero(same)[0]))

    def on_batch_end(self, net, training=False, **kwargs):
        """Check the mode of the network."""
        assert net.module_.training == training

    def __deepcopy__(self, memo):
        """Stay the same object, so that the test sees what was noted."""
        return self


# What it computes


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.2, 2: 3.0}])
def test_one_step_equals_a_hand_written_one(class_weight, rng):
    """One view, weighted cross entropy and Adam, from the same seeds, torch alone."""
    X, y = rng.random((30, 8, 8), dtype=np.float32), np.repeat([0, 1, 2], [5, 10, 15])
    log = RowLog(X)
    fitted = tiny_fine_tuned(
        augmentations=(VerticalFlip(),),
        class_weight=class_weight,
        max_epochs=1,
        batch_size=30,
        lr_schedule=None,
        callbacks=[log],
    ).fit(X, y)

    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    encoder_seed, head_seed, _, view_seed, _ = spawn_seeds(seed, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(encoder_seed)
        encoder = flat_encoder(3)
        torch.manual_seed(head_seed)
        head = nn.Linear(16, 3)
    rows = log.rows[True]
    assert sorted(rows) == list(range(30)) != rows
    view = torch.from_numpy(X[rows][:, None])
    flipped = torch.rand(30, generator=torch.Generator().manual_seed(view_seed)) < 0.5
    view[flipped] = view[flipped].flip(-2)
    weight = None
    if class_weight:
        weight = torch.tensor(
            compute_class_weight(class_weight, classes=np.arange(3), y=y)
        ).float()
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-2)
    logits = head(encoder(view.expand(-1, 3, -1, -1)))
    loss = F.cross_entropy(logits, torch.from_numpy(y)[rows], weight=weight)
    loss.backward()
    optimizer.step()
    assert fitted.history_[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    ours = dict(fitted.network_.named_parameters())
    expected = [*encoder.parameters(), *head.parameters()]
    for (name, parameter), other in zip(ours.items(), expected, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.0, 1: 0.1, 2: 3.0}])
@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_losses_do_not_depend_on_how_images_are_batched(class_weight, batch_size, rng):
    """Weighted sums over sums of weights, of training and of the part held out."""
    X, y = rng.random((60, 8, 8), dtype=np.float32), np.repeat([0, 1, 2], [40, 15, 5])
    log = RowLog(X)
    fitted = tiny_fine_tuned(
        encoder=nothing_to_norm,
        class_weight=class_weight,
        max_epochs=1,
        batch_size=batch_size,
        lr=1e-12,  # one network in all of the epoch
        optimizer="sgd",
        early_stopping=True,
        validation_fraction=0.4,
        callbacks=[log],
    ).fit(X, y)
    weight = compute_class_weight(class_weight, classes=np.arange(3), y=y)
    (row,) = fitted.history_
    for name, rows in [("loss", log.rows[True]), ("valid_loss", log.rows[False])]:
        chosen = fitted.predict_proba(X[rows])[np.arange(len(rows)), y[rows]]
        expected = np.average(-np.log(chosen), weights=weight[y[rows]])
        assert row[name] == pytest.approx(expected, rel=1e-5)


def test_batches_without_weight_change_nothing(rng):
    """The loss of a batch of classes of weight 0 is 0, and not NaN."""
    X, y = rng.random((20, 8, 8), dtype=np.float32), np.arange(20) % 10 // 9
    fitted = tiny_fine_tuned(class_weight={0: 0.0, 1: 1.0}, batch_size=2, max_epochs=2)
    fitted.fit(X, y)
    assert np.isfinite([row["loss"] for row in fitted.history_]).all()
    assert np.isfinite(fitted.predict_proba(X)).all()
    with pytest.raises(ValueError, match="above 0 in class_weight, got 0 for all of"):
        fitted.set_params(early_stopping=True).fit(X, y)


def test_weights_of_classes_are_those_of_scikit_learn(rng, monkeypatch):
    """In the order of sorted string labels; none given, none used."""
    seen = []

    def note(network, images, targets, rows, fine_tuning, plan):
        seen.append(fine_tuning.class_weight)
        return []

    monkeypatch.setattr(_fine_tuned, "fine_tune", note)
    X, y = rng.random((12, 8, 8)), np.repeat(["moon", "arc", "cloudy"], [2, 4, 6])
    for class_weight in ("balanced", {"moon": 5.0, "arc": 0.5}, None):
        tiny_fine_tuned(class_weight=class_weight).fit(X, y)
    assert_allclose(seen[0], [12 / 3 / 4, 12 / 3 / 6, 12 / 3 / 2])
    assert_allclose(seen[1], [0.5, 1.0, 5.0])
    assert seen[2] is None


def test_it_learns(digits):
    """Its loss falls, and it knows most digits that it did not see."""
    images, target = load_digits(return_X_y=True)
    images = images[:500].reshape(-1, 8, 8) / 16
    classifier = tiny_fine_tuned(max_epochs=10, batch_size=32)
    classifier.fit(images[:350], target[:350])
    losses = [row["loss"] for row in classifier.history_]
    assert losses[-1] < 0.3 * losses[0]
    assert classifier.score(images[350:], target[350:500]) > 0.75  # chance is 0.1


def test_augmentations_are_for_training_alone(digits):
    """Prediction sees whole images, upright, resized as everywhere."""
    X, y = digits
    classifier = tiny_fine_tuned(
        augmentations=(ResizedCrop(scale=(0.3, 0.4)), VerticalFlip(p=1.0)), max_epochs=1
    ).fit(X, y)
    with torch.no_grad():
        logits = classifier.network_(torch.from_numpy(X)[:, None])
    expected = logits.softmax(dim=1).numpy()
    assert_allclose(classifier.predict_proba(X), expected, rtol=1e-4, atol=1e-6)


def test_probabilities_sum_to_one_and_agree_with_predictions(digits):
    """In the order of the sorted classes; string labels come back as such."""
    X, names = digits[0], np.array([f"digit {k}" for k in digits[1]])
    classifier = tiny_fine_tuned(max_epochs=3).fit(X, names)
    assert_array_equal(classifier.classes_, [f"digit {k}" for k in range(10)])
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (120, 10) and probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    best = classifier.classes_[probabilities.argmax(axis=1)]
    assert_array_equal(classifier.predict(X), best)
    assert classifier.score(X, names) == np.mean(best == names) > 0.3
    by_number = tiny_fine_tuned(max_epochs=3).fit(X, digits[1])
    assert_array_equal(by_number.predict_proba(X), probabilities)


def test_probabilities_do_not_depend_on_the_batch(digits):
    """To the bit."""
    classifier = tiny_fine_tuned(max_epochs=1).fit(*digits)
    together = classifier.predict_proba(digits[0])
    assert_array_equal(classifier.predict_proba(digits[0][50:53]), together[50:53])
    assert_array_equal(classifier.predict_proba(digits[0][::-1]), together[::-1])


def test_history_has_a_row_for_each_epoch(digits):
    """With a validation loss only where there is one."""
    for stopping, columns in [(False, []), (True, ["valid_loss"])]:
        classifier = tiny_fine_tuned(max_epochs=3, early_stopping=stopping).fit(*digits)
        assert [row["epoch"] for row in classifier.history_] == [1, 2, 3]
        assert classifier.n_iter_ == 3
        for row in classifier.history_:
            assert list(row) == [
                *("epoch", "loss", *columns, "lr", "seconds", "images_per_second")
            ]
            n_images = row["images_per_second"] * row["seconds"]
            assert n_images == pytest.approx(108 if stopping else 120)


# Early stopping


@pytest.fixture(scope="module")
def noise():
    """Return sixty images of noise with labels that mean nothing."""
    rng = np.random.default_rng(0)
    return rng.random((60, 8, 8), dtype=np.float32), np.arange(60) % 3


def test_early_stopping_keeps_the_best_weights(noise):
    """Those whose loss on the held-out part, computed by hand, was lowest."""
    X, y = noise
    log = RowLog(X)
    classifier = tiny_fine_tuned(
        augmentations=(VerticalFlip(p=1.0),),  # not of the held-out part
        early_stopping=True,
        validation_fraction=0.4,
        n_iter_no_change=4,
        max_epochs=60,
        callbacks=[log],
    ).fit(X, y)
    losses = [row["valid_loss"] for row in classifier.history_]
    assert classifier.n_iter_ == len(losses) < 60
    assert int(np.argmin(losses)) == len(losses) - 1 - 4
    held_out = log.rows[False][:24]
    assert sorted(set(log.rows[False])) == sorted(held_out)
    assert not set(held_out) & set(log.rows[True])
    assert len(set(log.rows[True])) == 36
    chosen = classifier.predict_proba(X[held_out])[np.arange(24), y[held_out]]
    assert -np.log(chosen).mean() == pytest.approx(min(losses), rel=1e-4)
    assert losses[-1] > 1.01 * min(losses)  # the last weights are not the best


def test_small_gains_are_gains(digits):
    """Training goes on as long as the validation loss falls, however little."""
    classifier = tiny_fine_tuned(
        early_stopping=True, n_iter_no_change=1, max_epochs=8, lr=1e-7, optimizer="sgd"
    )
    X = np.stack([np.zeros((8, 8)), np.ones((8, 8))] * 20)
    classifier.set_params(encoder=nothing_to_norm, lr_schedule=None)
    classifier.fit(X, np.arange(40) % 2)
    losses = np.array([row["valid_loss"] for row in classifier.history_])
    assert len(losses) == 8
    assert (0 < -np.diff(losses)).all() and (-np.diff(losses) < 5e-5).all()


def nothing_to_norm(n_channels):
    """Return an encoder without batch normalisation."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * n_channels, 4))


def test_held_out_part_is_stratified(rng):
    """A fifth of every class; another random_state holds out others."""
    X, y = rng.random((50, 8, 8), dtype=np.float32), np.repeat([0, 1, 2], [30, 15, 5])
    held_out = []
    for seed in (0, 0, 1):
        log = RowLog(X)
        tiny_fine_tuned(
            early_stopping=True,
            validation_fraction=0.2,
            max_epochs=1,
            random_state=seed,
            callbacks=[log],
        ).fit(X, y)
        assert np.bincount(y[log.rows[False]]).tolist() == [6, 3, 1]
        held_out.append(sorted(log.rows[False]))
    assert held_out[0] == held_out[1] != held_out[2]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_held_out_part_consists_of_whole_groups(rng, fraction):
    """About as large as asked for, of all classes."""
    X = rng.random((120, 8, 8), dtype=np.float32)
    y, groups = np.arange(120) % 3, [f"night {k // 6}" for k in range(120)]
    log = RowLog(X)
    tiny_fine_tuned(
        early_stopping=True,
        validation_fraction=fraction,
        max_epochs=1,
        callbacks=[log],
    ).fit(X, y, groups=groups)
    in_groups = [{groups[k] for k in log.rows[part]} for part in (True, False)]
    assert not in_groups[0] & in_groups[1]
    assert len(in_groups[0] | in_groups[1]) == 20
    assert len(log.rows[False]) == pytest.approx(120 * fraction, abs=6)
    assert np.ptp(np.bincount(y[log.rows[False]])) == 0


@pytest.mark.parametrize(("n_groups", "seed"), [(3, 0), (3, 1), (4, 2), (2, 3)])
def test_few_groups_still_leave_one_to_hold_out(rng, n_groups, seed):
    """One of two to four, though a tenth is asked for."""
    X = rng.random((24, 8, 8), dtype=np.float32)
    log = RowLog(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_fine_tuned(
            early_stopping=True, max_epochs=1, random_state=seed, callbacks=[log]
        ).fit(X, np.arange(24) // 2 % 2, groups=np.arange(24) % n_groups)
    assert len({k % n_groups for k in log.rows[False]}) == 1
    assert len(log.rows[False]) == 24 // n_groups


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_learnt_from(rng, seed):
    """A class that is in one group alone is never held out whole."""
    X, groups = rng.random((30, 8, 8), dtype=np.float32), np.repeat(range(5), 6)
    y = np.where(groups == 0, 2, np.arange(30) % 2)
    log = RowLog(X)
    tiny_fine_tuned(
        early_stopping=True,
        validation_fraction=0.2,
        max_epochs=1,
        random_state=seed,
        callbacks=[log],
    ).fit(X, y, groups=groups)
    assert set(y[log.rows[True]]) == {0, 1, 2}
    assert len(log.rows[False]) == 6


@pytest.mark.parametrize(
    ("y", "groups", "message"),
    [
        ([0, 0, 1, 1, 1, 1], [0] * 6, "in whole groups: .*early_stopping=False"),
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], "a class would be left out"),
        ([0, 0, 0, 0, 0, 1], None, "hold out 0.1 of 6 images of 2 classes: "),
        ([0, 0, 1, 1, 2, 2], None, "images of 3 classes.*validation_fraction"),
    ],
)
def test_too_few_to_hold_out(rng, y, groups, message):
    """The error says what to change; without early stopping all is well."""
    X = rng.random((6, 8, 8))
    with pytest.raises(ValueError, match=f"^early_stopping cannot .*{message}"):
        tiny_fine_tuned(early_stopping=True).fit(X, y, groups=groups)
    tiny_fine_tuned(max_epochs=1).fit(X, y, groups=groups)


def test_groups_must_fit(digits):
    """One for each image, with or without early stopping."""
    for stopping in (False, True):
        classifier = tiny_fine_tuned(early_stopping=stopping)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            classifier.fit(*digits, groups=np.arange(119))
        with pytest.raises(ValueError, match="1d array"):
            classifier.fit(*digits, groups=np.zeros((120, 2)))


def test_groups_do_not_matter_without_early_stopping(digits):
    """Nothing is held out."""
    first = tiny_fine_tuned(max_epochs=2).fit(*digits)
    second = tiny_fine_tuned(max_epochs=2).fit(*digits, groups=np.arange(120) // 5)
    assert_same_weights(weights_of(first.network_), weights_of(second.network_))


# Groups through cross-validation


@pytest.fixture
def seen_groups(monkeypatch):
    """Return a list to which every fit adds the groups that reached it."""
    seen, hold_out = [], _fine_tuned.hold_out

    def note(codes, groups, *args):
        seen.append(groups)
        return hold_out(codes, groups, *args)

    monkeypatch.setattr(_fine_tuned, "hold_out", note)
    return seen


def stopping_early():
    """Return a classifier that holds a third out."""
    return tiny_fine_tuned(early_stopping=True, validation_fraction=0.3, max_epochs=1)


def assert_groups_of_folds(seen, groups, n_splits):
    """Every fit got the groups of its training part."""
    folds = GroupKFold(n_splits).split(groups, groups=groups)
    expected = [groups[train] for train, _ in folds]
    assert len(seen) == len(expected)
    for got, of_fold in zip(seen, expected, strict=True):
        assert_array_equal(got, of_fold)


def test_groups_reach_fit_without_metadata_routing(digits, seen_groups):
    """As `params` for fit, beside the groups for the splitter."""
    groups = np.arange(120) // 6
    scores = cross_val_score(
        stopping_early(),
        *digits,
        groups=groups,
        params={"groups": groups},
        cv=GroupKFold(3),
        error_score="raise",
    )
    assert np.isfinite(scores).all()
    assert_groups_of_folds(seen_groups, groups, 3)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_groups_reach_fit_with_metadata_routing(digits, seen_groups, in_pipeline):
    """As `params` for both; nobody has to call set_fit_request."""
    groups = np.arange(120) // 6
    model = stopping_early()
    if in_pipeline:
        model = make_pipeline(AuroraPreprocessor(), model)
    with sklearn.config_context(enable_metadata_routing=True):
        cross_val_score(
            model,
            *digits,
            params={"groups": groups},
            cv=GroupKFold(3),
            error_score="raise",
        )
    assert_groups_of_folds(seen_groups, groups, 3)


def test_groups_reach_fit_inside_a_nested_search(digits, seen_groups):
    """GroupKFold inside and outside, and groups for every fit."""
    groups = np.arange(120) // 6
    search = GridSearchCV(
        stopping_early(), {"lr": [1e-3, 1e-2]}, cv=GroupKFold(2), error_score="raise"
    )
    with sklearn.config_context(enable_metadata_routing=True):
        cross_val_score(
            search,
            *digits,
            params={"groups": groups},
            cv=GroupKFold(3),
            error_score="raise",
        )
    assert len(seen_groups) == 3 * (2 * 2 + 1)
    refits = [got for got in seen_groups if len(got) > 60]
    assert_groups_of_folds(refits, groups, 3)
    assert [len(got) > 60 for got in seen_groups] == 3 * [*[False] * 4, True]


# A fitted SimCLRTransformer


@pytest.mark.parametrize("wrap", [lambda simclr: simclr, FrozenEstimator])
def test_a_fitted_simclr_is_left_untouched(wrap, simclr, digits):
    """A copy is trained: weights, mode, parameters and embeddings stay to the bit."""
    before, params = weights_of(simclr.encoder_), simclr.get_params()
    embeddings, attributes = simclr.transform(digits[0]), set(vars(simclr))
    classifier = tiny_fine_tuned(encoder=wrap(simclr), max_epochs=2).fit(*digits)
    assert_same_weights(weights_of(simclr.encoder_), before)
    assert not any(layer.training for layer in simclr.encoder_.modules())
    assert all(p.grad is None for p in simclr.encoder_.parameters())
    assert simclr.get_params() == params and set(vars(simclr)) == attributes
    assert_array_equal(simclr.transform(digits[0]), embeddings)
    trained = weights_of(classifier.network_[0])
    assert list(trained) == list(before)
    assert not torch.equal(trained["1.weight"], before["1.weight"])


def test_training_starts_from_its_weights(simclr, digits):
    """Steps of length zero leave the encoder where SimCLR left it."""
    classifier = tiny_fine_tuned(
        encoder=simclr, max_epochs=1, lr=1e-12, random_state=7
    ).fit(*digits)
    expected = dict(simclr.encoder_.named_parameters())
    for name, parameter in classifier.network_[0].named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=0, atol=1e-9)


def test_image_size_is_that_of_simclr(rng, digits):
    """Unless another one is asked for."""
    X, y = rng.random((20, 20, 20)), np.arange(20) % 2
    simclr = tiny_simclr(image_size=12).fit(X)
    for image_size, expected in [(None, 12), (16, 16)]:
        classifier = tiny_fine_tuned(
            encoder=simclr, image_size=image_size, max_epochs=1
        ).fit(X, y)
        assert classifier.image_size_ == expected


def test_an_unfitted_simclr_is_an_error(simclr, digits):
    """Also the clone of a fitted one; the message says how to keep it."""
    for encoder in (tiny_simclr(), clone(simclr), FrozenEstimator(tiny_simclr())):
        with pytest.raises(NotFittedError, match=r"FrozenEstimator\(simclr\)"):
            tiny_fine_tuned(encoder=encoder).fit(*digits)
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        cross_val_score(
            tiny_fine_tuned(encoder=simclr), *digits, cv=2, error_score="raise"
        )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_frozen_simclr_survives_cross_validation(simclr, digits, n_jobs):
    """And a clone, in worker processes too; every fold starts from the same weights."""
    classifier = tiny_fine_tuned(encoder=FrozenEstimator(simclr), max_epochs=10)
    assert clone(classifier).encoder.estimator is simclr
    scores = cross_val_score(classifier, *digits, cv=3, n_jobs=n_jobs)
    assert scores.mean() > 0.4  # chance is 0.1
    assert clone(classifier).fit(*digits).network_[0] is not simclr.encoder_


def test_other_frozen_estimators_and_channels_are_errors(simclr, digits, rng):
    """The message names what was got."""
    frozen = FrozenEstimator(LogisticRegression())
    with pytest.raises(ValueError, match="inside FrozenEstimator, got LogisticRegr"):
        tiny_fine_tuned(encoder=frozen).fit(*digits)
    colour = rng.random((20, 8, 8, 3))
    message = r"fitted on images with 1 channel\(s\), got images with 3"
    with pytest.raises(ValueError, match=message):
        tiny_fine_tuned(encoder=simclr).fit(colour, np.arange(20) % 2)


# Networks of torchvision


def test_networks_of_torchvision(rng, tmp_path):
    """They start from a file, and else from weights of `random_state`."""
    X, y = rng.random((4, 32, 32)), [0, 1, 0, 1]
    state = random_network("resnet18").state_dict()
    torch.save(state, tmp_path / "w")
    params = {"image_size": 32, "max_epochs": 1, "lr": 1e-12, "device": "cpu"}

    def first_weights(weights, seed):
        classifier = FineTunedClassifier(
            "resnet18", weights=weights, random_state=seed, **params
        ).fit(X, y)
        assert classifier.predict_proba(X).shape == (4, 2)
        return classifier.network_[0].network.conv1.weight.detach()

    loaded = first_weights(tmp_path / "w", 0)
    torch.testing.assert_close(loaded, state["conv1.weight"], rtol=0, atol=1e-9)
    random = [first_weights(None, seed) for seed in (0, 0, 1)]
    assert torch.equal(random[0], random[1])
    assert not torch.allclose(random[0], random[2])


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_networks_with_auxiliary_outputs_can_be_trained(name, rng):
    """They return logits in training too."""
    classifier = FineTunedClassifier(
        name, weights=None, image_size=80, max_epochs=1, random_state=0, device="cpu"
    ).fit(rng.random((2, 16, 16)), [0, 1])
    assert np.isfinite(classifier.history_[0]["loss"])


# Reproducible


def test_random_state_decides(digits):
    """Equal to the bit for equal ints, different for others."""
    params = {"max_epochs": 2, "augmentations": (ResizedCrop(), VerticalFlip())}
    first, same, other = (
        tiny_fine_tuned(random_state=seed, **params).fit(*digits) for seed in (3, 3, 4)
    )
    assert_same_weights(weights_of(first.network_), weights_of(same.network_))
    assert [r["loss"] for r in first.history_] == [r["loss"] for r in same.history_]
    name = "1.weight"
    assert not torch.allclose(
        weights_of(first.network_)[name], weights_of(other.network_)[name]
    )


def dropout_encoder(n_channels):
    """Return a network that draws random numbers in its forward pass."""
    return nn.Sequential(*flat_encoder(n_channels), nn.Dropout(0.5))


def test_callers_random_state_stays_as_it_was(digits):
    """NumPy's and torch's, though dropout draws from torch's."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    params = {"encoder": dropout_encoder, "max_epochs": 2, "early_stopping": True}
    first = tiny_fine_tuned(**params).fit(*digits)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        second = tiny_fine_tuned(**params).fit(*digits)
    assert_same_weights(weights_of(first.network_), weights_of(second.network_))


def test_fits_in_threads_equal_fits_one_after_the_other(digits):
    """No draw comes from a generator that threads share at once."""
    params = {"encoder": dropout_encoder, "max_epochs": 2}

    def fit(seed):
        return tiny_fine_tuned(random_state=seed, **params).fit(*digits)

    expected, results = [fit(seed) for seed in range(4)], {}
    threads = [
        threading.Thread(target=lambda k=k: results.update({k: fit(k)}))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        assert_same_weights(
            weights_of(results[k].network_), weights_of(expected[k].network_)
        )


# At home in scikit-learn


def test_pickle_joblib_and_deepcopy_keep_the_bits(digits, tmp_path):
    """And the fitted estimator holds no optimiser, nor a second copy of weights."""
    classifier = tiny_fine_tuned(max_epochs=2, early_stopping=True).fit(*digits)
    expected = classifier.predict_proba(digits[0])
    joblib.dump(classifier, tmp_path / "c")
    for copied in (
        pickle.loads(pickle.dumps(classifier)),
        joblib.load(tmp_path / "c"),
        copy.deepcopy(classifier),
    ):
        assert_array_equal(copied.predict_proba(digits[0]), expected)
    n_bytes = sum(4 * p.numel() for p in classifier.network_.parameters())
    assert len(pickle.dumps(classifier)) < n_bytes + 10_000 < 2 * n_bytes
    assert {name for name in vars(classifier) if name.endswith("_")} == {
        *("classes_", "network_", "history_", "n_iter_", "image_size_"),
        *("image_shape_", "n_features_in_"),
    }


def test_callbacks_of_the_caller_are_not_touched(digits):
    """Copies are used; they may watch the validation loss."""
    scheduler = LRScheduler(StepLR, step_size=1)
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1, "valid_loss"])

        def __deepcopy__(self, memo):
            return self

    classifier = tiny_fine_tuned(
        callbacks=[scheduler, Watch()],
        max_epochs=2,
        lr_schedule=None,
        early_stopping=True,
    ).fit(*digits)
    assert classifier.history_[1]["lr"] == pytest.approx(1e-3)
    assert not [name for name in vars(scheduler) if name.endswith("_")]
    assert seen == [row["valid_loss"] for row in classifier.history_]


def test_progress_at_verbose_1_and_silence_at_0(digits, noise, capfd):
    """A row per epoch and a bar, or nothing at all, also when it stops early."""
    params = {"early_stopping": True, "n_iter_no_change": 2, "validation_fraction": 0.4}
    quiet = tiny_fine_tuned(**params).fit(*noise)
    quiet.predict(noise[0])
    assert quiet.n_iter_ < 30
    assert capfd.readouterr() == ("", "")
    tiny_fine_tuned(verbose=1, **params).fit(*noise).predict(noise[0])
    out, err = capfd.readouterr()
    assert "valid_loss" in out and "Stopping since valid_loss" in out
    assert "60/60" in err  # images


def test_files_and_arrays_give_the_same_probabilities(rng, tmp_path):
    """A sequence of paths is as good as an array."""
    images, target = rng.integers(0, 256, (20, 8, 8), np.uint8), np.arange(20) % 2
    paths = [tmp_path / f"{k:02}.png" for k in range(20)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    params = {"max_epochs": 2, "early_stopping": True, "validation_fraction": 0.2}
    expected = tiny_fine_tuned(**params).fit(images, target).predict_proba(images)
    got = tiny_fine_tuned(**params).fit(paths, target).predict_proba(paths)
    assert_array_equal(got, expected)


def test_a_fit_that_fails_keeps_the_old_one(digits):
    """And without any fit, predict says so."""
    classifier = tiny_fine_tuned(max_epochs=1)
    with pytest.raises(NotFittedError):
        classifier.predict(digits[0])
    expected = classifier.fit(*digits).predict_proba(digits[0])
    classifier.set_params(lr=1e30, optimizer="sgd", max_epochs=5)
    with pytest.raises(ValueError, match=r"diverged: the loss of epoch \d.*1e\+30"):
        classifier.fit(digits[0][:, :7], ["a", "b"] * 60)
    assert_array_equal(classifier.predict_proba(digits[0]), expected)
    assert_array_equal(classifier.classes_, range(10))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "resnet19"}, "classifier of torchvision.*'resnet18'"),
        ({"encoder": "squeezenet1_1"}, "squeezenet1_1 has none. Use another network"),
        ({"encoder": tiny_encoder(3)}, "or a factory.*got a network, Sequential"),
        ({"encoder": None}, "'encoder' parameter"),
        ({"weights": "imagenet"}, "weights='imagenet' is for networks of torchvision"),
        ({"max_epochs": 0}, "'max_epochs' parameter"),
        ({"batch_size": 1}, "'batch_size' parameter"),
        ({"lr": 0}, "'lr' parameter"),
        ({"weight_decay": -1}, "'weight_decay' parameter"),
        ({"optimizer": "lbfgs"}, "'optimizer' parameter"),
        ({"lr_schedule": "step"}, "'lr_schedule' parameter"),
        ({"image_size": 0}, "'image_size' parameter"),
        ({"early_stopping": "yes"}, "'early_stopping' parameter"),
        ({"validation_fraction": 0}, "'validation_fraction' parameter"),
        ({"validation_fraction": 0.6}, "'validation_fraction' parameter"),
        ({"n_iter_no_change": 0}, "'n_iter_no_change' parameter"),
        ({"class_weight": 3}, "'class_weight' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter.*'balanced'"),
        ({"class_weight": {77: 1.0}}, "not in class_weight"),
        ({"class_weight": weights_with(-1.0)}, "negative, got -1.0 for class 3"),
        ({"class_weight": weights_with(np.nan)}, "finite.*got nan for class 3"),
        ({"class_weight": weights_with(np.inf)}, "finite.*got inf for class 3"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, "above 0 .* for all in y"),
        ({"augmentations": ("crop",)}, "augmentations.*'crop'"),
        ({"device": "gpu"}, "device must be 'auto' or one of"),
    ],
)
def test_bad_parameters(digits, params, message):
    """The error names the parameter, what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        tiny_fine_tuned(**params).fit(*digits)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.zeros(120), "at least 2 classes, got only class 0.0"),
        (np.arange(119) % 2, "one label for each of 120 images, got 119"),
        (np.linspace(0, 1, 120), "Unknown label type"),
        (np.full(120, np.nan), "NaN"),
        (np.zeros((120, 2)), "y should be a 1d array"),
    ],
)
def test_bad_labels(digits, y, message):
    """The error says what is wrong."""
    with pytest.raises(ValueError, match=message):
        tiny_fine_tuned().fit(digits[0], y)
