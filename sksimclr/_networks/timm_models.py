"""Networks of timm, an extra, by names such as "timm:inception_v4.tf_in1k"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm:"


def is_timm_name(name: Any) -> bool:
    """Say whether something is the name of a network of timm."""
    return isinstance(name, str) and name.startswith(PREFIX)


def make_timm_model(
    name: str, *, n_channels: int, trained: bool, image_size: int | None
) -> Any:
    """Build a classifier of timm; :func:`without_classifier` makes it an encoder.

    Parameters
    ----------
    name : str
        "timm:" and the name of a model, maybe with a tag of its weights.
    n_channels : int
    trained : bool
        Load the weights that timm has for it, downloaded once; else random ones.
    image_size : int or None
        Side of the images, pixels, for networks that are built for one, such as vision
        transformers; None is what they were trained on.

    Raises
    ------
    ImportError
        timm is not installed.
    ValueError
        There is no such model, or no weights of such a name for it.
    OSError
        Its weights cannot be downloaded.
    """
    timm = _timm()
    plain = name.removeprefix(PREFIX)
    if not timm.is_model(plain):
        close = timm.list_models(f"*{plain.partition('.')[0]}*")[:3] or ["inception_v4"]
        names = ", ".join(repr(PREFIX + each) for each in close)
        raise ValueError(
            f"Expected the name of a network of timm, such as {names}, got {name!r}. "
            "timm.list_models() lists them."
        )
    settings: dict[str, Any] = {"in_chans": n_channels, "pretrained": trained}
    if image_size is not None and _is_built_for_a_size(timm, plain):
        settings["img_size"] = image_size
    try:
        return timm.create_model(plain, **settings)
    except RuntimeError as error:
        raise ValueError(f"timm cannot make {name!r}: {error}") from error
    except OSError as error:
        raise OSError(
            f"timm cannot download the weights of {name!r} ({error}). Where there is a "
            "network, save them by torch.save(timm.create_model(..., pretrained=True)"
            ".state_dict(), path), and pass the path as weights."
        ) from error


def without_classifier(network: Any) -> nn.Module:
    """Let a network of timm return what its classifier was given, pooled."""
    network.reset_classifier(0)
    encoder: nn.Module = network
    return encoder


def scaling_of(network: Any) -> tuple[list[float], list[float], int]:
    """Return mean, standard deviation and image size that a network of timm wants."""
    about = network.pretrained_cfg
    return list(about["mean"]), list(about["std"]), int(about["input_size"][-1])


def _is_built_for_a_size(timm: Any, name: str) -> bool:
    """Say whether a model is a transformer whose positions go with one image size."""
    about = timm.get_pretrained_cfg(name)
    return bool(about is not None and about.fixed_input_size)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"Networks with names like '{PREFIX}...' are those of timm, which is not "
            'installed. Run `pip install "sksimclr[timm]"`.'
        ) from error
    return timm
