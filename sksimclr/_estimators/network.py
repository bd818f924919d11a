"""What all estimators around a network have in common."""

import copy
from numbers import Integral, Real

import numpy as np

from sksimclr._engine.embedding import embed
from sksimclr._engine.loop import OPTIMIZERS, LoopPlan, Seeds
from sksimclr._estimators.ranges import warn_of_another_range
from sksimclr._estimators.validation import Interval, StrOptions, check_images
from sksimclr._machine.device import resolve_device
from sksimclr._networks.encoders import RESNETS
from sksimclr._networks.readout import SYMMETRIES

SYMMETRY_CONSTRAINT = [StrOptions(set(SYMMETRIES) - {None}), None]
TRAINING_CONSTRAINTS = {
    "augmentations": [tuple, list],
    "image_shape": [tuple, list, None],
    "symmetry": SYMMETRY_CONSTRAINT,
    "max_epochs": [Interval(Integral, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 2, None, closed="left")],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "optimizer": [StrOptions(set(OPTIMIZERS))],
    "lr_schedule": [StrOptions({"cosine"}), None],
    "device": [str],
    "callbacks": [list, tuple, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def loop_plan(estimator, seeds):
    """Return how an estimator trains.

    Parameters
    ----------
    estimator : estimator
    seeds : list of int
        Of the order of the images, the views, and random layers. ResNets have no random
        layers such as dropout, and train without the lock on torch's global generators.
    """
    if not getattr(estimator, "early_stopping", False):
        _check_monitors(estimator.callbacks or ())
    order, views, layers = seeds
    encoder = estimator.encoder
    is_resnet = isinstance(encoder, str) and encoder in RESNETS
    return LoopPlan(
        max_epochs=int(estimator.max_epochs),
        batch_size=int(estimator.batch_size),
        lr=float(estimator.lr),
        weight_decay=float(estimator.weight_decay),
        optimizer=estimator.optimizer,
        lr_schedule=estimator.lr_schedule,
        callbacks=copy.deepcopy(tuple(estimator.callbacks or ())),
        verbose=int(estimator.verbose),
        device=resolve_device(estimator.device),
        seeds=Seeds(order, views, None if is_resnet else layers),
    )


def _check_monitors(callbacks):
    """Raise a ValueError if a callback waits for the loss of a part held out."""
    for callback in callbacks:
        callback = callback[1] if isinstance(callback, tuple) else callback
        monitor = getattr(callback, "monitor", None)
        if monitor in ("valid_loss", "valid_loss_best"):
            raise ValueError(
                f"{type(callback).__name__} in callbacks has monitor={monitor!r}, and "
                "no images are held out to measure it. Use "
                f"monitor={monitor.replace('valid', 'train')!r}."
            )


def check_loss(history, plan):
    """Raise a ValueError if training diverged."""
    loss = history[-1]["loss"] if history else 0.0
    if not np.isfinite(loss):
        raise ValueError(
            f"Training diverged: the loss of epoch {len(history)} is {loss}. Use a "
            f"smaller lr than {plan.lr} or check the range of the images."
        )


def run_network(estimator, network, X, *, batch_size=None):
    """Return the output of a fitted estimator's network for images in any form.

    The body of `transform` and `predict_proba`: float32, (n_samples, n_features), the
    mean over the mirror images that the parameter `symmetry` names.
    """
    device = resolve_device(estimator.device)
    images = check_images(estimator, X, reset=False)
    warn_of_another_range(estimator, images)
    return embed(
        network,
        images,
        image_size=estimator.image_size_,
        device=device,
        symmetry=estimator.symmetry,
        batch_size=batch_size,
        owner=estimator,
        verbose=estimator.verbose,
    )
