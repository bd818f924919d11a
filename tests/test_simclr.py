import math
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from tiny import tiny_encoder, tiny_simclr
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torchvision.transforms import v2

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr._engine.losses import nt_xent
from sksimclr.augmentations import HorizontalFlip, ResizedCrop, VerticalFlip


@pytest.fixture(scope="module")
def digits():
    """Sixty digits of 8 x 8 pixels in [0, 16], and their labels."""
    images, target = load_digits(return_X_y=True)
    return images[:60].reshape(60, 8, 8), target[:60]


class BatchLog(Callback):
    """Note the rows of every batch, the training mode and the learning rate."""

    def __init__(self):
        self.sizes, self.first_pixels, self.modes, self.rates = [], [], [], []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Look at the batch before its step."""
        self.sizes.append(len(batch[0]))
        self.first_pixels.append(batch[0].sum(dim=(1, 2, 3)).tolist())
        self.modes.append(net.module_.training)
        self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def __deepcopy__(self, memo):
        """Stay the same object, so that the test sees what was noted."""
        return self


def flatten_encoder(n_channels):
    """Return a network that hands on all pixels of 8 x 8 images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(n_channels * 64, 8))


def dropout_encoder(n_channels):
    """Return a network that draws random numbers in its forward pass."""
    return nn.Sequential(*tiny_encoder(n_channels), nn.Dropout(0.5))


class Recorder(nn.Module):
    """Note the memory format and the number of images of every forward."""

    seen = []

    def __init__(self, n_channels):
        super().__init__()
        self.network = tiny_encoder(n_channels)

    def forward(self, images):
        """Record, then embed."""
        if self.training:
            is_last = images.is_contiguous(memory_format=torch.channels_last)
            weight = self.network[0].weight
            self.seen.append(
                (len(images), is_last, weight.stride()[1] == 1, images.stride()[1])
            )
        return self.network(images)


def image_encoder(n_channels):
    """Return a network that wrongly returns images."""
    return nn.Conv2d(n_channels, 4, 3)


# What it learns


@pytest.mark.slow
def test_resnet18_embeddings_of_digits_beat_the_untrained_encoder():
    """Ten epochs are worth many points on held-out digits."""
    images, target = load_digits(return_X_y=True)
    images, target = images[:600].reshape(-1, 8, 8) / 16, target[:600]
    scores = {}
    for epochs in (0, 10):
        simclr = SimCLRTransformer(
            image_size=32,
            stem="imagenet",
            temperature=0.2,
            augmentations=(ResizedCrop(scale=(0.6, 1.0)),),
            max_epochs=epochs,
            lr=1e-3,
            lr_schedule="cosine",
            random_state=0,
        )
        embeddings = simclr.fit_transform(images)
        probe = LogisticRegression(max_iter=2000)
        scores[epochs] = cross_val_score(probe, embeddings, target, cv=3).mean()
    assert scores[10] > scores[0] + 0.05


def test_loss_falls_while_training(digits):
    """Twenty epochs bring it well below that of a collapsed encoder."""
    simclr = tiny_simclr(max_epochs=20, lr=1e-2, batch_size=60).fit(digits[0])
    losses = [row["loss"] for row in simclr.history_]
    assert losses[-1] < losses[0] - 0.1
    assert losses[-1] < 0.98 * math.log(2 * 60 - 1)


