"""scikit-learn's own callbacks, which there are from version 1.9 on."""

import copy

from skorch.callbacks import Callback

from sksimclr._engine.loop import history_row

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Nothing: this version of scikit-learn has no callbacks."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "begin_fit", "end_fit", "with_callbacks"]


def begin_fit(estimator, X, y, *, n_epochs):
    """Tell scikit-learn's callbacks that a fit begins.

    Returns the skorch callbacks that tell them of its epochs: one, or none where
    scikit-learn has no callbacks.
    """
    if not hasattr(estimator, "_init_callback_context"):
        return []
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
    return [_EpochTasks(estimator, context, X, y)]


def end_fit(estimator, X, y, tasks):
    """Tell scikit-learn's callbacks that the fit with these `tasks` has ended."""
    for task in tasks:
        task.context.call_on_fit_task_end(
            estimator=estimator, X=X, y=y, reconstruction_attributes=dict
        )


class _EpochTasks(Callback):
    """Tell scikit-learn's callbacks of every epoch, and stop when one of them says so.

    Parameters
    ----------
    estimator : ViewTransformer
    context : sklearn.callback.CallbackContext
        Of its fit.
    X, y : as given to `fit`
    """

    def __init__(self, estimator, context, X, y):
        self.context = context
        self._estimator = estimator
        self._data = {"X": X, "y": y}

    def on_epoch_begin(self, net, **kwargs):
        """Begin a task."""
        self._task = self.context.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def on_epoch_end(self, net, **kwargs):
        """End the task; KeyboardInterrupt is how skorch's callbacks stop training."""

        def attributes():
            networks = copy.deepcopy((net.module_.encoder, net.module_.projector))
            history = [history_row(row) for row in net.history]
            return self._estimator._learnt(*networks, history)

        if self._task.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=attributes,
            **self._data,
        ):
            raise KeyboardInterrupt
