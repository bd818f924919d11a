"""What all estimators around a network have in common."""

import copy
import sys
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from sksimclr._engine.contrastive import collapsed_loss
from sksimclr._engine.embedding import embed
from sksimclr._engine.loop import OPTIMIZERS, LoopPlan, LoopSeeds
from sksimclr._estimators.validation import Interval, StrOptions, check_images
from sksimclr._machine.device import resolve_device
from sksimclr._networks.encoders import RESNETS

_COLLAPSED_RANK = 1.5  # effective rank of projections that say next to nothing

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


def loop_seeds(encoder, order_seed, layer_seed):
    """Return what the training loop draws from.

    ResNets have no random layers such as dropout, and train without the lock on torch's
    global generators.
    """
    is_resnet = isinstance(encoder, str) and encoder in RESNETS
    return LoopSeeds(order=order_seed, layers=None if is_resnet else layer_seed)


def check_labels(estimator, y, n_images):
    """Return the classes, and the number of the class of each image, int64.

    Raises a ValueError unless y has one label for each image, of two or more classes.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    y = column_or_1d(check_array(y, ensure_2d=False, dtype=None), warn=True)
    check_classification_targets(y)
    if len(y) != n_images:
        raise ValueError(
            f"Expected one label for each of {n_images} images, got {len(y)} in y."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs labels of at least 2 classes, got only class "
            f"{classes.tolist()[0]!r}."
        )
    return classes, codes.astype(np.int64)


def hold_out(codes, groups, fraction, random_state):
    """Return the rows to learn from, of all classes, and those of a part held out.

    The part is stratified and about a `fraction` of all; with groups, it consists of
    whole ones. Raises a ValueError if there are too few images or groups for that.
    """
    rows, n_of_class = np.arange(len(codes)), np.bincount(codes)
    reason = "a class would be left out"
    try:
        for train, valid in _splits(rows, codes, groups, fraction, random_state):
            if np.bincount(codes[train], minlength=len(n_of_class)).all():
                return train, valid
    except ValueError as error:
        reason = str(error).rstrip(".")
    raise ValueError(
        f"early_stopping cannot hold out {fraction:.3g} of {len(codes)} images of "
        f"{len(n_of_class)} classes{'' if groups is None else ', in whole groups'}: "
        f"{reason}. Use more images or groups, another validation_fraction, or "
        "early_stopping=False."
    )


def _splits(rows, codes, groups, fraction, random_state):
    """Return stratified splits, of which any will do."""
    if groups is None:
        splitter = StratifiedShuffleSplit(
            1, test_size=fraction, random_state=random_state
        )
        return splitter.split(rows, codes)
    n_parts = min(round(1 / fraction), len(np.unique(groups)), np.bincount(codes).max())
    splitter = StratifiedGroupKFold(n_parts, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # of classes in fewer groups than parts, in terms the caller has not used
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(rows, codes, groups))


def check_loss(history, plan):
    """Raise a ValueError if training diverged."""
    loss = history[-1]["loss"] if history else 0.0
    if not np.isfinite(loss):
        raise ValueError(
            f"Training diverged: the loss of epoch {len(history)} is {loss}. Use a "
            f"smaller lr than {plan.lr} or check the range of the images."
        )


def warn_of_collapse(history, n_images, batch_size):
    """Warn if the last projections are all alike, by their loss or by their rank."""
    if not history:
        return
    row, found = history[-1], []
    collapsed = collapsed_loss(n_images, batch_size)
    if abs(row["loss"] - collapsed) < 0.01 * collapsed:
        found.append(
            f"its last loss, {row['loss']:.3f}, is that of embeddings which are all "
            f"alike, ln(2 N - 1) = {collapsed:.3f} on average over batches of N images"
        )
    if row["effective_rank"] < _COLLAPSED_RANK:
        found.append(
            f"the effective rank of its projections is {row['effective_rank']:.2f}, so "
            "they lie close to one line"
        )
    if found:
        warnings.warn(
            f"The encoder may have collapsed: {'; and '.join(found)}. Train longer, "
            "change lr, use more images that differ, or check images and "
            "augmentations.",
            ConvergenceWarning,
            stacklevel=_level_of_caller(),
        )


def _level_of_caller():
    """Return the `stacklevel` of the line that called, maybe by way of scikit-learn."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and _package_of(frame) in ("sksimclr", "sklearn", "joblib"):
        frame, level = frame.f_back, level + 1
    return level


def _package_of(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]


def run_network(estimator, network, X, *, n_features, batch_size=None):
    """Return the output of a fitted estimator's network for images in any form.

    The body of `transform` and `predict_proba`: float32, (n_samples, n_features).
    """
    device = resolve_device(estimator.device)
    images = check_images(estimator, X, reset=False)
    return embed(
        network,
        images,
        image_size=estimator.image_size_,
        n_features=n_features,
        device=device,
        batch_size=batch_size,
        verbose=estimator.verbose,
    )