def test_one_step_equals_a_hand_written_one(rng):
    """Views, one forward of both, projection head, loss and Adam, from the same seeds.

    The recipe of the class's notes, written down again with torch alone.
    """
    from sksimclr._machine.random import make_generator, spawn_seeds, torch_seeded

    X = rng.random((60, 8, 8), dtype=np.float32)
    simclr = tiny_simclr(batch_size=60, augmentations=(VerticalFlip(),), lr=0.01)
    simclr.fit(X)

    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    weight_seed, order_seed, view_seed = spawn_seeds(seed, 3)
    with torch_seeded(weight_seed):
        encoder = tiny_encoder(1)
        head = nn.Sequential(
            nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 64, bias=False)
        )
    order = BatchLog()
    tiny_simclr(batch_size=60, augmentations=(), callbacks=[order]).fit(X)
    rows = [int(np.argmin(abs(X.sum((1, 2)) - s))) for s in order.first_pixels[0]]
    images = torch.from_numpy(X[rows][:, None])
    draws = make_generator(view_seed)
    views = []
    for _ in range(2):
        flipped = torch.rand(60, generator=draws) < 0.5
        view = images.clone()
        view[flipped] = images[flipped].flip(-2)
        views.append(view)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    loss = nt_xent(head(encoder(torch.cat(views))), 0.5)
    loss.backward()
    optimizer.step()
    assert simclr.history_[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for ours, expected in zip(
        simclr.encoder_.parameters(), encoder.parameters(), strict=True
    ):
        # Adam divides by the gradient's size, so tiny differences are not tiny
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_encoder_factory_gets_the_number_of_channels(rng):
    """One for grey images, three for colour."""
    for shape, n_channels in [((4, 8, 8), 1), ((4, 8, 8, 3), 3)]:
        simclr = tiny_simclr().fit(rng.random(shape))
        assert simclr.encoder_[0].in_channels == n_channels


@pytest.mark.parametrize(
    ("image_size", "stem", "kernel"),
    [(32, "auto", 3), (33, "auto", 7), (32, "imagenet", 7), (64, "cifar", 3)],
)
@pytest.mark.parametrize("encoder", ["resnet18", "resnet34"])
def test_stem_of_resnets(rng, encoder, image_size, stem, kernel):
    """Small images get the small stem, unless told otherwise."""
    simclr = SimCLRTransformer(
        encoder, image_size=image_size, stem=stem, max_epochs=0, random_state=0
    )
    embeddings = simclr.fit_transform(rng.random((2, 9, 9)))
    assert simclr.encoder_.conv1.kernel_size == (kernel, kernel)
    assert isinstance(simclr.encoder_.maxpool, nn.Identity) == (kernel == 3)
    assert embeddings.shape == (2, 512) and embeddings.dtype == np.float32


def test_projection_head_is_the_papers(digits):
    """W2 max(0, W1 h), hidden layer as wide as the embedding, no biases."""
    simclr = tiny_simclr(projection_dim=5).fit(digits[0])
    shapes = [tuple(p.shape) for p in simclr.projector_.parameters()]
    assert shapes == [(8, 8), (5, 8)]


# The loop


def test_one_forward_of_both_views_with_channels_last(rng):
    """One call per step, for 2 N views, images and weights in that memory format."""
    Recorder.seen.clear()
    tiny_simclr(encoder=Recorder).fit(rng.random((20, 8, 8, 3)))
    assert Recorder.seen == [(32, True, True, 1), (8, True, True, 1)]


@pytest.mark.parametrize(
    ("n_images", "batch_size", "sizes"),
    [
        (60, 16, [16, 16, 16, 12]),
        (49, 16, [16, 16, 16]),  # a last batch of one image is dropped
        (50, 16, [16, 16, 16, 2]),
        (10, 16, [10]),  # never a whole epoch
        (2, 2, [2]),
        (3, 2, [2]),
    ],
)
def test_batches_of_an_epoch(digits, n_images, batch_size, sizes):
    """Every image once, but for a last batch of one."""
    log = BatchLog()
    tiny_simclr(batch_size=batch_size, callbacks=[log]).fit(digits[0][:n_images])
    assert log.sizes == sizes
    assert all(log.modes)


def test_order_is_shuffled_anew_in_every_epoch(digits):
    """From `random_state`."""
    logs = [BatchLog() for _ in range(3)]
    for log, seed in zip(logs, (0, 0, 1), strict=True):
        tiny_simclr(max_epochs=2, callbacks=[log], random_state=seed).fit(digits[0])
    assert logs[0].first_pixels == logs[1].first_pixels
    assert logs[0].first_pixels != logs[2].first_pixels
    first, second = (sum(logs[0].first_pixels[k : k + 4], []) for k in (0, 4))
    assert first != second and sorted(first) == sorted(second)


def test_history_has_a_row_for_each_epoch(digits):
    """With numbers that agree with each other."""
    simclr = tiny_simclr(max_epochs=3).fit(digits[0])
    assert [row["epoch"] for row in simclr.history_] == [1, 2, 3]
    assert simclr.n_iter_ == 3
    for row in simclr.history_:
        assert list(row) == [
            *("epoch", "loss", "alignment", "uniformity", "effective_rank"),
            *("lr", "seconds", "images_per_second"),
        ]
        assert row["lr"] == 3e-4
        assert row["images_per_second"] * row["seconds"] == pytest.approx(60)


def test_cosine_schedule_rises_and_falls(digits):
    """Up in 10 % of the steps, then half a cosine to zero."""
    log = BatchLog()
    simclr = tiny_simclr(
        max_epochs=5, lr=0.1, lr_schedule="cosine", callbacks=[log]
    ).fit(digits[0])
    expected = [0.05, 0.1] + [
        0.05 * (1 + math.cos(math.pi * k / 19)) for k in range(1, 19)
    ]
    assert_allclose(log.rates, expected, rtol=1e-9)
    assert simclr.history_[1]["lr"] < 0.1


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
    ],
)
def test_optimizers(digits, optimizer, expected):
    """The name means torch's class, with the given rate and decay."""
    seen = []

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append(net.optimizer_)

    tiny_simclr(optimizer=optimizer, lr=0.02, weight_decay=0.1, callbacks=[Look()]).fit(
        digits[0]
    )
    assert type(seen[0]) is expected
    assert seen[0].defaults["lr"] == 0.02
    assert seen[0].defaults["weight_decay"] == 0.1
    assert seen[0].defaults.get("momentum") == (0.9 if optimizer == "sgd" else None)


