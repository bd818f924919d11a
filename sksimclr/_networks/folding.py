"""Copies of networks that do the same faster, for inference alone.

Batch normalisation is folded into the layers before it. On x86 processors, convolutions
get their weights in the order in which oneDNN reads them, and do the ReLU behind them
and the sum of a residual block on the way.
"""

from __future__ import annotations

import copy
import math
import platform
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models.resnet import BasicBlock, Bottleneck

_N_DIMS = {nn.Conv2d: 4, nn.Linear: 2}  # of results whose channels come second
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_KINDS = (*_N_DIMS, *_NORMS, nn.ReLU, nn.MaxPool2d)  # of layers that are looked at
_CAN_PACK = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
    and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
    and hasattr(torch.ops.mkldnn._convolution_pointwise, "binary")
)
_IN_BLOCKS = {  # of torchvision: each convolution and its batch normalisation
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
}
_IN_PLACE = {torch.ops.aten.add_.Tensor, torch.ops.aten.relu_.default}
_MOST_COLOURS = 4  # channels of the input of a network's first convolution
_FIRST_BYTES = 1 << 21  # of its maps at a time, as long as pooling does not follow


def inference_copy(
    network: nn.Module, shape: tuple[int, int, int, int], device: torch.device
) -> nn.Module:
    """Return a copy of a network in evaluation mode, as fast as it can be made safely.

    Parameters
    ----------
    network : nn.Module
        On the CPU. Not changed; the copy may share its parameters.
    shape : tuple of int
        Of a batch of images, (n, C, H, W).
    device : torch.device
        Where the copy is to be.

    Returns
    -------
    nn.Module
        With weights in the memory format channels_last.

    Notes
    -----
    A run of the network on tensors without values shows what becomes of the result of
    each layer. Batch normalisation is folded into a layer of torch's own class that is
    called once, and whose result and weights nothing else sees. The network's own code
    goes on running, and finds the layers with all their attributes; only the blocks of
    torchvision's ResNets are replaced as a whole. Networks with hooks, and those that
    cannot run without values, are only copied.

    Unlike ``torch.fx``, which replaces methods of ``nn.Module`` while it traces, this
    leaves networks alone that run in other threads.
    """
    changes = _find_changes(network, shape)
    network = _copy(network)
    can_pack = device.type == "cpu" and _CAN_PACK
    with torch.no_grad():
        for change in changes:
            _apply(change, network, can_pack)
    if can_pack:
        _fuse_blocks(network, {change.layer: change for change in changes})
    return _channels_last(network.to(device))


@dataclass
class _Change:
    """What may be changed in a layer of a network.

    Attributes
    ----------
    layer : str
        Its name.
    norm : str or None
        Name of the batch normalisation to fold into it.
    input_shape : tuple of int or None
        Shape of what it is given, if it is a convolution whose weights may be packed.
    relu, pool : str or None
        Names of the ReLU, and of the max pooling behind it, that it may do as well.
    n_reads : int
        Of what it is given, by anything; not counting what is done to it in place.
    """

    layer: str
    norm: str | None = None
    input_shape: tuple[int, ...] | None = None
    relu: str | None = None
    pool: str | None = None
    n_reads: int = 0


def _copy(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode, but for the values of its parameters."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in network.parameters()
        if type(parameter) is nn.Parameter
    }
    return copy.deepcopy(network, memo).eval()


def _channels_last(network: nn.Module) -> nn.Module:
    """Convert the weights of layers, but for those whose forward has its own."""
    for layer in network.modules():
        if "forward" in vars(layer):
            continue
        for parameter in layer.parameters(recurse=False):
            if parameter.ndim == 4:
                parameter.data = parameter.contiguous(memory_format=torch.channels_last)
    return network


