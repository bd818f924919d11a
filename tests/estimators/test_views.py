"""What learns from views: another objective needs nothing but itself."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from tiny import tiny_encoder
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr._machine.processes import gather_views

pytestmark = pytest.mark.usefixtures("one_thread")
N_FEATURES = 4


class BarlowLoss(nn.Module):
    """Cross-correlation of two views towards the identity (arXiv:2103.03230)."""

    def __init__(self, weight, processes):
        super().__init__()
        self.weight, self.processes = weight, processes

    def forward(self, projections, targets):
        """Return the loss of projections (2 N, d)."""
        first, second = gather_views(projections, self.processes).chunk(2)
        norm = nn.functional.batch_norm
        first, second = (
            norm(z, None, None, training=True, eps=1e-12) for z in (first, second)
        )
        correlation = first.T @ second / len(first)
        diagonal = correlation.diagonal()
        others = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + self.weight * others


@dataclass(frozen=True)
class Barlow:
    """An objective that the package does not have."""

    weight: float

    def criterion(self, processes):
        """Return the loss of a batch."""
        return BarlowLoss(self.weight, processes)

    def collapsed_loss(self, n_images):
        """Return the loss of constants, which are not correlated."""
        return float(N_FEATURES)


class BarlowTransformer(SimCLRTransformer):
    """All that another method takes: its objective."""

    def _objective(self):
        return Barlow(float(self.temperature))


def make(kind=BarlowTransformer, **params):
    """Return a transformer that fits in milliseconds, in one batch an epoch."""
    defaults = {
        "encoder": tiny_encoder,
        "temperature": 0.1,
        "augmentations": (),
        "projection_dim": N_FEATURES,
        "image_size": 8,
        "max_epochs": 1,
        "batch_size": 32,
        "random_state": 0,
        "device": "cpu",
    }
    return kind(**(defaults | params))


@pytest.fixture(scope="module")
def images():
    """Noise."""
    return np.random.default_rng(0).random((32, 8, 8), dtype=np.float32)


def correlations(simclr, images):
    """Return the correlations of the projections of images, as NumPy has them."""
    networks = nn.Sequential(simclr.encoder_, simclr.projector_).train()
    with torch.no_grad():
        projections = networks(torch.from_numpy(images)[:, None]).double().numpy()
    return np.corrcoef(projections.T)


def test_loss_of_a_fit_is_that_of_the_objective(images):
    """At weights that hardly move; without augmentations both views are the image."""
    simclr = make(lr=1e-12).fit(images)
    others = correlations(simclr, images) - np.eye(N_FEATURES)
    expected = 0.1 * np.square(others).sum()
    assert simclr.history_[0]["loss"] == pytest.approx(expected, rel=1e-3)


def test_fit_minimises_the_objective(images):
    """Until features are all but uncorrelated, which NT-Xent does not make them."""
    apart = [
        np.abs(correlations(make(kind, **run).fit(images), images) - np.eye(4)).max()
        for kind in (BarlowTransformer, SimCLRTransformer)
        for run in ({"lr": 1e-12}, {"lr": 0.02, "max_epochs": 150})
    ]
    assert apart[1] < 0.05 < min(apart[0], *apart[2:])


def test_collapse_is_told_by_the_value_that_the_objective_gives():
    """Of images without content, all projections are alike."""
    with pytest.warns(ConvergenceWarning, match="all alike, 4.000"):
        make().fit(np.ones((32, 8, 8), np.float32))


def test_run_of_another_objective_is_refused(images, tmp_path):
    """Although all parameters are the same."""
    make(SimCLRTransformer, checkpoint_dir=tmp_path).fit(images)
    differs = r"objective was NTXent\(temperature=0.1\), is Barlow\(weight=0.1\)\."
    with pytest.raises(ValueError, match=differs):
        make(checkpoint_dir=tmp_path).fit(images)


def test_run_goes_on_and_is_stored_as_any_other(images, tmp_path):
    """From a checkpoint with the same bits, by chunks, and in a pickle."""
    whole = make(max_epochs=3).fit(images)
    make(max_epochs=2, checkpoint_dir=tmp_path).fit(images)
    again = make(max_epochs=3, checkpoint_dir=tmp_path).fit(images)
    chunks = make()
    for _ in range(3):
        chunks.partial_fit(images)
    expected = whole.transform(images)
    for other in (again, chunks, pickle.loads(pickle.dumps(whole))):
        assert_array_equal(other.transform(images), expected)
