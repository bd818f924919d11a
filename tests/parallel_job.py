"""What two processes of torchrun do in test_distributed.py.

    torchrun ... parallel_job.py crash FOLDER
    torchrun ... parallel_job.py crash_within FOLDER
    torchrun ... parallel_job.py work FOLDER

The first two end when one of them is killed, in the second case in the midst of an
epoch with checkpoints after each batch. The third does all the rest, and each
writes what it found to FOLDER/RANK.pkl; FOLDER has alone.pkl, an estimator that was
fitted partially.
"""

import contextlib
import io
import itertools
import os
import pickle
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from shards import Shards, write_shards
from skorch.callbacks import Callback, EarlyStopping, EpochScoring
from tiny import flat_encoder, tiny_encoder, tiny_fine_tuned, tiny_simclr
from torch import nn
from torch.nn import functional as F

from sksimclr._engine import checkpoints, order
from sksimclr._machine.processes import (
    Processes,
    gather_views,
    join_processes,
    sum_over,
)
from sksimclr._networks.encoders import make_encoder
from sksimclr.augmentations import GaussianNoise, ResizedCrop, VerticalFlip

RANDOM = (ResizedCrop(), VerticalFlip(), GaussianNoise())


@dataclass(frozen=True)
class SecondFlipped:
    """Mirror every second view, and draw nothing: each step makes two."""

    calls = itertools.count()

    def __call__(self, images, *, generator, size):
        """Mirror, or not."""
        return images.flip(-1) if next(self.calls) % 2 else images


def make_images(n_images=70):
    """Return images; in batches of 32, the last one has six."""
    return np.random.default_rng(0).random((n_images, 8, 8), dtype=np.float32)


def make_data():
    """Return images and labels that depend on them."""
    images = make_images(40)
    return images, (images.mean(axis=(1, 2)) > 0.5).astype(int)


def dropout_encoder(n_channels):
    """Return a network that draws from torch's global generator."""
    return nn.Sequential(*tiny_encoder(n_channels), nn.Dropout(0.5))


def cumulative_encoder(n_channels):
    """Return one whose batch normalisation has no momentum, and one no weights."""
    return nn.Sequential(
        nn.Conv2d(n_channels, 8, 3, padding=1),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(),
        nn.Flatten(),
    )


class Precise(nn.Module):
    """ResNet18 in float64: in float32, two steps make 0.001 of a rounding error."""

    def __init__(self, n_channels):
        super().__init__()
        shape = {"n_channels": n_channels, "image_size": 8}
        self.network = make_encoder("resnet18", stem="cifar", **shape).double()

    def forward(self, images):
        """Embed."""
        return self.network(images.double()).float()


# Adam divides the gradient of a bias in front of batch normalisation, which is zero but
# for rounding, by its size; so it is for encoders without such biases
EQUAL = {
    "adam": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "temperature": 0.1},
    "1d": {"encoder": flat_encoder, "optimizer": "sgd", "lr_schedule": "cosine"},
    "layers": {"encoder": cumulative_encoder, "optimizer": "sgd", "lr": 0.1},
    "resnet18": {"encoder": Precise, "optimizer": "sgd", "max_epochs": 1},
    "sequences": {"optimizer": "sgd"},
}


