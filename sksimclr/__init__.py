"""SimCLR image embeddings as a scikit-learn transformer.

The public names are imported when they are first used, so that
``import sksimclr`` stays cheap and does not import torch. ``__version__`` is what is
installed, "0+unknown" in a source tree that never was.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sksimclr import (
        archive,
        augmentations,
        baselines,
        datasets,
        metrics,
        model_selection,
        plotting,
        recipes,
    )
    from sksimclr._preprocessing import AuroraPreprocessor
    from sksimclr._simclr import SimCLRTransformer

try:
    __version__ = version("sksimclr")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

_ESTIMATORS = {
    "AuroraPreprocessor": "_preprocessing",
    "SimCLRTransformer": "_simclr",
}
_MODULES = (
    "archive",
    "augmentations",
    "baselines",
    "datasets",
    "metrics",
    "model_selection",
    "plotting",
    "recipes",
)

__all__ = [
    "AuroraPreprocessor",
    "SimCLRTransformer",
    "__version__",
    "archive",
    "augmentations",
    "baselines",
    "datasets",
    "metrics",
    "model_selection",
    "plotting",
    "recipes",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _MODULES:
        return _import(name)
    if name in _ESTIMATORS:
        return getattr(_import(_ESTIMATORS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import(name: str) -> Any:
    """Import a module of the package; Python would hide an AttributeError."""
    try:
        return import_module(f"{__name__}.{name}")
    except AttributeError as error:
        raise ImportError(
            f"{__name__}.{name} cannot be imported, since a package that it needs is "
            f"broken or does not fit: {error}. Install the newest versions of both."
        ) from error


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
