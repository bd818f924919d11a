"""What SimCLRTransformer notes of its projections while it trains."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from tiny import tiny_encoder, tiny_simclr
from torch import nn

from sksimclr.augmentations import ResizedCrop
from sksimclr.metrics import alignment, effective_rank, uniformity

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
)
COLUMNS = ("alignment", "uniformity", "effective_rank")


class Listener(nn.Module):
    """A tiny encoder that keeps what it was given in training."""

    def __init__(self, n_channels):
        super().__init__()
        self.network = tiny_encoder(n_channels)
        self.seen = []

    def forward(self, images):
        """Keep the images, then embed them."""
        if self.training:
            self.seen.append(images.detach().clone())
        return self.network(images)


class Projections(Callback):
    """Keep the projections of every batch."""

    def __init__(self):
        self.batches = []

    def on_batch_end(self, net, y_pred=None, **kwargs):
        """Copy them."""
        self.batches.append(y_pred.detach().numpy().copy())

    def __deepcopy__(self, memo):
        """Stay the same object, so that the test sees what was noted."""
        return self


def unit(rows):
    """Divide rows by their lengths."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_clock_that_stands_still_divides_nothing_by_zero(rng, monkeypatch):
    """The time that an epoch took may be nothing, or less where a clock is set."""
    monkeypatch.setattr("skorch.callbacks.logging.time.time", lambda: 1e9)
    simclr = tiny_simclr(max_epochs=2).fit(rng.random((20, 8, 8)))
    assert [row["seconds"] for row in simclr.history_] == [0, 0]
    assert all(np.isfinite(row["images_per_second"]) for row in simclr.history_)


def test_history_of_one_batch_equals_the_metrics_of_its_projections(rng):
    """Of the views that the encoder saw, in training mode, computed again by hand."""
    simclr = tiny_simclr(
        encoder=Listener, batch_size=20, lr=1e-12, augmentations=(ResizedCrop(),)
    ).fit(rng.random((20, 8, 8)))
    (views,) = simclr.encoder_.seen
    with torch.no_grad():
        embeddings = simclr.encoder_.network.train()(views)
        projections = simclr.projector_(embeddings).numpy()
    assert projections.shape == (40, 64)
    (row,) = simclr.history_
    first, second = projections[:20], projections[20:]
    assert row["alignment"] == pytest.approx(alignment(first, second), rel=1e-3)
    assert row["uniformity"] == pytest.approx(uniformity(first), rel=1e-3)
    rank = effective_rank(unit(projections))
    assert row["effective_rank"] == pytest.approx(rank, rel=1e-3)
    assert row["alignment"] > 0 > row["uniformity"] and 1 < row["effective_rank"] < 8.01


def test_history_of_unequal_batches_is_weighted_by_their_images(rng):
    """Of 16 and 4 images; each epoch for itself; the rank is of all projections."""
    log = Projections()
    simclr = tiny_simclr(
        callbacks=[log],
        lr=0.01,
        max_epochs=2,
        augmentations=(ResizedCrop(scale=(0.2, 1.0)),),
    ).fit(rng.random((20, 8, 8)))
    assert [len(batch) for batch in log.batches] == [32, 8, 32, 8]
    for row, batches in zip(
        simclr.history_, (log.batches[:2], log.batches[2:]), strict=True
    ):
        halves = [(rows[: len(rows) // 2], rows[len(rows) // 2 :]) for rows in batches]
        alignments = [alignment(*views) for views in halves]
        uniformities = [uniformity(views[0]) for views in halves]
        for name, values in (("alignment", alignments), ("uniformity", uniformities)):
            mean = np.average(values, weights=[16, 4])
            assert row[name] == pytest.approx(mean, rel=1e-6)
            assert abs(np.mean(values) - mean) > 1e-4  # the weights matter
        rank = effective_rank(unit(np.concatenate(batches)))
        assert row["effective_rank"] == pytest.approx(rank, rel=1e-4)


def test_history_at_the_known_limits(rng):
    """Views that are alike have an alignment of 0; images that are alike, all three."""
    same_views = tiny_simclr(augmentations=()).fit(rng.random((20, 8, 8)))
    assert same_views.history_[0]["alignment"] == pytest.approx(0, abs=1e-9)
    assert same_views.history_[0]["uniformity"] < -1e-4
    ramp = np.linspace(0, 1, 64).reshape(1, 8, 8).repeat(20, axis=0)
    collapsed = tiny_simclr(augmentations=(), encoder=plain_encoder, batch_size=20)
    row = collapsed.fit(ramp).history_[0]
    assert [row[name] for name in COLUMNS] == pytest.approx([0, 0, 1], abs=1e-3)


def plain_encoder(n_channels):
    """Return an encoder without batch normalisation, which would centre everything."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * n_channels, 8))
