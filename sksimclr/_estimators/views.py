"""The fit of `SimCLRTransformer`: from its parameters to trained networks."""

import copy
import dataclasses

import numpy as np
from sklearn.utils import check_random_state

from sksimclr._engine.checkpoints import CheckpointFolder
from sksimclr._engine.contrastive import ViewPlan, train
from sksimclr._engine.state import to_cpu
from sksimclr._estimators.fingerprint import fit_fingerprint
from sksimclr._estimators.network import (
    check_loss,
    loop_plan,
    loop_seeds,
    warn_of_collapse,
)
from sksimclr._machine.device import resolve_bfloat16, resolve_device
from sksimclr._machine.processes import join_processes
from sksimclr._machine.random import spawn_seeds
from sksimclr._networks.encoders import make_networks
from sksimclr._networks.weights import find_weights, load_weights

_IN_OPTIMIZER = ("lr", "weight_decay")  # parameters that its state holds as well


def begin(simclr, images, *, goes_on):
    """Return the networks to start from, and the seeds of what comes next.

    Parameters
    ----------
    simclr : SimCLRTransformer
        Gains `history_`, empty, `_n_features_out` and `_made_from`, unless it goes on.
    images : Images
    goes_on : bool
        Whether to start from copies of its fitted networks.

    Returns
    -------
    networks : (nn.Module, nn.Module)
        Encoder and projection head.
    seeds : (int, int, int)
        Of the order of the images, the views, and random layers.
    """
    seed = check_random_state(simclr.random_state).randint(np.iinfo(np.int32).max)
    if goes_on:
        networks = copy.deepcopy((simclr.encoder_, simclr.projector_))
        return networks, spawn_seeds((seed, simclr.n_iter_), 3)
    path = None if simclr.weights is None else find_weights(simclr.weights)
    weight_seed, *seeds = spawn_seeds(seed, 4)
    made_from = {
        "encoder": simclr.encoder,
        "stem": simclr.stem,
        "n_channels": images.n_channels,
        "image_size": int(simclr.image_size),
        "projection_dim": int(simclr.projection_dim),
        "seed": weight_seed,
    }
    encoder, projector, n_features = make_networks(**made_from)
    if path is not None:
        load_weights(path, encoder, projector, n_channels=images.n_channels)
    simclr._n_features_out = n_features
    simclr._made_from = made_from
    simclr.history_ = []
    return (encoder, projector), seeds


def checkpoint_folder(simclr, images, networks, *, goes_on):
    """Return where the run is saved, or None; `networks` are those it starts from."""
    if simclr.checkpoint_dir is None:
        return None
    start = None
    if goes_on or simclr.weights is not None:
        start = [
            values.numpy() for net in networks for values in net.state_dict().values()
        ]
    return CheckpointFolder(
        simclr.checkpoint_dir,
        fit_fingerprint(simclr, images, start),
        every=int(simclr.checkpoint_every),
    )


def pretrain(simclr, images, networks, plan, seeds, **run):
    """Train the networks and keep the result in the fitted attributes.

    Parameters
    ----------
    simclr : SimCLRTransformer
    images : Images
    networks, seeds : as :func:`begin` returned them
    plan : LoopPlan
    **run : callbacks, checkpoints and state of
        :func:`sksimclr._engine.contrastive.train`

    Returns
    -------
    dict or None
        State of the run, from which another one can go on.
    """
    encoder, projector = networks
    order_seed, view_seed, layer_seed = seeds
    device = resolve_device(simclr.device)
    views = ViewPlan(
        temperature=float(simclr.temperature),
        augmentations=tuple(simclr.augmentations),
        image_size=int(simclr.image_size),
        bfloat16=resolve_bfloat16(simclr.precision, device),
        compile=bool(simclr.compile),
    )
    history, state = train(
        encoder,
        projector,
        images,
        views,
        plan,
        device=device,
        seeds=loop_seeds(simclr.encoder, order_seed, layer_seed),
        view_seed=view_seed,
        **run,
    )
    check_loss(history, plan)
    n_together = plan.batch_size * join_processes(device).n_processes
    warn_of_collapse(history, len(images), n_together)
    vars(simclr).update(fitted_attributes(simclr, encoder, projector, history))
    return state


def fitted_attributes(simclr, encoder, projector, history):
    """Return the attributes that `simclr` gains by these networks and epochs.

    The networks go to the CPU and to evaluation mode.
    """
    n_before = len(simclr.history_)
    rows = [row | {"epoch": row["epoch"] + n_before} for row in history]
    return {
        "encoder_": encoder.cpu().eval(),
        "projector_": projector.cpu().eval(),
        "history_": [*simclr.history_, *rows],
        "n_iter_": n_before + len(rows),
        "image_size_": int(simclr.image_size),
    }


def pretrain_once(simclr, images, networks, seeds):
    """Train for one epoch, from the state that the `partial_fit` before kept, if any.

    Arguments as those of :func:`pretrain`.
    """
    plan = dataclasses.replace(loop_plan(simclr), max_epochs=1, lr_schedule=None)
    state = _kept_state(simclr, plan)
    state = pretrain(simclr, images, networks, plan, seeds, state=state)
    del state["model"]  # encoder_ and projector_ have it
    settings = {name: getattr(plan, name) for name in ("optimizer", *_IN_OPTIMIZER)}
    simclr._state = to_cpu(state | {"history": [], "settings": settings})


def _kept_state(simclr, plan):
    """Return a copy of the state with the parameters there are now.

    None if there is none, or another optimizer since.
    """
    state = copy.deepcopy(getattr(simclr, "_state", None))
    if state is None or state["settings"]["optimizer"] != plan.optimizer:
        return None
    for name in _IN_OPTIMIZER:
        if state["settings"][name] != getattr(plan, name):
            for group in state["optimizer"]["param_groups"]:
                group[name] = getattr(plan, name)
    return state
