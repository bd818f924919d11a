"""Encoders on disk: what is written, read back, downloaded and refused."""

import hashlib
import io
import os
import pickle
import re
import sys
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
import safetensors
import safetensors.torch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from random_network import random_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tiny import tiny_encoder, tiny_simclr
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr._machine import download
from sksimclr._networks import weights as _weights

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
)
TINY_NAMES = [
    "encoder.0.weight",
    *(f"encoder.1.{name}" for name in ("weight", "bias", "running_mean")),
    "encoder.1.running_var",
    "encoder.1.num_batches_tracked",
    "projector.0.weight",
    "projector.2.weight",
]


@pytest.fixture
def images(rng):
    """Twenty noisy images of 8 x 8 pixels in [0, 1]."""
    return rng.random((20, 8, 8), dtype=np.float32)


@pytest.fixture
def trained(images):
    """Return a tiny encoder after two epochs, and its embeddings."""
    simclr = tiny_simclr(max_epochs=2, lr=0.01).fit(images)
    return simclr, simclr.transform(images)


def state_of(simclr):
    """Return the weights of a fitted transformer under the names of the file."""
    return OrderedDict(
        (f"{part}.{name}", tensor)
        for part, module in (
            ("encoder", simclr.encoder_),
            ("projector", simclr.projector_),
        )
        for name, tensor in module.state_dict().items()
    )


