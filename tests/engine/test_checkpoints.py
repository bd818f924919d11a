"""Runs that are saved, stopped, damaged, and go on: with the same bits, or refused."""

import enum
import hashlib
import io
import itertools
import os
import pickle
import random
import re
import signal
import tempfile
import threading
import warnings
from collections import namedtuple
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import (
    Counter,
    Signal,
    checkpoints_in,
    dropout_encoder,
    exit_code,
    make_images,
    make_run,
    outcome,
    read_result,
    start,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    LRScheduler,
)
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)

import sksimclr._engine.batch_rows as rows_module
import sksimclr._engine.checkpoints as module
from sksimclr._engine.checkpoints import CheckpointFolder
from sksimclr._machine.processes import Processes

pytestmark = [
    pytest.mark.usefixtures("ctrl_c", "one_thread"),
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
    ),
]
ALL_STOPS = [(1,), (3,), (4,), (8, 1), (2, 1, 1, 1, 1, 1), (9,), (6, 3)]


@pytest.fixture(scope="module")
def images():
    """Forty images, which make batches of 16, 16 and 8."""
    return make_images()


def fit_with_stops(simclr, X, stops, number=signal.SIGINT):
    """Fit; be stopped at the given batches, each counted from where it went on."""
    callbacks = list(simclr.callbacks or ())
    for batch in stops:
        stop = Signal(number, batch)
        simclr.set_params(callbacks=[*callbacks, stop])
        with pytest.raises(KeyboardInterrupt):
            simclr.fit(X)
        assert stop.n_batches == batch  # it ended with this batch
    last = Signal(number, None)
    simclr.set_params(callbacks=[*callbacks, last]).fit(X)
    n_batches = sum(stops) + last.n_batches
    return simclr.set_params(callbacks=callbacks), n_batches


# To the bit


@pytest.mark.parametrize("stops", ALL_STOPS, ids=str)
def test_stopped_run_ends_with_the_bits_of_one_that_was_not(images, stops, tmp_path):
    """Within an epoch, at its last batch, often; no batch is run twice."""
    expected = outcome(make_run().fit(images))
    simclr, n_batches = fit_with_stops(make_run(tmp_path), images, stops)
    assert outcome(simclr) == expected
    assert n_batches == 9


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "adam", "lr_schedule": "cosine", "weight_decay": 0.1},
        {"optimizer": "adamw", "lr_schedule": "cosine", "weight_decay": 0.1},
        {"optimizer": "sgd", "lr_schedule": "cosine"},
        {"optimizer": "sgd"},
        {"encoder": dropout_encoder},
        {"checkpoint_every": 3, "max_epochs": 4},
        {"checkpoint_every": 100},
        {"random_state": 7, "batch_size": 1000, "max_epochs": 12},
        {"batch_size": 13},  # a last batch of one, which is left out
    ],
    ids=" ".join,
)
def test_every_kind_of_run_goes_on(images, params, tmp_path):
    """Optimizers, their schedule, layers that draw, other intervals and batches."""
    n_batches = {1000: 1, 13: 3}.get(params.get("batch_size"), 3)
    total = n_batches * params.get("max_epochs", 3)
    expected = outcome(make_run(**params).fit(images))
    simclr, n_run = fit_with_stops(make_run(tmp_path, **params), images, (2, 2, 1))
    assert outcome(simclr) == expected
    assert n_run == total


def test_resnets_go_on(images, tmp_path):
    """Which have no layers that draw, and whose weights lie channels last."""
    params = {"encoder": "resnet18", "max_epochs": 1, "batch_size": 3}
    expected = outcome(make_run(**params).fit(images[:6]))
    simclr, _ = fit_with_stops(make_run(tmp_path, **params), images[:6], (1,))
    assert outcome(simclr) == expected


