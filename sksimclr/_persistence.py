"""What skops stores of a fitted transformer: arrays instead of networks."""

import copyreg

from sksimclr._encoders import make_encoder, make_projection_head
from sksimclr._random import torch_seeded
from sksimclr._weights import as_arrays, load_arrays


class SkopsMixin:
    """Let `skops.io` store an estimator with the networks `encoder_` and `projector_`.

    skops knows no tensors. It asks `__getstate__`, and gets the weights as arrays; when
    a file is loaded, the encoder is made again from the parameters it was made from,
    which `_encoder_made_from` keeps. pickle and copy ask `__reduce_ex__` first, and get
    the networks as they are: no factory of encoders is called then.
    """

    def __getstate__(self):
        """Return the attributes, without tensors; the optimizer's state is left out."""
        state = dict(super().__getstate__())
        state.pop("_state", None)  # of partial_fit
        if "encoder_" in state:
            state["_weights"] = {
                name: as_arrays(state.pop(name)) for name in ("encoder_", "projector_")
            }
        return state

    def __setstate__(self, state):
        """Take what skops stored, or what pickle and copy did."""
        weights = state.get("_weights")
        super().__setstate__({k: v for k, v in state.items() if k != "_weights"})
        if weights is None:
            return
        projection_dim = len(weights["projector_"]["2.weight"])
        with torch_seeded(0):
            self.encoder_ = make_encoder(**self._encoder_made_from)
            self.projector_ = make_projection_head(self._n_features_out, projection_dim)
        for name, arrays in weights.items():
            load_arrays(getattr(self, name), arrays, f"stored weights of {name}")

    def __reduce_ex__(self, protocol):
        """Return what pickle and copy make an equal one from."""
        return copyreg.__newobj__, (type(self),), super().__getstate__()