def test_early_stopping_ends_training(digits):
    """The callbacks of skorch work; n_iter_ says how many epochs were run."""
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    simclr = tiny_simclr(max_epochs=50, callbacks=[stopper]).fit(digits[0])
    assert simclr.n_iter_ == len(simclr.history_) < 10
    assert simclr.transform(digits[0]).shape == (60, 8)


def test_callbacks_of_the_caller_are_not_touched(digits):
    """Copies are used, so no optimiser stays behind in the fitted estimator."""
    scheduler = LRScheduler(StepLR, step_size=1)
    simclr = tiny_simclr(callbacks=[scheduler], max_epochs=2).fit(digits[0])
    assert simclr.history_[1]["lr"] == pytest.approx(3e-5)
    assert not [name for name in vars(scheduler) if name.endswith("_")]
    assert len(pickle.dumps(simclr)) < 20_000


def test_interruption_is_not_swallowed(digits):
    """Ctrl-C in a step reaches the caller instead of giving a half-trained encoder."""

    class Interrupt(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_simclr(callbacks=[Interrupt()]).fit(digits[0])


def test_progress_at_verbose_1_and_silence_at_0(digits, capfd):
    """A row per epoch and a bar, or nothing at all."""
    tiny_simclr(verbose=0).fit(digits[0]).transform(digits[0])
    assert capfd.readouterr() == ("", "")
    simclr = tiny_simclr(verbose=1, max_epochs=2).fit(digits[0])
    out, err = capfd.readouterr()
    assert "train_loss" in out and len(out.strip().splitlines()) == 4
    assert "0/4" in err  # batches
    simclr.transform(digits[0])
    assert "60/60" in capfd.readouterr().err  # images


def test_collapse_is_warned_of(digits):
    """A loss that never leaves ln(2N - 1), also in batches of different sizes."""
    for batch_size in (16, 60):
        with pytest.warns(ConvergenceWarning, match="collapsed: its last loss"):
            tiny_simclr(batch_size=batch_size).fit(np.ones((60, 8, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_simclr(max_epochs=20, lr=1e-2, batch_size=60).fit(digits[0])


def test_divergence_is_an_error(digits):
    """It names the learning rate."""
    simclr = tiny_simclr(
        encoder=flatten_encoder, optimizer="sgd", lr=1e30, max_epochs=5
    )
    with pytest.raises(ValueError, match=r"diverged: the loss of epoch \d.*1e\+30"):
        simclr.fit(digits[0])
    assert not hasattr(simclr, "encoder_")


# Reproducible


def test_embedding_does_not_depend_on_its_batch(rng):
    """To the bit: alone, in any order, among any others (BatchNorm, resized)."""
    images = rng.random((40, 20, 24)).astype(np.float32)
    params = {"image_size": 32, "stem": "imagenet", "max_epochs": 1}
    simclr = SimCLRTransformer(**params, random_state=0).fit(images)
    together = simclr.transform(images)
    order = rng.permutation(40)
    assert_array_equal(simclr.transform(images[order]), together[order])
    for k in (0, 7, 39):
        assert_array_equal(simclr.transform(images[k : k + 1])[0], together[k])
    assert_array_equal(simclr.transform(images[5:22]), together[5:22])


def test_transform_equals_the_plain_encoder(digits):
    """Streaming changes nothing but the speed."""
    simclr = tiny_simclr(max_epochs=2).fit(digits[0])
    with torch.no_grad():
        expected = simclr.encoder_(torch.from_numpy(digits[0][:, None]).float())
    assert_allclose(simclr.transform(digits[0]), expected, rtol=1e-5, atol=1e-6)


_FIT = """
import numpy as np
from sksimclr import SimCLRTransformer
images = np.random.default_rng(0).random((24, 16, 16), dtype=np.float32)
simclr = SimCLRTransformer(image_size=16, max_epochs=2, batch_size=8, random_state=7)
embeddings = simclr.fit_transform(images)
"""
_FIT_ELSEWHERE = f"""
import sys, torch
torch.set_num_threads(1)
{_FIT}
sys.stdout.buffer.write(embeddings.tobytes())
"""


@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_same_bits():
    """Same `random_state`, same threads; this one, and one that did nothing before."""
    here = {}
    exec(_FIT, here)
    command = [sys.executable, "-c", _FIT_ELSEWHERE]
    run = subprocess.run(command, check=True, capture_output=True)
    first, second = here["embeddings"].ravel(), np.frombuffer(run.stdout, np.float32)
    assert first.shape == (24 * 512,) and first.std() > 0
    assert_array_equal(first, second)


def test_random_state_decides(digits):
    """Equal for equal ints, different for others; instances go on."""
    a, b, c = (
        tiny_simclr(random_state=seed).fit_transform(digits[0]) for seed in (3, 3, 4)
    )
    assert_array_equal(a, b)
    assert not np.allclose(a, c)
    instance = np.random.RandomState(3)
    d, e = (
        tiny_simclr(random_state=instance).fit_transform(digits[0]) for _ in range(2)
    )
    assert_array_equal(a, d)
    assert not np.allclose(d, e)


def test_callers_random_state_stays_as_it_was(digits):
    """NumPy's and torch's global generators, for an int; torch's always."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    simclr = tiny_simclr(random_state=0).fit(digits[0])
    simclr.transform(digits[0])
    assert_array_equal(np.random.get_state()[1], numpy_state)
    tiny_simclr(random_state=None).fit(digits[0])
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_dropout_is_seeded_too(digits):
    """Random layers of an encoder draw from `random_state` alone."""
    torch_state = torch.get_rng_state()
    first, second = (
        tiny_simclr(encoder=dropout_encoder).fit_transform(digits[0]) for _ in range(2)
    )
    assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_fits_in_threads_equal_fits_one_after_the_other(digits):
    """No draw comes from a generator that threads share."""
    seeds = range(6)
    expected = [tiny_simclr(random_state=s).fit_transform(digits[0]) for s in seeds]
    results = {}

    def fit(seed):
        results[seed] = tiny_simclr(random_state=seed).fit_transform(digits[0])

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in seeds:
        assert_array_equal(results[seed], expected[seed])


# At home in scikit-learn


def test_files_and_arrays_give_the_same_embeddings(rng, tmp_path):
    """A sequence of paths is as good as an array."""
    images = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    paths = [tmp_path / f"{k:02}.png" for k in range(20)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    assert_array_equal(
        tiny_simclr().fit_transform(paths), tiny_simclr().fit_transform(images)
    )


def test_integers_and_scaled_floats_give_the_same_embeddings(rng):
    """uint8 is scaled on the device, others before."""
    images = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    simclr = tiny_simclr().fit(images)
    assert_allclose(simclr.transform(images), simclr.transform(images / 255), atol=1e-6)


# Bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": 0}, r"'temperature' parameter.*range \(0.0, inf\).*Got 0"),
        ({"temperature": -0.5}, "'temperature' parameter"),
        ({"projection_dim": 0}, "'projection_dim' parameter"),
        ({"image_size": 0}, "'image_size' parameter"),
        ({"image_size": 8.5}, "'image_size' parameter"),
        ({"max_epochs": -1}, "'max_epochs' parameter"),
        ({"batch_size": 1}, "'batch_size' parameter"),
        ({"batch_size": -8}, "'batch_size' parameter"),
        ({"lr": 0}, "'lr' parameter"),
        ({"lr": -1e-3}, "'lr' parameter"),
        ({"weight_decay": -1}, "'weight_decay' parameter"),
        ({"optimizer": "lbfgs"}, "'optimizer' parameter"),
        ({"lr_schedule": "step"}, "'lr_schedule' parameter"),
        ({"stem": "small"}, "'stem' parameter"),
        (
            {"encoder": "resnet19"},
            "torchvision, such as 'resnet18'.*'resnet19'",
        ),
        ({"encoder": image_encoder}, r"must map images.*\(n, d\)"),
        ({"augmentations": "crop"}, "'augmentations' parameter"),
        ({"augmentations": (ResizedCrop,)}, "augmentations.*ResizedCrop"),
        ({"augmentations": ("crop",)}, "augmentations.*'crop'"),
        ({"augmentations": (v2.RandomResizedCrop(8),)}, "augmentations.*aug\\(images"),
        ({"encoder": tiny_encoder(1)}, "a factory.*got a network, Sequential"),
        ({"image_shape": (8.5, 8)}, r"image_shape must be \(H, W\)"),
        ({"device": "gpu"}, "device must be 'auto' or one of.*'gpu'"),
        ({"device": "cuda:77"}, "no device 'cuda:77'"),
        ({"device": "meta"}, "no device 'meta'"),
        ({"random_state": "seed"}, "'random_state' parameter"),
        ({"image_shape": (9, 9)}, r"image_shape=\(9, 9\)"),
    ],
)
def test_bad_parameters(digits, params, message):
    """The error names the parameter, what was expected and what was got."""
    X = digits[0].reshape(60, 64) if "image_shape" in params else digits[0]
    with pytest.raises(ValueError, match=message):
        tiny_simclr(**params).fit(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((4, 8, 8), np.nan), "NaN or infinity.*first in image 0"),
        (np.full((4, 8, 8, 3), np.inf), "NaN or infinity.*first in image 0"),
        (np.zeros((4, 2, 8, 8, 3)), "got an array of shape"),
        (np.zeros((4, 3, 8, 8)), "channels last"),
        (np.zeros((0, 8, 8)), "0 sample"),
        (np.zeros((1, 8, 8)), r"n_samples=1\).*at least 2"),
        ([np.zeros((8, 8)), np.zeros((8, 9))], r"\(8, 9\) in image 1"),
        (["nowhere.png", "nobody.png"], "nowhere.png"),
        ([".", "."], "got a directory"),
        (np.array([{}, {}], dtype=object), "not 'dict'"),
        ([], "X is empty"),
        ("frames.png", "single path"),
    ],
)
def test_bad_images(X, message):
    """The error says what is wrong, and where."""
    for estimator in (tiny_simclr(), AuroraPreprocessor()):
        if isinstance(estimator, AuroraPreprocessor) and "at least 2" in message:
            continue
        with pytest.raises((ValueError, TypeError, OSError), match=message):
            estimator.fit_transform(X)


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_damaged_file_is_named_in_fit_and_transform(content, rng, tmp_path):
    """Empty, not an image, or truncated."""
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    simclr = tiny_simclr().fit(paths)
    paths[2].write_bytes(paths[2].read_bytes()[:-40] if content is None else content)
    for method in (simclr.transform, clone(simclr).fit):
        with pytest.raises(ValueError, match="2.png"):
            method(paths)


def test_other_images_than_in_fit(digits):
    """Another width, or colour instead of grey."""
    simclr = tiny_simclr().fit(digits[0])
    with pytest.raises(ValueError, match=r"\(8, 7\).*fitted on.*\(8, 8\)"):
        simclr.transform(digits[0][:, :, :7])
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*fitted on.*\(8, 8\)"):
        simclr.transform(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="63 features"):
        simclr.transform(np.zeros((2, 63)))


def test_batch_larger_than_the_data_takes_all(digits):
    """One step per epoch, as with a batch of exactly all images."""
    large = tiny_simclr(batch_size=1000).fit_transform(digits[0])
    assert_array_equal(large, tiny_simclr(batch_size=60).fit_transform(digits[0]))


# Real images


@pytest.mark.slow
def test_fashion_mnist_embeddings_beat_the_untrained_encoder(fashion_mnist):
    """A subset, its given test part, a few minutes of training shortened to one."""
    (train, train_labels), (test, test_labels) = fashion_mnist
    train, train_labels = train[:1000], train_labels[:1000]
    test, test_labels = test[:1000], test_labels[:1000]
    scores = {}
    for epochs in (0, 6):
        pipe = make_pipeline(
            SimCLRTransformer(
                image_size=28,
                stem="imagenet",
                augmentations=(ResizedCrop(scale=(0.3, 1.0)), HorizontalFlip()),
                max_epochs=epochs,
                lr=1e-3,
                lr_schedule="cosine",
                random_state=0,
            ),
            LogisticRegression(max_iter=500),
        ).fit(train, train_labels)
        scores[epochs] = pipe.score(test, test_labels)
    assert scores[6] > 0.7
    assert scores[6] > scores[0]