def test_memory_maps_and_files_go_on(images, tmp_path):
    """As arrays do, with readers ahead of the network."""
    np.save(tmp_path / "X.npy", images)
    paths = [tmp_path / f"{k:02}.png" for k in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = outcome(make_run().fit(images))
    for name, X in (
        ("map", np.load(tmp_path / "X.npy", mmap_mode="r")),
        ("png", paths),
    ):
        simclr, _ = fit_with_stops(make_run(tmp_path / name), X, (2, 3, 1))
        assert outcome(simclr) == expected, name


def test_new_random_state_instances_with_one_seed_are_one_run(images, tmp_path):
    """An instance that was drawn from since is another one."""
    expected = outcome(make_run(random_state=np.random.RandomState(5)).fit(images))
    simclr = make_run(tmp_path, random_state=np.random.RandomState(5))
    simclr.set_params(callbacks=[Signal(signal.SIGINT, 4)])
    with pytest.raises(KeyboardInterrupt):
        simclr.fit(images)
    with pytest.raises(ValueError, match=r"random_state was RandomState\(.*, is Rand"):
        simclr.fit(images)
    simclr.set_params(random_state=np.random.RandomState(5)).fit(images)
    assert outcome(simclr) == expected


def test_without_a_random_state_the_run_still_goes_on(images, tmp_path):
    """The weights and generators are those that were saved, not newly drawn ones."""
    np.random.seed(3)
    expected = outcome(make_run(random_state=None).fit(images))
    np.random.seed(3)
    simclr, _ = fit_with_stops(make_run(tmp_path, random_state=None), images, (2, 3))
    assert outcome(simclr) == expected


def test_warm_start_goes_on(images, tmp_path):
    """From the weights it began with; with others it is another run."""
    first = make_run(warm_start=True, max_epochs=1).fit(images)
    expected = outcome(pickle.loads(pickle.dumps(first)).fit(images))
    again = pickle.loads(pickle.dumps(first)).set_params(checkpoint_dir=tmp_path)
    assert outcome(fit_with_stops(again, images, (2,))[0]) == expected
    assert [row["epoch"] for row in again.history_] == [1, 2]
    with pytest.raises(ValueError, match="weights at the start was .*, is "):
        again.fit(images)


def test_channels_sizes_and_start_weights_go_on(tmp_path):
    """Colour images, resized, from weights in a file."""
    pytest.importorskip("safetensors")
    X = np.random.default_rng(0).random((40, 9, 12, 3), dtype=np.float32)
    make_run(max_epochs=1).fit(X).save_weights(tmp_path / "w.safetensors")
    params = {"weights": tmp_path / "w.safetensors", "random_state": 4}
    expected = outcome(make_run(**params).fit(X))
    simclr, _ = fit_with_stops(make_run(tmp_path / "run", **params), X, (4, 2))
    assert outcome(simclr) == expected


# Callbacks


class RateDecay(Callback):
    """Change the optimizer when an epoch begins."""

    def on_epoch_begin(self, net, **kwargs):
        """Divide the rate by two, and shake the weights."""
        for group in net.optimizer_.param_groups:
            group["lr"] /= 2
        with torch.no_grad():
            for parameter in net.module_.parameters():
                parameter.mul_(1.01)


def stop_early():
    """Stop after the fourth epoch, with the weights of the first."""
    return EarlyStopping(
        monitor="train_loss", patience=3, threshold=10.0, load_best=True
    )


@pytest.mark.parametrize(
    "callbacks",
    [
        [LRScheduler(StepLR, step_size=2, gamma=0.5)],
        [LRScheduler(StepLR, step_size=4, gamma=0.5, step_every="batch")],
        [LRScheduler(CosineAnnealingLR, T_max=4)],
        [LRScheduler(MultiStepLR, milestones=[1, 1, 3], gamma=0.5)],
        [LRScheduler(ReduceLROnPlateau, patience=1, threshold=10.0)],
        [stop_early()],
        [stop_early(), LRScheduler(StepLR, step_size=2), Counter()],
        [Counter(), Counter()],
        [RateDecay()],
    ],
    ids="step batches cosine steps plateau early three counters decay".split(),
)
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("stops", [(1, 1, 1, 1), (3, 3), (5, 2)], ids=str)
def test_callbacks_go_on(images, callbacks, stops, tmp_path):
    """With what they had learnt, of skorch and of the user."""
    params = {"callbacks": callbacks, "max_epochs": 6}
    expected = outcome(make_run(**params).fit(images))
    assert outcome(make_run(max_epochs=6).fit(images)) != expected
    simclr, _ = fit_with_stops(make_run(tmp_path, **params), images, stops)
    assert outcome(simclr) == expected


class Colour(enum.IntEnum):
    """A number that is not plain."""

    RED = 1


class Text(str):
    """A text that is not plain."""


Pair = namedtuple("Pair", "first second")


class Odd(Callback):
    """Have all that cannot be saved, beside something that can."""

    def on_train_begin(self, net, **kwargs):
        """Make them anew."""
        self.n_batches_ = 0
        self.enum_, self.text_, self.pair_ = Colour.RED, Text("a"), Pair(1, 2)
        self.array_, self.set_, self.function_ = np.ones(3), {1}, lambda: None
        self.nested_ = {"a": [Colour.RED]}
        self.type_, self.numbers_ = StepLR, {"a": (1, [2.5, None]), 3: "b"}

    def on_batch_end(self, net, **kwargs):
        """Count, and record an array."""
        self.n_batches_ += 1
        net.history.record_batch("array", np.ones(2))
        net.history.record_batch("colour", Colour.RED)

    def on_epoch_end(self, net, **kwargs):
        """Show the count."""
        net.history.record("n_batches", self.n_batches_)
        net.history.record("half", np.float32(self.n_batches_ / 2))


def test_what_cannot_be_saved_of_callbacks_does_no_harm(images, tmp_path):
    """Neither to the file, nor to what can be saved, nor to the run."""
    expected = outcome(make_run(callbacks=[Odd()]).fit(images))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        simclr = make_run(tmp_path, callbacks=[Odd()])
        assert outcome(fit_with_stops(simclr, images, (2, 2, 3))[0]) == expected


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
def test_pipes_and_devices_are_not_read(images, tmp_path):
    """Although they are named as checkpoints are; they never end."""
    os.mkfifo(tmp_path / "000001-00000000.ckpt")
    (tmp_path / "000001-00000001.ckpt").symlink_to("/dev/zero")
    with (
        pytest.warns(RuntimeWarning, match="not a regular file"),
        pytest.raises(ValueError, match=r"None of the 2 checkpoint\(s\)"),
    ):
        make_run(tmp_path).fit(images)


@pytest.mark.parametrize("attribute", ["dirname", "__dict__"])
def test_only_what_callbacks_learn_is_given_back(images, attribute, tmp_path):
    """A checkpoint could otherwise tell skorch's where to write, or what they are."""
    run, inside, outside = tmp_path / "run", tmp_path / "in", tmp_path / "out"
    writer = Checkpoint(None, dirname=str(inside), f_params="a.pt")
    with pytest.raises(KeyboardInterrupt):
        make_run(run, callbacks=[writer, Signal(signal.SIGINT, 2)]).fit(images)
    (file,) = checkpoints_in(run)
    content = module._read_file(run / file)
    value = str(outside) if attribute == "dirname" else {}
    content["state"]["callbacks"]["Checkpoint"][attribute] = value
    module._write_file(run / file, content)
    simclr = make_run(run, callbacks=[writer]).fit(images)
    assert (inside / "a.pt").is_file() and not outside.exists()
    whole = make_run(callbacks=[Checkpoint(None, dirname=str(tmp_path / "whole"))])
    assert outcome(simclr) == outcome(whole.fit(images))


def test_callbacks_may_come_and_go(images, tmp_path):
    """A run goes on with others than it began with."""
    expected = outcome(make_run().fit(images))
    for callbacks in (
        [Counter(), Signal(signal.SIGINT, 2)],
        [Signal(signal.SIGINT, 3)],
    ):
        with pytest.raises(KeyboardInterrupt):
            make_run(tmp_path, callbacks=callbacks).fit(images)
    assert outcome(make_run(tmp_path, callbacks=[RateDecay()]).fit(images)) != expected


def test_losses_of_an_open_epoch_are_saved_as_numbers(images, tmp_path):
    """Tensors would come back on the CPU, among those of a GPU."""
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, callbacks=[Signal(signal.SIGINT, 2)]).fit(images)
    state = module._read_file(tmp_path / "000000-00000002.ckpt")["state"]
    rows = state["open_epoch"]["batches"]
    assert len(rows) == 2 and all(type(row["train_loss"]) is float for row in rows)


