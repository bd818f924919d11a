"""Contrastive training: two views of every image, and how close they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from sksimclr._engine.batches import BatchDataset
from sksimclr._engine.checkpoints import CheckpointFolder
from sksimclr._engine.loop import LoopPlan, Seeds, run_loop
from sksimclr._engine.losses import Objective
from sksimclr._engine.state import State
from sksimclr._images.images import Images
from sksimclr._machine.device import to_float
from sksimclr._machine.processes import (
    Processes,
    gather_views,
    in_parallel,
    parallel_copy,
    same_everywhere,
)
from sksimclr._machine.random import make_generator, spawn_seeds
from sksimclr._networks.thin_stem import thin_stem
from sksimclr.augmentations import Augmentation, make_view
from sksimclr.metrics import alignment_of, rank_of_gram, uniformity_of


@dataclass(frozen=True)
class ViewPlan:
    """What to compare, and how to compute it.

    Attributes
    ----------
    objective : Objective
        What their projections should be like.
    augmentations, image_size, compile
        The parameters of `SimCLRTransformer` so named.
    bfloat16 : bool
        Whether the networks compute in bfloat16 where that is safe; views and loss are
        float32 in any case.
    """

    objective: Objective
    augmentations: tuple[Augmentation, ...]
    image_size: int
    bfloat16: bool = False
    compile: bool = False


def train(
    encoder: nn.Module,
    projector: nn.Module,
    images: Images,
    views: ViewPlan,
    plan: LoopPlan,
    *,
    sequences: NDArray[np.int64] | None = None,
    own_callbacks: Sequence[Callback] = (),
    checkpoints: CheckpointFolder | None = None,
    state: State | None = None,
) -> tuple[list[dict[str, Any]], State | None]:
    """Train `encoder` and `projector` in place, by the objective of two views.

    Parameters
    ----------
    encoder, projector : nn.Module
        Left on the device.
    images : Images
        At least two.
    views : ViewPlan
    plan : LoopPlan
    sequences : ndarray of shape (n_images,), int64, optional
        Number of the sequence of each image, from 0. The second view is then one of
        another image of the same sequence.
    own_callbacks : sequence of skorch callbacks
        Run before the caller's, which are in `plan`.
    checkpoints : CheckpointFolder, optional
        Where the run is saved, and from where it goes on if it was.
    state : dict, optional
        Of an earlier run, to go on from.

    Returns
    -------
    history : list of dict
        A row for each epoch: "epoch", "loss", "alignment", "uniformity",
        "effective_rank", "lr", "seconds", "images_per_second", and what callbacks
        recorded.
    state : dict or None
        From which another run can go on; None without epochs.
    """
    if plan.max_epochs == 0:
        return [], None
    processes = plan.processes
    networks = [encoder, projector]
    if processes:
        networks = [parallel_copy(net, plan.device, processes) for net in networks]
        plan = _of_this_process(plan)
    model = ContrastiveModel(
        networks[0], networks[1], views, plan.seeds.views, processes
    )
    with nullcontext() if views.compile else thin_stem(networks[0]):
        history, state = run_loop(
            model,
            views.objective.criterion(processes),
            BatchDataset(images, sequences=sequences),
            plan,
            own_callbacks=[_ProjectionRecord(processes), *own_callbacks],
            checkpoints=checkpoints,
            state=state,
        )
    if processes:
        for network, trained in zip((encoder, projector), networks, strict=True):
            network.load_state_dict(trained.state_dict())
    return history, state


def _of_this_process(plan: LoopPlan) -> LoopPlan:
    """Let all take one order, each draw views of its own, and the first one speak."""
    shared, rank = same_everywhere(plan.seeds, plan.processes), plan.processes.rank
    views, layers = spawn_seeds((shared.views, rank), 2)
    seeds = Seeds(shared.order, views, None if shared.layers is None else layers)
    return replace(plan, seeds=seeds, verbose=0 if rank else plan.verbose)


class ContrastiveModel(nn.Module):
    """From a batch of images to the projections of two views of each.

    One forward over the 2 N views, so that batch normalisation sees them together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        views: ViewPlan,
        view_seed: int,
        processes: Processes = Processes(),  # noqa: B008 (it is frozen)
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self._augmentations = views.augmentations
        self._size = views.image_size
        self._bfloat16 = views.bfloat16
        network: nn.Module = nn.Sequential(encoder, projector)
        if views.compile:
            network = cast(nn.Module, torch.compile(network, dynamic=False))
        if processes:
            network = in_parallel(network)
        # the network itself would be a second submodule
        self._project: Callable[[Tensor], Tensor] = network.__call__
        self.generator = make_generator(view_seed)

    def forward(self, images: Tensor) -> Tensor:
        """Return projections (2 N, d): of the first views of all, then of the second.

        Of images (N, C, H, W), or of pairs (N, 2, C, H, W).
        """
        images = to_float(images)
        pairs = images.unbind(1) if images.ndim == 5 else (images, images)
        views = [
            make_view(
                each,
                self._augmentations,
                generator=self.generator,
                size=self._size,
            )
            for each in pairs
        ]
        both = torch.cat(views).contiguous(memory_format=torch.channels_last)
        del images, pairs, views  # the network needs the memory
        with torch.autocast(both.device.type, torch.bfloat16, enabled=self._bfloat16):
            projections = self._project(both)
        # NumPy, and so callbacks that predict, cannot read bfloat16
        return projections.float() if self._bfloat16 else projections


class _ProjectionRecord(Callback):
    """Add alignment, uniformity and effective rank of the projections to the history.

    Of the projections of all processes; sums stay on the device until the epoch ends.
    """

    def __init__(self, processes: Processes):
        self._processes = processes

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget the epoch before."""
        self.n_images_ = 0
        self.alignment_ = self.uniformity_ = self.gram_ = torch.zeros(())

    def on_batch_end(
        self, net: NeuralNet, training: bool = False, y_pred: Any = None, **kwargs: Any
    ) -> None:
        """Add a batch of projections (2 N, d), each divided by its length."""
        rows = gather_views(y_pred.detach(), self._processes)
        if rows.device.type == "mps":  # which has no float64
            rows = rows.cpu()
        rows = F.normalize(rows.double())
        n_images = len(rows) // 2
        self.n_images_ += n_images
        first, second = rows[:n_images], rows[n_images:]
        self.alignment_ = self.alignment_ + n_images * alignment_of(first, second)
        self.uniformity_ = self.uniformity_ + n_images * uniformity_of(first)
        self.gram_ = self.gram_ + rows.T @ rows

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note the means over the images, and the rank of all projections."""
        for name in ("alignment", "uniformity"):
            mean = getattr(self, f"{name}_") / self.n_images_
            net.history.record(name, float(mean))
        net.history.record("effective_rank", rank_of_gram(self.gram_))
