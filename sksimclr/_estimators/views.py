"""What all that learn from views of images have in common: one class."""

import copy
import dataclasses
import os
import sys
import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sksimclr._engine.checkpoints import CheckpointFolder
from sksimclr._engine.contrastive import ViewPlan, train
from sksimclr._engine.losses import collapsed_loss
from sksimclr._engine.state import to_cpu
from sksimclr._estimators.callbacks import (
    CallbackSupportMixin,
    begin_fit,
    end_fit,
    with_callbacks,
)
from sksimclr._estimators.fingerprint import fit_fingerprint
from sksimclr._estimators.labels import check_sequences
from sksimclr._estimators.mixins import DocumentationLinkMixin, ImageFeaturesOutMixin
from sksimclr._estimators.network import (
    TRAINING_CONSTRAINTS,
    check_loss,
    loop_plan,
    run_network,
)
from sksimclr._estimators.ranges import note_range
from sksimclr._estimators.stored import SkopsMixin
from sksimclr._estimators.validation import (
    Interval,
    StrOptions,
    check_images,
    restored_if_it_fails,
    validates_parameters,
    with_channels,
)
from sksimclr._machine.device import in_float32, resolve_bfloat16
from sksimclr._machine.processes import join_processes
from sksimclr._machine.random import spawn_seeds
from sksimclr._networks.encoders import SMALLEST_WIDTH, embedding_dim, make_networks
from sksimclr._networks.readout import FEATURES, MeanOverMirrors, read_out
from sksimclr._networks.starting import find_start
from sksimclr._networks.weights import save_weights

_IN_OPTIMIZER = ("lr", "weight_decay")  # parameters that its state holds as well
_COLLAPSED_RANK = 1.5  # effective rank of projections that say next to nothing