# Within an epoch


@pytest.mark.parametrize("seconds", [0.0, 25.0, 95.0, 1e6])
def test_checkpoints_are_written_when_the_time_is_over(
    images, seconds, tmp_path, monkeypatch
):
    """After the first batch that ends then, and counted from the last checkpoint."""
    now, written = [0.0], []
    monkeypatch.setattr(module, "SECONDS", seconds)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_write_file", lambda file, _: written.append(file))

    class Wait(Callback):
        def on_batch_end(self, net, **kwargs):
            now[0] += 10.0

    make_run(tmp_path, callbacks=[Wait()], checkpoint_every=2).fit(images)
    within = [1, 2, 3]
    expected = {  # of epochs of 3 batches of 10 s; those at their ends are counted too
        0.0: [(e, b) for e in range(3) for b in within] + [(2, 0), (3, 0)],
        25.0: [(0, 3), (1, 3), (2, 0), (2, 3), (3, 0)],
        95.0: [(2, 0), (3, 0)],
        1e6: [(2, 0), (3, 0)],
    }[seconds]
    names = sorted(path.name for path in written)
    assert names == sorted(f"{e:06d}-{b:08d}.ckpt" for e, b in expected)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_processes_seldom_meet_to_look_at_the_clock(n_processes, monkeypatch):
    """After 2,000 batches, 10 times or so; never later than after the next batch."""
    now, met = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        module, "same_everywhere", lambda value, processes: met.append(1) or value
    )
    clock, over = module._Clock(Processes(0, n_processes)), []
    for batch in range(1, 2001):
        now[0] += 0.5 if batch < 1500 else 0.3
        if clock.is_over():
            over.append(batch)
            clock.restart()
    assert over == [1200]
    assert len(met) < 40


