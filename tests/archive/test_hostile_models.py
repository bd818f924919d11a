"""Skops files that somebody made to read, crash, hang or fill the memory."""

import copy
import functools
import io
import json
import os
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import skops.io
import torch
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch.utils._python_dispatch import TorchDispatchMode

from sksimclr import SimCLRTransformer
from sksimclr._machine.random import torch_seeded
from sksimclr.archive import load_model, save_model

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",  # few steps
    "ignore:.*names types that load_model does not load",
)
X = np.random.default_rng(0).random((30, 4))
Y = np.array(["arc", "moon", "cloud"] * 10)
MEGABYTE = 1 << 20
NEIGHBOURS = functools.partial(KNeighborsClassifier, algorithm="brute")


@pytest.fixture
def path(tmp_path):
    """Return the name of a file of skops."""
    return tmp_path / "a.skops"


def rewritten(path, change, method=zipfile.ZIP_STORED):
    """Write a model of scikit-learn whose schema was changed, and more members."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(GaussianNB().fit(X, Y)))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(members["schema.json"])
    more = change(schema) or {}
    members |= {"schema.json": json.dumps(schema).encode()} | more
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)


def attributes(schema):
    """Return what a schema has of the attributes of an estimator."""
    return schema["content"]["content"]


def refused(path, match):
    """Load a file that is refused, with little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 50 * MEGABYTE
    finally:
        tracemalloc.stop()


@functools.cache
def fitted_resnet():
    """Return the smallest ResNet18 there is."""
    params = {"image_size": 8, "width": 16, "max_epochs": 0, "device": "cpu"}
    return SimCLRTransformer(**params).fit(np.eye(8)[None].repeat(2, 0))


def tiny_resnet():
    """Return a copy of it, whose attributes may be changed."""
    return copy.copy(fitted_resnet())


