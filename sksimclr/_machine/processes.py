"""Data-parallel training: processes, started by torchrun, that share every batch."""

from __future__ import annotations

import atexit
import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and which of them this one is."""

    rank: int = 0
    n_processes: int = 1

    def __bool__(self) -> bool:
        return self.n_processes > 1


def join_processes(device: torch.device) -> Processes:
    """Return the processes that torchrun started, or this one alone.

    The group of processes is made if the caller has not done so.
    """
    if not dist.is_available():
        return Processes()
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched():
            return Processes()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    return Processes(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    """Take the group of processes apart, unless someone else has."""
    if dist.is_initialized():
        dist.destroy_process_group()


def same_everywhere(value: Any, processes: Processes) -> Any:
    """Return the value that the first process has."""
    if not processes:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def of_all(value: Any, processes: Processes) -> list[Any]:
    """Return the values of all processes."""
    if not processes:
        return [value]
    values = [None] * processes.n_processes
    dist.all_gather_object(values, value)
    return values


def sum_over(tensor: Tensor, processes: Processes) -> Tensor:
    """Return the sum of the tensors of all processes, with gradients."""
    total: Tensor = _Sum.apply(tensor) if processes else tensor
    return total


def gather_views(projections: Tensor, processes: Processes) -> Tensor:
    """Return the projections of all processes, with gradients: (2 N, d) of each.

    First the first views of all images, then the second ones.
    """
    if not processes:
        return projections
    shards: Tensor = _Gather.apply(projections, processes)
    both = shards.view(len(shards), 2, -1, shards.shape[-1])  # process, view, image, d
    return both.transpose(0, 1).reshape(-1, shards.shape[-1])


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _Gather(torch.autograd.Function):
    """Stack the tensors of all processes; each gets the sum of its own gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, processes: Processes) -> Tensor:
        ctx.rank = processes.rank
        tensors = [torch.empty_like(tensor) for _ in range(processes.n_processes)]
        dist.all_gather(tensors, tensor.contiguous())
        return torch.stack(tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.rank], None


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batches of all processes, which are equally large.

    For devices on which torch's own does not run.
    """

    processes = Processes()

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, C, ...)."""
        if not self.training:
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        n = self.processes.n_processes
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        mean = sum_over(values.mean(axes), self.processes) / n
        centred = values - mean.view(shape)
        variance = sum_over(centred.square().mean(axes), self.processes) / n
        if self.track_running_stats:
            self._update(mean.detach(), variance.detach(), n * input.numel())
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _update(self, mean: Tensor, variance: Tensor, n_values: int) -> None:
        """Move the running mean and variance towards those of a batch."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a plain mean over all batches
            momentum = 1.0 / float(self.num_batches_tracked)
        n_of_channel = n_values / len(mean)
        unbiased = variance * n_of_channel / (n_of_channel - 1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(unbiased, momentum)


def parallel_copy(
    network: nn.Module, device: torch.device, processes: Processes
) -> nn.Module:
    """Return a copy whose batch normalisation sees the batches of all processes.

    It is on the device, and its weights have the names they had.
    """
    network = copy.deepcopy(network).to(device)
    network = network.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        return cast(nn.Module, convert(network))
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, _synchronised(child, processes))
    return network


def _synchronised(layer: nn.Module, processes: Processes) -> nn.Module:
    """Return a layer with the same weights and settings."""
    synchronised = _SyncBatchNorm.__new__(_SyncBatchNorm)
    synchronised.__dict__.update(layer.__dict__)
    synchronised.processes = processes
    return synchronised


def in_parallel(network: nn.Module) -> nn.Module:
    """Wrap a network that averages its gradients over all processes.

    All processes start with the weights of the first one.
    """
    return DistributedDataParallel(network)