def test_state_of_a_long_epoch_stays_small_and_goes_on(images, tmp_path, monkeypatch):
    """Rows of batches become one; the run that was stopped has the same bits."""
    monkeypatch.setattr(rows_module, "N_MERGED", 4)
    params = {"batch_size": 2, "max_epochs": 2, "callbacks": [Scored()]}
    expected = outcome(make_run(**params).fit(images))
    stops = (3, 8, 1, 1, 9, 6)
    simclr, n_batches = fit_with_stops(make_run(tmp_path, **params), images, stops)
    assert outcome(simclr) == expected and n_batches == 40
    monkeypatch.setattr(rows_module, "N_MERGED", 512)
    row = make_run(**params).fit(images).history_[-1]
    assert simclr.history_[-1]["loss"] == pytest.approx(row["loss"], rel=1e-12)
    assert simclr.history_[-1]["score"] == pytest.approx(row["score"], rel=1e-12)


class Scored(BatchScoring):
    """A score of each batch, of which an epoch has the mean; and rows that are few."""

    def __init__(self):
        super().__init__(lambda net, X, y: float(len(net.history)), name="score")
        self.on_train, self.lower_is_better = True, True

    def on_batch_end(self, net, training=False, **kwargs):
        """Record the number of the batch."""
        rows = net.history[-1, "batches"]
        assert len(rows) < 12 or rows_module.N_MERGED == 512
        net.history.record_batch("score", rows_module.n_batches_of(rows))
        net.history.record_batch("odd", np.ones(2))


def test_times_go_on_too(images, tmp_path, monkeypatch):
    """The seconds of an epoch are those before and after it was stopped."""
    stop = Signal(signal.SIGINT, 2)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, callbacks=[stop], max_epochs=1).fit(images)
    file = tmp_path / "000000-00000002.ckpt"
    content = module._read_file(file)
    assert 0 < content["state"]["open_seconds"] < 60
    content["state"]["open_seconds"] += 1000
    module._write_file(file, content)
    (row,) = make_run(tmp_path, max_epochs=1).fit(images).history_
    assert 1000 < row["seconds"] < 1060


def test_progress_bar_goes_on(images, tmp_path, capfd):
    """Within an epoch, at verbose=1; silent before."""
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, callbacks=[Signal(signal.SIGINT, 5)]).fit(images)
    assert capfd.readouterr() == ("", "")
    simclr = make_run(tmp_path, verbose=1).fit(images)
    assert len(capfd.readouterr().out.strip().splitlines()) == 4  # two epochs
    assert outcome(simclr) == outcome(make_run().fit(images))


# Runs that have ended


def test_finished_run_is_not_run_again(images, tmp_path):
    """It returns at once, with the same result; so does a clone."""
    simclr = make_run(tmp_path).fit(images)
    expected, files = outcome(simclr), checkpoints_in(tmp_path)
    for again in (simclr, clone(simclr), pickle.loads(pickle.dumps(simclr))):
        log = Signal(signal.SIGINT, None)
        assert outcome(again.set_params(callbacks=[log]).fit(images)) == expected
        assert log.n_batches == 0
        assert checkpoints_in(tmp_path) == files


def test_early_stopped_run_is_not_run_again(images, tmp_path):
    """But for its last epoch, which is not saved: it stopped before."""
    simclr = make_run(tmp_path, callbacks=[stop_early()], max_epochs=8).fit(images)
    expected, log = outcome(simclr), Signal(signal.SIGINT, None)
    assert simclr.n_iter_ == 4
    simclr.set_params(callbacks=[stop_early(), log]).fit(images)
    assert outcome(simclr) == expected
    assert log.n_batches <= 3


def test_more_epochs_go_on(images, tmp_path):
    """And equal a run that was as long from the start."""
    expected = outcome(make_run(max_epochs=5).fit(images))
    simclr = make_run(tmp_path, max_epochs=2).fit(images)
    log = Signal(signal.SIGINT, None)
    simclr.set_params(max_epochs=5, callbacks=[log]).fit(images)
    assert outcome(simclr) == expected
    assert log.n_batches == 9


def test_more_epochs_of_a_schedule_are_another_run(images, tmp_path):
    """All its learning rates would have been others."""
    make_run(tmp_path, lr_schedule="cosine").fit(images)
    with pytest.raises(ValueError, match="max_epochs was 3, is 4"):
        make_run(tmp_path, lr_schedule="cosine", max_epochs=4).fit(images)


