"""Parameters that all estimators which train a network have, and their constraints."""

import copy
from numbers import Integral, Real

from sksimclr._loop import OPTIMIZERS, LoopPlan
from sksimclr._validation import Interval, StrOptions

TRAINING_CONSTRAINTS = {
    "augmentations": [tuple, list],
    "image_shape": [tuple, list, None],
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


def loop_plan(estimator):
    """Return the parameters of an estimator's training loop in plain types."""
    return LoopPlan(
        max_epochs=int(estimator.max_epochs),
        batch_size=int(estimator.batch_size),
        lr=float(estimator.lr),
        weight_decay=float(estimator.weight_decay),
        optimizer=estimator.optimizer,
        lr_schedule=estimator.lr_schedule,
        callbacks=copy.deepcopy(tuple(estimator.callbacks or ())),
        verbose=int(estimator.verbose),
    )