def fit_equal(name, n_processes):
    """Fit what must not depend on how many processes share a batch of 32."""
    params = {"max_epochs": 3, "lr": 1e-2, "projection_dim": 16}
    params |= {"augmentations": (SecondFlipped(),)} | EQUAL[name]
    images = make_images(36 if name == "resnet18" else 70)
    sequences = np.arange(70) // 7 if name == "sequences" else None
    simclr = tiny_simclr(batch_size=32 // n_processes, **params)
    return simclr.fit(images, sequences=sequences)


def make_run(folder=None, **params):
    """Return an estimator with random views and layers, of nine steps."""
    defaults = {
        "encoder": dropout_encoder,
        "augmentations": RANDOM,
        "max_epochs": 3,
        "lr": 1e-2,
        "checkpoint_dir": folder,
    }
    return tiny_simclr(**(defaults | params))


def found(simclr):
    """Return weights and statistics by name, and the history without times."""
    weights = {
        f"{name}.{key}": values.numpy()
        for name in ("encoder", "projector")
        for key, values in getattr(simclr, f"{name}_").state_dict().items()
    }
    times = ("seconds", "images_per_second")
    rows = [
        {key: value for key, value in row.items() if key not in times}
        for row in simclr.history_
    ]
    return {"weights": weights, "history": rows}


def shrink_windows(setattr=setattr):
    """Let images on a disk be shuffled in windows of 64, by runs of 8."""
    n_bytes = make_images(1).nbytes
    setattr(order, "RUN_BYTES", 8 * n_bytes)
    setattr(order, "WINDOW_BYTES", 64 * n_bytes)


def write_images(folder):
    """Write 150 images to three files."""
    folder.mkdir()
    write_shards(folder, make_images(150), [20, 60, 70])


def fit_shards(folder, n_processes, **params):
    """Fit images on a disk, of which each process reads a part."""
    params = {"max_epochs": 3, "lr": 1e-2, "optimizer": "sgd"} | params
    params = {"augmentations": (SecondFlipped(),), "projection_dim": 16} | params
    simclr = tiny_simclr(batch_size=32 // n_processes, **params)
    return simclr.fit(Shards(folder), sequences=np.arange(150) // 12)


# Tasks


class Die(Callback):
    """Kill this process in the third epoch, without a word."""

    def __init__(self, batch=1):
        self.batch = batch

    def on_batch_end(self, net, **kwargs):
        """Do it."""
        if len(net.history) == 3 and len(net.history[-1, "batches"]) == self.batch:
            os.kill(os.getpid(), signal.SIGKILL)


def crash(folder, rank):
    """Begin the run that is to be resumed, in which the second process dies."""
    callbacks = [Die()] if rank == 1 else None
    make_run(folder / "checkpoints", callbacks=callbacks).fit(make_images())


def crash_within(folder, rank):
    """Do so in the third batch of an epoch, of images on a disk."""
    callbacks = [Die(batch=3)] if rank == 1 else None
    checkpoints.SECONDS = 0.0
    fit_within(folder, callbacks=callbacks)


def fit_within(folder, **params):
    """Fit images on a disk with random views, and checkpoints."""
    params = {"checkpoint_dir": folder / "within"} | params
    return fit_shards(folder / "shards", 2, augmentations=RANDOM, **params)


def work(folder, rank):
    """Do everything; return what was found by name."""
    images = make_images()
    within = sorted(path.name for path in (folder / "within").iterdir())
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    results = {f"equal {name}": found(fit_equal(name, 2)) for name in EQUAL}
    return results | {
        "kept": kept,
        "within": within,
        "resumed within": found(fit_within(folder)),
        "not stopped": found(fit_within(folder, checkpoint_dir=None)),
        "shards": found(fit_shards(folder / "shards", 2)),
        "resumed": found(make_run(folder / "checkpoints").fit(images)),
        "random": [found(make_run().fit(images)) for _ in range(2)],
        "unseeded": found(make_run(random_state=None).fit(images)),
        "seeded by rank": found(make_run(random_state=rank).fit(images)),
        "rest of 3": found(fit_rest()),
        "views": views_seen(),
        "stopped": found(fit_stopped()),
        "bfloat16": found(fit_bfloat16(n_processes=2)),
        "partial": partial_fits(folder),
        "printed": printed(),
        "fine-tuned": fine_tuned_alone(rank),
        "scored": found(fit_scored()),
        "gradients": gradients(rank),
        "embeddings": native_embeddings(),
    }


def fit_rest():
    """Fit 35 images in batches of 32: of the rest, one for each and one for none."""
    return tiny_simclr(augmentations=RANDOM).fit(make_images(35))


class Keep(nn.Module):
    """A tiny encoder that keeps the last views it was given."""

    def __init__(self, n_channels):
        super().__init__()
        self.network = tiny_encoder(n_channels)

    def forward(self, views):
        """Keep the views, then embed them."""
        self.views = views.detach().numpy().copy()
        return self.network(views)


class Look(Callback):
    """Take the views from the encoder that was trained, which is a copy."""

    def __init__(self):
        self.views = []

    def on_batch_end(self, net, **kwargs):
        """Take them."""
        self.views.append(net.module_.encoder.views)

    def __deepcopy__(self, memo):
        """Stay the same object."""
        return self


def views_seen():
    """Return views that the encoder was given of images that are all alike."""
    look = Look()
    params = {"encoder": Keep, "augmentations": (GaussianNoise(),), "callbacks": [look]}
    tiny_simclr(**params).fit(np.ones((32, 8, 8)))
    return look.views[0]


def fit_stopped():
    """Stop early, by a loss that all have."""
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    return make_run(max_epochs=9, callbacks=[stopper]).fit(make_images())


def fit_bfloat16(n_processes):
    """Compute in half the precision."""
    return tiny_simclr(
        precision="bfloat16",
        augmentations=(SecondFlipped(),),
        batch_size=32 // n_processes,
        max_epochs=2,
        lr=1e-2,
    ).fit(make_images())


def partial_fits(folder):
    """Train in parts, pickled in between, one of them alone."""
    simclr = make_run()
    for _ in range(3):
        simclr = pickle.loads(pickle.dumps(simclr.partial_fit(make_images())))
    alone = pickle.loads((folder / "alone.pkl").read_bytes())
    alone.partial_fit(make_images())
    return {"together": found(simclr), "after alone": found(alone), "pickle": simclr}


def printed():
    """Return what a fit prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        make_run(verbose=1).fit(make_images())
    return out.getvalue(), err.getvalue()


def fine_tuned_alone(rank):
    """Let one process fine-tune, while the other goes on."""
    images, target = make_data()
    if rank == 0:
        return None
    return tiny_fine_tuned(max_epochs=3).fit(images, target).predict_proba(images)


def fit_scored():
    """Record a number that each process has for itself, and the same for all."""

    def probe(net, X, y):
        return float(net.module_.encoder(torch.ones(2, 1, 8, 8)).sum())

    return make_run(
        encoder=tiny_encoder, callbacks=[EpochScoring(probe, on_train=True)]
    ).fit(make_images())


def coefficients(rank):
    """Return two random tensors of a process: data, and factors of what it makes."""
    draws = torch.Generator().manual_seed(rank)
    return (
        torch.randn(6, 5, generator=draws, dtype=torch.float64).requires_grad_(True),
        torch.randn(12, 5, generator=draws, dtype=torch.float64),
    )


def gradients(rank):
    """Return values and gradients of collectives, of losses that differ by process."""
    processes = join_processes(torch.device("cpu"))
    assert processes == Processes(rank, 2)
    rows, factors = coefficients(rank)
    gathered = gather_views(F.normalize(rows), processes)
    (factors * gathered.square()).sum().backward()
    of_gather, rows.grad = rows.grad, None
    total = sum_over(rows.T, processes)  # not contiguous
    (factors[:6].T * total.square()).sum().backward()
    return {
        "gathered": gathered.detach(),
        "of gather": of_gather,
        "total": total.detach(),
        "of sum": rows.grad,
    }


def native_embeddings():
    """Return embeddings of what scikit-learn's callbacks get, and of the result."""
    seen = []

    class Embed:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            if context.task_name == "epoch":
                restored = pickle.loads(pickle.dumps(fitted_estimator.encoder_))
                fitted_estimator.encoder_ = restored
                seen.append(fitted_estimator.transform(make_images()))

    simclr = make_run(encoder=tiny_encoder)
    if hasattr(simclr, "set_callbacks"):
        simclr.set_callbacks(Embed())
    embeddings = simclr.fit(make_images()).transform(make_images())
    return [*seen, embeddings]


def main(task, folder):
    """Do it in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    shrink_windows()
    folder, rank = Path(folder), int(os.environ["RANK"])
    if task != "work":
        {"crash": crash, "crash_within": crash_within}[task](folder, rank)
    (folder / f"{rank}.pkl").write_bytes(pickle.dumps(work(folder, rank)))


if __name__ == "__main__":
    import parallel_job  # under the name by which pickles know its functions

    parallel_job.main(*sys.argv[1:])