def assert_same_weights(first, second):
    """Compare two fitted transformers to the bit, projection heads too."""
    first, second = state_of(first), state_of(second)
    assert list(first) == list(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def resnet18(**params):
    """Return a transformer that embeds images of 33 pixels with a ResNet18."""
    defaults = {"image_size": 33, "random_state": 0, "batch_size": 4, "device": "cpu"}
    return SimCLRTransformer(**(defaults | params))


# Written and read


@pytest.mark.parametrize("make", [tiny_simclr, resnet18])
@pytest.mark.parametrize("as_type", [str, Path])
def test_saved_weights_embed_to_the_bit(make, as_type, images, tmp_path):
    """With the same projection head, whatever the random_state; no epoch is run."""
    images = images[:4]
    simclr = make(max_epochs=1, lr=0.01).fit(images)
    path = as_type(tmp_path / "simclr.safetensors")
    simclr.save_weights(path)
    again = make(weights=path, max_epochs=0, random_state=1).fit(images)
    assert_same_weights(again, simclr)
    assert_array_equal(again.transform(images), simclr.transform(images))
    assert again.history_ == [] and again.n_iter_ == 0
    fresh = make(max_epochs=0, random_state=1).fit(images)
    assert not np.allclose(fresh.transform(images), simclr.transform(images))


def test_training_goes_on_from_the_weights(trained, images, tmp_path):
    """Steps of length zero stay there; others leave for elsewhere."""
    simclr, embeddings = trained
    simclr.save_weights(tmp_path / "w")

    def weights_after(**params):
        fitted = tiny_simclr(weights=tmp_path / "w", max_epochs=1, **params).fit(images)
        assert fitted.n_iter_ == 1
        return torch.cat([p.ravel() for p in fitted.encoder_.parameters()])

    start = torch.cat([p.ravel() for p in simclr.encoder_.parameters()])
    torch.testing.assert_close(weights_after(lr=1e-12), start, atol=1e-9, rtol=0)
    gone_on = weights_after(lr=0.01)
    assert 1e-3 < (gone_on - start).abs().max() < 0.1  # two steps of Adam
    from_random = tiny_simclr(max_epochs=1, lr=0.01).fit(images)
    assert not np.allclose(from_random.transform(images), embeddings)


def test_file_is_safetensors_with_names_and_notes(trained, images, tmp_path):
    """What any other program may read."""
    trained[0].save_weights(tmp_path / "w")
    tensors = safetensors.torch.load_file(tmp_path / "w")
    assert sorted(tensors) == sorted(TINY_NAMES)
    for name, tensor in state_of(trained[0]).items():
        assert (
            torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
        )
    with safetensors.safe_open(tmp_path / "w", framework="pt") as file:
        notes = file.metadata()
    assert notes["n_channels"] == "1" and notes["image_size"] == "8"
    assert notes["sksimclr"][0].isdigit()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(trained, tmp_path, monkeypatch, error):
    """Neither half a file nor a partial one beside it."""
    path = tmp_path / "w"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr("os.fsync", fail)
        trained[0].save_weights(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("w", b"old")]
    os.link(path, tmp_path / "link")
    trained[0].save_weights(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "w"]
    assert (tmp_path / "link").read_bytes() == b"old"  # replaced, not overwritten
    assert len(path.read_bytes()) > 500


def test_paths_that_cannot_be_written(trained, tmp_path):
    """A missing folder, and a folder, are OSErrors that leave nothing behind."""
    for path in (tmp_path / "nowhere" / "w", tmp_path):
        with pytest.raises(OSError):
            trained[0].save_weights(path)
    assert list(tmp_path.iterdir()) == [] == list(tmp_path.parent.glob("*.part"))
    with pytest.raises(NotFittedError):
        tiny_simclr().save_weights(tmp_path / "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_state_dicts_work(trained, images, tmp_path, zipped):
    """torch.save of the same names, in its present and in its old format."""
    simclr, embeddings = trained
    path = tmp_path / "w.pt"
    torch.save(state_of(simclr), path, _use_new_zipfile_serialization=zipped)
    again = tiny_simclr(weights=path, max_epochs=0, random_state=1).fit(images)
    assert_same_weights(again, simclr)
    assert_array_equal(again.transform(images), embeddings)


def test_old_files_without_batch_counters_work(trained, images, tmp_path):
    """As torch itself reads files from before there was num_batches_tracked."""
    state = state_of(trained[0])
    del state["encoder.1.num_batches_tracked"]
    torch.save(state, tmp_path / "w")
    again = tiny_simclr(weights=tmp_path / "w", max_epochs=0)
    assert_array_equal(again.fit_transform(images), trained[1])


def test_without_a_projector_the_head_is_the_random_one(trained, images, tmp_path):
    """Of `random_state`, as without weights."""
    state = {n: t for n, t in state_of(trained[0]).items() if n.startswith("encoder")}
    torch.save(state, tmp_path / "w")
    again = tiny_simclr(weights=tmp_path / "w", max_epochs=0, random_state=5)
    assert_array_equal(again.fit_transform(images), trained[1])
    fresh = tiny_simclr(max_epochs=0, random_state=5).fit(images)
    assert torch.equal(again.projector_[0].weight, fresh.projector_[0].weight)


@pytest.mark.parametrize("as_type", [str, Path])
def test_clone_and_pickle_keep_the_parameter(trained, images, tmp_path, as_type):
    """A pickle of a fitted one needs the file no more; a clone does."""
    trained[0].save_weights(tmp_path / "w")
    path = as_type(tmp_path / "w")
    simclr = tiny_simclr(weights=path, max_epochs=0).fit(images)
    copied, cloned = pickle.loads(pickle.dumps(simclr)), clone(simclr)
    assert cloned.get_params()["weights"] == copied.weights == path
    assert_array_equal(cloned.fit_transform(images), trained[1])
    (tmp_path / "w").unlink()
    assert_array_equal(copied.transform(images), trained[1])
    with pytest.raises(FileNotFoundError):
        cloned.fit(images)


# Aurora-FM


@pytest.fixture(scope="module")
def aurora_network():
    """Return torchvision's three-channel ResNet18 without its classifier."""
    network = random_network("resnet18")
    network.fc = nn.Identity()
    return network


@pytest.fixture(scope="module")
def aurora_bytes(aurora_network):
    """Return a checkpoint with the names and shapes of Aurora-FM, random numbers."""
    state = OrderedDict(
        (f"encoder.{name}", tensor)
        for name, tensor in aurora_network.state_dict().items()
    )
    draws = torch.Generator().manual_seed(1)
    state["projector.0.weight"] = torch.randn(512, 512, generator=draws)
    state["projector.2.weight"] = torch.randn(64, 512, generator=draws)
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture
def aurora_file(aurora_bytes, tmp_path):
    """Return the path of that checkpoint."""
    path = tmp_path / "checkpoint.tar"
    path.write_bytes(aurora_bytes)
    return path


@pytest.fixture
def frames(rng):
    """Three grey frames of 40 x 40 pixels in [0, 1]."""
    return rng.random((3, 40, 40), dtype=np.float32)


def in_channel(frames, channel):
    """Return grey frames as one channel of colour images, the others dark."""
    colour = np.zeros((*frames.shape, 3), np.float32)
    colour[..., channel] = frames
    return colour


def from_file(weights, **params):
    """Return a ResNet18 with a 7 x 7 stem that embeds 40 x 40 pixels as it is."""
    defaults = {"image_size": 40, "max_epochs": 0, "random_state": 0, "device": "cpu"}
    return SimCLRTransformer(weights=weights, **(defaults | params))


def test_grey_frames_through_aurora_fm_are_green_ones(
    aurora_file, aurora_network, frames
):
    """One channel of weights equals three with R = B = 0, which torch computes."""
    green = torch.from_numpy(in_channel(frames, 1)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = aurora_network(green).numpy()
    grey = from_file(aurora_file).fit(frames)
    assert grey.encoder_.conv1.in_channels == 1
    assert_allclose(grey.transform(frames), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    colour = from_file(aurora_file).fit(in_channel(frames, 1))
    assert colour.encoder_.conv1.in_channels == 3
    colour_of = {c: colour.transform(in_channel(frames, c)) for c in range(3)}
    assert_allclose(colour_of[1], expected, rtol=1e-4, atol=1e-4)
    for channel in (0, 2):  # the comparison tells the channels apart
        assert not np.allclose(colour_of[channel], expected, atol=1e-2)


def test_aurora_fm_brings_its_projection_head(aurora_file, aurora_bytes, frames):
    """512 -> 512 -> 64, to train further from."""
    simclr = from_file(aurora_file).fit(frames)
    state = torch.load(io.BytesIO(aurora_bytes), weights_only=True)
    assert torch.equal(simclr.projector_[0].weight, state["projector.0.weight"])
    assert torch.equal(simclr.projector_[2].weight, state["projector.2.weight"])


class AuroraServer(ThreadingHTTPServer):
    """Serve bytes on 127.0.0.1, and count how often."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.n_requests = data, 0


class Handler(BaseHTTPRequestHandler):
    """Send the server's bytes whatever is asked for."""

    def do_GET(self):
        """Send them."""
        self.server.n_requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the data home of this test, which does not exist yet."""
    folder = tmp_path / "data" / "home"
    monkeypatch.setenv("SKSIMCLR_DATA", str(folder))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    return folder


@pytest.fixture
def serve(home, aurora_bytes, monkeypatch):
    """Return a function that serves bytes instead of the published checkpoint."""
    servers = []
    sha256 = hashlib.sha256(aurora_bytes).hexdigest()
    monkeypatch.setattr(_weights, "_AURORA_FM_SHA256", sha256)

    def start(data):
        servers.append(AuroraServer(data))
        url = f"http://127.0.0.1:{servers[-1].server_port}/{_weights.AURORA_FM_FILE}"
        monkeypatch.setattr(_weights, "AURORA_FM_URL", url)
        serving = {"target": servers[-1].serve_forever, "args": (0.01,)}
        threading.Thread(**serving, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_aurora_fm_is_the_published_file(home, monkeypatch):
    """Its address and SHA-256 reach pooch, and its name the data home."""
    asked = {}

    def retrieve(url, known_hash, fname, path, **kwargs):
        asked.update(url=url, known_hash=known_hash, path=Path(path) / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    path = _weights.find_weights("aurora-fm")
    assert asked == {
        "url": "https://huggingface.co/Jwjohnson314/Aurora-FM/resolve/main/"
        "aurora-fm-no-finetune.tar",
        "known_hash": "sha256:"
        "f9c97e906bee7a34f0727377f8b3194086080fa9573390db44daab4ce2c64e33",
        "path": home / "aurora-fm-no-finetune.tar",
    }
    assert path == asked["path"]


def test_aurora_fm_is_downloaded_once(serve, home, aurora_bytes, aurora_file, frames):
    """Into the data home, from where it is read ever after."""
    server = serve(aurora_bytes)
    expected = from_file(aurora_file).fit_transform(frames)
    for _ in range(2):
        assert_array_equal(from_file("aurora-fm").fit_transform(frames), expected)
    assert server.n_requests == 1
    assert [path.name for path in home.iterdir()] == [_weights.AURORA_FM_FILE]


def test_aurora_fm_that_is_there_needs_no_network(
    serve, home, aurora_bytes, aurora_file, frames, monkeypatch
):
    """A file put into the data home by hand is used."""
    serve(b"")
    home.mkdir(parents=True)
    (home / "aurora-fm-no-finetune.tar").write_bytes(aurora_bytes)

    def no_network(*args, **kwargs):
        raise AssertionError("asked the network")

    monkeypatch.setattr(requests, "get", no_network)
    expected = from_file(aurora_file).fit_transform(frames)
    assert_array_equal(from_file("aurora-fm").fit_transform(frames), expected)


def test_aurora_fm_with_another_hash_is_refused(serve, home, frames):
    """The error says how to get the right one, and nothing stays in the data home."""
    serve(b"something else")
    with pytest.raises(OSError) as caught:
        from_file("aurora-fm").fit(frames)
    message = str(caught.value)
    by_hand = (
        f"by hand, download {_weights.AURORA_FM_URL} and put it into {str(home)!r}"
    )
    assert by_hand in message
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert list(home.iterdir()) == []


def test_a_wrong_aurora_fm_in_the_data_home_is_replaced(serve, home, aurora_bytes):
    """By the right one; if that cannot be had, it is not used."""
    serve(b"wrong again")
    home.mkdir(parents=True)
    path = home / _weights.AURORA_FM_FILE
    path.write_bytes(b"damaged")
    with pytest.raises(OSError, match="hash"):
        _weights.find_weights("aurora-fm")
    serve(aurora_bytes)
    assert _weights.find_weights("aurora-fm") == path
    assert path.read_bytes() == aurora_bytes


@pytest.mark.filterwarnings("ignore:Download of")
def test_without_a_network_the_error_says_what_to_do(home, frames, monkeypatch):
    """The address, and the folder to put the file into."""
    url = "http://127.0.0.1:9/aurora-fm-no-finetune.tar"  # nobody listens
    monkeypatch.setattr(_weights, "AURORA_FM_URL", url)
    with pytest.raises(OSError) as caught:
        from_file("aurora-fm").fit(frames)
    message = str(caught.value)
    assert message.startswith("weights='aurora-fm': Could not download")
    assert f"download {url} and put it into {str(home)!r}" in message


class Malicious:
    """Run code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("dump", [torch.save, lambda obj, path: path.write_bytes(obj)])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_file_is_not_run(dump, images, tmp_path):
    """A pickle is read without what could run code, and refused by name."""
    marker, path = tmp_path / "was-run", tmp_path / "evil.pt"
    content = {"encoder.0.weight": Malicious(marker)}
    dump(content if dump is torch.save else pickle.dumps(content, 2), path)
    with pytest.raises(ValueError, match=r"evil\.pt.*nothing but tensors") as caught:
        tiny_simclr(weights=path).fit(images)
    assert not marker.exists()
    assert "weights_only" not in str(caught.value)  # no advice to run it
    if dump is torch.save:
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert marker.exists()  # it would have


# What is refused


def test_missing_files(images, tmp_path):
    """Nothing there, or a folder; the error says what may be given."""
    for path in (tmp_path / "nowhere.safetensors", tmp_path, "~nobody-here/w"):
        with pytest.raises(
            FileNotFoundError, match=r"no file of weights.*save_weights.*'aurora-fm'"
        ):
            tiny_simclr(weights=path).fit(images)


def damaged(name, trained, path):
    """Write a file of weights that is damaged in the way so called."""
    trained[0].save_weights(path)
    whole = path.read_bytes()
    saved = io.BytesIO()
    torch.save(state_of(trained[0]), saved)
    old = io.BytesIO()
    torch.save(state_of(trained[0]), old, _use_new_zipfile_serialization=False)
    contents = {
        "safetensors cut off": whole[:-10],
        "safetensors cut in the header": whole[:20],
        "safetensors with a broken header": whole[:9] + b"#" * 20 + whole[29:],
        "torch cut off": saved.getvalue()[:-100],
        "old torch cut off": old.getvalue()[:300],
        "text": b"hello, these are no weights\n" * 20,
        "zeros": bytes(1000),
        "empty": b"",
    }
    path.write_bytes(contents[name])


@pytest.mark.parametrize(
    "name",
    [
        "safetensors cut off",
        "safetensors cut in the header",
        "safetensors with a broken header",
        "torch cut off",
        "old torch cut off",
        "text",
        "zeros",
        "empty",
    ],
)
def test_damaged_files(name, trained, images, tmp_path):
    """Of either format, or of none: a ValueError that names the file."""
    damaged(name, trained, tmp_path / "w.bin")
    with pytest.raises(ValueError, match=r"Cannot read '.*w\.bin': expected safetens"):
        tiny_simclr(weights=tmp_path / "w.bin").fit(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"state_dict": s}, r"a dictionary with \['state_dict'\].*alone"),
        (lambda s: {"epoch": 3} | s, r"a dictionary with \['epoch', 'encoder.0.we"),
        (lambda s: list(s.values()), "an object of type list"),
        (lambda s: {0: torch.zeros(1)}, r"a dictionary with \['0'\]"),
        (
            lambda s: {name.partition(".")[2]: t for name, t in s.items()},
            r"named encoder\.\* and projector\.\*, .* got '0\.weight'",
        ),
        (lambda s: {"module." + name: t for name, t in s.items()}, "got 'module.enc"),
        (lambda s: {}, "'0.weight' is only in the network"),
        (
            lambda s: {n: t for n, t in s.items() if n != "encoder.1.bias"},
            "encoder weights .*'1.bias' is only in the network",
        ),
        (
            lambda s: s | {"encoder.9.bias": torch.zeros(1)},
            "encoder weights .*'9.bias' is only in the file",
        ),
        (
            lambda s: s | {"projector.2.bias": torch.zeros(1)},
            "projector weights .*'2.bias' is only in the file",
        ),
        (
            lambda s: s | {"encoder.0.weight": torch.zeros(8, 2, 3, 3)},
            r"expected \(8, 1, 3, 3\) for '0.weight', got \(8, 2, 3, 3\).*channels",
        ),
    ],
)
def test_files_of_something_else(change, message, trained, images, tmp_path):
    """The error says what was expected and what was found."""
    torch.save(change(state_of(trained[0])), tmp_path / "w")
    with pytest.raises(ValueError, match=message):
        tiny_simclr(weights=tmp_path / "w").fit(images)


@pytest.mark.parametrize(("saved", "asked"), [(3, 1), (1, 3), (4, 3)])
def test_channels_of_our_own_files_must_fit(saved, asked, rng, tmp_path):
    """They are never cut down to one, as those of Aurora-FM are."""
    tiny_simclr().fit(rng.random((4, 8, 8, saved))).save_weights(tmp_path / "w")
    with pytest.raises(
        ValueError, match=rf"with {saved} channel\(s\), but X has images with {asked}"
    ):
        tiny_simclr(weights=tmp_path / "w").fit(rng.random((4, 8, 8, asked)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_size": 32}, r"\(64, 1, 3, 3\) for 'conv1.weight', got .*7\).*stem"),
        ({"stem": "cifar"}, r"\(64, 1, 3, 3\) for 'conv1.weight', got .*7\).*stem"),
        ({"projection_dim": 32}, r"projector .*\(32, 512\).*\(64, 512\).*projection_d"),
        ({"encoder": "resnet34"}, r"'layer1.2.conv1.weight' is only in the network"),
        ({"encoder": tiny_encoder}, r"'0.weight' is only in the network"),
    ],
)
def test_weights_of_another_network(params, message, aurora_file, frames):
    """The first name or shape that differs is named, with what to check."""
    with pytest.raises(ValueError, match=message):
        from_file(aurora_file, **params).fit(frames)