def test_fewer_epochs_than_were_run_are_refused(images, tmp_path):
    """Instead of a result of more epochs than were asked for."""
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, callbacks=[Signal(signal.SIGINT, 7)]).fit(images)
    for max_epochs in (1, 2):
        with pytest.raises(
            ValueError, match=f"in epoch 3, beyond max_epochs={max_epochs}"
        ):
            make_run(tmp_path, max_epochs=max_epochs).fit(images)
    assert make_run(tmp_path).fit(images).n_iter_ == 3


# What may differ


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"temperature": 0.1},
            r"objective was NTXent\(temperature=0.5\), is NTXent\(temperature=0.1\); "
            "temperature was 0.5, is 0.1",
        ),
        ({"lr": 0.02, "batch_size": 8}, "batch_size was 16, is 8; lr was 0.01, is 0"),
        ({"random_state": 1}, "random_state was 0, is 1"),
        ({"optimizer": "sgd"}, "optimizer was 'adam', is 'sgd'"),
        (
            {"encoder": dropout_encoder},
            "encoder was tiny.tiny_encoder, is runs.dropout",
        ),
        ({"augmentations": ()}, r"augmentations was \(ResizedCrop\(scale.*, is \(\)\."),
        (
            {"lr_schedule": "cosine"},
            "lr_schedule was None, is 'cosine'; max_ep.*not set",
        ),
        ({"projection_dim": 8}, "projection_dim was 64, is 8"),
        ({"precision": "bfloat16"}, "precision was 'auto', is 'bfloat16'"),
    ],
    ids=itertools.count(),
)
def test_another_run_is_refused_by_what_differs(images, params, message, tmp_path):
    """The error names it, and the checkpoints stay."""
    make_run(tmp_path, max_epochs=1).fit(images)
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    with pytest.raises(ValueError, match=f"holds another run: {message}"):
        make_run(tmp_path, **params).fit(images)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before


class Brighter(torch.nn.Module):
    """An augmentation of somebody else, whose repr is its name."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images, *, generator, size):
        """Multiply."""
        return images * self.factor


def test_run_with_another_module_among_its_augmentations_is_refused(images, tmp_path):
    """A number that it holds is enough, and the same module goes on."""
    for factor, message in [(0.5, None), (0.5, None), (0.6, r"'factor': 0.5\}.*0.6")]:
        run = make_run(tmp_path, max_epochs=1, augmentations=[Brighter(factor)])
        with nullcontext() if message is None else pytest.raises(ValueError) as error:
            run.fit(images)
        assert message is None or re.search(message, str(error.value))


def test_other_data_are_refused(images, tmp_path):
    """One pixel, one image less, another type, another order."""
    make_run(tmp_path, max_epochs=1).fit(images)
    pixel = images.copy()
    pixel[-1, -1, -1] ^= 1
    swapped = images[[1, 0, *range(2, len(images))]]
    shape = r"images of shape \(8, 8\)"
    for X, message in [
        (
            pixel,
            rf"X was 40 {shape}, uint8, \w{{16}}, is 40 {shape}, uint8, \w{{16}}\.",
        ),
        (swapped, "X was 40.*, is 40"),
        (images[:-1], rf"X was 40 {shape}, .*, is 39 {shape}"),
        (images / 255, "uint8.*is.*float64"),
        (images.reshape(40, 4, 16), r"\(8, 8\).*is 40 images of shape \(4, 16\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_run(tmp_path, max_epochs=1).fit(X)
    make_run(tmp_path, max_epochs=1).fit(images.copy())


def test_what_has_no_effect_on_the_result_may_differ(images, tmp_path):
    """Device, verbosity, callbacks, the interval, numpy's numbers, and a list."""
    expected = outcome(make_run().fit(images))
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, callbacks=[Signal(signal.SIGINT, 4)]).fit(images)
    simclr = make_run(
        str(tmp_path),
        device="auto" if not torch.cuda.is_available() else "cpu",
        verbose=1,
        callbacks=[Counter()],
        checkpoint_every=np.int64(2),
        batch_size=np.int64(16),
        lr=np.float64(0.01),
        random_state=np.int32(0),
        warm_start=True,
        augmentations=list(make_run().augmentations),
    ).fit(images)
    assert outcome(simclr)[0] == expected[0]


# Files


