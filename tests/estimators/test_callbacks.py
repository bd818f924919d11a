"""Callbacks of skorch and of scikit-learn, and the table that a run prints."""

import copy
import functools
import importlib.util
import json
import pickle
import re
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
import tqdm
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
    TrainEndCheckpoint,
)
from tiny import tiny_fine_tuned, tiny_simclr
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

import sksimclr._estimators.callbacks
import sksimclr._estimators.views
import sksimclr._simclr

try:
    import sklearn.callback as native
    from sklearn.callback import ScoringMonitor
except ImportError:  # before 1.9
    native = None

needs_native = pytest.mark.skipif(native is None, reason="scikit-learn < 1.9")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # of LogisticRegression in a pipeline
    pytest.mark.filterwarnings("ignore:The estimator .* does not support callbacks"),
]
N_BATCHES = 4  # of 60 images, 16 in a batch


@pytest.fixture(scope="module")
def digits():
    """Sixty digits of 8 x 8 pixels, and their labels."""
    images, target = load_digits(return_X_y=True)
    return images[:60].reshape(60, 8, 8) / 16, target[:60]


def weights_of(simclr):
    """Return weights and statistics of both networks, by name."""
    return {
        f"{name}.{key}": values
        for name in ("encoder", "projector")
        for key, values in getattr(simclr, f"{name}_").state_dict().items()
    }


def assert_same_weights(a, b):
    """Compare two state dicts to the bit."""
    assert list(a) == list(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def without_times(history):
    """Return rows of a history without what differs between two runs."""
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in row.items() if k not in times} for row in history]


class Shared(Callback):
    """A callback that stays the same object, so that a test sees what it noted."""

    def __deepcopy__(self, memo):
        """Return itself."""
        return self


# Callbacks of skorch, each as its documentation shows it


@pytest.mark.parametrize(("load_best", "n_epochs"), [(False, 3), (True, 1)])
def test_early_stopping_leaves_the_weights_of_the_last_or_the_best_epoch(
    digits, load_best, n_epochs
):
    """Nothing is enough of an improvement, so the first epoch stays the best."""
    stopper = EarlyStopping(
        monitor="train_loss", patience=2, threshold=10.0, load_best=load_best
    )
    stopped = tiny_simclr(max_epochs=9, callbacks=[stopper]).fit(digits[0])
    assert stopped.n_iter_ == len(stopped.history_) == 3
    whole = tiny_simclr(max_epochs=n_epochs).fit(digits[0])
    assert_same_weights(weights_of(stopped), weights_of(whole))


@pytest.mark.parametrize("load_best", [False, True])
def test_checkpoint_holds_the_best_epoch(digits, tmp_path, load_best):
    """Its file has the weights of a fit that ends there, and so has the estimator."""
    params = {"optimizer": "sgd", "lr": 0.5, "random_state": 1}
    saver = Checkpoint(
        monitor="train_loss_best", dirname=str(tmp_path), load_best=load_best
    )
    simclr = tiny_simclr(max_epochs=5, callbacks=[saver], **params).fit(digits[0])
    losses = [
        row["loss"]
        for row in tiny_simclr(max_epochs=5, **params).fit(digits[0]).history_
    ]
    best = int(np.argmin(losses)) + 1
    assert 1 < best < 5
    expected = weights_of(tiny_simclr(max_epochs=best, **params).fit(digits[0]))
    assert_same_weights(torch.load(tmp_path / "params.pt"), expected)
    assert len(json.loads((tmp_path / "history.json").read_text())) == best
    assert torch.load(tmp_path / "optimizer.pt")["param_groups"][0]["lr"] == 0.5
    same = all(torch.equal(a, expected[name]) for name, a in weights_of(simclr).items())
    assert same == load_best
    assert [row["event_cp"] for row in simclr.history_][:best][-1]


def test_checkpoint_can_pickle_the_net(digits, tmp_path):
    """And the net that comes back has the weights."""
    saver = Checkpoint(monitor=None, dirname=str(tmp_path), f_pickle="net.pkl")
    at_end = TrainEndCheckpoint(dirname=str(tmp_path))
    simclr = tiny_simclr(callbacks=[saver, at_end]).fit(digits[0])
    net = pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert_same_weights(net.module_.state_dict(), weights_of(simclr))
    assert_same_weights(
        torch.load(tmp_path / "train_end_params.pt"), weights_of(simclr)
    )


