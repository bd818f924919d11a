"""Precision, compilation, optimizers, devices that are not waited for, and warnings."""

import functools
import inspect
import pickle
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from tiny import flat_encoder, tiny_encoder, tiny_simclr
from torch import nn

from sksimclr._engine import batches as _batches
from sksimclr._engine import contrastive as _training
from sksimclr._engine import loop as _loop
from sksimclr._engine.contrastive import ViewPlan, train
from sksimclr._engine.loop import LoopPlan, Seeds
from sksimclr._engine.losses import NTXent
from sksimclr._engine.supervised import FineTuningPlan, fine_tune, with_head
from sksimclr._images.images import as_images
from sksimclr._machine.device import resolve_bfloat16
from sksimclr._networks.encoders import make_encoder, make_projection_head
from sksimclr.augmentations import (
    BrightnessContrast,
    GaussianBlur,
    HorizontalFlip,
    ResizedCrop,
    Rotation,
    VerticalFlip,
)

silent = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits():
    """Sixty digits of 8 x 8 pixels, and their labels."""
    images, target = load_digits(return_X_y=True)
    return images[:60].reshape(60, 8, 8) / 16, target[:60]


class Shared(Callback):
    """A callback that stays the same object, so that a test sees what it noted."""

    def __deepcopy__(self, memo):
        """Return itself."""
        return self


# Precision


class Types(nn.Module):
    """A tiny encoder that notes the types of what goes through it."""

    seen = []

    def __init__(self, n_channels):
        super().__init__()
        self.network = tiny_encoder(n_channels)

    def forward(self, images):
        """Note mode, input, first layer's output and weights; then embed."""
        mode = "train" if self.training else "eval"
        types = (
            images.dtype,
            self.network[0](images).dtype,
            self.network[0].weight.dtype,
        )
        self.seen.append((mode, *types))
        return self.network(images)


class TypesOfResults(Shared):
    """Note the types of projections and loss."""

    def __init__(self):
        self.seen = set()

    def on_batch_end(self, net, y_pred=None, loss=None, **kwargs):
        """Look at them."""
        self.seen.add((y_pred.dtype, loss.dtype))


@silent
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_precision_is_that_of_the_network_in_training(digits, precision):
    """Views, weights, projections, loss and embeddings are float32 in any case."""
    Types.seen.clear()
    results = TypesOfResults()
    simclr = tiny_simclr(encoder=Types, precision=precision, callbacks=[results])
    simclr.fit(digits[0])
    inside = torch.bfloat16 if precision == "bfloat16" else torch.float32
    in_training = {types[1:] for types in Types.seen if types[0] == "train"}
    assert in_training == {(torch.float32, inside, torch.float32)}
    assert results.seen == {(torch.float32, torch.float32)}
    Types.seen.clear()
    assert simclr.transform(digits[0]).dtype == np.float32
    assert set(Types.seen) == {("eval", torch.float32, torch.float32, torch.float32)}
    for network in (simclr.encoder_, simclr.projector_):
        kinds = {values.dtype for values in network.state_dict().values()}
        assert kinds <= {torch.float32, torch.int64}


def test_bfloat16_learns_what_float32_does(digits):
    """The losses agree within a percent, and so do the embeddings; not to the bit."""
    params = {"max_epochs": 6, "lr": 1e-2, "augmentations": (ResizedCrop((0.5, 1)),)}
    coarse, fine = (
        tiny_simclr(precision=precision, **params).fit(digits[0])
        for precision in ("bfloat16", "float32")
    )
    losses = [[row["loss"] for row in fit.history_] for fit in (coarse, fine)]
    assert losses[0] != losses[1]
    assert_allclose(losses[0], losses[1], rtol=0.01)
    assert losses[0][-1] < losses[0][0] - 0.1
    embeddings = [fit.transform(digits[0]) for fit in (coarse, fine)]
    correlation = np.corrcoef(embeddings[0].ravel(), embeddings[1].ravel())[0, 1]
    assert 0.99 < correlation < 1


