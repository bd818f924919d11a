"""SimCLR as a scikit-learn transformer."""

import os
from numbers import Integral, Real

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sksimclr._estimators.callbacks import (
    CallbackSupportMixin,
    begin_fit,
    end_fit,
    with_callbacks,
)
from sksimclr._estimators.mixins import DocumentationLinkMixin, ImageFeaturesOutMixin
from sksimclr._estimators.network import TRAINING_CONSTRAINTS, loop_plan, run_network
from sksimclr._estimators.stored import SkopsMixin
from sksimclr._estimators.validation import (
    Interval,
    StrOptions,
    check_images,
    restored_if_it_fails,
    validates_parameters,
    with_channels,
)
from sksimclr._estimators.views import begin, checkpoint_folder, pretrain, pretrain_once
from sksimclr._networks.encoders import RESNETS
from sksimclr._networks.weights import save_weights
from sksimclr.augmentations import ResizedCrop, VerticalFlip


class SimCLRTransformer(
    DocumentationLinkMixin,
    ImageFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    SkopsMixin,
    BaseEstimator,
):
    """Embed images with an encoder trained on them without labels, by SimCLR.

    `fit` makes two random views of every image and trains the encoder until the views
    of one image lie close together and those of different images apart [1]_ [2]_.
    `transform` returns the encoder's output, on which a linear classifier often
    suffices. The defaults are the recipe of [1]_ for all-sky images of the aurora.

    Parameters
    ----------
    encoder : str or callable, default="resnet18"
        A torchvision ResNet, trained from random weights ("resnet18", "resnet34",
        "resnet50", "resnet101", "resnet152"), or an importable factory
        ``f(n_channels) -> nn.Module`` of networks that map ``(n, C, H, W)`` to
        ``(n, n_features)``.
    temperature : float, default=0.5
        Temperature of the NT-Xent loss, > 0. Smaller ones weigh hard negatives more.
    augmentations : tuple, default=(ResizedCrop(), VerticalFlip())
        Members of :mod:`sksimclr.augmentations`, applied in order to make each view.
    projection_dim : int, default=64
        Length of the projections that the loss compares.
    image_size : int, default=224
        Side, in pixels, of the square views and of the images that are embedded.
    image_shape : tuple of int, default=None
        Shape of one image, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows. By
        default they are square if they can be, else strips one pixel high.
    stem : {"auto", "imagenet", "cifar"}, default="auto"
        First layers of a ResNet: 7 x 7 convolution of stride 2 and max pooling, or
        3 x 3 convolution alone, with 16 times the work for all layers behind it. "auto"
        is "cifar" for an `image_size` up to 32. Without effect on a factory's network.
    weights : str or path-like, default=None
        Start from these weights instead of random ones: a file that
        :meth:`save_weights` wrote, a state dict with the same keys, or "aurora-fm", the
        encoder that the author of [1]_ published (46 MB, downloaded once; CC BY 4.0;
        trained on images of 224 pixels that were scaled with
        ``AuroraPreprocessor(percentiles_over="frame")``). Of a state dict for three
        channels that `save_weights` did not write, as Aurora-FM's, grey images get the
        weights of green, the only channel that had signal there. With
        ``max_epochs=0``, images are embedded with the weights as they are.
    max_epochs : int, default=100
        Passes over the images. 0 embeds with the encoder as it is: a random one is a
        baseline that every trained one must beat.
    batch_size : int, default=128
        Images in a step, at least 2; the loss sees twice as many views. A last batch
        of a single image is left out of its epoch. Larger than the data means all.
    lr : float, default=3e-4
        Learning rate.
    weight_decay : float, default=0.0
        Of the optimizer, >= 0; decoupled from the gradient for "adamw".
    optimizer : {"adam", "adamw", "sgd"}, default="adam"
        "sgd" has a momentum of 0.9.
    lr_schedule : {"cosine"} or None, default=None
        "cosine": rise over the first 10 % of the steps, then half a cosine to zero.
        None keeps `lr` fixed.
    device : str, default="auto"
        "auto" takes CUDA, MPS or the CPU, the first there is; or the name of a torch
        device, such as "cuda:1".
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the networks in training; views and loss are float32 in any case, and so is
        `transform`. "auto" is "bfloat16" on NVIDIA GPUs that are made for it.
    compile : bool, default=False
        Let ``torch.compile`` make the training faster, after minutes of compilation.
        For long runs on a GPU.
    warm_start : bool, default=False
        Let `fit` go on from the weights of the `fit` before, with a new optimizer, for
        another `max_epochs`; `encoder`, `stem`, `weights` and `projection_dim` are
        then without effect.
    checkpoint_dir : str or path-like, default=None
        Folder where `fit` saves the run, about three times the size of the encoder,
        and from which it goes on if it was interrupted or killed: with the same bits
        as one that was not. Each run needs a folder of its own.
    checkpoint_every : int, default=1
        Epochs from one checkpoint to the next. Ctrl-C and SIGTERM save one besides,
        after the batch at hand.
    callbacks : list, default=None
        skorch callbacks, of which copies are used. There is no validation loss: those
        that monitor a score need ``monitor="train_loss"``.
    random_state : int, RandomState instance or None, default=None
        Of the initial weights, the order of the images and the views. On a CPU the
        same int, number of threads and library versions give the same bits. Pass an
        int when the pipeline caches with ``memory``.
    verbose : int, default=0
        1 prints a row per epoch and shows progress bars.

    Attributes
    ----------
    encoder_ : nn.Module
        The trained encoder, on the CPU, in evaluation mode.
    projector_ : nn.Module
        The projection head, only used in training.
    history_ : list of dict
        A row for each epoch: "epoch"; "loss", "alignment" and "uniformity" (means over
        the batches) and "effective_rank" of the projections, see
        :mod:`sksimclr.metrics`; "lr", "seconds", "images_per_second".
    n_iter_ : int
        Epochs that were run.
    image_shape_ : tuple of int
        Shape of one image seen in `fit`.
    image_size_ : int
        Side to which `transform` resizes images, pixels.
    n_features_in_ : int
        Number of values in one image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names of X, when X was a data frame of flattened rows.

    See Also
    --------
    AuroraPreprocessor : Bring raw all-sky frames to a common scale first.

    Notes
    -----
    X may be grey images ``(n, H, W)``, images with 1 to 4 channels ``(n, H, W, C)``,
    flattened rows ``(n, n_pixels)``, a memory map or another lazily sliced array, or
    a sequence of paths of image files; all images have one shape. Integers of 8 and
    16 bits are divided by their type's maximum, other numbers are taken as they are.

    Inside ``cross_val_score`` the encoder is trained anew in every fold and never sees
    the test images (inductive). To train it once on all images without their labels
    and probe it many times (transductive, as in [1]_), wrap a fitted one in
    ``sklearn.frozen.FrozenEstimator``.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899
    .. [2] Chen et al. (2020), "A Simple Framework for Contrastive Learning of Visual
       Representations", https://arxiv.org/abs/2002.05709

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksimclr import SimCLRTransformer
    >>> digits = load_digits().images[:32]  # (32, 8, 8)
    >>> simclr = SimCLRTransformer(image_size=8, max_epochs=1, random_state=0)
    >>> simclr.fit_transform(digits).shape
    (32, 512)
    """

    _parameter_constraints = {
        **TRAINING_CONSTRAINTS,
        "encoder": [StrOptions(set(RESNETS)), callable],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "stem": [StrOptions({"auto", "imagenet", "cifar"})],
        "weights": [str, os.PathLike, None],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "compile": ["boolean"],
        "warm_start": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        encoder="resnet18",
        *,
        temperature=0.5,
        augmentations=(ResizedCrop(), VerticalFlip()),  # noqa: B008 (they are frozen)
        projection_dim=64,
        image_size=224,
        image_shape=None,
        stem="auto",
        weights=None,
        max_epochs=100,
        batch_size=128,
        lr=3e-4,
        weight_decay=0.0,
        optimizer="adam",
        lr_schedule=None,
        device="auto",
        precision="auto",
        compile=False,
        warm_start=False,
        checkpoint_dir=None,
        checkpoint_every=1,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.encoder = encoder
        self.temperature = temperature
        self.augmentations = augmentations
        self.projection_dim = projection_dim
        self.image_size = image_size
        self.image_shape = image_shape
        self.stem = stem
        self.weights = weights
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.device = device
        self.precision = precision
        self.compile = compile
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @validates_parameters(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder on the images, without labels.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            At least two.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or X is not as described; `checkpoint_dir` holds another run; or
            training diverged.
        FileNotFoundError
            One of the paths in X, or the file of `weights`, does not exist.
        OSError
            The download of `weights` failed; or `checkpoint_dir` cannot be written to.
        KeyboardInterrupt
            Ctrl-C. With `checkpoint_dir`, the same `fit` goes on from there.
        """
        tasks = begin_fit(self, X, y, n_epochs=int(self.max_epochs))
        with restored_if_it_fails(self):
            goes_on = self.warm_start and hasattr(self, "encoder_")
            vars(self).pop("_state", None)  # of partial_fit
            images = check_images(self, X, reset=not goes_on, min_images=2)
            networks, seeds = begin(self, images, goes_on=goes_on)
            pretrain(
                self,
                images,
                networks,
                loop_plan(self),
                seeds,
                own_callbacks=tasks,
                checkpoints=checkpoint_folder(self, images, networks, goes_on=goes_on),
            )
        end_fit(self, X, y, tasks)
        return self

    @validates_parameters(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Train for one epoch on a part of the images, for data that come in chunks.

        Goes on with weights, optimizer and random draws where the call before ended, or
        with the weights that `fit` learnt; pickles hold all of it. `max_epochs`,
        `lr_schedule` and `checkpoint_dir` are without effect.

        Parameters
        ----------
        X : images as in `fit`, of the shape seen before
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError, FileNotFoundError, OSError
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
        with restored_if_it_fails(self):
            goes_on = hasattr(self, "encoder_")
            images = check_images(self, X, reset=not goes_on, min_images=2)
            networks, seeds = begin(self, images, goes_on=goes_on)
            pretrain_once(self, images, networks, seeds)
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
        return run_network(self, self.encoder_, X, n_features=self._n_features_out)

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
