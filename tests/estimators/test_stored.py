"""Fitted estimators on disk: pickle, joblib, skops, ONNX, and files of old versions."""

import copy
import importlib.util
import json
import pickle
import re
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
import skops.io
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops.io.exceptions import UntrustedTypesFoundException
from tiny import flat_encoder, tiny_encoder, tiny_pretrained, tiny_simclr
from torch import nn

import sksimclr
from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
    ),
    pytest.mark.usefixtures("one_thread"),
]
TESTS = Path(__file__).parents[1]
SAVING = TESTS.parent / "docs" / "user_guide" / "saving.rst"
TRUSTED = [AuroraPreprocessor, SimCLRTransformer, ResizedCrop, VerticalFlip]
TRUSTED_NAMES = [  # as the user guide lists them
    "sksimclr.AuroraPreprocessor",
    "sksimclr.SimCLRTransformer",
    "sksimclr.augmentations.ResizedCrop",
    "sksimclr.augmentations.VerticalFlip",
]
PARTIAL = "_state"  # what partial_fit goes on from
SETS = sorted(path.parent for path in (TESTS / "data").glob("*/versions.json"))


@pytest.fixture(scope="module")
def images():
    """Twenty noisy images of 8 x 8 pixels in [0, 1]."""
    return np.random.default_rng(0).random((20, 8, 8), dtype=np.float32)


def fitted_pipeline(images, **params):
    """Return the pipeline of the README, tiny unless `params` say otherwise."""
    pipe = make_pipeline(
        AuroraPreprocessor(), tiny_simclr(**params), LogisticRegression()
    )
    return pipe.fit(images, np.arange(len(images)) % 2)


@pytest.fixture(scope="module")
def resnet_pipe(images):
    """Return a fitted pipeline with a ResNet18, and what it gives."""
    pipe = fitted_pipeline(images, encoder="resnet18")
    return pipe, pipe[:-1].transform(images), pipe.predict_proba(images)


@pytest.fixture(scope="module")
def resnet_files(resnet_pipe, tmp_path_factory):
    """Return the folder of the ResNet18 and of its pipeline in every format."""
    folder = tmp_path_factory.mktemp("files")
    for stem, estimator in (("pipe", resnet_pipe[0]), ("simclr", resnet_pipe[0][1])):
        (folder / f"{stem}.pkl").write_bytes(pickle.dumps(estimator))
        joblib.dump(estimator, folder / f"{stem}.joblib")
        skops.io.dump(estimator, folder / f"{stem}.skops")
    return folder


def trips(estimator, tmp_path):
    """Return copies by way of pickle, joblib, joblib memory-mapped, and deepcopy."""
    joblib.dump(estimator, tmp_path / "e.joblib")
    yield pickle.loads(pickle.dumps(estimator))
    yield joblib.load(tmp_path / "e.joblib")
    yield joblib.load(tmp_path / "e.joblib", mmap_mode="r")
    yield copy.deepcopy(estimator)


def through_skops(estimator, *more_trusted):
    """Return what skops makes of an estimator."""
    return skops.io.loads(skops.io.dumps(estimator), trusted=[*TRUSTED, *more_trusted])


def tensors_of(simclr):
    """Return all tensors of the networks of a fitted transformer, with names."""
    return {
        f"{part}.{name}": tensor
        for part in ("encoder_", "projector_")
        for name, tensor in getattr(simclr, part).state_dict().items()
    }


def assert_equal_networks(first, second):
    """Compare two fitted transformers to the bit, and their modes."""
    first_tensors, second_tensors = tensors_of(first), tensors_of(second)
    assert list(first_tensors) == list(second_tensors)
    for name, tensor in first_tensors.items():
        assert torch.equal(tensor, second_tensors[name]), name
    assert not second.encoder_.training and not second.projector_.training


# pickle and joblib


def test_pickle_joblib_and_deepcopy_keep_the_bits(images, tmp_path):
    """Of everything that was learnt; and the fitted estimator holds no optimizer."""
    simclr = tiny_simclr(max_epochs=2).fit(images)
    expected = simclr.transform(images)
    for copied in trips(simclr, tmp_path):
        assert_array_equal(copied.transform(images), expected)
        assert_equal_networks(simclr, copied)
        assert copied.history_ == simclr.history_
        assert set(vars(copied)) == set(vars(simclr))
    assert len(pickle.dumps(simclr)) < 20_000