@pytest.fixture
def saved(images, tmp_path_factory):
    """Two checkpoints, the newer one within the third epoch; and the result."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.raises(KeyboardInterrupt):
        make_run(folder, callbacks=[Signal(signal.SIGINT, 8)]).fit(images)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(files) == ["000002-00000000.ckpt", "000002-00000002.ckpt"]
    return files, outcome(make_run().fit(images))


def put(files, folder, **changed):
    """Write files to a folder: as they were, or the newer, older or both changed."""
    for (name, data), age in zip(sorted(files.items()), ("old", "new"), strict=True):
        (folder / name).write_bytes(changed.get(age, data))


def with_payload(payload):
    """Return the file of a checkpoint that holds this, with the right digest."""
    return module._MAGIC + payload + hashlib.sha256(payload).digest()


def state_of(n):
    """Return a state that is all the folder looks at."""
    return {"history": [n], "open_epoch": None}


class Evil:
    """Run code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Make a file."""
        return Path.touch, (self.path,)


def damaged_files(data, tmp_path):
    """Yield names and contents of files that are no good checkpoints."""
    rng = random.Random(0)
    size = len(data)
    for end in [0, 1, 10, len(module._MAGIC), 60, size - 33, size - 32, size - 1] + [
        rng.randrange(size) for _ in range(8)
    ]:
        yield f"truncated to {end}", data[:end]
    for place in [0, 5, 25, size - 1] + [rng.randrange(size) for _ in range(8)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        yield f"flipped in {place}", bytes(flipped)
    yield "longer", data + b"\0"
    yield "zeros", bytes(size)
    yield "foreign", b"PK\3\4 of another program"
    file = io.BytesIO()
    torch.save({"fingerprint": {}, "state": Evil(tmp_path / "evil")}, file)
    yield "malicious", with_payload(file.getvalue())
    yield "a pickle", with_payload(pickle.dumps(Evil(tmp_path / "evil")))
    for content in ([], {}, {"state": {}}, {"fingerprint": {}}):
        file = io.BytesIO()
        torch.save(content, file)
        yield f"{content}", with_payload(file.getvalue())
    payload = data[len(module._MAGIC) : -32]
    for opcode in (b"K\x02", b"]q", b"}q"):  # the pickle of torch's archive
        yield f"{opcode!r}", with_payload(payload.replace(opcode, b"0q", 1))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_checkpoint_falls_back_to_the_one_before(images, saved, tmp_path):
    """Torn, flipped, foreign or malicious, with a warning; the bits are the same."""
    files, expected = saved
    newest = files["000002-00000002.ckpt"]
    for k, (name, data) in enumerate(damaged_files(newest, tmp_path)):
        folder = tmp_path / str(k)
        folder.mkdir()
        put(files, folder, new=data)
        log = Signal(signal.SIGINT, None)
        with pytest.warns(
            RuntimeWarning, match=r"000002-00000002.ckpt' cannot be read"
        ):
            simclr = make_run(folder, callbacks=[log]).fit(images)
        assert outcome(simclr) == expected, name
        assert log.n_batches == 3, name  # from the second epoch
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "name", ["model", "optimizer", "history", "open_epoch", "open_seconds"]
)
@pytest.mark.parametrize("value", [[1], {"encoder.weight": 1}, "3"])
def test_state_that_does_not_fit_is_an_error_with_its_folder(
    images, saved, tmp_path, name, value
):
    """As another version might leave it; the checkpoint stays."""
    put(saved[0], tmp_path)
    path = tmp_path / "000002-00000002.ckpt"
    content = module._read_file(path)
    content["state"][name] = value
    file = io.BytesIO()
    torch.save(content, file)
    path.write_bytes(with_payload(file.getvalue()))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        make_run(tmp_path).fit(images)
    assert path.exists()


def test_without_a_good_checkpoint_there_is_an_error(images, saved, tmp_path):
    """Rather than a run that starts anew and deletes them."""
    put(saved[0], tmp_path, new=b"", old=b"torn")
    with (
        pytest.warns(RuntimeWarning, match="cannot be read"),
        pytest.raises(ValueError, match=r"None of the 2 checkpoint\(s\).*Delete them"),
    ):
        make_run(tmp_path).fit(images)
    assert len(checkpoints_in(tmp_path)) == 2


def test_damaged_checkpoint_does_not_push_out_a_good_one(images, saved, tmp_path):
    """The next write keeps the good one, and deletes the damaged one."""
    folder = CheckpointFolder(tmp_path, {}, every=1)
    for n in (1, 2):
        folder.write(state_of(n), n_epochs=n, n_batches=0)
    newest = tmp_path / "000002-00000001.ckpt"
    newest.write_bytes(b"torn")
    folder = CheckpointFolder(tmp_path, {}, every=1)
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert folder.read(9)["history"] == [2]
    folder.write(state_of(3), n_epochs=3, n_batches=0)
    assert checkpoints_in(tmp_path) == ["000002-00000000.ckpt", "000003-00000000.ckpt"]


@pytest.mark.parametrize(
    ("every", "counts", "last"),
    [(1, [0, 1, 2, 2, 2, 2, 2], (6, 7)), (3, [0, 0, 0, 1, 1, 1, 2], (6, 7))],
)
def test_only_the_two_newest_stay(images, every, counts, last, tmp_path):
    """At every moment; they are those of each n-th epoch, and of the last one."""
    seen = []

    class Look(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(checkpoints_in(tmp_path))

    simclr = make_run(tmp_path, max_epochs=7, checkpoint_every=every)
    simclr.set_params(callbacks=[Look()]).fit(images)
    assert [len(names) for names in seen] == counts
    assert checkpoints_in(tmp_path) == [f"{n:06d}-00000000.ckpt" for n in last]


def test_other_files_in_the_folder_are_left_alone(images, tmp_path):
    """Whatever their names; only what is left of a killed run goes."""
    names = ["model.ckpt", "000000.ckpt", "zz.ckpt", "a.tmp", "x.ckpt.1.tmp", "b.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    leftover = tmp_path / "_0a1b2c3d-000001-00000000.ckpt.tmp"
    leftover.write_bytes(b"torn")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        simclr, _ = fit_with_stops(make_run(tmp_path), images, (2, 5))
    assert outcome(simclr) == outcome(make_run().fit(images))
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)
    assert not leftover.exists()
    assert len(list(tmp_path.iterdir())) == len(names) + 2


def test_python_may_close_what_was_written(tmp_path):
    """It does at last, and `python -X dev` shows what that raises."""
    with open(tmp_path / "file", "wb") as file:
        hashing = module._HashingFile(file)
        hashing.write(b"all")
    hashing.close()
    assert (tmp_path / "file").read_bytes() == b"all"


def test_folder_is_made_and_files_are_plain(images, tmp_path):
    """With parents; a Path or a string; torch reads it with weights_only."""
    folder = tmp_path / "a" / "b"
    make_run(str(folder), max_epochs=1).fit(images)
    (name,) = checkpoints_in(folder)
    data = (folder / name).read_bytes()
    content = torch.load(io.BytesIO(data[len(module._MAGIC) : -32]), weights_only=True)
    assert sorted(content) == ["fingerprint", "state"]


@pytest.mark.parametrize("kind", ["file", "below a file", "unmakeable"])
def test_impossible_folders_are_errors(images, kind, tmp_path):
    """They come before training, and name the folder."""
    (tmp_path / "file").write_bytes(b"")
    folder = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "unmakeable": Path("/proc/sksimclr/run"),
    }[kind]
    if kind == "unmakeable" and not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    log = Signal(signal.SIGINT, None)
    with pytest.raises(OSError, match=f"checkpoint_dir='{folder}' is no folder that"):
        make_run(folder, callbacks=[log]).fit(images)
    assert log.n_batches == 0


@contextmanager
def unprivileged():
    """Be somebody else than root for a while, who may write everywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_read_only_folder_is_an_error(images):
    """Before training; also if it holds a run that could go on."""
    log = Signal(signal.SIGINT, None)
    with tempfile.TemporaryDirectory() as folder:
        make_run(folder, max_epochs=1).fit(images)
        os.chmod(folder, 0o555)
        with (
            unprivileged(),
            pytest.raises(PermissionError, match=f"='{folder}' is no folder that"),
        ):
            make_run(folder, callbacks=[log]).fit(images)
        os.chmod(folder, 0o755)
    assert log.n_batches == 0


