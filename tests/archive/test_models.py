"""Models in files: what is stored, what is trusted, and what never runs."""

import importlib
import inspect
import json
import os
import pickle
import sys
import zipfile
from dataclasses import is_dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny import tiny_encoder, tiny_fine_tuned, tiny_pretrained, tiny_simclr

import sksimclr
from sksimclr import AuroraPreprocessor, SimCLRTransformer, augmentations, datasets
from sksimclr.archive import _models as models
from sksimclr.archive import load_model, save_model
from sksimclr.archive._trusted import OURS
from sksimclr.recipes import QUICK

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
    ),
    pytest.mark.filterwarnings("ignore:.*tiny_encoder:UserWarning"),  # not asked for
    pytest.mark.usefixtures("one_thread"),
]
FACTORY = "tiny.tiny_encoder"
TRANSFORMER = f"{FunctionTransformer.__module__}.FunctionTransformer"


@pytest.fixture(scope="module")
def images():
    """Twenty noisy images of 8 x 8 pixels in [0, 1]."""
    return np.random.default_rng(0).random((20, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def pipe(images):
    """Return a fitted pipeline that gives one of two names."""
    steps = (AuroraPreprocessor(), tiny_simclr(), LogisticRegression())
    return make_pipeline(*steps).fit(images, np.array(["arc", "moon"] * 10))


@pytest.fixture(scope="module")
def stored(pipe, tmp_path_factory):
    """Return the bytes of that pipeline in a file of `save_model`."""
    path = tmp_path_factory.mktemp("stored") / "pipe.skops"
    save_model(pipe, path)
    return path.read_bytes()


class Command:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def flag(tmp_path):
    """Return a path that does not exist, which what must not run would make."""
    return tmp_path / "flag"


def calls_when_loaded(function, argument):
    """Return a file of skops that, if trusted, calls a function of one argument.

    The one that should make the network for the stored weights.
    """
    simclr = tiny_simclr(max_epochs=0).fit(
        np.eye(8, dtype=np.float32)[None].repeat(2, 0)
    )
    simclr._made_from = simclr._made_from | {
        "encoder": function,
        "n_channels": argument,
    }
    return skops.io.dumps(simclr)


# What is stored


def test_pipeline_keeps_the_bits(images, pipe, tmp_path):
    """Of probabilities and of embeddings; nothing else is left in the folder."""
    save_model(pipe, tmp_path / "pipe.skops")
    again = load_model(tmp_path / "pipe.skops", trusted=[FACTORY])
    assert_array_equal(again.predict_proba(images), pipe.predict_proba(images))
    assert_array_equal(again[:-1].transform(images), pipe[:-1].transform(images))
    assert os.listdir(tmp_path) == ["pipe.skops"]


def test_recipes_load_unasked(images, tmp_path):
    """The paper's and the quick one, whose ResNet18 nobody needs to trust."""
    every = [getattr(augmentations, name)() for name in augmentations.__all__[1:-1]]
    for params in ({}, QUICK, {"augmentations": tuple(every)}):
        simclr = SimCLRTransformer(
            **params, image_size=8, stem="imagenet", max_epochs=0
        ).fit(images)
        save_model(simclr, tmp_path / "simclr.skops")
        again = load_model(tmp_path / "simclr.skops")
        assert_array_equal(again.transform(images), simclr.transform(images))
        assert again.augmentations == simclr.augmentations


def test_file_says_which_versions_wrote_it(stored, tmp_path):
    """And one of skops alone, which does not, loads too."""
    path = tmp_path / "pipe.skops"
    path.write_bytes(stored)
    assert models.read_note(path)["sksimclr"] == sksimclr.__version__
    assert models.read_note(path)["torch"] == torch.__version__.partition("+")[0]
    skops.io.dump(LogisticRegression().fit([[0], [1]], [0, 1]), path)
    assert models.read_note(path) == {}
    assert load_model(path).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["simclr.skops", "pipeline.skops"])
def test_files_of_skops_alone_load(name):
    """Those that tests/data has of every version."""
    folder = sorted((Path(__file__).parents[1] / "data").glob("*/"))[-1]
    images = np.load(folder / "images.npy")
    model = load_model(folder / name, trusted=[tiny_encoder])
    assert (
        len(model.transform(images) if name[0] == "s" else model.predict(images)) == 12
    )


def test_unfitted_pipelines_are_not_stored(tmp_path):
    """Neither under a name that is not of skops."""
    with pytest.raises(NotFittedError):
        save_model(
            make_pipeline(tiny_simclr(), LogisticRegression()), tmp_path / "a.skops"
        )
    with pytest.raises(ValueError, match=r"written to a \.skops file, got '.*a\.pkl'"):
        save_model(tiny_simclr(), tmp_path / "a.pkl")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("make", [tiny_pretrained, tiny_fine_tuned])
def test_baselines_are_named_when_they_cannot_be_stored(make, images, tmp_path):
    """With what to do instead, which works."""
    model = make(**({"max_epochs": 1} if make is tiny_fine_tuned else {}))
    pipe = make_pipeline(AuroraPreprocessor(), model).fit(images, [0, 1] * 10)
    name = type(model).__name__
    with pytest.raises(
        ValueError, match=f"cannot store .*: {name} of sksimclr.baselines"
    ):
        save_model(pipe, tmp_path / "model.skops")
    assert not os.listdir(tmp_path)
    joblib.dump(pipe, tmp_path / "model.joblib")
    again = load_model(tmp_path / "model.joblib", trust_pickle=True)
    assert type(again[1]) is type(model)


def test_functions_without_a_module_are_refused(images, tmp_path, monkeypatch):
    """When the model is stored, not when another program needs it."""
    (tmp_path / "a.skops").write_text("another")

    def factory(n_channels):
        return tiny_encoder(n_channels)

    for module in ("__main__", __name__):
        monkeypatch.setattr(factory, "__module__", module)
        with pytest.raises(ValueError, match="No other program could load.*factory"):
            save_model(tiny_simclr(encoder=factory).fit(images), tmp_path / "a.skops")
    assert os.listdir(tmp_path) == ["a.skops"]
    assert (tmp_path / "a.skops").read_text() == "another"


def test_what_will_not_load_unasked_is_said_when_it_is_stored(pipe, tmp_path):
    """With the flag to give."""
    with pytest.warns(UserWarning, match=f"does not load unasked: {FACTORY}.*--trust"):
        save_model(pipe, tmp_path / "a.skops")


def test_model_that_was_there_stays_if_the_disk_is_full(pipe, tmp_path, monkeypatch):
    """And no part of the new one is left."""
    (tmp_path / "a.skops").write_text("another")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(pipe, tmp_path / "a.skops")
    assert os.listdir(tmp_path) == ["a.skops"]
    assert (tmp_path / "a.skops").read_text() == "another"


# What is trusted


def test_trusted_are_our_estimators_and_augmentations():
    """Those and no other name; the baselines cannot be stored anyway."""
    found = set()
    for module in set(sksimclr.__all__) - {"__version__", "baselines"}:
        public = getattr(sksimclr, module)
        for value in [
            public,
            *(getattr(public, n) for n in getattr(public, "__all__", ())),
        ]:
            is_augmentation = module == "augmentations" and is_dataclass(value)
            if inspect.isclass(value) and (
                issubclass(value, BaseEstimator) or is_augmentation
            ):
                found.add(f"{value.__module__}.{value.__qualname__}")
    assert sorted(OURS) == sorted(found)


def test_functions_of_ours_are_not_loaded(tmp_path):
    """Such as those that download."""
    for function in (datasets.fetch_oath, datasets.load_oath, save_model, load_model):
        name = f"{function.__module__}.{function.__qualname__}"
        skops.io.dump(FunctionTransformer(function).fit([[0]]), tmp_path / "a.skops")
        with pytest.raises(ValueError, match=f"not loaded unasked: {name}. .*trusted="):
            load_model(tmp_path / "a.skops", trusted=[TRANSFORMER])


def test_methods_of_what_is_trusted_are_not_loaded(images, flag, tmp_path, monkeypatch):
    """One that writes a file, here; trusted, it does."""
    simclr = tiny_simclr(max_epochs=0).fit(images)
    # a file that somebody wrote by hand would name the class that is trusted
    monkeypatch.setattr(SimCLRTransformer.save_weights, "__module__", "sksimclr")
    path = tmp_path / "a.skops"
    path.write_bytes(calls_when_loaded(simclr.save_weights, str(flag)))
    with pytest.raises(ValueError, match="SimCLRTransformer.save_weights"):
        load_model(path, trusted=[FACTORY])
    assert not flag.exists()
    method = "sksimclr.SimCLRTransformer.save_weights"
    with pytest.raises(ValueError, match="cannot be loaded, TypeError"):
        load_model(path, trusted=[FACTORY, method])
    assert flag.exists()


def test_trusted_names_and_types_are_loaded(stored, images, pipe, tmp_path):
    """Those that the error names, as it names them; no others."""
    path = tmp_path / "a.skops"
    path.write_bytes(stored)
    message = (
        rf"names types .*: {FACTORY}. .*trusted=\['{FACTORY}'\].*--trust {FACTORY}"
    )
    for trusted in ([], ["tiny.flat_encoder"]):
        with pytest.raises(ValueError, match=message):
            load_model(path, trusted=trusted)
    for trusted in ([FACTORY], [tiny_encoder]):
        again = load_model(path, trusted=trusted)
        assert_array_equal(again.predict(images), pipe.predict(images))


# What never runs


def test_pickles_run_only_when_they_are_trusted(flag, tmp_path):
    """And one that is called .skops, not even then."""
    data = pickle.dumps(Command(f"touch {flag}"))
    for name in ("a.pkl", "a.joblib", "a.skops", "a"):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is not a skops file|no complete skops"):
            load_model(path)
        assert not flag.exists(), name
    with pytest.raises(ValueError, match="something else was given that name"):
        load_model(tmp_path / "a.skops", trust_pickle=True)
    assert not flag.exists()
    with pytest.raises(ValueError, match="holds a int, expected"):
        load_model(tmp_path / "a.pkl", trust_pickle=True)
    assert flag.exists()  # so the test can fail


@pytest.mark.skipif(os.name != "posix", reason="os.system is posix.system")
def test_commands_in_a_skops_file_do_not_run(flag, tmp_path):
    """Where an encoder's factory belongs; trusted, it runs."""
    path = tmp_path / "a.skops"
    path.write_bytes(calls_when_loaded(os.system, f"touch {flag}"))
    for trust_pickle in (False, True):
        with pytest.raises(ValueError, match="not loaded unasked: posix.system"):
            load_model(path, trusted=[FACTORY], trust_pickle=trust_pickle)
    assert not flag.exists()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(path, trusted=[FACTORY, "posix.system"])
    assert flag.exists()


def test_modules_that_a_file_names_are_not_imported(tmp_path, monkeypatch):
    """Before the types are trusted."""
    (tmp_path / "unknown_module.py").write_text("def encoder(n_channels): pass")
    monkeypatch.syspath_prepend(tmp_path)
    encoder = importlib.import_module("unknown_module").encoder
    skops.io.dump(FunctionTransformer(encoder).fit([[0]]), tmp_path / "a.skops")
    monkeypatch.delitem(sys.modules, "unknown_module")
    with pytest.raises(ValueError, match="unknown_module.encoder"):
        load_model(tmp_path / "a.skops", trusted=[TRANSFORMER])
    assert "unknown_module" not in sys.modules
    load_model(tmp_path / "a.skops", trusted=["unknown_module.encoder", TRANSFORMER])
    assert "unknown_module" in sys.modules


# Files that are something else


def test_files_that_end_too_early_are_named(stored, tmp_path):
    """Wherever that is."""
    path = tmp_path / "a.skops"
    for part in (0, 0.01, 0.3, 0.6, 0.99):
        path.write_bytes(stored[: int(part * len(stored))])
        with pytest.raises(ValueError, match=r"a\.skops' is no complete skops file"):
            load_model(path, trusted=[FACTORY])


def test_damaged_files_are_named(stored, tmp_path):
    """Where bytes have changed that the file has checksums of."""
    path = tmp_path / "a.skops"
    path.write_bytes(stored)
    with zipfile.ZipFile(path) as file:
        entries = [e for e in file.infolist() if e.filename != models._NOTE]
    for entry in entries:
        data = bytearray(stored)
        data[entry.header_offset + len(entry.filename) + 60] ^= 255
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.skops' cannot be loaded, .*damaged"):
            load_model(path, trusted=[FACTORY])


def rewritten(stored, path, **members):
    """Write a stored model with other members."""
    path.write_bytes(stored)
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (content | members).items():
            file.writestr(name, data)


def test_files_of_later_versions_are_named(stored, tmp_path):
    """With both versions."""
    path = tmp_path / "a.skops"
    note = {"format": 2, "versions": {"sksimclr": "7.0", "skops": "9.9"}}
    rewritten(stored, path, **{models._NOTE: json.dumps(note)})
    with pytest.raises(ValueError, match="has format 2, written by sksimclr 7.0; this"):
        load_model(path, trusted=[FACTORY])
    with zipfile.ZipFile(path) as file:
        schema = json.loads(file.read("schema.json"))
    schema["protocol"] = 99
    schema["content"]["__loader__"] = "NodeOfTheFuture"
    note["format"] = 1
    new = {models._NOTE: json.dumps(note), "schema.json": json.dumps(schema)}
    rewritten(stored, path, **new)
    with pytest.raises(
        ValueError, match=r"written with sksimclr 7.0, here .*skops 9.9"
    ):
        load_model(path, trusted=[FACTORY])


def test_other_things_are_named(tmp_path, images):
    """Pictures, archives, folders, weights, and models of what predicts nothing."""
    torch.save({}, tmp_path / "weights.pt")
    np.save(tmp_path / "a.npy", images)
    (tmp_path / "empty.pkl").write_bytes(b"")
    for name in ("weights.pt", "a.npy", "empty.pkl"):
        with pytest.raises(ValueError, match=f"{name}' is not a skops file"):
            load_model(tmp_path / name)
    for name in ("weights.pt", "empty.pkl"):
        with pytest.raises(ValueError, match=f"{name}' cannot be loaded as a pickle"):
            load_model(tmp_path / name, trust_pickle=True)
    skops.io.dump({"a": 1}, tmp_path / "dict.skops")
    with pytest.raises(ValueError, match="dict.skops' holds a dict, expected a fitted"):
        load_model(tmp_path / "dict.skops")
    with pytest.raises(ValueError, match="is a folder, expected"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing\.skops"):
        load_model(tmp_path / "missing.skops")


def test_skops_is_asked_for(tmp_path, monkeypatch, stored):
    """When it is missing, or so old that files can make it run anything."""
    (tmp_path / "a.skops").write_bytes(stored)
    with monkeypatch.context() as patch:
        patch.setattr(models, "version", lambda name: "0.11.0")
        with pytest.raises(ImportError, match="skops 0.12 or later, got 0.11.0"):
            load_model(tmp_path / "a.skops")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"pip install \"sksimclr\[archive\]\""):
        load_model(tmp_path / "a.skops")
