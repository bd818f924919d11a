"""What skops stores of a fitted transformer: arrays instead of networks."""

import copyreg
from inspect import signature

from sksimclr._networks.encoders import WithoutValues, make_networks
from sksimclr._networks.weights import as_arrays, check_shapes, load_arrays

_NETWORKS = ("encoder_", "projector_")
_WHAT = "stored weights of {}"
_WITH_TENSORS = (*_NETWORKS, "_state")  # the latter is of partial_fit


class SkopsMixin:
    """Let `skops.io` store an estimator with the networks `encoder_` and `projector_`.

    skops knows no tensors. It asks `__getstate__`, and gets the weights as arrays; when
    a file is loaded, the networks are made again from what they were made from, which
    `_made_from` keeps. pickle and copy ask `__reduce_ex__` first, and get the networks
    as they are: no factory of encoders is called then.
    """

    def __getstate__(self):
        """Return the attributes, without tensors; the optimizer's state is left out."""
        state = dict(super().__getstate__())
        state.pop("_state", None)
        if "encoder_" in state:
            state["_weights"] = {name: as_arrays(state.pop(name)) for name in _NETWORKS}
        return state

    def __setstate__(self, state):
        """Take what skops stored, or what pickle and copy did.

        Parameters that there were not when it was stored get their defaults.
        """
        weights = state.get("_weights")
        state = _defaults(type(self)) | state
        super().__setstate__({k: v for k, v in state.items() if k != "_weights"})
        if weights is None:
            return
        networks = _networks_for(weights, self._made_from)
        for name, network in zip(_NETWORKS, networks, strict=True):
            load_arrays(network, weights[name], _WHAT.format(name))
            setattr(self, name, network)

    def __reduce_ex__(self, protocol):
        """Return what pickle and copy make an equal one from.

        A subclass may leave something out in its `__getstate__`.
        """
        rest, kept = type(self).__new__(type(self)), {}
        for name, value in vars(self).items():
            (kept if name in _WITH_TENSORS else vars(rest))[name] = value
        return copyreg.__newobj__, (type(self),), rest.__getstate__() | kept


def _networks_for(weights, made_from):
    """Return new networks, if they are those that stored weights are for.

    A file may claim any size of a network. Those with a name are first made without
    values, so that no more memory is asked for than the weights in the file take.
    """
    head = weights["projector_"]
    n_found, n_claimed = len(head["2.weight"]), made_from["projection_dim"]
    if n_found != n_claimed:
        raise ValueError(
            f"The {_WHAT.format('projector_')} are for projection_dim={n_found}, got "
            f"{n_claimed}."
        )
    if not isinstance(made_from["encoder"], str):
        return make_networks(**made_from)
    made_from = made_from | {"n_features": head["0.weight"].shape[1]}
    with WithoutValues():
        empty = make_networks(**made_from)
    for name, network in zip(_NETWORKS, empty, strict=True):
        check_shapes(network, weights[name], _WHAT.format(name))
    return make_networks(**made_from)


def _defaults(estimator_type):
    """Return the parameters of a class and their defaults."""
    parameters = signature(estimator_type).parameters.values()
    return {p.name: p.default for p in parameters}
