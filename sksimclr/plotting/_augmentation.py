"""What augmentations make of images."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar

from sksimclr.plotting._pictures import draw_grid, find_images
from sksimclr.plotting._shared import require_matplotlib


class AugmentationDisplay:
    """Images beside random views of them, as `SimCLRTransformer` sees them in `fit`.

    As figure 4 of [1]_, to judge whether the views still show what tells images apart:
    views that have lost it teach the encoder to ignore it.

    Use `from_estimator` or `from_augmentations` to make one.

    Parameters
    ----------
    images : ndarray of shape (n_images, H, W) or (n_images, H, W, C)
        The first column.
    views : ndarray of shape (n_images, n_views, S, S) or (n_images, n_views, S, S, C)
        The others, floats. All are shown from 0 to 1, or over the range of all of them
        if that is larger.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that hold the whole grid.
    figure_ : matplotlib Figure

    See Also
    --------
    sksimclr.augmentations : What there is to choose from.

    References
    ----------
    .. [1] Chen et al. (2020), "A Simple Framework for Contrastive Learning of Visual
       Representations", figure 4, https://arxiv.org/abs/2002.05709

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksimclr import SimCLRTransformer
    >>> from sksimclr.plotting import AugmentationDisplay
    >>> digits = load_digits().images / 16
    >>> display = AugmentationDisplay.from_estimator(
    ...     SimCLRTransformer(image_size=8), digits, n_images=2, random_state=0)
    >>> display.views.shape, len(display.ax_.images)
    ((2, 6, 8, 8), 14)
    """

    def __init__(self, images, views):
        self.images = images
        self.views = views

    def plot(self, ax=None, *, im_kw=None):
        """Draw a row for each image.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw on; by default those of a new figure, one journal column wide for
            up to three views, else two.
        im_kw : dict, default=None
            Keyword arguments for ``Axes.imshow``, such as ``{"cmap": "viridis"}``.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        """
        require_matplotlib("AugmentationDisplay.plot")
        pairs = zip(self.images, self.views, strict=True)
        rows = [[image, *views] for image, views in pairs]
        headings = ["image"] + [f"view {k}" for k in range(1, len(rows[0]))]
        self.ax_ = draw_grid(ax, rows, column_labels=headings, im_kw=im_kw)
        self.figure_ = self.ax_.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        simclr,
        X,
        *,
        n_images=4,
        n_views=6,
        random_state=None,
        ax=None,
        im_kw=None,
    ):
        """Show the views that a `SimCLRTransformer` makes.

        Parameters
        ----------
        simclr : SimCLRTransformer
            Fitted or not; its parameters `augmentations`, `image_size` and
            `image_shape` are used.
        X : images in any form that it takes
        n_images, n_views, random_state, ax, im_kw
            As in `from_augmentations`.

        Returns
        -------
        AugmentationDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError
            `simclr` has no such parameters.
        ValueError
            X or a parameter is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        require_matplotlib("AugmentationDisplay.from_estimator")
        image_size = getattr(simclr, "image_size_", None)
        image_size = image_size or getattr(simclr, "image_size", None)
        if not hasattr(simclr, "augmentations") or image_size is None:
            raise TypeError(
                "AugmentationDisplay.from_estimator needs a SimCLRTransformer, or "
                "another estimator with augmentations and an image_size (or fitted, if "
                f"that is None), got {simclr!r}. Of a pipeline, pass that step, with X "
                "as it sees it."
            )
        return cls.from_augmentations(
            simclr.augmentations,
            X,
            image_size=image_size,
            image_shape=getattr(simclr, "image_shape", None),
            n_images=n_images,
            n_views=n_views,
            random_state=random_state,
            ax=ax,
            im_kw=im_kw,
        )

    @classmethod
    def from_augmentations(
        cls,
        augmentations,
        X,
        *,
        image_size,
        image_shape=None,
        n_images=4,
        n_views=6,
        random_state=None,
        ax=None,
        im_kw=None,
    ):
        """Show what augmentations make of images drawn at random.

        Parameters
        ----------
        augmentations : tuple
            Members of :mod:`sksimclr.augmentations`, applied in order to each view.
        X : images in any form that `SimCLRTransformer` takes
            Only those that are shown are read from a memory map or from files.
        image_size : int
            Side of the views, pixels, at least 1.
        image_shape : tuple of int, default=None
            Shape of one image, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows.
        n_images : int, default=4
            Images drawn, at least 1; all of them if there are no more.
        n_views : int, default=6
            Views of each, at least 1.
        random_state : int, RandomState instance or None, default=None
            Which images are drawn, and their views.
        ax, im_kw
            As in `plot`.

        Returns
        -------
        AugmentationDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            X or a parameter is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        require_matplotlib("AugmentationDisplay.from_augmentations")
        check_scalar(n_images, "n_images", Integral, min_val=1)
        check_scalar(n_views, "n_views", Integral, min_val=1)
        images = find_images(X, image_shape)
        rng = check_random_state(random_state)
        drawn = rng.choice(len(images), min(n_images, len(images)), replace=False)
        batch = images.batch(np.sort(drawn))
        seed = rng.randint(np.iinfo(np.int32).max)
        views = _make_views(batch, augmentations, n_views, image_size, seed)
        display = cls(_channels_last(batch), _channels_last(views))
        return display.plot(ax, im_kw=im_kw)


def _make_views(batch, augmentations, n_views, image_size, seed):
    """Return views (n, n_views, C, S, S) of images (n, C, H, W)."""
    import torch

    from sksimclr._machine.device import to_float
    from sksimclr._machine.random import make_generator
    from sksimclr.augmentations import make_view

    images = to_float(torch.from_numpy(batch))
    settings = {"generator": make_generator(seed), "size": image_size}
    views = [make_view(images, augmentations, **settings) for _ in range(n_views)]
    return torch.stack(views, dim=1).numpy()


def _channels_last(pixels):
    """Move the channels of (..., C, H, W) to the end; drop a single one."""
    pixels = np.moveaxis(pixels, -3, -1)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
