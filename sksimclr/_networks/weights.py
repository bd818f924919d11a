"""Encoders on disk: ours in safetensors, and state dicts such as Aurora-FM's."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sksimclr._machine.download import data_home, download
from sksimclr._machine.writing import replacing

IMAGENET = "imagenet"
AURORA_FM = "aurora-fm"
AURORA_FM_FILE = "aurora-fm-no-finetune.tar"
AURORA_FM_URL = (
    f"https://huggingface.co/Jwjohnson314/Aurora-FM/resolve/main/{AURORA_FM_FILE}"
)
_AURORA_FM_SHA256 = "f9c97e906bee7a34f0727377f8b3194086080fa9573390db44daab4ce2c64e33"
_AURORA_FM_BYTES = 50_000_000  # at most; it has 45,965,389
_GREEN = slice(1, 2)  # the one channel with signal that Aurora-FM was trained on
PARTS = ("encoder.", "projector.")  # what names in our files begin with
_BATCH_COUNTER = "num_batches_tracked"  # of batch norm; older files lack it


def find_weights(weights: str | os.PathLike[str]) -> Path:
    """Return the file that the parameter `weights` names, after a download if need be.

    Parameters
    ----------
    weights : str or path-like
        A path, or "aurora-fm" for the encoder of Johnson et al., 46 MB, which is
        downloaded once into the data home (see `sksimclr._machine.download.data_home`).

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        There is no such file.
    OSError
        The download failed; or what came has another SHA-256 than published.
    """
    if weights != AURORA_FM:
        path = Path(os.path.expanduser(weights))
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no file of weights {str(path)!r}. Give weights a path that "
                f"save_weights wrote, or that of a state dict of torchvision, or "
                f"{AURORA_FM!r} or {IMAGENET!r}."
            )
        return path
    path = data_home() / AURORA_FM_FILE
    try:
        download(
            AURORA_FM_URL,
            path,
            n_retries=3,
            delay=1.0,
            max_bytes=_AURORA_FM_BYTES,
            known_hash=f"sha256:{_AURORA_FM_SHA256}",
        )
    except (OSError, ValueError) as error:
        raise OSError(
            f"weights={AURORA_FM!r}: {error} To get them by hand, download "
            f"{AURORA_FM_URL} and put it into {str(path.parent)!r}."
        ) from error
    return path


def save_weights(
    path: str | os.PathLike[str],
    encoder: nn.Module,
    projector: nn.Module,
    *,
    n_channels: int,
    image_size: int,
) -> None:
    """Write an encoder and its projection head as safetensors, wholly or not at all.

    Parameters
    ----------
    path : str or path-like
        A file there is replaced.
    encoder, projector : nn.Module
    n_channels, image_size : int
        Of the images the encoder was trained on; noted in the file.

    Raises
    ------
    ImportError
        safetensors is not installed.
    """
    safetensors = _import_safetensors()
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous().clone()
        for part, module in (("encoder", encoder), ("projector", projector))
        for name, tensor in module.state_dict().items()
    }
    notes = {
        "format": "pt",
        "sksimclr": _own_version(),
        "n_channels": str(n_channels),
        "image_size": str(image_size),
    }
    with replacing(Path(os.path.expanduser(path))) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, notes))


def load_weights(
    tensors: dict[str, Tensor],
    notes: dict[str, str],
    encoder: nn.Module,
    projector: nn.Module,
    *,
    n_channels: int,
    path: Path,
) -> None:
    """Load weights into an encoder and a projection head.

    Parameters
    ----------
    tensors, notes : dict
        What :func:`read_tensors` found; with keys ``encoder.*`` and ``projector.*``.
        Without the latter, the head stays as it is.
    encoder, projector : nn.Module
        Changed in place.
    n_channels : int
        Of the images. Of a state dict for three channels, as Aurora-FM is, one-channel
        encoders get the weights of green, the only channel it was trained on.
    path : Path
        Where they were found.

    Raises
    ------
    ValueError
        The weights do not fit the networks.
    """
    trained_on = notes.get("n_channels", str(n_channels))
    if trained_on != str(n_channels):
        raise ValueError(
            f"The weights in {str(path)!r} are for images with {trained_on} "
            f"channel(s), but X has images with {n_channels}."
        )
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "projector": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise ValueError(
                "Expected weights named encoder.* and projector.*, as save_weights and "
                f"Aurora-FM name them, got {key!r} in {str(path)!r}."
            )
        parts[part][name] = tensor
    if "n_channels" not in notes:
        _keep_green(parts["encoder"], encoder)
    load_state(encoder, parts["encoder"], f"encoder weights in {str(path)!r}")
    if parts["projector"]:
        load_state(projector, parts["projector"], f"projector weights in {str(path)!r}")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, and the notes beside them.

    It is safetensors, or a state dict that ``torch.load(weights_only=True)`` reads.

    Raises
    ------
    ValueError
        The file is damaged, or holds something else than tensors with names.
    ImportError
        The file is in safetensors format and safetensors is not installed.
    """
    try:
        with open(path, "rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        if is_safetensors:
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise
    except Exception as error:  # on foreign bytes, torch raises errors of any type
        raise ValueError(
            f"Cannot read {str(path)!r}: expected safetensors, or a state dict that "
            f"torch.save wrote, with nothing but tensors in it. {_reason(error)}"
        ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor)
        for key, tensor in content.items()
    ):
        raise ValueError(
            f"Expected a state dict, names and tensors, in {str(path)!r}, got "
            f"{_describe(content)}. Save model.state_dict() alone."
        )
    return dict(content), {}