def test_baselines_keep_the_bits(images, tmp_path):
    """Those that are only fitted to a shape; FineTunedClassifier has its own test."""
    frozen = tiny_pretrained().fit(images)
    expected = frozen.transform(images)
    for copied in trips(frozen, tmp_path):
        assert_array_equal(copied.transform(images), expected)


def test_copies_call_no_factory(images, tmp_path):
    """One that downloads weights, say; but skops must."""
    simclr = tiny_simclr(encoder=counted_encoder).fit(images)
    n_calls = counted_encoder.n_calls = 0
    for copied in trips(simclr, tmp_path):
        copied.transform(images)
        assert counted_encoder.n_calls == n_calls
    through_skops(simclr, counted_encoder)
    assert counted_encoder.n_calls == 1


def counted_encoder(n_channels):
    """Return a tiny encoder, and count that."""
    counted_encoder.n_calls += 1
    return tiny_encoder(n_channels)


counted_encoder.n_calls = 0


class WithLock(SimCLRTransformer):
    """A subclass that leaves out what cannot be pickled, as subclasses do."""

    def __getstate__(self):
        """Return the attributes but for the lock."""
        return {k: v for k, v in super().__getstate__().items() if k != "lock_"}


def test_subclass_decides_what_is_in_its_copies(images, tmp_path):
    """By its `__getstate__`; networks and the state of partial_fit are kept."""
    simclr = WithLock(**tiny_simclr().get_params()).partial_fit(images)
    simclr.lock_, more = threading.Lock(), (WithLock, tiny_encoder)
    for copied in (*trips(simclr, tmp_path), through_skops(simclr, *more)):
        assert type(copied) is WithLock and not hasattr(copied, "lock_")
        assert_equal_networks(simclr, copied)
    assert hasattr(simclr, "lock_")
    expected = pickle.loads(pickle.dumps(simclr)).partial_fit(images)
    assert_equal_networks(simclr.partial_fit(images), expected)


def test_files_of_a_resnet18_have_its_weights_once(resnet_pipe, resnet_files):
    """Some 45 MB: no optimizer, no gradients, no second copy; all on the CPU."""
    n_bytes = sum(tensor.nbytes for tensor in tensors_of(resnet_pipe[0][1]).values())
    assert 45.8e6 < n_bytes < 46e6
    for path in sorted(resnet_files.iterdir()):
        assert 44e6 < path.stat().st_size < 47e6, path.name
        assert n_bytes < path.stat().st_size < n_bytes + 250_000, path.name
    data = (resnet_files / "pipe.pkl").read_bytes()
    assert b"cuda" not in data and b"exp_avg" not in data  # the state of Adam
    simclr = pickle.loads(data)[1]
    for name, tensor in tensors_of(simclr).items():
        assert tensor.device.type == "cpu", name
    for network in (simclr.encoder_, simclr.projector_):
        assert all(p.grad is None for p in network.parameters())


def test_networks_go_to_the_cpu_when_training_is_over(images, monkeypatch):
    """Wherever they were trained."""
    moved, to_cpu = [], nn.Module.cpu

    def noted(module):
        moved.append((module, module.training))
        return to_cpu(module)

    monkeypatch.setattr(nn.Module, "cpu", noted)
    for method in ("fit", "partial_fit"):
        moved.clear()
        simclr = getattr(tiny_simclr(), method)(images)
        assert (simclr.encoder_, True) in moved, method
        assert (simclr.projector_, True) in moved, method


_CHILD = """
import pickle, sys
from pathlib import Path
import joblib, numpy as np, skops.io, torch
from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.augmentations import ResizedCrop, VerticalFlip
assert not torch.cuda.is_available()
torch.set_num_threads(1)
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
trusted = [AuroraPreprocessor, SimCLRTransformer, ResizedCrop, VerticalFlip]
for name, pipe in {
    "pickle": pickle.loads((folder / "pipe.pkl").read_bytes()),
    "joblib": joblib.load(folder / "pipe.joblib"),
    "mmap": joblib.load(folder / "pipe.joblib", mmap_mode="r"),
    "skops": skops.io.load(folder / "pipe.skops", trusted=trusted),
}.items():
    pipe[1].set_params(device="cuda")
    try:
        pipe.predict(images)
    except ValueError as error:
        assert "set_params(device='auto')" in str(error), error
    else:
        raise AssertionError("a GPU was used that is not there")
    pipe[1].set_params(device="auto")
    np.save(folder / f"{name}.npy", pipe[:-1].transform(images))
    np.save(folder / f"{name}_proba.npy", pipe.predict_proba(images))
"""