# Disks


def fail(error):
    """Return a function that raises."""

    def failing(*args, **kwargs):
        raise error

    return failing


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("n_bytes", [0, 100, 3000, 30_000, 60_000])
def test_full_disk_loses_nothing(images, n_bytes, tmp_path):
    """Training ends, with warnings; what was saved before is read again."""
    process = start(tmp_path / "run", tmp_path / "result", f"full_disk {n_bytes}")
    assert exit_code(process) == 0
    result, messages, _ = read_result(tmp_path / "result")
    expected = outcome(make_run().fit(images))
    assert result == expected
    assert len(messages) == 2
    assert all("No checkpoint was written" in message for message in messages)
    assert all("File too large" in message for message in messages)
    names = [path.name for path in (tmp_path / "run").iterdir()]
    assert names == ["000001-00000000.ckpt"]
    log = Signal(signal.SIGINT, None)
    assert outcome(make_run(tmp_path / "run", callbacks=[log]).fit(images)) == expected
    assert log.n_batches == 6


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_failing_system_calls_lose_nothing(images, name, tmp_path, monkeypatch):
    """An error of any step of writing is a warning."""
    folder = CheckpointFolder(tmp_path, {"a": "1"}, every=1)
    folder.write(state_of(1), n_epochs=1, n_batches=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail(OSError(28, "No space left on device")))
        with pytest.warns(RuntimeWarning, match="No space left on device.*goes on"):
            folder.write(state_of(2), n_epochs=2, n_batches=0)
    assert [path.name for path in tmp_path.iterdir()] == ["000001-00000000.ckpt"]
    assert folder.read(9)["history"] == [1]


