"""The paper's recipe and those of `sksimclr.recipes`, at the size of OATH."""

import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora
from sksimclr.recipes import FROM_IMAGENET, QUICK

HEADER = ("recipe", "pixels", "epochs", "``fit``, s", "``transform``, s", "accuracy, %")
TEXT = (
    "The paper at full scale, on frames of ``make_aurora`` (sixteen draws, 5,824 "
    "frames): logistic regression on standardised embeddings, whole sequences held "
    "out in five folds."
)
_N_DRAWS = 16


def rows(scale, device, clock):
    """Yield a row for each recipe that there is time for."""
    raw, target, groups = draw(scale)
    images = AuroraPreprocessor(dtype="uint8").fit_transform(raw)
    pixels = AuroraPreprocessor(size=min(32, scale.side)).fit_transform(raw)
    small = pixels.shape[1]
    flat = pixels.reshape(len(pixels), -1)
    yield ["raw pixels", small, "\\", "\\", "\\", score(flat, target, groups)]
    left_out = []
    for name, settings in recipes(scale).items():
        if settings is None:
            left_out.append(f"{name} (its weights are not on this machine)")
            continue
        sequences = groups if name.startswith("``") else None
        seconds = predicted(settings, images, sequences, clock)
        if clock.left < seconds:
            left_out.append(f"{name} (it would take {seconds:.0f} s)")
            continue
        start = time.perf_counter()
        simclr = SimCLRTransformer(random_state=0, **settings)
        simclr.fit(images, sequences=sequences)
        trained = time.perf_counter()
        features = simclr.transform(images)
        embedded = time.perf_counter()
        yield [
            *(name, simclr.image_size, simclr.max_epochs),
            *(f"{trained - start:.1f}", f"{embedded - trained:.1f}"),
            score(features, target, groups),
        ]
    if left_out:
        yield f"Left out: {'; '.join(left_out)}."


def draw(scale):
    """Return raw frames, their classes and their sequences."""
    draws = Parallel(n_jobs=-1 if scale.n_frames > 1000 else 1)(
        delayed(make_aurora)(
            scale.n_frames // _N_DRAWS, size=scale.side, random_state=k
        )
        for k in range(_N_DRAWS)
    )
    raw, target = (
        np.concatenate([each[key] for each in draws]) for key in ("images", "target")
    )
    groups = np.concatenate([1000 * k + each.groups for k, each in enumerate(draws)])
    return raw, target, groups


def recipes(scale):
    """Return the settings of each recipe, or None if it cannot be had here."""
    n_epochs, size = scale.n_epochs, scale.paper_size
    own = {"image_size": size, "width": scale.width, "batch_size": scale.batch_size}
    slim = {"image_size": min(64, size), "batch_size": min(64, scale.batch_size)}
    found = {
        "untrained ResNet18": {**own, "max_epochs": 0},
        "the paper's": {**own, "max_epochs": n_epochs},
        "``QUICK``": {**QUICK, **slim, "max_epochs": n_epochs},
        "``FROM_IMAGENET``": None,
    }
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    if Path(torch.hub.get_dir(), "checkpoints", name).exists():
        imagenet = {"image_size": 96, "max_epochs": min(8, n_epochs)}
        found["``FROM_IMAGENET``"] = {**FROM_IMAGENET, **imagenet}
    return found


def predicted(settings, images, sequences, clock):
    """Return the seconds that a recipe will take, from two of its epochs."""
    n_epochs = settings["max_epochs"]
    if n_epochs < 3:
        return 10
    trial = SimCLRTransformer(**(settings | {"max_epochs": 2}), random_state=0)
    trial.fit(images, sequences=sequences)
    return 10 + n_epochs * trial.history_[-1]["seconds"]


def score(features, target, groups):
    """Return the accuracy on sequences that were held out, in percent."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    n_jobs = 5 if len(features) > 1000 else 1
    scores = cross_val_score(
        probe, features, target, groups=groups, cv=GroupKFold(5), n_jobs=n_jobs
    )
    return f"{100 * scores.mean():.1f} +- {100 * scores.std():.1f}"
