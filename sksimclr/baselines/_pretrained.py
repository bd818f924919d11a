"""Frozen features of networks that were trained on other images."""

import os
from enum import Enum
from numbers import Integral

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sksimclr._estimators.mixins import DocumentationLinkMixin, ImageFeaturesOutMixin
from sksimclr._estimators.network import SYMMETRY_CONSTRAINT, run_network
from sksimclr._estimators.ranges import note_range
from sksimclr._estimators.validation import (
    Interval,
    StrOptions,
    check_images,
    restored_if_it_fails,
    validates_parameters,
)
from sksimclr._machine.device import in_float32, resolve_device
from sksimclr._networks.encoders import embedding_dim
from sksimclr._networks.pretrained import make_backbone

_RANDOM_WEIGHTS_SEED = 0  # so that weights=None is the same network at every fit


class PretrainedTransformer(
    DocumentationLinkMixin, ImageFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Embed images with a network that was trained on ImageNet, as it is.

    With a ridge classifier behind it, what the first row of the table of Johnson et al.
    [2]_ stands for; that row itself is from Clausen & Nickisch [1]_, who took the
    logits of Inception-v4. Nothing is learnt from the images.

    Parameters
    ----------
    backbone : str or callable, default="inception_v3"
        A classifier of torchvision, ``torchvision.models.list_models()``; "timm:" and
        the name of a model of timm, an extra, such as "timm:inception_v4.tf_in1k", the
        network of the first row of [1]_, or "timm:vit_small_patch14_dinov2"; or an
        importable factory that is called as ``f(3)`` and returns an ``nn.Module`` that
        maps RGB images ``(n, 3, H, W)`` in [0, 1] to features ``(n, n_features)`` and
        normalises them itself.
    weights : str, path-like, torchvision enum or None, default="imagenet"
        "imagenet" is the best that torchvision has, downloaded once by torch.hub, or
        what timm has for the name, whatever it was trained on; or a
        member of its enumeration such as
        ``torchvision.models.ResNet18_Weights.IMAGENET1K_V1``, or its name; or the file
        of a state dict. None takes a factory's network as it comes, and gives a name
        random weights, always the same ones. For a factory, a file or None.
    layer : {"features", "stages", "logits"}, default="features"
        Output of a classifier: what its last linear layer is given; the mean over the
        places of the output of every stage, one after the other, of a ResNet or a
        network with a method ``stages(images)`` that returns a list of maps
        ``(n, C, H, W)``; or what it returns, as in [1]_.
    symmetry : {"vertical", "horizontal", "flips", "square"} or None, default=None
        Return the mean over an image and its mirror images: upside down; left and right
        exchanged; both, four images; and these turned by a quarter, eight. It takes as
        many times as long. May be changed after `fit`.
    image_size : int, default=None
        Side to which images are resized, pixels, at least 1. None is what the weights
        ask for, such as 299 for "inception_v3", and 224 where nothing is asked.
    image_shape : tuple of int, default=None
        Shape of one image, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows. By
        default they are square if they can be, else strips one pixel high.
    batch_size : int, default=None
        Images in a forward pass, at least 1. None is what suits device and image size;
        on a GPU that runs out of memory, it is halved.
    device : str, default="auto"
        "auto" takes CUDA, MPS or the CPU, the first there is; or the name of a torch
        device, such as "cuda:1".
    verbose : int, default=0
        Above 0: show a progress bar.

    Attributes
    ----------
    backbone_ : nn.Module
        The network with its scaling, on the CPU, in evaluation mode.
    image_size_ : int
        Side to which `transform` resizes images, pixels.
    image_shape_ : tuple of int
        Shape of one image seen in `fit`.
    n_features_in_ : int
        Number of values in one image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Column names of X, when X was a data frame of flattened rows.

    See Also
    --------
    sksimclr.SimCLRTransformer : Embeddings learnt from the images themselves.
    FineTunedClassifier : Train such a network further, with labels.
    sksimclr.datasets.load_oath : ``features=True`` gives the features of [1]_.

    Notes
    -----
    X may have any form that :class:`~sksimclr.SimCLRTransformer` takes. Grey images
    are repeated to three channels, an alpha channel is left out, and all are scaled
    with the mean and standard deviation that the weights ask for. Images are resized
    whole, not cropped at the centre, since all-sky images fill their frame. Floating-
    point images should lie in [0, 1].

    References
    ----------
    .. [1] Clausen & Nickisch (2018), "Automatic classification of auroral images from
       the Oslo Auroral THEMIS (OATH) data set using machine learning",
       doi:10.1029/2018JA025274
    .. [2] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksimclr.baselines import PretrainedTransformer
    >>> digits = load_digits().images[:8] / 16  # (8, 8, 8)
    >>> frozen = PretrainedTransformer("resnet18", weights=None, image_size=32)
    >>> frozen.fit_transform(digits).shape
    (8, 512)

    The nearest to the row of the paper that torchvision has, with weights that are
    downloaded once (104 MB); features and a scaled classifier are a stronger opponent:

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> logits = PretrainedTransformer("inception_v3", layer="logits")
    >>> row_1 = make_pipeline(logits, RidgeClassifier(alpha=0.03))
    """

    _parameter_constraints = {
        "backbone": [str, callable],
        "weights": [str, os.PathLike, Enum, None],
        "layer": [StrOptions({"features", "stages", "logits"})],
        "symmetry": SYMMETRY_CONSTRAINT,
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "image_shape": [tuple, list, None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone="inception_v3",
        *,
        weights="imagenet",
        layer="features",
        symmetry=None,
        image_size=None,
        image_shape=None,
        batch_size=None,
        device="auto",
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.symmetry = symmetry
        self.image_size = image_size
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.verbose = verbose

    @validates_parameters(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Load the network; nothing is learnt from the images.

        Parameters
        ----------
        X : images in any form described in the notes of the class
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or X is not as described.
        FileNotFoundError
            One of the paths in X, or the file of `weights`, does not exist.
        OSError
            `weights` cannot be downloaded; the message says how to get them by hand.
        ImportError
            The file of `weights` is in safetensors format and safetensors is not
            installed: ``pip install "sksimclr[weights]"``.
        """
        with in_float32(), restored_if_it_fails(self):
            resolve_device(self.device)
            images = check_images(self, X, reset=True)
            note_range(self, images)
            backbone, asked_size = make_backbone(
                self.backbone,
                self.weights,
                layer=self.layer,
                image_size=self.image_size,
                seed=_RANDOM_WEIGHTS_SEED,
            )
            self.image_size_ = int(self.image_size or asked_size)
            self._n_features_out = embedding_dim(
                backbone, n_channels=images.n_channels, image_size=self.image_size_
            )
            self.backbone_ = backbone.eval()
        return self

    def transform(self, X):
        """Embed images with the network.

        Parameters
        ----------
        X : images in any form described in the notes of the class
            Of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            The features; the same to the bit whatever else is in X.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        ValueError
            X is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        check_is_fitted(self, "backbone_")
        return run_network(
            self,
            self.backbone_,
            X,
            batch_size=self.batch_size,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
