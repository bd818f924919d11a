"""What decides on the result of a fit, in words that can be compared and shown."""

import functools
import hashlib
import os
import re
from numbers import Number

import numpy as np

_WITHOUT_EFFECT = (
    "callbacks",
    "checkpoint_dir",
    "checkpoint_every",
    "compile",
    "device",
    "verbose",
    "warm_start",
)
_OF_READ_OUT = ("features", "symmetry")  # without effect on training alone
# what a fit has noted besides what it learnt
_NOTES = ("history_", "_made_from", "_state", "memory", *_WITHOUT_EFFECT)
_BLOCK = 256  # images hashed in one go; of data that is not in memory, as many in all


def fit_fingerprint(estimator, images, start=None, sequences=None):
    """Return the parameters, the objective, the data and the weights of a fit's start.

    Parameters
    ----------
    estimator : ViewTransformer
    images : Images
        All of them count when they are in memory, otherwise 256 evenly spaced ones.
    start : iterable of ndarray, optional
        Weights, unless they are random.
    sequences : ndarray of shape (n_images,), int64, optional

    Returns
    -------
    dict of str to str
    """
    params = estimator.get_params(deep=False)
    found = {
        name: _describe(value)
        for name, value in params.items()
        if name not in (*_WITHOUT_EFFECT, *_OF_READ_OUT)
    }
    if params.get("lr_schedule") is None:  # then the first epochs do not depend on it
        del found["max_epochs"]
    found["objective"] = _describe(estimator._objective())
    found["X"] = (
        f"{len(images)} images of shape {images.image_shape}, {images.dtype}, "
        f"{_hash(_blocks(images))}"
    )
    if sequences is not None:
        found["sequences"] = f"{sequences.max() + 1}, {_hash([sequences])}"
    if start is not None:
        found["weights at the start"] = _hash(start)
    return found


def _describe(value):
    """Return a text that is the same in every process, which addresses are not."""
    if isinstance(value, np.random.RandomState):
        _, key, position, *rest = value.get_state()
        return f"RandomState({_hash([key])}, {position}, {rest})"
    if isinstance(value, functools.partial):
        arguments = (value.func, value.args, value.keywords)
        return f"partial({', '.join(map(_describe, arguments))})"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_describe, value))})"
    if isinstance(value, dict):
        items = [f"{_describe(key)}: {_describe(value[key])}" for key in value]
        return f"{{{', '.join(items)}}}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__repr__ is object.__repr__:
        return f"{_describe(type(value))}({_describe(getattr(value, '__dict__', {}))})"
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return re.sub(" at 0x[0-9a-fA-F]+", "", text)


def _blocks(images):
    """Yield images: all that are in memory, or an evenly spaced part of others."""
    if images.n_readers == 0:
        for rows in images.blocks(_BLOCK):
            yield images.read(rows)
        return
    n_images = min(_BLOCK, len(images))
    for row in np.linspace(0, len(images) - 1, n_images).astype(int).tolist():
        yield images.read([row])


def _hash(arrays):
    """Return a short digest of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()[:16]


def model_fingerprint(estimator):
    """Return a digest of all that decides on what a fitted estimator predicts.

    Equal in every process, and for an estimator that was saved and loaded.

    Parameters
    ----------
    estimator : estimator
        Fitted; a pipeline, for example.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    _add(digest, estimator, set())
    return digest.hexdigest()[:16]


def _parts_of(value):
    """Return what an object consists of."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "__dict__"):
        kept = {k: v for k, v in vars(value).items() if k not in _NOTES}
        return [name, kept]
    return [name, *value.__reduce_ex__(2)[1:3]]  # compiled classes


def _is_plain(value):
    """Say whether a short text has all of a value."""
    plain = (str, bytes, Number, np.generic, np.dtype, os.PathLike, slice, range)
    plain += (np.random.RandomState, functools.partial)
    return value is None or isinstance(value, plain) or hasattr(value, "__qualname__")


def _add(digest, value, above):
    """Add a value to a digest; `above` are the objects that it is a part of."""
    if id(value) in above:
        digest.update(b"itself")
        return
    above = above | {id(value)}
    if hasattr(value, "state_dict"):
        arrays = {
            name: tensor.detach().cpu().numpy()
            for name, tensor in value.state_dict().items()
        }
        parts = [type(value).__qualname__, arrays]
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype.str} {value.shape} {_hash([value])}".encode())
        return
    elif isinstance(value, np.ndarray):
        parts = value.tolist()
    elif isinstance(value, dict):
        parts = sorted(value.items(), key=lambda item: str(item[0]))
    elif isinstance(value, (set, frozenset)):
        parts = sorted(value, key=repr)
    elif isinstance(value, (list, tuple)):
        parts = value
    elif _is_plain(value):
        digest.update(_describe(value).encode())
        return
    else:
        parts = _parts_of(value)
    digest.update(f"{len(parts)}(".encode())
    for part in parts:
        _add(digest, part, above)
        digest.update(b",")
    digest.update(b")")
