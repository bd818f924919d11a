"""Forms of X that hold images or paths and are none of those that are taken."""

import os
from collections.abc import Mapping, Set

import numpy as np


def check_form(X):
    """Raise a ValueError that says how to get there, if X must be changed first."""
    advice = _advice(X)
    if advice is not None:
        raise ValueError(
            "Expected an array or a list of images, a list of paths, a series or a "
            f"data frame, got {_what(X)}. {advice}"
        )


def _what(X):
    """Name a form of X."""
    if isinstance(X, np.ndarray):
        return f"an array of shape {X.shape}"
    if X is None:
        return "None"
    kind = type(X)
    package = kind.__module__.partition(".")[0]
    return f"a {kind.__qualname__}" + (
        f" of {package}" if package != "builtins" else ""
    )


def _advice(X):
    """Return what to do with X, or None if it may pass."""
    packages = {kind.__module__.partition(".")[0] for kind in type(X).__mro__}
    modules = {kind.__module__ for kind in type(X).__mro__}
    if X is None:
        return "Pass the images."
    if isinstance(X, Mapping) and not hasattr(X, "shape"):  # a sparse one is a dict
        return "Pass what it holds, such as X['images']."
    if isinstance(X, Set):
        return "It has no order: use a list, such as sorted(X)."
    if any(name.startswith("torch.utils.data.") for name in modules):
        return (
            "Put its images into an array, channels last: such as "
            "np.stack([X[i][0] for i in range(len(X))]) if its items begin with images."
        )
    if "pyarrow" in packages:
        column = "X['name of the column']" if hasattr(X, "column_names") else "X"
        return f"Use {column}.to_pylist() for paths, .to_numpy() for numbers."
    if "dask" in packages and np.isnan(getattr(X, "shape", ())).any():
        return "Its number of rows is not known: call X.compute_chunk_sizes() first."
    is_column = isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1
    if is_column and any(isinstance(item, (str, os.PathLike)) for item in X[:, 0]):
        return "Paths have one dimension: use X[:, 0]."
    return None
