"""What decides on the result of a fit, in words that can be compared and shown."""

import copyreg
import dataclasses
import functools
import hashlib
import inspect
import operator
import os
import sys
from collections.abc import Iterator
from enum import Enum
from numbers import Number
from types import CodeType, FunctionType, MethodType, ModuleType

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
_NOTES = ("history_", "_highest", "_made_from", "_state", "memory", *_WITHOUT_EFFECT)
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

    Raises
    ------
    ValueError
        A parameter does not say what it holds.
    """
    params = estimator.get_params(deep=False)
    found = {}
    for name in sorted(set(params).difference(_WITHOUT_EFFECT, _OF_READ_OUT)):
        try:
            found[name] = _describe(params[name])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint_dir needs {name} that can be compared when a run goes on, "
                f"but {error}. Let it hold arrays, numbers, strings and what can be "
                "pickled, or use checkpoint_dir=None."
            ) from error
    if params.get("lr_schedule") is None:  # then the first epochs do not depend on it
        del found["max_epochs"]
    found["objective"] = _describe(estimator._objective())
    found["X"] = (
        f"{len(images)} images of shape {images.image_shape}, {images.dtype}, "
        f"{_hash(_blocks(images))}"
    )
    if images.shard_lengths is not None and len(images.shard_lengths) > 1:
        lengths = images.shard_lengths  # by which images on a disk are shuffled
        found["shards"] = f"{len(lengths)}, {_hash([lengths])}"
    if sequences is not None:
        found["sequences"] = f"{sequences.max() + 1}, {_hash([sequences])}"
    if start is not None:
        found["weights at the start"] = _hash(start)
    return found


def _describe(value, above=frozenset()):
    """Return a text that is the same in every process, which addresses are not.

    It says what an object holds, and not only what it shows of that; of what can be
    imported, the name. `above` are the objects that it is a part of. Raises a
    ValueError if an object does not say what it holds.
    """
    if id(value) in above:
        return "itself"
    describe = functools.partial(_describe, above=above | {id(value)})
    if isinstance(value, np.random.RandomState):
        _, key, position, *rest = value.get_state()
        return f"RandomState({_hash([key])}, {position}, {rest})"
    if isinstance(value, functools.partial):
        arguments = (value.func, value.args, value.keywords)
        return f"partial({', '.join(map(describe, arguments))})"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(describe, value))})"
    if isinstance(value, dict):
        items = [f"{describe(key)}: {describe(value[key])}" for key in value]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(describe, value)))}}}"
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return _describe_array(value, describe)
    if callable(value) and hasattr(value, "__qualname__"):
        return _describe_function(value, describe)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, (str, bytes, Number, Enum, slice, range)):
        return repr(value)
    if isinstance(value, ModuleType):
        return value.__name__
    return _describe_object(value, describe)


def _describe_array(array, describe):
    """Describe an array or a tensor by all its values."""
    dtype = array.dtype
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        # NumPy does not know all types of torch, float64 holds all of them
        array = np.asarray(array.double() if array.is_floating_point() else array)
    if array.dtype == object:
        return describe(array.tolist())
    return f"array({array.shape}, {dtype}, {_hash([array])})"


def _describe_function(function, describe):
    """Describe a class, or a function: its name, and all that this does not say."""
    name = f"{function.__module__}.{function.__qualname__}"
    owner = getattr(function, "__self__", None)
    if isinstance(function, MethodType) and isinstance(owner, type):
        return f"{describe(owner)}.{function.__name__}"
    if owner is not None and not isinstance(owner, (type, ModuleType)):
        return f"{describe(owner)}.{function.__name__}"
    if isinstance(function, type) or _is_importable(function):
        return name
    if hasattr(function, "__wrapped__"):
        return f"{name}({describe(function.__wrapped__)})"
    if not isinstance(function, FunctionType):
        return name
    cells = inspect.getclosurevars(function).nonlocals
    held = (cells, function.__defaults__, function.__kwdefaults__)
    return f"{name}({_hash_code(function.__code__)}, {describe(held)})"


def _is_importable(function):
    """Say whether its name leads to a function, which is then compared by that."""
    module = sys.modules.get(function.__module__)
    try:
        return operator.attrgetter(function.__qualname__)(module) is function
    except AttributeError:
        return False


def _hash_code(code):
    """Return a digest of what a function does, wherever it is written."""
    constants = [
        _hash_code(each) if isinstance(each, CodeType) else _describe(each)
        for each in code.co_consts
    ]
    text = f"{code.co_code.hex()} {code.co_names} {constants}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_object(value, describe):
    """Describe an object by its class and all that it holds."""
    kind = type(value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        held = {name: getattr(value, name) for name in names}
        held |= getattr(value, "__dict__", {})
        text = ", ".join(f"{name}={describe(held[name])}" for name in held)
        return f"{kind.__qualname__}({text})"
    held = _state_of(value)
    if hasattr(value, "state_dict"):  # a module of torch, with much that is empty
        held = {
            name: part
            for name, part in held.items()
            if part or not isinstance(part, (dict, set))
        }
    return f"{describe(kind)}({describe(held)})"


def _state_of(value):
    """Return what pickle would keep of an object, or raise a ValueError."""
    kind = type(value)
    reduce = copyreg.dispatch_table.get(kind, lambda each: each.__reduce_ex__(2))
    try:
        reduced = reduce(value)
    except Exception as error:
        raise ValueError(f"a {kind.__qualname__} does not say what it holds") from error
    if isinstance(reduced, str):
        return reduced
    arguments = [each for each in reduced[1] if each is not kind]
    parts = [
        list(part) if isinstance(part, Iterator) else part
        for part in reduced[2:]
        if part is not None
    ]
    if arguments or len(parts) > 1:
        return [*arguments, *parts]
    return parts[0] if parts else {}


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