def load_state(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load tensors into a network, all of which must fit.

    The counters of batch normalisation may be missing, as in files of old versions of
    torch: nothing reads them unless its momentum is None.

    Raises
    ------
    ValueError
        A name or a shape differs; the message names the first one.
    """
    expected = module.state_dict()
    tensors = _counters_of(expected) | tensors
    check_shapes(module, tensors, what)
    expected.update(tensors)  # it has the versions of layers, which MNASNet wants
    module.load_state_dict(expected)


def check_shapes(
    module: nn.Module, tensors: Mapping[str, Tensor | NDArray[Any]], what: str
) -> None:
    """Raise a ValueError unless names and shapes are those of a network."""
    expected = module.state_dict()
    tensors = {**_counters_of(expected), **tensors}
    for key in [*expected, *tensors]:
        if key not in tensors or key not in expected:
            where = "the file" if key in tensors else "the network"
            raise ValueError(
                f"The {what} do not fit: {key!r} is only in {where}. Check the name "
                "of the network."
            )
        if tuple(tensors[key].shape) != tuple(expected[key].shape):
            raise ValueError(
                f"The {what} do not fit: expected {tuple(expected[key].shape)} for "
                f"{key!r}, got {tuple(tensors[key].shape)}. Check the network, its "
                "stem, projection_dim, image_size and the channels of the images."
            )


def _counters_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the counters of batch normalisation in a state dict."""
    return {key: n for key, n in tensors.items() if key.endswith(_BATCH_COUNTER)}


def as_arrays(module: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return the weights of a network on the CPU, which the arrays share."""
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def load_arrays(
    module: nn.Module, arrays: dict[str, NDArray[np.generic]], what: str
) -> None:
    """Load what :func:`as_arrays` returned into a network, for evaluation.

    Raises
    ------
    ValueError
        A name or a shape differs; the message names the first one.
    """
    tensors = {name: torch.tensor(values) for name, values in arrays.items()}
    load_state(module.eval(), tensors, what)


def _keep_green(tensors: dict[str, Tensor], encoder: nn.Module) -> None:
    """Cut the first convolution for RGB down to green if the encoder sees grey."""
    expected = encoder.state_dict()
    first = next((key for key, weight in expected.items() if weight.ndim == 4), "")
    weight = tensors.get(first, torch.empty(0))
    if weight.ndim == 4 and (weight.shape[1], expected[first].shape[1]) == (3, 1):
        tensors[first] = weight[:, _GREEN].clone()


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the notes of a safetensors file."""
    safetensors = _import_safetensors()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return tensors, file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _import_safetensors() -> Any:
    """Return the module safetensors, or say how to install it."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "Files of weights are in safetensors format, and safetensors is not "
            'installed. Install it with: pip install "sksimclr[weights]"'
        ) from error
    return safetensors


def _reason(error: BaseException) -> str:
    """Say why a file was not read, without torch's advice to read it all the same."""
    if isinstance(error, pickle.UnpicklingError) and error.__context__:
        error = error.__context__
    first_line = str(error).partition("\n")[0].partition(" Please use")[0]
    return f"{type(error).__name__}: {first_line}"


def _describe(content: Any) -> str:
    """Say what a file of weights held instead."""
    if isinstance(content, Mapping):
        return f"a dictionary with {[str(key) for key in content][:5]}"
    return f"an object of type {type(content).__name__}"


def _own_version() -> str:
    """Return the version of sksimclr."""
    try:
        return version("sksimclr")
    except PackageNotFoundError:
        return "unknown"