def test_another_process_without_a_gpu_gives_the_same_bits(
    images, resnet_pipe, resnet_files, monkeypatch, tmp_path
):
    """And says what to do about a device that it does not have."""
    for path in resnet_files.glob("pipe.*"):
        (tmp_path / path.name).symlink_to(path)
    np.save(tmp_path / "images.npy", images)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    subprocess.run([sys.executable, "-c", _CHILD, tmp_path], check=True)
    for name in ("pickle", "joblib", "mmap", "skops"):
        assert_array_equal(np.load(tmp_path / f"{name}.npy"), resnet_pipe[1])
        assert_array_equal(np.load(tmp_path / f"{name}_proba.npy"), resnet_pipe[2])


@pytest.mark.gpu
def test_files_made_on_a_gpu_do_not_know_it(images):
    """So that they load where there is none."""
    simclr = tiny_simclr(device="cuda").partial_fit(images)
    for data in (pickle.dumps(simclr), skops.io.dumps(simclr)):
        assert b"cuda:" not in data
    assert through_skops(simclr, tiny_encoder).encoder_[0].weight.device.type == "cpu"


# skops


def test_trusted_types_are_those_of_the_user_guide(images, resnet_files):
    """None more: neither layers nor tensors; of a factory, its name."""
    assert (
        skops.io.get_untrusted_types(file=resnet_files / "pipe.skops") == TRUSTED_NAMES
    )
    data = skops.io.dumps(fitted_pipeline(images))
    assert skops.io.get_untrusted_types(data=data) == [
        *TRUSTED_NAMES,
        "tiny.tiny_encoder",
    ]
    with pytest.raises(UntrustedTypesFoundException, match="SimCLRTransformer"):
        skops.io.loads(data)
    with pytest.raises(UntrustedTypesFoundException, match="tiny_encoder"):
        skops.io.loads(data, trusted=TRUSTED)
    text = SAVING.read_text()
    for name in TRUSTED_NAMES:
        assert f"'{name}'" in text


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"encoder": "resnet18"},
        {"encoder": "resnet18", "stem": "imagenet", "projection_dim": 5},
        {"encoder": flat_encoder, "optimizer": "sgd", "lr_schedule": "cosine"},
        {"random_state": np.random.RandomState(0)},
    ],
    ids=["tiny", "resnet18", "imagenet", "flat", "RandomState"],
)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_skops_keeps_the_bits(params, n_channels):
    """Of embeddings, labels, weights, history and parameters."""
    rng = np.random.default_rng(0)
    images = rng.random((20, 8, 8, n_channels), dtype=np.float32)
    simclr = tiny_simclr(**params)
    pipe = make_pipeline(simclr, LogisticRegression())
    pipe.fit(images, np.arange(20) % 2)
    again = through_skops(pipe, tiny_encoder, flat_encoder)
    assert_array_equal(again.predict_proba(images), pipe.predict_proba(images))
    assert_equal_networks(pipe[0], again[0])
    assert again[0].history_ == simclr.history_
    assert set(vars(again[0])) == set(vars(simclr))
    params, again_params = simclr.get_params(), again[0].get_params()
    for found in (params, again_params):
        if not isinstance(found["random_state"], int):
            found["random_state"] = found["random_state"].get_state()[1].tolist()
    assert again_params == params
    names = again[:-1].get_feature_names_out()
    assert_array_equal(names, pipe[:-1].get_feature_names_out())


def test_skops_stores_other_meta_estimators_and_unfitted_ones(images):
    """A frozen encoder before a clustering; and what was not fitted."""
    frozen = FrozenEstimator(tiny_simclr().fit(images))
    pipe = make_pipeline(frozen, KMeans(2, n_init=1, random_state=0)).fit(images)
    again = through_skops(pipe, tiny_encoder)
    assert_array_equal(again.predict(images), pipe.predict(images))
    unfitted = through_skops(tiny_simclr(), tiny_encoder)
    assert not hasattr(unfitted, "encoder_")
    assert_equal_networks(
        unfitted.fit(images), tiny_simclr().fit(images)
    )  # the same draws