def _find_changes(network: nn.Module, shape: tuple[int, ...]) -> list[_Change]:
    """Run a network without values to find what may be changed in it."""
    if any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        return []
    try:
        empty = _copy(network)
        if not set(network.modules()).isdisjoint(empty.modules()):
            return []  # some refuse to be copied
        empty = empty.to("meta")
        with _Trace(empty) as trace, torch.inference_mode():
            images = torch.empty(shape, device="meta")
            trace.count(images)  # others have them, too
            trace.count(empty(images))
            changes: list[_Change] = trace.changes()
    except Exception:  # anything may go wrong in a stranger's code without values
        return []
    return changes


@dataclass
class _Call:
    """A call of a layer."""

    layer: Any
    given: Tensor
    result: Tensor
    n_uses: int  # of what it was given, so far

    @property
    def tensors(self) -> list[Tensor]:
        """What the layer computes with: weight, bias, statistics, as far as it has."""
        names = ("weight", "bias", "running_mean", "running_var")
        tensors = [getattr(self.layer, name, None) for name in names]
        return [tensor for tensor in tensors if tensor is not None]


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how often each tensor is used, and the calls of layers."""

    def __init__(self, network: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self._n_uses: Counter[int] = Counter()
        self._n_reads: Counter[int] = Counter()  # of a memory, through any tensor
        self._calls: dict[str, list[_Call]] = {}
        self._tensors: list[Any] = []  # kept, so that no id is given to another one
        for name, layer in network.named_modules():
            if type(layer) in _KINDS and "forward" not in vars(layer):
                self._calls[name] = []
                layer.register_forward_hook(self._noting(name))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch."""
        self.count((args, kwargs))
        if func in _IN_PLACE:
            self._n_reads[_memory(args[0])] -= 1
        if func is torch.ops.aten.batch_norm.default:  # slow without values
            result = torch.empty_like(args[0])
        else:
            result = func(*args, **(kwargs or {}))
        self._tensors.append(result)
        return result

    def count(self, used: Any) -> None:
        """Count a use of every tensor in nested containers."""
        tensors = [leaf for leaf in tree_leaves(used) if isinstance(leaf, Tensor)]
        self._n_uses.update(map(id, tensors))
        self._n_reads.update(map(_memory, tensors))
        self._tensors += tensors

    def changes(self) -> list[_Change]:
        """Return what may be changed."""
        once = {
            name: calls[0] for name, calls in self._calls.items() if len(calls) == 1
        }
        norms = {
            id(call.given): name
            for name, call in once.items()
            if _is_fixed_norm(call.layer) and self._is_read_once(*call.tensors)
        }
        relus = {id(c.given): n for n, c in once.items() if self._is_only_relu(c)}
        pools = {id(c.given): n for n, c in once.items() if _is_common_pool(c.layer)}
        changes = []
        for name, call in once.items():
            if type(call.layer) in _N_DIMS and self._is_read_once(*call.tensors):
                change = _Change(name, input_shape=_shape_to_pack_for(call))
                change.n_reads = self._n_reads[_memory(call.given)]
                if self._is_read_once(call.result) and _has_channels_second(call):
                    change.norm = norms.get(id(call.result))
                change.relu = relus.get(id(once[change.norm or name].result))
                if change.relu is not None:
                    change.pool = self._only_pool(once, pools, once[change.relu])
                changes.append(change)
        return changes

    def _is_only_relu(self, call: _Call) -> bool:
        """Say whether nothing but a ReLU sees what it is given."""
        if type(call.layer) is not nn.ReLU:
            return False
        # what comes after one in place sees its result
        n_uses = call.n_uses if call.layer.inplace else self._n_uses[id(call.given)]
        return n_uses == 1

    def _only_pool(
        self, once: dict[str, _Call], pools: dict[int, str], relu: _Call
    ) -> str | None:
        """Return the max pooling that alone sees the result of a ReLU."""
        name = pools.get(id(relu.result))
        n_uses = 2 if relu.layer.inplace else 1
        return name if self._n_uses[id(relu.result)] == n_uses else None

    def _is_read_once(self, *tensors: Tensor) -> bool:
        """Say whether a single operation sees each tensor."""
        return all(self._n_uses[id(tensor)] == 1 for tensor in tensors)

    def _noting(self, name: str) -> Any:
        """Return a hook that notes the calls of a layer."""

        def note(layer: nn.Module, args: tuple[Any, ...], result: Any) -> None:
            given = args[0] if len(args) == 1 else torch.empty(())
            n_uses = self._n_uses[id(given)]
            self._calls[name].append(_Call(layer, given, result, n_uses))

        return note