@pytest.mark.parametrize(
    ("precision", "device", "capability", "expected"),
    [
        ("auto", "cpu", None, False),
        ("auto", "mps", None, False),
        ("auto", "cuda:1", (7, 5), False),  # T4: emulated
        ("auto", "cuda:1", (8, 0), True),  # A100
        ("auto", "cuda:1", (9, 0), True),  # H100
        ("bfloat16", "cpu", None, True),
        ("bfloat16", "cuda:1", (7, 5), True),
        ("float32", "cuda:1", (9, 0), False),
    ],
)
def test_auto_is_bfloat16_on_gpus_made_for_it(
    monkeypatch, precision, device, capability, expected
):
    """By the capability of the GPU that is used; names decide elsewhere."""

    def of_device(of):
        assert of == torch.device("cuda:1")
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", of_device)
    assert resolve_bfloat16(precision, torch.device(device)) is expected


# Compilation


@silent
@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_compiled_training_is_the_same(digits, monkeypatch, backend):
    """Within rounding; and nothing of it stays in the fitted networks."""
    compiled = []
    torch_compile = torch.compile

    def noted(network, **options):
        compiled.append(options)
        return torch_compile(network, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", noted)
    params = {"max_epochs": 3, "lr": 1e-2, "augmentations": (ResizedCrop(),)}
    plain = tiny_simclr(**params).fit(digits[0])
    assert compiled == []
    simclr = tiny_simclr(compile=True, **params).fit(digits[0])
    assert len(compiled) == 1
    for ours, expected in zip(simclr.history_, plain.history_, strict=True):
        for name in ("loss", "alignment", "uniformity", "effective_rank"):
            assert ours[name] == pytest.approx(expected[name], rel=1e-3)
    assert_allclose(simclr.transform(digits[0]), plain.transform(digits[0]), atol=1e-3)
    for ours, expected in zip(
        (simclr.encoder_, simclr.projector_),
        (plain.encoder_, plain.projector_),
        strict=True,
    ):
        assert list(ours.state_dict()) == list(expected.state_dict())
        for layer, other in zip(ours.modules(), expected.modules(), strict=True):
            assert type(layer) is type(other) and set(vars(layer)) == set(vars(other))
    pickled = pickle.dumps(simclr)
    assert b"torch._" in pickled and b"torch._dynamo" not in pickled
    assert len(pickled) < len(pickle.dumps(plain)) + 500


# Optimizers


class Gradients(Shared):
    """Note weights before, and gradients of, every step."""

    def __init__(self):
        self.steps = []

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        """Copy them."""
        self.steps.append(
            [(p.detach().clone(), p.grad.clone()) for _, p in named_parameters]
        )


@silent
@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        ("adam", functools.partial(torch.optim.Adam, weight_decay=0.3)),
        ("adamw", functools.partial(torch.optim.AdamW, weight_decay=0.3)),
        ("sgd", functools.partial(torch.optim.SGD, weight_decay=0.3, momentum=0.9)),
    ],
)
def test_steps_are_those_of_the_optimizer(digits, optimizer, reference):
    """Weights after each step follow from the gradients as torch's own would do."""
    log = Gradients()
    simclr = tiny_simclr(
        max_epochs=2, lr=0.05, weight_decay=0.3, optimizer=optimizer, callbacks=[log]
    ).fit(digits[0])
    weights = [nn.Parameter(before) for before, _ in log.steps[0]]
    stepper = reference(weights, lr=0.05)
    after = [[before for before, _ in step] for step in log.steps[1:]]
    after.append([*simclr.encoder_.parameters(), *simclr.projector_.parameters()])
    assert len(after) == 8
    for step, expected in zip(log.steps, after, strict=True):
        for weight, (_, gradient) in zip(weights, step, strict=True):
            weight.grad = gradient
        stepper.step()
        for ours, theirs in zip(expected, weights, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(("device", "is_fused"), [("cpu", False), ("cuda", True)])
def test_optimizers_are_fused_on_cuda_alone(optimizer, device, is_fused):
    """All of them can be."""
    plan = make_plan(optimizer=optimizer, device=torch.device(device))
    net = _loop._make_net(nn.Linear(2, 2), nn.MSELoss(), None, plan, [], None)
    settings = {k: v for k, v in net.get_params().items() if k == "optimizer__fused"}
    assert settings == ({"optimizer__fused": True} if is_fused else {})
    assert "fused" in inspect.signature(net.optimizer).parameters


# A device that is not waited for


def make_plan(**fields):
    """Return a plan of two epochs of batches of 16."""
    defaults = {
        "max_epochs": 2,
        "batch_size": 16,
        "lr": 0.1,
        "weight_decay": 0.1,
        "optimizer": "adam",
        "lr_schedule": "cosine",
        "callbacks": [],
        "verbose": 0,
        "device": torch.device("meta"),
        "seeds": Seeds(0, 0, None),
    }
    return LoopPlan(**(defaults | fields))


class Count(Callback):
    """Note that a batch is over."""

    def __init__(self, events):
        self.events = events

    def on_batch_end(self, net, training=None, **kwargs):
        """Note in which phase."""
        self.events.append("train" if training else "valid")


class Read(Callback):
    """Read a loss as soon as the batch is over."""

    def on_batch_end(self, net, **kwargs):
        """Wait for it."""
        float(net.history[-1, "batches", -1, "train_loss"])


@pytest.fixture
def events(monkeypatch):
    """Batches, and the two moments at which numbers may be fetched from a device.

    Of tensors on the meta device nothing can be read, so whatever needs a number, and
    would wait for a GPU, is an error there, but for these two.
    """
    seen = []

    def fetch(rows, names):
        seen.append(f"fetch {names[0]}")
        for row in rows:
            row.update(dict.fromkeys(names, 1.0))

    def record(callback, net, **kwargs):
        seen.append("record")

    monkeypatch.setattr(_loop, "fetch", fetch)
    monkeypatch.setattr(_training._ProjectionRecord, "on_epoch_end", record)
    # which does not know the device
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    return seen


CROP = ResizedCrop()


def train_on_meta(callbacks, encoder="tiny", augmentations=(CROP,), **fields):
    """Train for two epochs of three batches."""
    images = np.zeros((40, 20, 24), np.uint8)
    if encoder == "tiny":
        encoder, n_features = tiny_encoder(1), 8
    else:
        encoder, n_features = (
            make_encoder(encoder, stem="cifar", n_channels=1, image_size=16),
            512,
        )
    return train(
        encoder,
        make_projection_head(n_features, 64),
        as_images(images, None),
        ViewPlan(NTXent(0.5), augmentations, 16),
        make_plan(callbacks=callbacks, **fields),
    )


@pytest.mark.parametrize("resident", [False, True], ids=["read ahead", "on device"])
@pytest.mark.parametrize(
    "params",
    [
        {"encoder": "resnet18", "augmentations": (ResizedCrop(), VerticalFlip())},
        {"augmentations": (HorizontalFlip(), Rotation())},
        {"augmentations": (BrightnessContrast(), GaussianBlur())},
        {"optimizer": "adamw", "lr_schedule": None, "verbose": 1},
        {"optimizer": "sgd"},
    ],
    ids=str,
)
def test_losses_are_fetched_once_per_epoch_and_nothing_else(
    events, monkeypatch, params, resident
):
    """No step of an epoch reads a number back from the device."""
    monkeypatch.setattr(_batches, "_free_memory", lambda device: resident << 30)
    history, _ = train_on_meta([Count(events)], **params)
    epoch = ["train"] * 3 + ["fetch train_loss", "record"]
    assert events == epoch * 2
    assert [row["epoch"] for row in history] == [1, 2]


def test_whatever_reads_a_number_is_seen(events):
    """The test above can fail: here a callback reads the loss."""
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        train_on_meta([Count(events), Read()])
    assert events == ["train"]


def test_fine_tuning_waits_once_per_phase(events):
    """For the losses of training, and for those of the images held out."""
    images = np.zeros((40, 20, 24), np.uint8)
    fine_tune(
        with_head(tiny_encoder(1), 8, 2),
        as_images(images, None),
        np.arange(40) % 2,
        (np.arange(30), np.arange(30, 40)),
        FineTuningPlan((ResizedCrop(),), 16, np.ones(2, np.float32), 5),
        make_plan(callbacks=[Count(events)]),
    )
    epoch = ["train"] * 2 + ["fetch train_loss", "valid", "fetch valid_loss"]
    assert events == epoch * 2


class NoWaiting(Callback):
    """Make waiting for a GPU an error, from the second epoch's first batch to its last.

    In the first one, cuDNN chooses its algorithms.
    """

    def __init__(self, n_batches):
        self.n_batches = n_batches

    def on_batch_begin(self, net, **kwargs):
        """Begin."""
        if len(net.history) == 2 and len(net.history[-1, "batches"]) == 1:
            torch.cuda.set_sync_debug_mode("error")

    def on_batch_end(self, net, **kwargs):
        """End."""
        if len(net.history[-1, "batches"]) == self.n_batches:
            torch.cuda.set_sync_debug_mode("default")


@silent
@pytest.mark.gpu
@pytest.mark.parametrize("resident", [False, True], ids=["read ahead", "on device"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_is_not_waited_for_within_an_epoch(monkeypatch, precision, resident):
    """As torch itself sees it, copies from the host included."""
    if not resident:
        monkeypatch.setattr(_batches, "_free_memory", lambda device: 0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 32, 32), dtype=np.uint8)
    simclr = tiny_simclr(
        encoder="resnet18",
        device="cuda",
        image_size=32,
        batch_size=32,
        max_epochs=3,
        lr_schedule="cosine",
        precision=precision,
        callbacks=[NoWaiting(3)],
    )
    try:
        assert simclr.fit(images).n_iter_ == 3
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Warnings


def collapse_warnings(function, *args, **kwargs):
    """Return what a call warns of that is about convergence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    return [w for w in caught if issubclass(w.category, ConvergenceWarning)]


def linear_encoder(n_channels):
    """Return a network without batch normalisation, which would centre everything."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * n_channels, 8))


def test_collapse_is_seen_by_the_rank_alone(digits):
    """Projections of one dimension lie on a line, whatever the loss; with advice."""
    simclr = tiny_simclr(projection_dim=1, encoder=flat_encoder, batch_size=60)
    (warning,) = collapse_warnings(simclr.fit, digits[0])
    row = simclr.history_[-1]
    assert abs(row["loss"] / np.log(2 * 60 - 1) - 1) > 0.05
    assert row["effective_rank"] == pytest.approx(1, abs=1e-3)
    message = str(warning.message)
    assert "the effective rank of its projections is 1.00" in message
    assert "its last loss" not in message
    for advice in ("Train longer", "lr", "images", "augmentations"):
        assert advice in message


def test_collapse_is_seen_by_the_loss_alone(digits):
    """Two directions that hardly differ from each other, as many as there are views."""
    rng = np.random.default_rng(0)
    images = 1 + 0.2 * rng.standard_normal((60, 8, 8))
    simclr = tiny_simclr(encoder=linear_encoder, augmentations=(), temperature=50.0)
    (warning,) = collapse_warnings(simclr.fit, images)
    assert simclr.history_[-1]["effective_rank"] > 1.5
    message = str(warning.message)
    assert "its last loss" in message and "rank" not in message


def test_collapse_is_seen_by_both(digits):
    """All images alike: the message names the limit of the loss, and the rank."""
    simclr = tiny_simclr(batch_size=60, encoder=linear_encoder)
    (warning,) = collapse_warnings(simclr.fit, np.ones((60, 8, 8)))
    message = str(warning.message)
    assert f"all alike, {np.log(119):.3f}" in message
    assert "effective rank of its projections is 1.0" in message


@pytest.mark.parametrize("batch_size", [16, 60])
def test_there_is_no_warning_of_a_healthy_run(digits, batch_size):
    """Twenty epochs of digits; none either without any epoch."""
    params = {"lr": 1e-2, "batch_size": batch_size}
    for n_epochs in (0, 20):
        simclr = tiny_simclr(max_epochs=n_epochs, **params)
        assert collapse_warnings(simclr.fit, digits[0]) == []


def test_the_warning_points_to_the_line_of_the_caller(digits):
    """However it got there: through scikit-learn, and from each method of ours."""
    simclr = tiny_simclr()
    pipe = make_pipeline(tiny_simclr(), LogisticRegression())
    X, y = np.ones((60, 8, 8)), digits[1]
    lines = inspect.getsourcelines(test_the_warning_points_to_the_line_of_the_caller)
    calls = {
        "fit": lambda: simclr.fit(X),
        "transform": lambda: simclr.fit_transform(X),
        "partial": lambda: simclr.partial_fit(X),
        "pipe": lambda: pipe.fit(X, y),
        "cross": lambda: cross_val_score(pipe, X, y, cv=2),
    }
    for name, call in calls.items():
        for warning in collapse_warnings(call):
            assert warning.filename == __file__
            line = lines[0][warning.lineno - lines[1]]
            assert f'"{name}": ' in line
        assert len(collapse_warnings(call)) == (2 if name == "cross" else 1)