def test_errors_of_torch_are_not_taken_for_those_of_the_caller(tmp_path, monkeypatch):
    """Though they come while the caller handles another one."""
    monkeypatch.setattr(torch, "save", fail(RuntimeError("of torch")))
    folder = CheckpointFolder(tmp_path, {}, every=1)
    try:
        raise ValueError("of the caller")
    except ValueError:
        with pytest.warns(RuntimeWarning, match="written to .*: of torch"):
            folder.write(state_of(1), n_epochs=1, n_batches=0)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_synced_are_no_reason_to_warn(tmp_path, monkeypatch):
    """Some network file systems do not know fsync of a folder."""
    fsync = os.fsync

    def sync_files(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files)
    folder = CheckpointFolder(tmp_path, {}, every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 2, 3):
            folder.write(state_of(n), n_epochs=n, n_batches=0)
    assert len(checkpoints_in(tmp_path)) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_of_a_write_is_not_taken_for_a_full_disk(
    error, tmp_path, monkeypatch
):
    """A second Ctrl-C is obeyed at once, also in the midst of torch.save."""
    folder = CheckpointFolder(tmp_path, {}, every=1)
    folder.write({"a": torch.zeros(9)}, n_epochs=1, n_batches=0)
    write, left = module._HashingFile.write, [0]

    def interrupted(self, data):
        left[0] -= 1
        if not left[0]:
            raise error
        return write(self, data)

    monkeypatch.setattr(module._HashingFile, "write", interrupted)
    for number in range(1, 20):
        left[0] = number
        with pytest.raises(error):
            folder.write({"a": torch.zeros(9)}, n_epochs=2, n_batches=0)
        assert [path.name for path in tmp_path.iterdir()] == ["000001-00000000.ckpt"]


# Estimators


def test_interrupted_fit_keeps_what_an_earlier_one_had_learnt(images, tmp_path):
    """Attributes and transform; and then it goes on."""
    simclr = make_run(random_state=8).fit(images)
    expected, embeddings = outcome(simclr), simclr.transform(images)
    simclr.set_params(random_state=0, checkpoint_dir=tmp_path)
    simclr.set_params(callbacks=[Signal(signal.SIGINT, 4)])
    with pytest.raises(KeyboardInterrupt):
        simclr.fit(images)
    assert outcome(simclr) == expected
    np.testing.assert_array_equal(simclr.transform(images), embeddings)
    simclr.set_params(callbacks=None).fit(images)
    assert outcome(simclr) == outcome(make_run().fit(images))


def test_pickles_hold_no_checkpoints(images, tmp_path):
    """And are read where the folder is not."""
    simclr = make_run(tmp_path / "run", max_epochs=1).fit(images)
    data = pickle.dumps(simclr)
    assert len(data) < 20_000
    (tmp_path / "run").rename(tmp_path / "moved")
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.transform(images), simclr.transform(images))
    assert not (tmp_path / "run").exists()


def test_partial_fit_saves_nothing(images, tmp_path):
    """As its docstring says."""
    make_run(tmp_path / "run").partial_fit(images)
    assert not (tmp_path / "run").exists()


def test_folds_cannot_share_a_folder(images, tmp_path):
    """The error reaches the user of a search or a cross-validation, and says why."""
    target = np.arange(len(images)) % 2
    pipe = make_pipeline(make_run(tmp_path / "run"), DecisionTreeClassifier())
    message = (
        r"checkpoint_dir='.*run' holds another run: X was 20 images.*, is 20 images.*"
        "Use another folder"
    )
    with pytest.raises(ValueError, match=message):
        cross_val_score(pipe, images, target, cv=2, error_score="raise")
    search = GridSearchCV(pipe, {"simclrtransformer__temperature": [0.5, 0.1]}, cv=2)
    search.set_params(pre_dispatch=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="holds another run: X was 20.*, is 40"):
            search.fit(images, target)
    (failed,) = [str(w.message) for w in caught if "fits failed" in str(w.message)]
    assert "3 fits failed out of a total of 4" in failed
    assert "temperature was 0.5, is 0.1" in failed


def test_fit_in_another_thread(images, tmp_path):
    """Saves and goes on, without handlers of signals."""
    expected = outcome(make_run().fit(images))
    results = []

    class Stop(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                raise RuntimeError("stop")

    def fit():
        with pytest.raises(RuntimeError):
            make_run(tmp_path, callbacks=[Stop()]).fit(images)
        results.append(outcome(make_run(tmp_path).fit(images)))

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert results == [expected]
    assert len(checkpoints_in(tmp_path)) == 2
    assert handlers == (
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
    )