class Large(TorchDispatchMode):
    """A context in which nothing is computed that takes more than 16 MB."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta":
            assert result.nbytes < 16 * MEGABYTE, func
        return result


@contextmanager
def no_memory(seed):
    """Make networks, if they are small."""
    with torch_seeded(seed), Large():
        yield


# What is loaded unasked


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
        make_pipeline(make_union(PCA(2), StandardScaler()), LinearSVC()),
        make_pipeline(FrozenEstimator(StandardScaler().fit(X)), GaussianNB()),
        VotingClassifier([("a", NEIGHBOURS()), ("b", GaussianNB())]),
        StackingClassifier([("a", LinearDiscriminantAnalysis())], SGDClassifier()),
        CalibratedClassifierCV(BaggingClassifier(GaussianNB(), 2), cv=2),
        KMeans(2, n_init=1),
        MLPClassifier((3,), max_iter=2),
    ],
    ids=lambda model: type(getattr(model, "steps", [[0, model]])[-1][1]).__name__,
)
def test_what_labels_images_is_loaded(model, path):
    """Unasked, and predicts what it did."""
    save_model(model.fit(X, Y), path)
    assert_array_equal(load_model(path).predict(X), model.predict(X))


def test_labels_of_two_kinds_are_loaded(path):
    """Nearest neighbours know them by several columns of indices."""
    model = NEIGHBOURS().fit(X, np.c_[Y, Y[::-1]])
    save_model(model, path)
    assert_array_equal(load_model(path).predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (FunctionTransformer(), "sklearn.preprocessing._function_transformer"),
        (SVC(), "sklearn.svm._classes.SVC"),
        (RandomForestClassifier(2), "sklearn.tree._tree.Tree"),
        (GradientBoostingClassifier(n_estimators=1), "GradientBoostingClassifier"),
        (HistGradientBoostingClassifier(max_iter=1), "predictor.TreePredictor"),
        (KNeighborsClassifier(algorithm="kd_tree"), "neighbors._kd_tree.KDTree"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_crash_or_call_is_not_loaded_unasked(model, name, path):
    """Its numbers point into memory, or it calls functions; trusted, it is loaded."""
    save_model(model.fit(X, Y), path)
    with pytest.raises(ValueError, match=f"not loaded unasked: .*{name}.*--trust"):
        load_model(path)
    trusted = skops.io.get_untrusted_types(file=path)
    trusted += [f"{type(model).__module__}.{type(model).__qualname__}"]
    if name == "GradientBoostingClassifier" or name == "predictor.TreePredictor":
        with pytest.raises(ValueError, match="sklearn._loss"):
            load_model(path, trusted=trusted)
        return
    load_model(path, trusted=trusted)


def test_what_reads_files_is_not_loaded_unasked(path, tmp_path):
    """In a vote its words became labels."""
    (tmp_path / "secret.txt").write_text("words of a file")
    words = make_pipeline(CountVectorizer(input="filename"), GaussianNB())
    words[0].fit([str(tmp_path / "secret.txt")])
    skops.io.dump(words, path)
    with pytest.raises(ValueError, match="not loaded unasked: .*text.CountVectorizer"):
        load_model(path)


def test_suggestions_can_be_pasted_into_a_shell(path):
    """A name in a file would otherwise be a command of its own."""

    def change(schema):
        schema["__class__"] = "A; touch flag"

    rewritten(path, change)
    with pytest.raises(
        ValueError, match=r"--trust 'sklearn.naive_bayes.A; touch flag'"
    ):
        load_model(path)


# Numbers


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (NEIGHBOURS(), {"_y": np.full(30, 2**40)}),
        (NEIGHBOURS(), {"_y": np.full(30, -1)}),
        (NEIGHBOURS(), {"_y": np.zeros(2, int)}),
        (NEIGHBOURS(), {"_fit_X": X[:0]}),
        (NEIGHBOURS(), {"_fit_X": X[:, :1].copy()}),
        (NEIGHBOURS(29), {"_fit_X": X[:2], "_y": np.zeros(2, int)}),
        (KMeans(2, n_init=1), {"cluster_centers_": np.ones((2, 1))}),
        (KMeans(2, n_init=1), {"cluster_centers_": np.ones((2, 4), object)}),
        (KMeans(2, n_init=1), {"_n_threads": -1}),
        (KMeans(2, n_init=1), {"_n_threads": 10**9}),
    ],
)
def test_numbers_that_compiled_code_would_follow_are_checked(model, changes, path):
    """Also of a part of a model."""
    vars(model.fit(X, Y)).update(changes)
    skops.io.dump(make_pipeline(FrozenEstimator(model)), path)
    with pytest.raises(ValueError, match="indices of K.* do not go together"):
        load_model(path)


def test_random_states_are_checked(path):
    """They read from where they say that they are."""
    state = np.random.RandomState(0)
    values = state.get_state(legacy=False)
    values["state"]["pos"] = 2**30
    state.set_state(values)
    model = DummyClassifier(strategy="stratified", random_state=state).fit(X, Y)
    skops.io.dump(model, path)
    with pytest.raises(ValueError, match="indices of RandomState do not go together"):
        load_model(path)


def test_parameters_are_checked(path):
    """As `fit` checks them."""
    model = LogisticRegression().fit(X, Y).set_params(C=-1.0)
    skops.io.dump(make_pipeline(model), path)
    with pytest.raises(ValueError, match=r"'C' parameter of Logistic.* Got -1.0"):
        load_model(path)


# Sizes


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method, path):
    """Which has no limit to ask for: 66 KB became 6 GB."""
    rewritten(path, lambda schema: {"big": bytes(60 * MEGABYTE)}, method)
    refused(path, r"a\.skops' cannot be loaded, .*expected none or deflate")


def test_bombs_are_refused(path):
    """By what the members say that they have, and not by reading them."""
    rewritten(
        path,
        lambda schema: {str(k): bytes(MEGABYTE) for k in range(70)},
        zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < MEGABYTE
    refused(path, "it would become 7.* bytes, expected at most 67108864")


def test_members_that_have_more_than_they_say_are_not_read_on(path):
    """Such as a schema that says it had a hundred bytes."""
    rewritten(
        path, lambda schema: {"0.npy": bytes(60 * MEGABYTE)}, zipfile.ZIP_DEFLATED
    )
    data = bytearray(path.read_bytes())
    size = (60 * MEGABYTE).to_bytes(4, "little")
    for place in (data.find(size), data.rfind(size)):
        data[place : place + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "cannot be loaded, BadZipFile")


def test_arrays_that_are_read_again_and_again_are_refused(path):
    """One member may be read by any number of objects."""

    def change(schema):
        array = {"__class__": "ndarray", "__module__": "numpy", "type": "numpy"}
        array |= {"__loader__": "NdArrayNode", "file": "big.npy"}
        attributes(schema)["classes_"] = array | {"more": [array] * 20}
        return {"big.npy": bytes(4 * MEGABYTE)}

    rewritten(path, change)
    refused(path, "it would become 8.* bytes")


def test_objects_that_multiply_are_refused(path):
    """Each list is made of two that were there; 2 ** 40 are looked at otherwise."""

    def change(schema):
        def lists(number, content):
            about = {"__class__": "list", "__module__": "builtins"}
            return about | {
                "__loader__": "ListNode",
                "__id__": number,
                "content": content,
            }

        item = lists(10**6, [])
        for number in range(1, 40):
            item = lists(10**6 + number, [item, lists(10**6 + number - 1, [])])
        attributes(schema)["classes_"] = item

    rewritten(path, change)
    refused(path, "objects with the number 10000.* differ")


def json_node(content, number=10**6):
    """Return an object that skops makes of a text."""
    return {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "__id__": number,
        "content": content,
        "is_json": True,
    }


@pytest.mark.parametrize(
    "content", ["[" + "[]," * 3_000_000 + "0]", "[" + "0," * 3_000_000 + "0]"]
)
def test_objects_in_a_text_are_counted(path, content):
    """As if they were objects of the file; a few letters make one of 56 bytes."""

    def change(schema):
        attributes(schema)["classes_"] = json_node(content)

    rewritten(path, change, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="it has more than 2000000 objects"):
        load_model(path)


def test_texts_that_are_repeated_are_counted_each_time(path):
    """A table of the same list many times is as many lists."""

    def change(schema):
        node = json_node("[" + "0," * 20_000 + "0]")
        attributes(schema)["classes_"] = {
            "__class__": "list",
            "__module__": "builtins",
            "__loader__": "ListNode",
            "content": [node] * 150,
        }

    rewritten(path, change)
    refused(path, "it has more than 2000000 objects")


def test_constructors_are_not_called_unasked(path):
    """Those of trusted types too: what they do with arrays of a file is not known."""

    def change(schema):
        attributes(schema)["classes_"] = {
            "__class__": "AdamOptimizer",
            "__module__": "sklearn.neural_network._stochastic_optimizers",
            "__loader__": "ConstructorFromReduceNode",
            "content": json_node("[]"),
        }

    rewritten(path, change)
    refused(path, r"AdamOptimizer\(\)")


@pytest.mark.parametrize("depth", [300, 5000])
def test_objects_that_are_nested_too_deep_are_refused(depth, path):
    """Before Python is at its end."""
    rewritten(path, lambda schema: None)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    text = members["schema.json"].decode()
    deep = '{"a": ' * depth + "1" + "}" * depth
    members["schema.json"] = text.replace("{", '{"deep": ' + deep + ", ", 1).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    refused(path, "cannot be loaded, ValueError: its objects are nested")


def test_more_members_than_any_model_has_are_refused(path, monkeypatch):
    """And two of one name, of which only one would be looked at."""
    rewritten(path, lambda schema: {str(k): b"" for k in range(50)})
    load_model(path)
    monkeypatch.setattr("sksimclr.archive._skops_file._MOST_MEMBERS", 50)
    refused(path, "expected at most 50 members")
    monkeypatch.undo()
    with (
        zipfile.ZipFile(path, "a") as file,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        file.writestr("1", b"")
    refused(path, "members of different names")


def test_more_objects_than_any_model_has_are_refused(path, monkeypatch):
    """A short text has many that are empty."""
    monkeypatch.setattr("sksimclr.archive._skops_file._MOST_OBJECTS", 1000)
    rewritten(path, lambda schema: schema.update(more=[{}] * 100))
    load_model(path)
    rewritten(path, lambda schema: schema.update(more=[{}] * 1000))
    refused(path, "it has more than 1000 objects")


def test_notes_that_are_large_are_not_read(path):
    """They are only words on versions."""
    note = json.dumps({"format": 1, "versions": {"a": "b" * MEGABYTE}}).encode()
    rewritten(path, lambda schema: {"sksimclr.json": note}, zipfile.ZIP_DEFLATED)
    from sksimclr.archive._models import read_note

    assert read_note(path) == {}


# What is no file


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["a.skops", "a.joblib"])
def test_pipes_and_devices_are_not_read(name, tmp_path):
    """A pipe that nobody writes to never ends, nor do zeros."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}' is a pipe, a socket or a device"):
        load_model(tmp_path / name, trust_pickle=True)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"zero-{name}' is a pipe, a socket or"):
        load_model(tmp_path / f"zero-{name}", trust_pickle=True)