def probe_score(encoder, images, target):
    """Return how well a linear classifier on an encoder does on labelled images."""
    with torch.inference_mode():
        embeddings = encoder.eval()(torch.from_numpy(images[:, None]).float()).numpy()
    return LogisticRegression(C=100).fit(embeddings, target).score(embeddings, target)


def test_epoch_scoring_adds_a_column(digits):
    """A linear probe, each epoch: as of a fit of so many epochs; training is the same.

    Other callbacks may monitor it.
    """
    images, target = digits

    def probe(net, X, y):
        return probe_score(net.module_.encoder, images, target)

    scoring = EpochScoring(probe, lower_is_better=False, on_train=True)
    stopper = EarlyStopping(
        monitor="probe", lower_is_better=False, patience=3, threshold=10.0
    )
    simclr = tiny_simclr(max_epochs=9, lr=1e-2, callbacks=[scoring, stopper]).fit(
        images
    )
    fits = [
        tiny_simclr(max_epochs=n, lr=1e-2).fit(images)
        for n in range(1, simclr.n_iter_ + 1)
    ]
    scores = [probe_score(copy.deepcopy(fit.encoder_), images, target) for fit in fits]
    assert len(set(scores)) > 1 and simclr.n_iter_ == 4
    assert [row.pop("probe") for row in simclr.history_] == scores
    assert without_times(simclr.history_) == without_times(fits[-1].history_)
    assert_same_weights(weights_of(simclr), weights_of(fits[-1]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_caching", [False, True])
def test_epoch_scoring_may_predict(digits, precision, use_caching):
    """The projections, of two views of each image."""
    seen = []

    def n_rows(net, X, y):
        rows = net.predict(X)
        seen.append((rows.shape, rows.dtype, len(X)))
        return 0.0

    scoring = EpochScoring(n_rows, on_train=True, use_caching=use_caching)
    tiny_simclr(callbacks=[scoring], precision=precision).fit(digits[0])
    assert seen == [((120, 64), np.float32, 60)]


def test_batch_scoring_is_averaged_over_the_images(digits):
    """Here of the number of images in a batch: (48 * 16 + 12 * 12) / 60."""
    scoring = BatchScoring(lambda net, X, y: len(X), on_train=True, name="n")
    simclr = tiny_simclr(callbacks=[scoring]).fit(digits[0])
    assert simclr.history_[0]["n"] == pytest.approx(15.2)
    assert type(simclr.history_[0]["n"]) is float


class Rates(Shared):
    """Note the learning rate of every step."""

    def __init__(self):
        self.seen = []

    def on_grad_computed(self, net, *args, **kwargs):
        """Look right before the step."""
        self.seen.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (LRScheduler(StepLR, step_size=1), lambda epoch, step: 0.1**epoch),
        (
            LRScheduler(StepLR, step_size=3, gamma=0.5, step_every="batch"),
            lambda epoch, step: 0.5 ** (step // 3),
        ),
        (
            LRScheduler(ReduceLROnPlateau, patience=0, threshold=10.0, factor=0.5),
            lambda epoch, step: 0.5**epoch,
        ),
        (
            LRScheduler(
                ReduceLROnPlateau,
                patience=0,
                threshold=10.0,
                factor=0.5,
                step_every="batch",
                monitor="train_loss",
            ),
            lambda epoch, step: 0.5**step,
        ),
    ],
    ids=["step-epoch", "step-batch", "plateau-epoch", "plateau-batch"],
)
def test_lr_scheduler_sets_the_rate_of_every_step(digits, scheduler, expected):
    """Per epoch and per batch, by plan or by the loss; `history_` has it."""
    rates = Rates()
    simclr = tiny_simclr(max_epochs=3, lr=0.1, callbacks=[scheduler, rates])
    simclr.fit(digits[0])
    wanted = [0.1 * expected(step // N_BATCHES, step) for step in range(3 * N_BATCHES)]
    assert rates.seen == pytest.approx(wanted, rel=1e-9)
    seen = [row["lr"] for row in simclr.history_]
    assert seen == pytest.approx(wanted[::N_BATCHES], rel=1e-9)
    if scheduler.step_every == "epoch":
        assert [row["event_lr"] for row in simclr.history_] == pytest.approx(seen)


def test_callbacks_may_touch_gradients_and_parameters(digits):
    """A frozen encoder keeps its first weights; clipped gradients make another head."""
    start = weights_of(tiny_simclr(max_epochs=0).fit(digits[0]))
    params = {"callbacks": [Freezer("encoder.*")], "optimizer": "sgd"}
    frozen = weights_of(tiny_simclr(**params).fit(digits[0]))
    params["callbacks"] = [Freezer("encoder.*"), GradientNormClipping(1e-3)]
    clipped = weights_of(tiny_simclr(**params).fit(digits[0]))
    for name in ("encoder.0.weight", "encoder.1.bias"):
        assert torch.equal(frozen[name], start[name])
    moves = [
        abs(w["projector.2.weight"] - start["projector.2.weight"]).max()
        for w in (frozen, clipped)
    ]
    assert 0 < 10 * moves[1] < moves[0]


class BatchLosses(Shared):
    """Read the loss of every batch in the ways that skorch's history offers."""

    def __init__(self):
        self.losses, self.columns = [], []

    def on_batch_end(self, net, **kwargs):
        """Read it from the last row, and all up to now."""
        loss = net.history[-1, "batches", -1, "train_loss"]
        assert (
            type(loss) is float and loss == net.history[-1]["batches"][-1]["train_loss"]
        )
        pairs = net.history[-1, "batches", :, ("train_loss", "train_batch_size")]
        assert pairs[-1] == (loss, len(kwargs["batch"][0]))
        self.losses.append(loss)
        self.columns.append([loss for loss, _ in pairs])

    def on_epoch_end(self, net, **kwargs):
        """Compare with what is there when all have been fetched."""
        assert net.history[-1, "batches", :, "train_loss"] == self.columns[-1]
        json.dumps(net.history)


def test_the_loss_of_a_batch_is_a_number_as_soon_as_it_is_over(digits):
    """And their mean over the images is that of the epoch."""
    log = BatchLosses()
    simclr = tiny_simclr(callbacks=[log]).fit(digits[0])
    assert log.columns == [log.losses[: n + 1] for n in range(N_BATCHES)]
    mean = np.average(log.losses, weights=[16, 16, 16, 12])
    assert simclr.history_[0]["loss"] == pytest.approx(mean, rel=1e-12)
    assert {type(value) for value in simclr.history_[0].values()} == {int, float}


@pytest.mark.parametrize("params", [{"callbacks": [ProgressBar()]}, {"verbose": 1}])
def test_progress_bar_counts_batches_and_shows_the_loss(
    digits, monkeypatch, capsys, params
):
    """The caller's, which finds out their number, and that of `verbose`."""
    eager = functools.partial(tqdm.tqdm, mininterval=0, miniters=1)
    monkeypatch.setattr(tqdm, "tqdm", eager)
    simclr = tiny_simclr(**params).fit(digits[0])
    err = capsys.readouterr().err
    for n in range(N_BATCHES + 1):
        assert f" {n}/{N_BATCHES} " in err
    shown = [float(loss) for loss in re.findall(r"train_loss=([\d.]+)\]", err)]
    assert len(set(shown)) == N_BATCHES
    assert np.mean(shown) == pytest.approx(simclr.history_[0]["loss"], rel=0.1)


# What is printed


def table_rows(text):
    """Return the cells of a table of skorch's, a dict for each row, without colours."""
    lines = re.sub(r"\x1b\[\d+m", "", text).splitlines()
    names = lines[0].split()
    assert set(lines[1]) == {"-", " "}
    return [dict(zip(names, line.split(), strict=True)) for line in lines[2:]]


def test_verbose_prints_a_row_per_epoch(digits, capsys):
    """Epoch, loss, rank, images per second and the time that is left."""

    class Wait(Callback):
        def on_batch_begin(self, net, **kwargs):
            time.sleep(0.15 * (len(net.history) == 1))

    params = {"max_epochs": 3, "callbacks": [Wait()]}
    simclr = tiny_simclr(verbose=1, **params).fit(digits[0])
    rows = table_rows(capsys.readouterr().out)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row, kept in zip(rows, simclr.history_, strict=True):
        for shown, name in [
            ("train_loss", "loss"),
            ("effective_rank", "effective_rank"),
            ("images_per_second", "images_per_second"),
        ]:
            assert float(row[shown]) == pytest.approx(kept[name], abs=1e-4)
    left = [
        row["seconds"] * n for row, n in zip(simclr.history_, (2, 1, 0), strict=True)
    ]
    wanted = [str(timedelta(seconds=round(seconds))) for seconds in left]
    assert [row["time_left"] for row in rows] == wanted
    assert wanted[0] != wanted[2] == "0:00:00"
    tiny_simclr(verbose=0, **params).fit(digits[0])
    assert capsys.readouterr() == ("", "")


# Callbacks of scikit-learn


class Recorder:
    """Note every call of a hook: its name, and the task."""

    def __init__(self, stop_after=None):
        self.events, self.data, self.fitted = [], [], []
        self.stop_after = stop_after

    def setup(self, estimator, context):
        """Note it."""
        self.note("setup", context)

    def teardown(self, estimator, context):
        """Note it."""
        self.note("teardown", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        """Note it, and the data."""
        self.note("begin", context)
        self.data.append((X, y))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, fitted_estimator=None
    ):
        """Note it, and the estimator that one could have now; maybe stop training."""
        self.note("end", context)
        self.data.append((X, y))
        self.fitted.append(fitted_estimator)
        return context.task_name == "epoch" and context.task_id == self.stop_after

    def note(self, hook, context):
        """Add to the events."""
        name = context.task_name
        number = f" {context.task_id}" if name == "epoch" else ""
        self.events.append((hook, name + number))

    def count(self, hook, task):
        """Return how often a hook was called for a task."""
        return sum(
            event == hook and name.startswith(task) for event, name in self.events
        )


class Propagated(Recorder):
    """One that meta-estimators hand down to those inside them."""

    max_propagation_depth = None


def epochs(*numbers):
    """Return the events of some epochs."""
    return [(hook, f"epoch {n}") for n in numbers for hook in ("begin", "end")]


@needs_native
@pytest.mark.parametrize("n_epochs", [0, 3])
def test_native_callbacks_are_told_of_fit_and_epochs_in_order(digits, n_epochs):
    """Nothing stays behind in the estimator but the callback."""
    recorder = Recorder()
    simclr = tiny_simclr(max_epochs=n_epochs).set_callbacks(recorder)
    simclr.fit(digits[0], digits[1])
    assert recorder.events == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epochs(*range(n_epochs)),
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert all(X is digits[0] and y is digits[1] for X, y in recorder.data)
    plain = tiny_simclr(max_epochs=n_epochs).fit(digits[0])
    assert set(vars(simclr)) - set(vars(plain)) == {"_skl_callbacks"}
    assert_same_weights(weights_of(simclr), weights_of(plain))


@needs_native
def test_native_callbacks_get_what_a_shorter_fit_would_give(digits):
    """To the bit: networks, history and all; and it pickles."""
    recorder = Recorder()
    simclr = tiny_simclr(max_epochs=3, lr=1e-2).set_callbacks(recorder).fit(digits[0])
    assert len(recorder.fitted) == 4  # three epochs, and the end of the fit
    for n_epochs, fitted in zip((1, 2, 3, 3), recorder.fitted, strict=True):
        expected = tiny_simclr(max_epochs=n_epochs, lr=1e-2).fit(digits[0])
        assert_same_weights(weights_of(fitted), weights_of(expected))
        assert fitted.n_iter_ == n_epochs
        assert without_times(fitted.history_) == without_times(expected.history_)
        assert fitted.encoder_ is not simclr.encoder_ or n_epochs == 3
        for estimator in (fitted, pickle.loads(pickle.dumps(fitted))):
            embeddings = estimator.transform(digits[0])
            assert_array_equal(embeddings, expected.transform(digits[0]))


@needs_native
def test_native_callbacks_see_a_warm_start_go_on(digits):
    """What they get counts the epochs of the fit before."""
    recorder = Recorder()
    simclr = tiny_simclr(max_epochs=2, warm_start=True).fit(digits[0])
    simclr.set_callbacks(recorder).fit(digits[0])
    assert [fitted.n_iter_ for fitted in recorder.fitted] == [3, 4, 4]
    rows = [row["epoch"] for row in recorder.fitted[0].history_]
    assert rows == [1, 2, 3]


@needs_native
def test_native_callbacks_stop_training(digits):
    """By returning True; all that was begun is ended."""
    recorder = Recorder(stop_after=1)
    simclr = tiny_simclr(max_epochs=9).set_callbacks(recorder).fit(digits[0])
    assert recorder.events[2:] == [
        *epochs(0, 1),
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert simclr.n_iter_ == 2
    expected = tiny_simclr(max_epochs=2).fit(digits[0])
    assert_same_weights(weights_of(simclr), weights_of(expected))


class Fail(Callback):
    """Raise an error in the second epoch."""

    def on_batch_end(self, net, **kwargs):
        """Raise it."""
        if len(net.history) == 2:
            raise OSError("the disk is gone")


@needs_native
@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_native_callbacks_are_torn_down_when_fit_fails(digits, error):
    """In training, in a check of X, or by Ctrl-C; the estimator is as it was."""
    X = digits[0] * np.nan if error is ValueError else digits[0]

    class Interrupt(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    failing = {OSError: [Fail()], KeyboardInterrupt: [Interrupt()]}.get(error)
    recorder = Recorder()
    simclr = tiny_simclr(max_epochs=3).fit(digits[0]).set_callbacks(recorder)
    simclr.set_params(callbacks=failing)
    before = dict(vars(simclr))
    with pytest.raises(error):
        simclr.fit(X)
    assert recorder.events[:2] == [("setup", "fit"), ("begin", "fit")]
    assert recorder.events[-1] == ("teardown", "fit")
    assert recorder.count("end", "fit") == 0
    assert recorder.count("end", "epoch") == (error is OSError)
    assert dict(vars(simclr)) == before


@needs_native
def test_native_callbacks_in_a_pipeline(digits):
    """Set on SimCLR, or on the pipeline, which hands them down."""
    own, handed = Recorder(), Propagated()
    simclr = tiny_simclr(max_epochs=2).set_callbacks(own)
    pipe = make_pipeline(simclr, LogisticRegression(max_iter=500)).set_callbacks(handed)
    pipe.fit(*digits)
    assert own.events == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epochs(0, 1),
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    start = handed.events.index(("begin", "epoch 0"))
    assert handed.events[start : start + 5] == [*epochs(0, 1), ("end", "fit")]
    assert [handed.count(hook, "fit") for hook in ("setup", "teardown")] == [1, 1]


def probe_of(estimator, X, y):
    """Score embeddings by a linear classifier."""
    embeddings = estimator.transform(X)
    return LogisticRegression(C=100).fit(embeddings, y).score(embeddings, y)


@needs_native
def test_native_callbacks_in_searches_and_cross_validation(digits):
    """Every epoch of every fit is told of; clones keep the callback."""
    handed = Propagated()
    search = GridSearchCV(
        tiny_simclr(max_epochs=2),
        {"temperature": [0.1, 0.5]},
        scoring=probe_of,
        cv=2,
        error_score="raise",
    ).set_callbacks(handed)
    search.fit(*digits)
    assert handed.count("end", "epoch") == (2 * 2 + 1) * 2
    own = Recorder()
    simclr = tiny_simclr(max_epochs=2).set_callbacks(own)
    assert clone(simclr)._skl_callbacks == [own]
    cross_val_score(simclr, *digits, scoring=probe_of, cv=3, error_score="raise")
    assert own.count("end", "epoch") == 3 * 2
    assert own.count("teardown", "fit") == 3


@needs_native
@pytest.mark.parametrize(
    "n_jobs", [None, pytest.param(2, marks=pytest.mark.slow)], ids=["alone", "workers"]
)
def test_progress_bar_of_scikit_learn_shows_epochs_in_a_grid_search(
    digits, capsys, monkeypatch, n_jobs
):
    """A bar for every fit, also of SimCLR as a step of a pipeline, and in workers."""
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    search = GridSearchCV(
        make_pipeline(tiny_simclr(max_epochs=2), LogisticRegression(max_iter=500)),
        {"simclrtransformer__temperature": [0.1, 0.5]},
        cv=2,
        n_jobs=n_jobs,
        error_score="raise",
    ).set_callbacks(native.ProgressBar(max_propagation_depth=None))
    search.fit(*digits)
    out = capsys.readouterr().out
    ours = [line for line in out.splitlines() if "SimCLRTransformer - fit" in line]
    assert len(ours) == 2 * 2 + 1
    assert all("100%" in line for line in ours)
    assert "GridSearchCV - fit" in out


@needs_native
def test_scoring_monitor_scores_every_epoch(digits):
    """As one scores a fit of so many epochs; without labels there are no scores."""
    monitor = ScoringMonitor(scoring={"probe": probe_of})
    simclr = tiny_simclr(max_epochs=3, lr=1e-2).set_callbacks(monitor).fit(*digits)
    rows = monitor.get_logs().data
    fits = [tiny_simclr(max_epochs=n, lr=1e-2).fit(digits[0]) for n in (1, 2, 3)]
    scores = [probe_of(fit, *digits) for fit in fits]
    assert len(set(scores)) > 1
    assert [row["probe"] for row in rows] == [scores[-1], *scores]
    assert [row["task_name"] for row in rows] == ["fit", "epoch", "epoch", "epoch"]
    simclr.fit(digits[0])
    assert not any("probe" in row for row in monitor.get_logs().data)


@needs_native
def test_fitted_with_native_callbacks_pickles(digits):
    """As scikit-learn's own estimators do, callbacks included."""
    callbacks = [ScoringMonitor(scoring={"probe": probe_of})]
    try:
        callbacks.append(native.ProgressBar())
    except ImportError:  # rich is not there
        pass
    simclr = tiny_simclr().set_callbacks(*callbacks).fit(*digits)
    restored = pickle.loads(pickle.dumps(simclr))
    types = [type(callback) for callback in restored._skl_callbacks]
    assert types == [type(callback) for callback in callbacks]
    assert_array_equal(restored.transform(digits[0]), simclr.transform(digits[0]))
    assert restored.fit(digits[0]).n_iter_ == 1


def load_again(module, name, monkeypatch):
    """Import a module a second time, under another name."""
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    copied = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, copied)
    spec.loader.exec_module(copied)
    return copied


def test_without_native_callbacks_all_else_is_the_same(digits, monkeypatch):
    """Where `sklearn.callback` cannot be imported, as before 1.9."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.callback", None)
        plain = load_again(sksimclr._estimators.callbacks, "_native_without", patch)
        patch.setitem(sys.modules, "sksimclr._estimators.callbacks", plain)
        views = load_again(sksimclr._estimators.views, "_views_without", patch)
        patch.setitem(sys.modules, "sksimclr._estimators.views", views)
        estimator = load_again(sksimclr._simclr, "_simclr_without", patch)
    params = tiny_simclr(max_epochs=2).get_params(deep=False)
    simclr = estimator.SimCLRTransformer(**params).fit(digits[0])
    assert not hasattr(simclr, "set_callbacks")
    expected = tiny_simclr(max_epochs=2).fit(digits[0])
    assert_same_weights(weights_of(simclr), weights_of(expected))
    assert set(vars(simclr)) == set(vars(expected))


@pytest.mark.parametrize(
    ("callback", "monitor"),
    [
        (EarlyStopping(), "train_loss"),
        (("named", EarlyStopping()), "train_loss"),
        (Checkpoint(), "train_loss_best"),
    ],
    ids=["EarlyStopping", "named", "Checkpoint"],
)
@pytest.mark.parametrize("estimator", [tiny_simclr, tiny_fine_tuned])
def test_loss_that_there_is_not_cannot_be_monitored(
    estimator, callback, monitor, digits
):
    """It is what skorch's callbacks monitor by default; the error says what to use."""
    with pytest.raises(ValueError, match=f"no images are held.*monitor='{monitor}'"):
        estimator(callbacks=[callback]).fit(*digits)
