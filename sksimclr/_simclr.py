"""SimCLR as a scikit-learn transformer."""

from numbers import Real

from sksimclr._engine.losses import NTXent
from sksimclr._estimators.validation import Interval
from sksimclr._estimators.views import ViewTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip


class SimCLRTransformer(ViewTransformer):
    """Embed images with an encoder trained on them without labels, by SimCLR.

    `fit` makes two random views of every image and trains the encoder until the views
    of one image lie close together and those of different images apart [1]_ [2]_.
    `transform` returns the encoder's output, on which a linear classifier often
    suffices. The defaults are the recipe of [1]_ for all-sky images of the aurora.

    Parameters
    ----------
    encoder : str or callable, default="resnet18"
        A classifier of torchvision without its last linear layer, such as "resnet50",
        "mobilenet_v3_small" or "vit_b_16", see ``torchvision.models.list_models()``;
        "timm:" and the name of a model of timm, an extra, such as
        "timm:convnext_atto"; or an importable factory ``f(n_channels) -> nn.Module``
        of networks that map ``(n, C, H, W)`` to ``(n, n_features)``. Names get random
        weights, unless `weights` says otherwise.
    width : int, default=64
        Channels of the first of the four stages of a ResNet, each of which has twice as
        many as the one before, at least 16. 16 costs about a tenth of 64. Without
        effect on other networks.
    features : {"last", "stages"}, default="last"
        What `transform` returns: the mean over the places of the last stage's output,
        which is the encoder's, or of that of every stage, one after the other, for a
        ResNet or a network with a method ``stages(images)`` that returns a list of maps
        ``(n, C, H, W)``. Training is the same. May be changed after `fit`.
    symmetry : {"vertical", "horizontal", "flips", "square"} or None, default=None
        Let `transform` return the mean over an image and its mirror images: upside
        down; left and right exchanged; both, four images; and these turned by a
        quarter, eight. The embedding of a mirror image is then the same, up to
        rounding; it takes as many times as long. May be changed after `fit`.
    temperature : float, default=0.5
        Temperature of the NT-Xent loss, > 0. Smaller ones weigh hard negatives more.
    augmentations : tuple, default=(ResizedCrop(), VerticalFlip())
        Members of :mod:`sksimclr.augmentations`, applied in order to make each view.
    projection_dim : int, default=64
        Length of the projections that the loss compares, >= 1.
    image_size : int, default=224
        Side, in pixels, >= 1, of the square views and of the images that are
        embedded.
    image_shape : tuple of int, default=None
        Shape of one image, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows. By
        default they are square if they can be, else strips one pixel high.
    stem : {"auto", "imagenet", "cifar"}, default="auto"
        First layers of "resnet18", "resnet34", "resnet50", "resnet101" and
        "resnet152": 7 x 7 convolution of stride 2 and max pooling, or 3 x 3 convolution
        alone, with 16 times the work for all layers behind it. "auto" is "cifar" for an
        `image_size` up to 32, and "imagenet" for weights from ImageNet, which have no
        other. Without effect on other encoders.
    weights : str or path-like, default=None
        Start from these weights instead of random ones. A file that
        :meth:`save_weights` wrote, or a state dict with the same keys. "imagenet": what
        torchvision has as the best for the name of `encoder`, or timm for it,
        downloaded once; or the file of a state dict of that network, as torchvision or
        timm names its weights. The scaling that they ask for goes into the first
        convolution, which then takes images in [0, 1] as they are: grey ones as if
        repeated to three channels, alpha with weights of zero. Or "aurora-fm", the
        encoder that the author of [1]_ published (46 MB, downloaded once; CC BY 4.0;
        trained on images of 224 pixels that were scaled with
        ``AuroraPreprocessor(percentiles_over="frame")``): of it, or another state dict
        for three channels with the keys of `save_weights`, grey images get the weights
        of green, the only channel that had signal there. With ``max_epochs=0``, images
        are embedded with the weights as they are.
    max_epochs : int, default=100
        Passes over the images, >= 0. 0 embeds with the encoder as it is: a random one
        is a baseline that every trained one must beat.
    batch_size : int, default=128
        Images in a step, at least 2; the loss sees twice as many views. A last batch
        of a single image is left out of its epoch. Larger than the data means all.
    lr : float, default=3e-4
        Learning rate, > 0.
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
        another `max_epochs`; `encoder`, `width`, `stem`, `weights` and
        `projection_dim` are then without effect.
    checkpoint_dir : str or path-like, default=None
        Folder where `fit` saves the run, about three times the size of the encoder,
        and from which it goes on if it was interrupted or killed: with the same bits
        as one that was not. Each run needs a folder of its own.
    checkpoint_every : int, default=1
        Epochs from one checkpoint to the next, >= 1. After ten minutes without, and on
        Ctrl-C and SIGTERM, one is saved besides, after the batch at hand.
    callbacks : list, default=None
        skorch callbacks, of which copies are used. There is no validation loss: those
        that monitor a score need ``monitor="train_loss"``.
    random_state : int, RandomState instance or None, default=None
        Of the initial weights, the order of the images and the views. On a CPU the
        same int, number of threads and library versions give the same bits. Pass an
        int when the pipeline caches with ``memory``.
    verbose : int, default=0
        Above 0: print a row per epoch and show progress bars.

    Attributes
    ----------
    encoder_ : nn.Module
        The trained encoder, on the CPU, in evaluation mode.
    projector_ : nn.Module
        The projection head, only used in training.
    network_ : nn.Module
        What `transform` runs on images ``(n, C, image_size_, image_size_)``: the
        `encoder_`, of which `features` are read out, the mean that `symmetry` asks for.
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
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Column names of X, when X was a data frame of flattened rows.

    See Also
    --------
    AuroraPreprocessor : Bring raw all-sky frames to a common scale first.

    Notes
    -----
    X may be grey images ``(n, H, W)``, images with 1 to 4 channels ``(n, H, W, C)``,
    flattened rows ``(n, n_pixels)``, a memory map or another lazily sliced array, or
    a sequence of paths of image files or of Pillow's images; all have one shape and
    type. Integers of 8 and 16 bits are divided by their type's maximum, other numbers
    are taken as they are. Masked values are refused.

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

    __module__ = "sksimclr"  # the name that users, pickles and skops files know

    _parameter_constraints = {
        **ViewTransformer._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        encoder="resnet18",
        *,
        width=64,
        features="last",
        symmetry=None,
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
        self.width = width
        self.features = features
        self.symmetry = symmetry
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

    def _objective(self):
        """Return NT-Xent."""
        return NTXent(float(self.temperature))


__test__ = {"SimCLRTransformer": SimCLRTransformer}  # doctest looks at `__module__`