def _memory(tensor: Tensor) -> int:
    """Return what tensors that share their memory have in common."""
    return int(tensor.untyped_storage()._cdata)


def _is_fixed_norm(layer: Any) -> bool:
    """Say whether a layer is batch normalisation by statistics of the training."""
    is_norm = type(layer) in _NORMS
    return is_norm and not layer.training and layer.running_mean is not None


def _is_common_pool(layer: Any) -> bool:
    """Say whether a layer is max pooling without rare settings."""
    is_pool = type(layer) is nn.MaxPool2d and layer.dilation == 1
    return is_pool and not (layer.ceil_mode or layer.return_indices)


def _has_channels_second(call: _Call) -> bool:
    """Say whether the result has the channels where batch normalisation has them."""
    return call.result.ndim == _N_DIMS[type(call.layer)]


def _shape_to_pack_for(call: _Call) -> tuple[int, ...] | None:
    """Return the input's shape if the layer is a convolution that oneDNN can pack."""
    layer = call.layer
    is_common = (
        type(layer) is nn.Conv2d
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and call.given.ndim == 4
        and call.given.dtype == layer.weight.dtype == torch.float32
    )
    return tuple(call.given.shape) if is_common else None


def _apply(change: _Change, network: nn.Module, can_pack: bool) -> None:
    """Fold batch normalisation into a layer, and pack its weights."""
    layer: Any = network.get_submodule(change.layer)
    weight, bias = layer.weight, layer.bias
    if change.norm is not None:
        norm: Any = network.get_submodule(change.norm)
        statistics = norm.running_mean, norm.running_var, norm.eps
        weight, bias = fuse_conv_bn_weights(
            weight, bias, *statistics, norm.weight, norm.bias
        )
        _remove(norm)
    if not can_pack or change.input_shape is None:
        layer.weight, layer.bias = weight, bias
        return
    packed = layer.forward = _Packed(layer, weight, bias, change.input_shape)
    if change.relu is not None:
        layer.forward = packed.with_relu
        _remove(network.get_submodule(change.relu))
    if change.pool is not None and weight.shape[1] <= _MOST_COLOURS:
        pool: Any = network.get_submodule(change.pool)
        layer.forward = _first_layers(packed, weight, pool)
        _remove(pool)


def _remove(layer: nn.Module) -> None:
    """Let a layer return what it is given."""
    layer.forward = nn.Identity().forward


class _Packed:
    """A convolution whose weights are laid out for oneDNN and such an input.

    It would lay them out in each forward otherwise. With another input it still does.

    Parameters
    ----------
    layer : nn.Conv2d
        Whose settings it has.
    weight : Tensor
    bias : Tensor or None
    input_shape : tuple of int
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        weight: Tensor,
        bias: Tensor | None,
        input_shape: tuple[int, ...],
    ):
        self.settings = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self.bias = bias
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(memory_format=torch.channels_last),
            *self.settings,
            input_shape,
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Convolve."""
        return _convolve(images, self._weight, self.bias, self.settings, "none")

    def with_relu(self, images: Tensor) -> Tensor:
        """Convolve, and set what is negative to zero."""
        return _convolve(images, self._weight, self.bias, self.settings, "relu")

    def with_sum(self, images: Tensor, others: Tensor) -> Tensor:
        """Convolve, add others, and set what is negative to zero."""
        operation = torch.ops.mkldnn._convolution_pointwise.binary
        return self._with_sum(operation, images, others)

    def with_sum_in_place(self, images: Tensor, others: Tensor) -> Tensor:
        """Do the same in the memory of the others."""
        operation = torch.ops.mkldnn._convolution_pointwise_.binary
        return self._with_sum(operation, others, images)

    def _with_sum(self, operation: Any, *maps: Tensor) -> Tensor:
        result: Tensor = operation(
            *(each.float() for each in maps),
            self._weight,
            self.bias,
            *self.settings,
            "add",
            1.0,
            "relu",
            [],
            "",
        )
        return result