def test_skops_makes_the_network_that_was_fitted(images):
    """Whatever the parameters are by now; torch's random state stays as it is."""
    small = {"image_size": 8, "max_epochs": 1, "random_state": 0, "device": "cpu"}
    simclr = SimCLRTransformer(**small).fit(images)  # with the stem for CIFAR
    expected = simclr.transform(images)
    simclr.set_params(encoder="resnet34", image_size=64, projection_dim=3)
    before = torch.random.get_rng_state()
    again = through_skops(simclr)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_array_equal(again.transform(images), expected)
    assert again.get_params() == simclr.get_params()


class Waves(nn.Module):
    """Cosines of random sums of pixels, which no state dict has, and a layer."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(64, 16)
        self.register_buffer("weight", weight, persistent=False)
        self.layer = nn.LazyLinear(8)  # knows its size after the first batch

    def forward(self, pixels):
        """Return 8 features."""
        return self.layer((pixels.flatten(1) @ self.weight).cos())


def waves_encoder(n_channels):
    """Return a new one."""
    return Waves()


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_skops_calls_the_factory_as_fit_did(images):
    """With the same random draws, and an empty batch for layers that wait for one."""
    simclr = tiny_simclr(encoder=waves_encoder, random_state=3).fit(images)
    again = through_skops(simclr, waves_encoder)
    assert_array_equal(again.transform(images), simclr.transform(images))


def test_a_factory_that_has_changed_is_named(images, monkeypatch):
    """When a file is loaded, weights must fit what it returns by now."""
    data = skops.io.dumps(tiny_simclr().fit(images))
    monkeypatch.setattr("tiny.tiny_encoder", flat_encoder)
    with pytest.raises(
        ValueError, match="weights of encoder_ do not fit: .*'1.weight'"
    ):
        skops.io.loads(data, trusted=[*TRUSTED, tiny_encoder])


def test_skops_leaves_the_state_of_partial_fit_out(images):
    """A pickle goes on to the bit; a skops file, with a new optimizer."""
    simclr = tiny_simclr(lr=0.01).partial_fit(images)
    pickled, stored = (
        pickle.loads(pickle.dumps(simclr)),
        through_skops(simclr, tiny_encoder),
    )
    assert_equal_networks(simclr, stored)
    assert hasattr(pickled, PARTIAL) and not hasattr(stored, PARTIAL)
    expected = copy.deepcopy(simclr).partial_fit(images)
    assert_equal_networks(pickled.partial_fit(images), expected)
    delattr(simclr, PARTIAL)
    assert_equal_networks(stored.partial_fit(images), simclr.partial_fit(images))
    assert not torch.equal(stored.encoder_[0].weight, expected.encoder_[0].weight)


# ONNX


def lines_of_the_user_guide(first_words):
    """Return the block of code of the page "Saving and loading" that begins so."""
    blocks = re.findall(
        r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", SAVING.read_text(), re.M
    )
    (block,) = [
        block for block in blocks if block.lstrip("\n ").startswith(first_words)
    ]
    return "\n".join(line[3:] for line in block.splitlines())


def skip_if_torch_cannot_export():
    """Skip where a package is missing, or does not go with the others."""
    for name in ("onnxscript", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    torch_is_old = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9)
    if torch_is_old and int(version("protobuf").split(".")[0]) >= 7:
        pytest.skip("old exporters of torch need protobuf<7, see the user guide")


READ_OUT = {"width": 16, "features": "stages", "symmetry": "square"}


@pytest.mark.parametrize(
    ("encoder", "size", "params"),
    [
        ("resnet18", 16, {}),
        ("resnet18", 16, READ_OUT),
        (tiny_encoder, 8, {}),
        (tiny_encoder, 16, {"symmetry": "vertical"}),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_runtime_embeds_as_transform_does(
    encoder, size, params, tmp_path, monkeypatch
):
    """By the lines of the user guide, for frames of that and of another size."""
    skip_if_torch_cannot_export()
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 65536, (9, 16, 16), dtype=np.uint16)
    simclr = tiny_simclr(encoder=encoder, image_size=size, **params).fit(frames)
    names = {"simclr": simclr, "image_size": size, "n_channels": 1, "X": frames}
    exec(lines_of_the_user_guide("import torch"), names)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]
    exec(lines_of_the_user_guide("import onnxruntime"), names)
    expected = simclr.transform(frames)
    tolerance = {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    assert names["embeddings"].dtype == np.float32
    assert_allclose(names["embeddings"], expected, **tolerance)
    for n in (1, 2, 7):  # it was exported with two
        (found,) = names["session"].run(None, {"pixels": names["pixels"][:n]})
        assert_allclose(found, expected[:n], **tolerance)


# Files of this and of earlier versions


def loaded(path):
    """Return the estimator in a file of one of three formats."""
    if path.suffix == ".skops":
        return skops.io.load(path, trusted=[*TRUSTED, tiny_encoder])
    if path.suffix == ".joblib":
        return joblib.load(path)
    return pickle.loads(path.read_bytes())


def assert_gives(embeddings, folder):
    """Compare embeddings with those of the version that wrote the files."""
    expected = np.load(folder / "embeddings.npy")
    assert embeddings.dtype == np.float32
    assert_allclose(embeddings, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_weights_of_every_version_load(folder):
    """With any version of scikit-learn, torch and NumPy."""
    images = AuroraPreprocessor().fit_transform(np.load(folder / "images.npy"))
    path = folder / "simclr.safetensors"
    again = tiny_simclr(weights=path, max_epochs=0, random_state=1).fit(images)
    assert_gives(again.transform(images), folder)


@pytest.mark.parametrize("name", ["simclr.skops", "simclr.pkl", "simclr.joblib"])
@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_transformers_of_every_version_load(folder, name):
    """With any version of scikit-learn and NumPy; and they can be fitted again."""
    images = AuroraPreprocessor().fit_transform(np.load(folder / "images.npy"))
    simclr = loaded(folder / name)
    assert_gives(simclr.transform(images), folder)
    assert simclr.n_iter_ == len(simclr.history_) == 3
    assert clone(simclr).fit(images).transform(images).shape == (12, 8)


@pytest.mark.parametrize("name", ["pipeline.skops", "pipeline.pkl", "pipeline.joblib"])
@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_pipelines_of_every_version_load(folder, name):
    """With the minor version of scikit-learn that wrote them."""
    written_with = json.loads((folder / "versions.json").read_text())["scikit-learn"]
    if written_with.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        pytest.skip(
            f"written with scikit-learn {written_with}: estimators of scikit-learn are "
            "only promised to load in the same minor version"
        )
    pipe, images = loaded(folder / name), np.load(folder / "images.npy")
    assert_gives(pipe[:-1].transform(images), folder)
    expected = np.load(folder / "probabilities.npy")
    assert_allclose(pipe.predict_proba(images), expected, atol=1e-4)


@pytest.fixture(scope="module")
def write():
    """Return the module tests/data/write.py."""
    spec = importlib.util.spec_from_file_location("write", TESTS / "data" / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_release_has_its_files(write):
    """Also the one that is about to be made: step 2 of the list of a release."""
    assert SETS
    if re.fullmatch(r"[0-9.]+", sksimclr.__version__):  # neither .dev0 nor unknown
        notes = write.folder_of(sksimclr.__version__) / "versions.json"
        assert json.loads(notes.read_text())["sksimclr"] == sksimclr.__version__


def test_files_are_written_whole_and_those_of_releases_once(write, tmp_path):
    """All that the tests above read; what a development version wrote is replaced."""
    folder = tmp_path / "1.0"
    write.write_files(folder)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in SETS[-1].iterdir()
    }
    images = np.load(folder / "images.npy")
    for name in ("pipeline.skops", "pipeline.pkl", "pipeline.joblib"):
        assert_gives(loaded(folder / name)[:-1].transform(images), folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
    write.check_not_released(folder)
    notes = json.loads((folder / "versions.json").read_text()) | {"sksimclr": "1.0"}
    (folder / "versions.json").write_text(json.dumps(notes))
    with pytest.raises(FileExistsError, match="never written again"):
        write.write_files(folder)