def test_without_safetensors(trained, images, tmp_path, monkeypatch):
    """Both ways say what to install; a state dict of torch needs none."""
    trained[0].save_weights(tmp_path / "w")
    torch.save(state_of(trained[0]), tmp_path / "w.pt")
    for name in [name for name in sys.modules if name.startswith("safetensors")]:
        monkeypatch.setitem(sys.modules, name, None)
    install = re.escape('pip install "sksimclr[weights]"')
    with pytest.raises(ImportError, match=install):
        trained[0].save_weights(tmp_path / "other")
    with pytest.raises(ImportError, match=install):
        tiny_simclr(weights=tmp_path / "w").fit(images)
    assert not (tmp_path / "other").exists()
    again = tiny_simclr(weights=tmp_path / "w.pt", max_epochs=0)
    assert_array_equal(again.fit_transform(images), trained[1])


def test_weights_that_fail_keep_the_old_fit(trained, images, tmp_path):
    """As every other parameter."""
    simclr, expected = trained
    with pytest.raises(FileNotFoundError):
        simclr.set_params(weights=tmp_path / "nowhere").fit(images)
    assert_array_equal(simclr.transform(images), expected)
    with pytest.raises(ValueError, match="'weights' parameter"):
        simclr.set_params(weights=3).fit(images)