def _convolve(
    images: Tensor, weight: Tensor, bias: Tensor | None, settings: Any, then: str
) -> Tensor:
    """Run a convolution of oneDNN and the operation behind it."""
    result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
        images if images.is_mkldnn else images.float(),
        weight,
        bias,
        *settings,
        then,
        [],
        "",
    )
    return result


def _first_layers(
    packed: _Packed, weight: Tensor, pool: nn.MaxPool2d
) -> Callable[[Tensor], Tensor]:
    """Return a convolution of few channels, its ReLU and max pooling.

    Between them, maps have the memory format that oneDNN chooses: its own pooling,
    which needs no indices, is many times faster than that of torch.
    """
    weight = weight.contiguous()
    n_values = len(weight) / math.prod(packed.settings[1])  # of maps, for each pixel

    def run_some(images: Tensor) -> Tensor:
        blocked = images.float().contiguous().to_mkldnn()
        maps = _convolve(blocked, weight, packed.bias, packed.settings, "relu")
        maps = F.max_pool2d(maps, pool.kernel_size, pool.stride, pool.padding)
        return maps.to_dense()

    def run(images: Tensor) -> Tensor:
        n_bytes = 4 * n_values * images[:, 0].numel()
        results = map(run_some, images.chunk(math.ceil(n_bytes / _FIRST_BYTES)))
        return _joined(results, len(images))

    return run


def _joined(parts: Iterable[Tensor], n_images: int) -> Tensor:
    """Return all maps in the memory format channels_last."""
    maps, start = torch.empty(0), 0
    for part in parts:
        if not start:
            shape = (n_images, *part.shape[1:])
            maps = torch.empty(shape, memory_format=torch.channels_last)
        maps[start : start + len(part)] = part
        start += len(part)
    return maps


def _fuse_blocks(network: nn.Module, changes: dict[str, _Change]) -> None:
    """Let the blocks of a ResNet add what goes past them in their last convolution."""
    for name, block in network.named_modules():
        pairs = _IN_BLOCKS.get(type(block), ())
        if not pairs or "forward" in vars(block) or type(block.relu) is not nn.ReLU:
            continue
        past: Any = block.downsample
        if past is not None:
            if type(past) is not nn.Sequential or len(past) != 2:
                continue
            pairs = (*pairs, ("downsample.0", "downsample.1"))
        found = [changes.get(f"{name}.{layer}") for layer, _ in pairs]
        norms = [f"{name}.{norm}" for _, norm in pairs]
        if [change and change.input_shape and change.norm for change in found] == norms:
            layers = [block.get_submodule(layer).forward for layer, _ in pairs]
            # by the block alone: its first convolution, and the sum
            is_own = past is not None or changes[f"{name}.conv1"].n_reads == 2
            block.forward = _block(layers, past is None, is_own)


def _block(
    layers: list[Any], is_past: bool, is_own: bool
) -> Callable[[Tensor], Tensor]:
    """Return the forward of a block.

    Parameters
    ----------
    layers : list of _Packed
        Its convolutions, and at the end that of the images that go past them.
    is_past : bool
        The images go past them as they are.
    is_own : bool
        Nobody else needs what goes past them, so that the result may have its memory.
    """
    past = (lambda images: images) if is_past else layers.pop()
    *layers, last = layers
    with_sum = last.with_sum_in_place if is_own else last.with_sum

    def run(images: Tensor) -> Tensor:
        maps = images
        for layer in layers:
            maps = layer.with_relu(maps)
        result: Tensor = with_sum(maps, past(images))
        return result

    return run