class ViewTransformer(
    DocumentationLinkMixin,
    ImageFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    SkopsMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Trains an encoder by what two views of an image have in common, and embeds.

    A subclass has the parameters that `_parameter_constraints` names, those of its
    objective besides, and `_objective`, which makes the latter of them.
    """

    _parameter_constraints = {
        **TRAINING_CONSTRAINTS,
        "encoder": [str, callable],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "stem": [StrOptions({"auto", "imagenet", "cifar"})],
        "width": [Interval(Integral, SMALLEST_WIDTH, None, closed="left")],
        "features": [StrOptions(set(FEATURES))],
        "weights": [str, os.PathLike, None],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "compile": ["boolean"],
        "warm_start": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    }

    @with_callbacks
    @validates_parameters(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, sequences=None):
        """Train the encoder on the images, without labels.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            At least two.
        y : ignored
        sequences : array-like of shape (n_samples,), default=None
            Name of the sequence of each image, integers or strings: images of one
            sequence are moments of one scene, such as the sky over a station within
            some minutes. The second view of an image is then one of another image of
            its sequence, and what does not change from moment to moment is learnt.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter, X or `sequences` is not as described; `checkpoint_dir` holds
            another run; or training diverged.
        FileNotFoundError
            One of the paths in X, or the file of `weights`, does not exist.
        OSError
            The download of `weights` failed; or `checkpoint_dir` cannot be written to.
        ImportError
            What `encoder`, `weights` or a file in X needs is not installed: timm or
            safetensors, ``pip install "sksimclr[timm,weights]"``, or a reader.
        KeyboardInterrupt
            Ctrl-C. With `checkpoint_dir`, the same `fit` goes on from there.
        """
        tasks = begin_fit(self, X, y, n_epochs=int(self.max_epochs))
        with in_float32(), restored_if_it_fails(self):
            goes_on = self.warm_start and hasattr(self, "encoder_")
            vars(self).pop("_state", None)  # of partial_fit
            images = check_images(self, X, reset=not goes_on, min_images=2)
            note_range(self, images)
            codes = check_sequences(sequences, len(images))
            networks, plan = self._begin(images, goes_on=goes_on)
            self._train(
                images,
                networks,
                plan,
                sequences=codes,
                own_callbacks=tasks,
                checkpoints=self._checkpoints(images, codes, networks, goes_on=goes_on),
            )
        end_fit(self, X, y, tasks)
        return self

    @validates_parameters(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, sequences=None):
        """Train for one epoch on a part of the images, for data that come in chunks.

        Goes on with weights, optimizer and random draws where the call before ended, or
        with the weights that `fit` learnt; pickles hold all of it. `max_epochs`,
        `lr_schedule` and `checkpoint_dir` are without effect.

        Parameters
        ----------
        X : images as in `fit`, of the shape seen before
        y : ignored
        sequences : array-like of shape (n_samples,), default=None
            As in `fit`; of the images in X alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError, FileNotFoundError, OSError, ImportError
            As in `fit`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksimclr import SimCLRTransformer
        >>> simclr = SimCLRTransformer(image_size=8, random_state=0)
        >>> for chunk in load_digits().images[:64].reshape(2, 32, 8, 8):
        ...     simclr = simclr.partial_fit(chunk)
        >>> simclr.n_iter_
        2
        """
        with in_float32(), restored_if_it_fails(self):
            goes_on = hasattr(self, "encoder_")
            images = check_images(self, X, reset=not goes_on, min_images=2)
            note_range(self, images)
            codes = check_sequences(sequences, len(images))
            networks, plan = self._begin(images, goes_on=goes_on)
            plan = dataclasses.replace(plan, max_epochs=1, lr_schedule=None)
            state = self._kept_state(plan)
            state = self._train(images, networks, plan, sequences=codes, state=state)
            self._state = _to_be_kept(state, plan)
        return self

    def transform(self, X):
        """Embed images with the trained encoder.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            The embeddings; the same to the bit whatever else is in X.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        ValueError
            X is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        check_is_fitted(self, "encoder_")
        return run_network(self, read_out(self.encoder_, self.features), X)

    def save_weights(self, path):
        """Write the trained weights to a file that `weights` reads.

        Parameters
        ----------
        path : str or path-like
            Of a file in safetensors format, ``encoder.*`` and ``projector.*``; an
            existing one is replaced when the new one is complete.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        ImportError
            safetensors is not installed: ``pip install "sksimclr[weights]"``.
        OSError
            The file cannot be written.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sksimclr import SimCLRTransformer
        >>> simclr = SimCLRTransformer(image_size=8, max_epochs=1, random_state=0)
        >>> simclr = simclr.fit(load_digits().images[:32])
        >>> simclr.save_weights("simclr.safetensors")  # doctest: +SKIP
        >>> again = SimCLRTransformer(
        ...     image_size=8, max_epochs=0, weights="simclr.safetensors"
        ... )
        """
        check_is_fitted(self, "encoder_")
        save_weights(
            path,
            self.encoder_,
            self.projector_,
            n_channels=with_channels(self.image_shape_)[2],
            image_size=self.image_size_,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @abstractmethod
    def _objective(self):
        """Return what the projections of two views should be like, an Objective."""

    @property
    def network_(self):
        """What `transform` runs on images that are resized."""
        check_is_fitted(self, "encoder_")
        network = read_out(self.encoder_, self.features)
        return MeanOverMirrors(network, self.symmetry).eval()

    @property
    def _n_features_out(self):
        """Length of an embedding, of the features that are read out now."""
        return embedding_dim(
            read_out(self.encoder_, self.features),
            n_channels=with_channels(self.image_shape_)[2],
            image_size=self.image_size_,
        )

    def _begin(self, images, *, goes_on):
        """Return encoder and projection head to start from, and how to train them.

        Notes what they were made from, unless it goes on with copies of the fitted
        ones.
        """
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        if goes_on:
            networks = copy.deepcopy((self.encoder_, self.projector_))
            seeds = spawn_seeds((seed, self.n_iter_), 3)
        else:
            weight_seed, *seeds = spawn_seeds(seed, 4)
            networks = self._make_networks(images.n_channels, weight_seed)
        plan = loop_plan(self, seeds)
        processes = join_processes(plan.device)
        return networks, dataclasses.replace(plan, processes=processes)

    def _make_networks(self, n_channels, seed):
        """Return new networks, with the weights that were asked for."""
        start = None
        if self.weights is not None:
            start = find_start(self.weights, self.encoder)
        made_from = {
            "encoder": self.encoder,
            "stem": self.stem,
            "width": int(self.width),
            "n_channels": n_channels,
            "image_size": int(self.image_size),
            "projection_dim": int(self.projection_dim),
            "seed": seed,
            "scaled": start is not None and start.is_scaled,
        }
        encoder, projector = make_networks(**made_from)
        read_out(encoder, self.features)  # or say now that it cannot be
        if start is not None:
            start.load(
                encoder,
                projector,
                n_channels=n_channels,
                image_size=int(self.image_size),
            )
        self._made_from = made_from
        self.history_ = []
        return encoder, projector

    def _checkpoints(self, images, sequences, networks, *, goes_on):
        """Return where the run is saved, or None; it starts from these networks."""
        if self.checkpoint_dir is None:
            return None
        start = None
        if goes_on or self.weights is not None:
            states = [network.state_dict() for network in networks]
            start = [values.numpy() for state in states for values in state.values()]
        return CheckpointFolder(
            self.checkpoint_dir,
            fit_fingerprint(self, images, start, sequences),
            every=int(self.checkpoint_every),
        )

    def _train(self, images, networks, plan, **run):
        """Train the networks, keep what they learnt, and return the state of the run.

        `run` is what else :func:`sksimclr._engine.contrastive.train` takes.
        """
        objective = self._objective()
        views = ViewPlan(
            objective=objective,
            augmentations=tuple(self.augmentations),
            image_size=int(self.image_size),
            bfloat16=resolve_bfloat16(self.precision, plan.device),
            compile=bool(self.compile),
        )
        history, state = train(*networks, images, views, plan, **run)
        check_loss(history, plan)
        n_together = plan.batch_size * plan.processes.n_processes
        warn_of_collapse(history, collapsed_loss(objective, len(images), n_together))
        vars(self).update(self._learnt(*networks, history))
        return state

    def _learnt(self, encoder, projector, history):
        """Return the attributes that these networks and epochs add.

        The networks go to the CPU and to evaluation mode.
        """
        n_before = len(self.history_)
        rows = [row | {"epoch": row["epoch"] + n_before} for row in history]
        return {
            "encoder_": encoder.cpu().eval(),
            "projector_": projector.cpu().eval(),
            "history_": [*self.history_, *rows],
            "n_iter_": n_before + len(rows),
            "image_size_": int(self.image_size),
        }

    def _kept_state(self, plan):
        """Return what the `partial_fit` before kept, with the parameters of now.

        None if there is nothing, or another optimizer since.
        """
        state = copy.deepcopy(getattr(self, "_state", None))
        if state is None or state["settings"]["optimizer"] != plan.optimizer:
            return None
        for name in _IN_OPTIMIZER:
            if state["settings"][name] != getattr(plan, name):
                for group in state["optimizer"]["param_groups"]:
                    group[name] = getattr(plan, name)
        return state


def _to_be_kept(state, plan):
    """Return what the next `partial_fit` needs of the state of a run, on the CPU."""
    settings = {name: getattr(plan, name) for name in ("optimizer", *_IN_OPTIMIZER)}
    weights = {"model"}  # encoder_ and projector_ have them
    kept = {name: value for name, value in state.items() if name not in weights}
    return to_cpu(kept | {"history": [], "settings": settings})


def warn_of_collapse(history, collapsed_loss):
    """Warn if the last projections are all alike, by their loss or by their rank.

    The former is compared with the mean loss of an epoch of projections all alike.
    """
    if not history:
        return
    row, found = history[-1], []
    if abs(row["loss"] - collapsed_loss) < 0.01 * abs(collapsed_loss):
        found.append(
            f"its last loss, {row['loss']:.3f}, is within 1 % of that of embeddings "
            f"which are all alike, {collapsed_loss:.3f}"
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
