"""What skops stores of a fitted transformer: arrays instead of networks."""

import copyreg
from inspect import signature

from sksimclr._networks.encoders import make_networks
from sksimclr._networks.weights import as_arrays, load_arrays

_NETWORKS = ("encoder_", "projector_")
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
        self.encoder_, self.projector_ = make_networks(**self._made_from)
        for name, arrays in weights.items():
            load_arrays(getattr(self, name), arrays, f"stored weights of {name}")

    def __reduce_ex__(self, protocol):
        """Return what pickle and copy make an equal one from.

        A subclass may leave something out in its `__getstate__`.
        """
        rest, kept = type(self).__new__(type(self)), {}
        for name, value in vars(self).items():
            (kept if name in _WITH_TENSORS else vars(rest))[name] = value
        return copyreg.__newobj__, (type(self),), rest.__getstate__() | kept


def _defaults(estimator_type):
    """Return the parameters of a class and their defaults."""
    parameters = signature(estimator_type).parameters.values()
    return {p.name: p.default for p in parameters}
