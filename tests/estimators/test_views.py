"""What learns from views: another objective needs nothing but itself."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import flat_encoder, tiny_encoder
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr._engine.losses import nt_xent
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


# Sequences


def make_sequences(n_sequences=12, n_moments=4):
    """Return images: what stays in a sequence is a pattern, what changes a level."""
    rng = np.random.default_rng(3)
    patterns = rng.random((n_sequences, 1, 8, 8))
    levels = rng.random((n_sequences, n_moments, 1, 1))
    images = (patterns + levels) / 2
    names = np.repeat(np.arange(n_sequences), n_moments)
    return images.reshape(-1, 8, 8).astype(np.float32), names


def test_what_changes_within_a_sequence_is_forgotten():
    """Moments of one sequence come closer than those of others, unlike without."""
    images, names = make_sequences()
    spread = []
    for sequences in (None, names):
        params = {"encoder": flat_encoder, "lr": 1e-2, "max_epochs": 60}
        simclr = make(SimCLRTransformer, **params, temperature=0.2, batch_size=48)
        simclr.fit(images, sequences=sequences)
        X = simclr.transform(images).reshape(12, 4, -1)
        spread.append(X.std(axis=1).mean() / X.mean(axis=1).std(axis=0).mean())
    assert spread[1] < 0.5 * spread[0]


def test_loss_is_that_of_pairs_of_a_sequence():
    """In sequences of two, without augmentations, the second view is the other one."""
    images, names = make_sequences(16, 2)
    simclr = make(SimCLRTransformer, lr=1e-12).fit(images, sequences=names)
    networks = nn.Sequential(simclr.encoder_, simclr.projector_).train()
    other = images.reshape(16, 2, 8, 8)[:, ::-1].reshape(images.shape)
    both = torch.from_numpy(np.concatenate([images, other]))[:, None]
    with torch.no_grad():
        expected = nt_xent(networks(both), simclr.temperature).item()
        alone = nt_xent(networks(both[:32].repeat(2, 1, 1, 1)), simclr.temperature)
    assert simclr.history_[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert abs(alone.item() - expected) > 1e-2


@pytest.mark.filterwarnings("ignore:The encoder may have collapsed")
def test_only_which_images_share_a_sequence_counts():
    """Names may be numbers, text or times; the same bits."""
    images, names = make_sequences()
    texts = [f"night {name:02}" for name in names]
    times = np.datetime64("2011-01-06") + names
    first, *others = [
        make(SimCLRTransformer).fit(images, sequences=each).transform(images)
        for each in (names, names - 5, texts, np.array(texts), times)
    ]
    for other in others:
        assert_array_equal(other, first)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (np.arange(47), "of each of 48 images, got 47"),
        ([None] + ["a"] * 47, "got None"),
        ([np.nan] + [1.0] * 47, "got nan"),
        (np.zeros((48, 2)), "1d array"),
    ],
)
def test_bad_sequences(sequences, message):
    """Named in the message, in both methods; nothing is fitted."""
    images, _ = make_sequences()
    for method in ("fit", "partial_fit"):
        simclr = make(SimCLRTransformer)
        with pytest.raises(ValueError, match=message):
            getattr(simclr, method)(images, sequences=sequences)
        assert not hasattr(simclr, "encoder_")


@pytest.mark.filterwarnings("ignore:The encoder may have collapsed")
def test_run_with_sequences_goes_on(tmp_path):
    """From a checkpoint with the same bits; by chunks; not with other sequences."""
    images, names = make_sequences()
    whole = make(SimCLRTransformer, max_epochs=3).fit(images, sequences=names)
    folder = tmp_path / "run"
    make(SimCLRTransformer, max_epochs=2, checkpoint_dir=folder).fit(
        images, sequences=names
    )
    again = make(SimCLRTransformer, max_epochs=3, checkpoint_dir=folder)
    for other in (None, names[::-1] // 2):
        with pytest.raises(ValueError, match="sequences"):
            again.fit(images, sequences=other)
    again.fit(images, sequences=names)
    chunks = make(SimCLRTransformer)
    for _ in range(3):
        chunks.partial_fit(images, sequences=names)
    expected = whole.transform(images)
    for other in (again, chunks):
        assert_array_equal(other.transform(images), expected)
    without = make(SimCLRTransformer, max_epochs=3).fit(images)
    assert np.abs(without.transform(images) - expected).max() > 1e-3


@pytest.mark.filterwarnings("ignore:The encoder may have collapsed")
def test_sequences_are_metadata_of_fit():
    """Routed where they are asked for; a pipeline without routing passes them too."""
    images, names = make_sequences()
    expected = make(SimCLRTransformer).fit(images, sequences=names).transform(images)
    plain = make_pipeline(make(SimCLRTransformer), StandardScaler())
    plain.fit(images, simclrtransformer__sequences=names)
    assert_array_equal(plain[0].transform(images), expected)
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            make(SimCLRTransformer).set_fit_request(sequences=True), StandardScaler()
        )
        routed.fit(images, sequences=names)
        assert_array_equal(routed[0].transform(images), expected)
        silent = make_pipeline(make(SimCLRTransformer), StandardScaler()).fit(images)
        assert np.abs(silent[0].transform(images) - expected).max() > 1e-3