# Networks


@pytest.mark.parametrize(
    ("claimed", "match"),
    [
        ({"projection_dim": 10**7}, "for projection_dim=64, got 10000000"),
        ({"n_channels": 10**6}, r"expected \(16, 1000000, 3, 3\) for 'conv1.weight'"),
        ({"width": 2**14}, "weights of encoder_ do not fit: expected .*conv1.weight"),
        ({"encoder": "vit_h_14", "image_size": 14}, "weights of encoder_ do not fit"),
        ({"encoder": "regnet_y_128gf"}, "weights of encoder_ do not fit"),
        ({"encoder": "vit_b_16", "image_size": 16 * 2000}, "encoder_ do not fit"),
        ({"encoder": "fcn_resnet50"}, "Expected the name of a classifier"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_sizes_must_be_those_of_the_weights(claimed, match, path, monkeypatch):
    """Before networks are made: these would take gigabytes."""
    simclr = tiny_resnet()
    simclr._made_from = simclr._made_from | claimed
    skops.io.dump(simclr, path)
    monkeypatch.setattr("sksimclr._networks.encoders.torch_seeded", no_memory)
    with pytest.raises(ValueError, match=match):
        load_model(path)


def test_images_of_a_claimed_size_are_not_made(path, monkeypatch):
    """Convolutions take any size, so that no weight tells what it was."""
    simclr = tiny_resnet()
    simclr._made_from = simclr._made_from | {"image_size": 30_000, "stem": "cifar"}
    skops.io.dump(simclr, path)
    monkeypatch.setattr("sksimclr._networks.encoders.torch_seeded", no_memory)
    images = np.eye(8)[None]
    assert_array_equal(load_model(path).transform(images), simclr.transform(images))
