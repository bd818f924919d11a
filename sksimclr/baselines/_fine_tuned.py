"""Classifiers that train a pretrained network further, with labels."""

import copy
import os
from enum import Enum
from numbers import Integral, Real

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
)

from sksimclr._engine.supervised import FineTuningPlan, fine_tune, with_head
from sksimclr._estimators.labels import (
    as_column,
    check_labels,
    hold_out,
    refuse_missing,
)
from sksimclr._estimators.mixins import DocumentationLinkMixin
from sksimclr._estimators.network import (
    TRAINING_CONSTRAINTS,
    check_loss,
    loop_plan,
    run_network,
)
from sksimclr._estimators.ranges import note_range
from sksimclr._estimators.validation import (
    Interval,
    StrOptions,
    check_images,
    restored_if_it_fails,
    validates_parameters,
    with_channels,
)
from sksimclr._machine.device import in_float32
from sksimclr._machine.random import spawn_seeds, torch_seeded
from sksimclr._networks.encoders import embedding_dim
from sksimclr._networks.pretrained import make_backbone
from sksimclr._simclr import SimCLRTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip


class FineTunedClassifier(DocumentationLinkMixin, ClassifierMixin, BaseEstimator):
    """Classify images with a pretrained network that is trained further, with labels.

    The second row of the table of Johnson et al. [1]_, a ResNet18 that was trained on
    ImageNet; and a way to use few labels: pretrain a
    :class:`~sksimclr.SimCLRTransformer` on all images, fine-tune it on the labelled
    ones. The encoder and a linear layer behind it are trained together, by the cross
    entropy of augmented images.

    Parameters
    ----------
    encoder : str, callable or SimCLRTransformer, default="resnet18"
        A classifier of torchvision, "timm:NAME" or a factory, as `backbone` of
        :class:`PretrainedTransformer`; or a fitted
        :class:`~sksimclr.SimCLRTransformer`, a copy of whose encoder is trained. To
        clone or cross-validate the latter, wrap it:
        ``FrozenEstimator(simclr)``.
    weights : str, path-like, torchvision enum or None, default="imagenet"
        To start from, as of :class:`PretrainedTransformer`; random ones, which None
        gives, depend on `random_state`. Without effect when `encoder` is fitted.
    augmentations : tuple, default=(ResizedCrop(scale=(0.5, 1.0)), VerticalFlip())
        Members of :mod:`sksimclr.augmentations`, applied in order to every image in
        training.
    image_size : int, default=None
        Side of the images that the network sees, pixels, at least 1. None is what the
        weights ask for, or the `image_size` of a fitted `encoder`.
    image_shape : tuple of int, default=None
        Shape of one image, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows. By
        default they are square if they can be, else strips one pixel high.
    symmetry : {"vertical", "horizontal", "flips", "square"} or None, default=None
        Let `predict_proba` and `predict` take the mean of the network's outputs, before
        they become probabilities, over an image and its mirror images: upside down;
        left and right exchanged; both, four images; and these turned by a quarter,
        eight. Training is the same. May be changed after `fit`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss, >= 0; "balanced" makes them inversely
        proportional to their frequencies. The loss is the sum of the weighted losses
        of images over the sum of their weights.
    max_epochs : int, default=20
        Most passes over the images, at least 1.
    batch_size : int, default=64
        Images in a step, at least 2. A last batch of a single image is left out of its
        epoch. Larger than the data means all.
    lr : float, default=3e-4
        Learning rate, > 0.
    weight_decay : float, default=0.0
        Of the optimizer, >= 0; decoupled from the gradient for "adamw".
    optimizer : {"adam", "adamw", "sgd"}, default="adam"
        "sgd" has a momentum of 0.9.
    lr_schedule : {"cosine"} or None, default="cosine"
        "cosine": rise over the first 10 % of the steps, then half a cosine to zero.
        None keeps `lr` fixed.
    early_stopping : bool, default=False
        Hold a part of the images out of training, stop when the loss on it no longer
        falls, and keep the weights for which it was lowest. The part is stratified; if
        `fit` is given groups, it consists of whole groups.
    validation_fraction : float, default=0.1
        Size of that part, in (0, 0.5]. With few groups it may be larger: one of them.
    n_iter_no_change : int, default=5
        Epochs without a lower loss on that part after which training stops, at least 1.
    device : str, default="auto"
        "auto" takes CUDA, MPS or the CPU, the first there is; or the name of a torch
        device, such as "cuda:1".
    callbacks : list, default=None
        skorch callbacks, of which copies are used. There is a "valid_loss" to monitor
        with `early_stopping`, else only "train_loss".
    random_state : int, RandomState instance or None, default=None
        Of the held-out part, new weights, the order of the images and their views. On
        a CPU the same int, number of threads and library versions give the same bits.
    verbose : int, default=0
        Above 0: print a row per epoch and show progress bars.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), of the type of y
        The labels seen in `fit`, sorted.
    network_ : nn.Module
        The trained encoder and the linear layer, on the CPU, in evaluation mode.
    history_ : list of dict
        A row for each epoch: "epoch", "loss" (mean over the images), "valid_loss"
        with `early_stopping`, "lr", "seconds", "images_per_second".
    n_iter_ : int
        Epochs that were run.
    image_size_ : int
        Side to which `predict` resizes images, pixels.
    image_shape_ : tuple of int
        Shape of one image seen in `fit`.
    n_features_in_ : int
        Number of values in one image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Column names of X, when X was a data frame of flattened rows.

    See Also
    --------
    PretrainedTransformer : The same networks, frozen.

    Notes
    -----
    X may have any form that :class:`~sksimclr.SimCLRTransformer` takes. Networks of
    torchvision and of factories see it as :class:`PretrainedTransformer` describes.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    Pretrain on all images, fine-tune on the few that have labels:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sksimclr import SimCLRTransformer
    >>> from sksimclr.baselines import FineTunedClassifier
    >>> images, target = load_digits(return_X_y=True)
    >>> images = images[:64].reshape(-1, 8, 8) / 16
    >>> simclr = SimCLRTransformer(image_size=16, max_epochs=1, random_state=0)
    >>> simclr = FrozenEstimator(simclr.fit(images))
    >>> classifier = FineTunedClassifier(simclr, max_epochs=1, random_state=0)
    >>> classifier.fit(images[:32], target[:32]).predict_proba(images).shape
    (64, 10)
    """

    _parameter_constraints = {
        **TRAINING_CONSTRAINTS,
        "encoder": [str, callable, SimCLRTransformer, FrozenEstimator],
        "weights": [str, os.PathLike, Enum, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    }
    # with metadata routing, groups reach fit without a call of set_fit_request
    __metadata_request__fit = {"groups": True}

    def __init__(
        self,
        encoder="resnet18",
        *,
        weights="imagenet",
        augmentations=(ResizedCrop(scale=(0.5, 1.0)), VerticalFlip()),  # noqa: B008
        image_size=None,
        image_shape=None,
        symmetry=None,
        class_weight=None,
        max_epochs=20,
        batch_size=64,
        lr=3e-4,
        weight_decay=0.0,
        optimizer="adam",
        lr_schedule="cosine",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        device="auto",
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.encoder = encoder
        self.weights = weights
        self.augmentations = augmentations
        self.image_size = image_size
        self.image_shape = image_shape
        self.symmetry = symmetry
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @validates_parameters(prefer_skip_nested_validation=True)
    def fit(self, X, y, groups=None):
        """Train the network on images with labels.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            At least two.
        y : array-like of shape (n_samples,)
            Label of each image, of at least two classes.
        groups : array-like of shape (n_samples,), default=None
            Sequence or night of each image. With `early_stopping`, the part held out
            consists of whole groups; else without effect.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter, X, y or groups is not as described; or training diverged.
        FileNotFoundError
            One of the paths in X, or the file of `weights`, does not exist.
        OSError
            `weights` cannot be downloaded; the message says how to get them by hand.
        sklearn.exceptions.NotFittedError
            `encoder` is a SimCLRTransformer that is not fitted, such as a clone.
        ImportError
            The file of `weights` is in safetensors format and safetensors is not
            installed: ``pip install "sksimclr[weights]"``.
        """
        with in_float32(), restored_if_it_fails(self):
            images = check_images(self, X, reset=True, min_images=2)
            note_range(self, images)
            self.classes_, codes = check_labels(self, y, len(images))
            random_state = check_random_state(self.random_state)
            rows = self._split(codes, groups, random_state)
            class_weight = self._weights_of_classes(codes, rows[1])
            seeds = spawn_seeds(random_state.randint(np.iinfo(np.int32).max), 5)
            plan = loop_plan(self, seeds[2:])
            network = self._make_network(images, *seeds[:2])
            self._train(network, images, codes, rows, class_weight, plan)
        return self

    def predict(self, X):
        """Return the most probable label of each image.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), of the type of y in `fit`

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError, FileNotFoundError
            As in `predict_proba`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`; the same to the bit whatever else is in X.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        ValueError
            X is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        check_is_fitted(self, "network_")
        logits = run_network(self, self.network_, X)
        return softmax(logits, axis=1)

    def _split(self, codes, groups, random_state):
        """Return the rows to learn from, and those held out or None."""
        if groups is not None:
            if self.early_stopping:
                refuse_missing(groups, "groups", "Give each image a group.")
            groups = as_column(groups, "groups")
            check_consistent_length(codes, groups)
        if not self.early_stopping:
            return np.arange(len(codes)), None
        return hold_out(codes, groups, float(self.validation_fraction), random_state)

    def _make_network(self, images, encoder_seed, head_seed):
        """Return the encoder to start from with a new linear layer behind it."""
        encoder, asked_size = self._copy_encoder(images, encoder_seed)
        self.image_size_ = int(self.image_size or asked_size)
        n_features = embedding_dim(
            encoder, n_channels=images.n_channels, image_size=self.image_size_
        )
        with torch_seeded(head_seed):
            return with_head(encoder, n_features, len(self.classes_))

    def _copy_encoder(self, images, seed):
        """Return a new encoder, and the image size that its weights are for."""
        encoder = self.encoder
        if isinstance(encoder, FrozenEstimator):
            encoder = encoder.estimator
        if not isinstance(encoder, SimCLRTransformer):
            if isinstance(self.encoder, FrozenEstimator):
                raise ValueError(
                    "FineTunedClassifier: expected a SimCLRTransformer inside "
                    f"FrozenEstimator, got {type(encoder).__name__}."
                )
            return make_backbone(
                encoder,
                self.weights,
                layer="features",
                image_size=self.image_size,
                seed=seed,
            )
        if not hasattr(encoder, "encoder_"):
            raise NotFittedError(
                "FineTunedClassifier: encoder is a SimCLRTransformer that is not "
                "fitted. Cloning, as cross-validation does, forgets what was learnt: "
                "fit it first and pass FrozenEstimator(simclr), of sklearn.frozen."
            )
        n_channels = with_channels(encoder.image_shape_)[2]
        if n_channels != images.n_channels:
            raise ValueError(
                f"FineTunedClassifier: encoder was fitted on images with {n_channels} "
                f"channel(s), got images with {images.n_channels} in X."
            )
        return copy.deepcopy(encoder.encoder_), encoder.image_size_

    def _weights_of_classes(self, codes, held_out):
        """Return the weight of each class in the loss, float32, or None."""
        if self.class_weight is None:
            return None
        found = compute_class_weight(
            self.class_weight, classes=self.classes_, y=self.classes_[codes]
        ).astype(np.float32)
        wrong = self.classes_[~(np.isfinite(found) & (found >= 0))].tolist()
        if wrong:
            raise ValueError(
                "FineTunedClassifier: expected weights of classes in class_weight that "
                f"are finite and not negative, got {self.class_weight[wrong[0]]!r} for "
                f"class {wrong[0]!r}."
            )
        for part, where in [(codes, "in y"), (codes[held_out], "of the part held out")]:
            if not found[part].any():
                raise ValueError(
                    "FineTunedClassifier: expected a class with a weight above 0 in "
                    f"class_weight, got 0 for all {where}."
                )
        return found

    def _train(self, network, images, codes, rows, class_weight, plan):
        """Train the network and keep the result."""
        fine_tuning = FineTuningPlan(
            augmentations=tuple(self.augmentations),
            image_size=self.image_size_,
            class_weight=class_weight,
            patience=int(self.n_iter_no_change),
        )
        history = fine_tune(network, images, codes, rows, fine_tuning, plan)
        check_loss(history, plan)
        self.network_ = network.cpu().eval()
        self.history_ = history
        self.n_iter_ = len(history)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
