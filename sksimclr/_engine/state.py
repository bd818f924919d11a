"""All that a training run needs to go on where it stopped, as plain values."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

from sksimclr._engine.batch_rows import n_batches_of
from sksimclr._engine.batches import Batches
from sksimclr._machine.processes import of_all

State = dict[str, Any]

_OF_THIS_PROCESS = {"epoch_timer", "print_log", "progress_bar"}  # callbacks
_STATE_DICT = "state_dict"
# exactly these: a subclass would need its code, which checkpoints do not run
_LEAVES = (type(None), bool, int, float, str, Tensor, nn.Parameter)
_MAPPINGS = (dict, OrderedDict, Counter)


def capture(net: NeuralNet, batches: Batches, *, layers_draw: bool) -> State:
    """Return the state of a run at the end of a batch or of an epoch.

    Tensors are those of the run itself, not copies.

    Parameters
    ----------
    net : NeuralNet
        Its module has a torch.Generator `generator`.
    batches : Batches
        Those of `net`.
    layers_draw : bool
        Whether layers draw from torch's global generators, as dropout does.

    Returns
    -------
    dict
        Of tensors, numbers, strings, and lists and dictionaries of them.
    """
    rows = [dict(row) for row in net.history]
    is_open = bool(rows) and "train_batch_count" not in rows[-1]
    open_row = rows.pop() if is_open else None
    layers = _global_generators() if layers_draw else None
    return {
        "model": net.module_.state_dict(),
        "optimizer": _plain(net.optimizer_.state_dict()),
        "order": batches.order_state if is_open else batches.generator.get_state(),
        "views": of_all(net.module_.generator.get_state(), batches.processes),
        "layers": of_all(layers, batches.processes),
        "callbacks": _callback_states(net),
        "history": [_plain_items(row | {"batches": []}) for row in rows],
        "open_epoch": None if open_row is None else _plain_open_row(open_row),
        "open_seconds": time.time() - _timer(net).epoch_start_time_ if is_open else 0.0,
    }


def restore(net: NeuralNet, batches: Batches, state: State) -> None:
    """Bring a run that has just begun to `state`.

    A state without "model" leaves the weights alone. What belongs to an open epoch
    waits for :func:`restore_open_epoch`.
    """
    net.history.extend(dict(row) for row in state["history"])
    batches.generator.set_state(state["order"])
    _restore_values(net, batches, state)
    if state["open_epoch"] is not None:
        batches.n_skipped = n_batches_of(state["open_epoch"]["batches"])


def restore_open_epoch(net: NeuralNet, batches: Batches, state: State) -> None:
    """Bring an epoch that has just begun to where it was left."""
    if state["open_epoch"] is None:
        return
    net.history[-1].update(state["open_epoch"])
    _restore_values(net, batches, state)  # callbacks have seen the epoch begin again
    _timer(net).epoch_start_time_ -= state["open_seconds"]


def _restore_values(net: NeuralNet, batches: Batches, state: State) -> None:
    """Bring weights, optimizer, callbacks and generators to `state`."""
    if "model" in state:
        net.module_.load_state_dict(state["model"])
    processes = batches.processes
    if len(state["views"]) == processes.n_processes:  # else each draws anew
        net.module_.generator.set_state(state["views"][processes.rank])
        _restore_layers(state["layers"][processes.rank])
    _restore_callbacks(net, state["callbacks"])
    # after the schedulers, which set the learning rate when they are made
    net.optimizer_.load_state_dict(state["optimizer"])


def _restore_layers(generators: tuple[Tensor, list[Tensor]] | None) -> None:
    """Bring torch's global generators to what :func:`_global_generators` returned."""
    if generators is None:
        return
    cpu, devices = generators
    torch.set_rng_state(cpu)
    if len(devices) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(devices)


def to_cpu(value: Any) -> Any:
    """Return a copy of a state, all tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: to_cpu(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_cpu(item) for item in value)
    return value


class _NotPlain(Exception):
    """A value is nothing that can be put into a file without its code."""


def _plain(value: Any) -> Any:
    """Return a value with numpy's scalars as Python's, or raise _NotPlain."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _LEAVES:
        return value
    if type(value) in _MAPPINGS:
        return type(value)({_plain(key): _plain(value[key]) for key in value})
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    raise _NotPlain


def _plain_open_row(row: dict[str, Any]) -> State:
    """Return an epoch that is not over.

    Losses become numbers: as tensors they would come back on the CPU, among the later
    ones of a GPU.
    """
    # not items(): a row of the history fetches numbers only when they are read
    rows = [_plain_items({name: row[name] for name in row}) for row in row["batches"]]
    return _plain_items(row) | {"batches": rows}


def _plain_items(values: dict[str, Any]) -> State:
    """Return those items of a dictionary that can be saved."""
    plain = {}
    for name, value in values.items():
        if hasattr(value, _STATE_DICT) and not isinstance(value, type):
            value = {_STATE_DICT: value.state_dict()}
        try:
            plain[name] = _plain(value)
        except _NotPlain:
            continue
    return plain


def _is_learnt(attribute: str) -> bool:
    """Say whether a callback declares by the name of an attribute that it learnt it."""
    return attribute.endswith("_") and not attribute.startswith("_")


def _callback_states(net: NeuralNet) -> dict[str, State]:
    """Return what callbacks have learnt: plain attributes that end in "_"."""
    return {
        name: _plain_items({k: v for k, v in vars(callback).items() if _is_learnt(k)})
        for name, callback in net.callbacks_
        if name not in _OF_THIS_PROCESS
    }


def _restore_callbacks(net: NeuralNet, states: dict[str, State]) -> None:
    """Give callbacks back what they had learnt, and nothing else."""
    for name, callback in net.callbacks_:
        for attribute, value in states.get(name, {}).items():
            if not _is_learnt(attribute):  # such as where skorch's Checkpoint writes
                continue
            if isinstance(value, dict) and list(value) == [_STATE_DICT]:
                getattr(callback, attribute).load_state_dict(value[_STATE_DICT])
            else:
                setattr(callback, attribute, _moved(value, net.device))


def _moved(value: Any, device: Any) -> Any:
    """Move a tensor, or those of a dictionary."""
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    is_possible = torch.device(device).type != "mps" or value.dtype != torch.float64
    return value.to(device) if is_possible else value


def _timer(net: NeuralNet) -> Any:
    return dict(net.callbacks_)["epoch_timer"]


def _global_generators() -> tuple[Tensor, list[Tensor]]:
    """Return the states of torch's global generators, of CPU and GPUs."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), devices
