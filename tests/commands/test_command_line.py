"""The command line: every command on small files, mistakes, Ctrl-C, and its page."""

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pyarrow
import pytest
from archive_files import frame_name, frame_times, write_cdf, write_pgm
from numpy.testing import assert_allclose, assert_array_equal
from runs import Signal, checkpoints_in
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted
from tiny import tiny_encoder, tiny_pretrained, tiny_simclr

import sksimclr
from sksimclr import AuroraPreprocessor, SimCLRTransformer, archive
from sksimclr.__main__ import main
from sksimclr._commands import _label, _pack, _train, _training_frames
from sksimclr._commands._estimate import estimate, night_groups
from sksimclr._commands._labels import read_labels
from sksimclr._commands._parser import make_parser
from sksimclr._commands._report import table
from sksimclr._commands._training_frames import read_training_frames
from sksimclr.archive import (
    label_archive,
    load_model,
    open_frames,
    pack_frames,
    read_catalogue,
    read_failures,
    read_frames,
    save_model,
)
from sksimclr.datasets import make_aurora
from sksimclr.model_selection import time_sequences
from sksimclr.recipes import QUICK

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
    ),
    pytest.mark.filterwarnings("ignore:.*tiny_encoder:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]
PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "command_line.rst"
SIZE = 16  # of frames, pixels
FACTORY = "tiny.tiny_encoder"
FAST = ["--epochs", "1", "--image-size", "33", "--batch-size", "8"]  # of `train`
COMMANDS = (
    "label",
    "embed",
    "pack",
    "train",
    "review",
    "summary",
    "keogram",
    "info",
)


def make_frames(n, seed):
    """Return raw frames (n, 16, 16) uint16."""
    return make_aurora(n, size=SIZE, random_state=seed).images


def write_minutes(folder, n=3, site="gill", day="2014-03-10", hour=6):
    """Write files of four frames, a minute each; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for minute in range(n):
        times = frame_times(
            4, np.datetime64(f"{day}T{hour:02d}:{minute:02d}", "ns"), 15
        )
        path = folder / frame_name(times[0], site, ".pgm.gz")
        paths.append(write_pgm(path, make_frames(4, minute), times, site))
    return paths


def write_labels(path, rows, header="file,frame,label"):
    """Write a table of labels."""
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    """Return three files of one station's night."""
    return write_minutes(tmp_path / "files")


@pytest.fixture(scope="module")
def pipe():
    """Return a fitted pipeline that gives one of two names."""
    images = make_frames(12, 0)
    steps = (AuroraPreprocessor(), tiny_simclr(), LogisticRegression())
    return make_pipeline(*steps).fit(images, np.array(["arc", "moon"] * 6))


@pytest.fixture(scope="module")
def model(pipe, tmp_path_factory):
    """Return the path of that pipeline in a file."""
    path = tmp_path_factory.mktemp("model") / "model.skops"
    save_model(pipe, path)
    return path


def call(*arguments):
    """Run a command in this process; arguments are texts or paths."""
    return main([str(argument) for argument in arguments])


def label(model, *arguments):
    """Run `label` with a model whose encoder is trusted."""
    return call("label", model, *arguments, "--trust", FACTORY, "--quiet")


def outcome(capsys):
    """Return the object that a command has written with --json."""
    return json.loads(capsys.readouterr().out)


# How it is called


def test_help_and_version_import_nothing_slow():
    """Of every command: neither torch nor scikit-learn, not even numpy."""
    code = (
        "import sys\n"
        "from sksimclr.__main__ import main\n"
        f"helps = [[command, '--help'] for command in {COMMANDS}]\n"
        "for words in [['--version'], ['--help'], *helps]:\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "slow = {'torch', 'sklearn', 'numpy', 'skorch', 'pyarrow', 'dask', 'tqdm'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_module_is_a_program():
    """With the version of the package; pyproject.toml names the same function."""
    command = [sys.executable, "-m", "sksimclr", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"sksimclr {sksimclr.__version__}\n"
    text = (PAGE.parents[2] / "pyproject.toml").read_text()
    assert 'sksimclr = "sksimclr.__main__:main"' in text
    assert main.__module__.startswith("sksimclr") and callable(main)


def subparsers():
    """Return the parsers of the commands by name."""
    (action,) = [a for a in make_parser()._actions if a.choices]
    return action.choices


def test_examples_of_the_help_are_right():
    """Those at its end, of every command, can be parsed as they are."""
    assert tuple(subparsers()) == COMMANDS
    for parser in [make_parser(), *subparsers().values()]:
        text = parser.epilog.replace("\\\n", " ")
        examples = re.findall(r"^  sksimclr (.*)$", text, re.M)
        assert examples, parser.prog
        for example in examples:
            words = shlex.split(example)
            if "--help" not in words:
                make_parser().parse_args(words)
            name = parser.prog.partition(" ")[2]
            assert not name or words[0] == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "required: COMMAND"),
        ("labels m f -o c", "invalid choice: 'labels'"),
        ("label m f", "required: -o/--output"),
        ("label m -o c", "required: FILES"),
        ("label m f -o c --threads 0", "--threads: expected an integer >= 1, got 0"),
        ("label m f -o c --threads x", "--threads: invalid integer value: 'x'"),
        ("label m f -o c --thr 2", "unrecognized arguments: --thr"),
        ("label m f -o c --threads 2 --scheduler a", "not allowed with"),
        ("train f -o m --recipe slow", "invalid choice: 'slow'"),
        ("pack f", "required: -o/--output"),
        ("pack f -o s --quality constant", "invalid choice: 'constant'"),
        ("pack f -o s --per-night 0", "--per-night: expected an integer >= 1, got 0"),
    ],
)
def test_wrong_arguments_are_explained(words, message, capsys):
    """With the exit code 2."""
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert message in capsys.readouterr().err


# train


@pytest.fixture
def tiny_recipe(monkeypatch):
    """Let `train` make an encoder that learns in milliseconds."""
    recipe = _train._RECIPES["quick"] | {"encoder": tiny_encoder}
    monkeypatch.setitem(_train._RECIPES, "quick", recipe)


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """Return a list that grows when freed memory is to be kept; here, it is not."""
    calls = []
    for command in (_train, _label):
        monkeypatch.setattr(command, "keep_freed_memory", lambda: calls.append(1))
    return calls


@pytest.mark.usefixtures("tiny_recipe")
def test_train_keeps_freed_memory(files, tmp_path, kept):
    """It owns its process, and training is faster."""
    assert train(files, tmp_path / "model.skops") == 0
    assert kept == [1]


def train(files, output, *arguments):
    """Run `train`, as cheap as can be."""
    return call("train", *files, "-o", output, *FAST, "--quiet", *arguments)


@pytest.mark.usefixtures("tiny_recipe")
def test_train_does_what_a_pipeline_does(files, tmp_path):
    """To the bit, for labels of some of the frames; checkpoints are gone."""
    rows = [
        f"{path.name},{k},{name}" for path in files for k, name in ((0, "a"), (2, "b"))
    ]
    table = write_labels(tmp_path / "labels.csv", rows)
    options = ("--labels", table, "--seed", 3, "--device", "cpu")
    assert train(files, tmp_path / "m.skops", *options) == 0
    read = [read_frames(path) for path in files]
    images = np.concatenate([frames.images for frames in read])
    times = np.concatenate([frames.times for frames in read])
    own = {"encoder": tiny_encoder, "batch_size": 8, "image_size": 33, "device": "cpu"}
    simclr = SimCLRTransformer(**(QUICK | own), max_epochs=1, random_state=3)
    expected = make_pipeline(AuroraPreprocessor(), simclr)
    expected.fit(images, simclrtransformer__sequences=time_sequences(times))
    rows = np.flatnonzero(np.arange(12) % 2 == 0)
    classifier = LogisticRegression(max_iter=1000)
    classifier.fit(expected.transform(images[rows]), ["a", "b"] * 3)
    found = load_model(tmp_path / "m.skops", trusted=[FACTORY])
    check_is_fitted(found)
    embeddings = found[:-1].transform(images)
    assert_array_equal(embeddings, expected.transform(images))
    assert_array_equal(
        found.predict_proba(images), classifier.predict_proba(embeddings)
    )
    assert found[1].get_params() == simclr.set_params(device="auto").get_params()
    assert sorted(os.listdir(tmp_path)) == ["files", "labels.csv", "m.skops"]


def test_recipes_are_those_of_the_package(monkeypatch, tmp_path, files):
    """With the epochs and the size that the help says."""
    made = []
    monkeypatch.setattr(
        _train, "SimCLRTransformer", lambda **params: made.append(params) or 1 / 0
    )
    for recipe in ("quick", "paper"):
        assert (
            call("train", *files, "-o", tmp_path / "m.skops", "--recipe", recipe) == 1
        )
    own = {"device": "auto", "random_state": 0, "verbose": 1}
    own["checkpoint_dir"] = str(tmp_path / "m.skops.checkpoint")
    assert made == [{**QUICK, "image_size": 64, "max_epochs": 100} | own, own]
    paper = SimCLRTransformer()
    assert (paper.max_epochs, paper.image_size, paper.batch_size) == (100, 224, 128)
    text = subparsers()["train"].format_help()
    assert "quick 100, paper 100" in text and "quick 64, paper 224" in text
    assert "quick 64, paper 128" in text and QUICK["batch_size"] == 64


@pytest.mark.usefixtures("tiny_recipe")
def test_without_labels_there_is_an_encoder(files, tmp_path, capsys):
    """Which embeds; `label` says what is missing."""
    assert train(files, tmp_path / "e.skops") == 0
    assert "labels need a table: --labels CSV" in capsys.readouterr().out
    found = load_model(tmp_path / "e.skops", trusted=[FACTORY])
    assert [type(step).__name__ for _, step in found.steps] == [
        "AuroraPreprocessor",
        "SimCLRTransformer",
    ]
    arguments = (tmp_path / "e.skops", *files, "-o", tmp_path / "c", "--quiet")
    arguments += ("--trust", FACTORY)
    assert call("label", *arguments) == 1
    error = capsys.readouterr().err
    assert "has no classifier" in error and "sksimclr embed" in error
    assert not (tmp_path / "c").exists()
    assert call("embed", *arguments) == 0
    assert "label" not in read_catalogue(tmp_path / "c").column_names


@pytest.mark.usefixtures("tiny_recipe")
def test_train_says_how_good_the_labels_are(tmp_path, capsys):
    """If labelled frames are of several nights; and all of it as JSON."""
    noise = np.random.default_rng(0).integers(0, 9999, (4, SIZE, SIZE), np.uint16)
    slopes = np.broadcast_to(np.arange(SIZE, dtype=np.uint16), noise.shape)
    looks, nights, rows = {"a": noise, "b": slopes}, [], []
    for night in range(3):
        paths = write_minutes(tmp_path / f"{night}", 2, day=f"2014-03-1{night}")
        nights += paths
        for path, name in zip(paths, "ab", strict=True):
            write_pgm(path, looks[name], read_times(path), "gill")
            rows += [f"{path.name},{k},{name}" for k in range(4)]
    table = write_labels(tmp_path / "labels.csv", rows)
    output = tmp_path / "m.skops"
    assert train(nights, output, "--labels", table, "--json") == 0
    found = outcome(capsys)
    assert found["estimate"] == {
        "accuracy": 1.0,  # the classes look alike every night
        "majority": 0.5,
        "unit": "nights",
        "n_groups": 3,
        "n_folds": 3,
    }
    assert found["classes"] == ["a", "b"] and found["n_labelled"] == 24
    assert found["loss"] > 0 and found["failures"] == []


def read_times(path):
    """Return the times of a file that `write_minutes` named."""
    text = path.name[:13]
    stamp = f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}"
    return frame_times(4, np.datetime64(stamp, "ns"), 15)


@pytest.mark.usefixtures("tiny_recipe")
def test_files_that_cannot_be_read_are_left_out(files, tmp_path, monkeypatch, capsys):
    """Named, and in the exit code; frames of a form that no file had so far too."""
    monkeypatch.setattr(_training_frames, "_N_LOOKED_AT", 1)
    (tmp_path / "broken.pgm").write_bytes(b"P5\n")
    write_pgm(tmp_path / "other.pgm", np.zeros((1, 8, 8), np.uint16))
    everything = [*files, tmp_path / "broken.pgm", tmp_path / "other.pgm"]
    assert train(everything, tmp_path / "m.skops") == 3
    text = capsys.readouterr().out
    assert "2 files could not be read" in text
    assert (
        "broken.pgm" in text
        and "expected frames of 16 x 16 pixels, as other files have, got 8 x 8" in text
    )
    assert "Trained on 12 frames" in text
    (tmp_path / "only").mkdir()
    (tmp_path / "broken.pgm").rename(tmp_path / "only" / "broken.pgm")
    assert train([tmp_path / "only"], tmp_path / "n.skops") == 1
    error = capsys.readouterr().err
    assert "No frame to train on in 1 files" in error and "broken.pgm" in error


@pytest.mark.usefixtures("ctrl_c", "tiny_recipe")
def test_training_goes_on_after_ctrl_c(files, tmp_path, monkeypatch, capsys):
    """With the bits of a run that was not stopped; checkpoints are then removed."""
    fast = [*FAST, "--quiet", "--epochs", "9"]
    checkpoints = tmp_path / "a.skops.checkpoint"
    with monkeypatch.context() as patch:
        stop = partial(SimCLRTransformer, callbacks=[Signal(signal.SIGINT, 5)])
        patch.setattr(_train, "SimCLRTransformer", stop)
        assert call("train", *files, "-o", tmp_path / "a.skops", *fast) == 130
    assert capsys.readouterr().err.endswith(
        "sksimclr: stopped. Run the same command again to go on.\n"
    )
    assert checkpoints_in(checkpoints) and not (tmp_path / "a.skops").exists()
    for name in ("a", "b"):
        assert call("train", *files, "-o", tmp_path / f"{name}.skops", *fast) == 0
    frames = read_frames(files[0]).images
    a, b = (load_model(tmp_path / f"{n}.skops", trusted=[FACTORY]) for n in "ab")
    assert_array_equal(a.transform(frames), b.transform(frames))
    assert len(a[1].history_) == 9
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.usefixtures("tiny_recipe")
def test_checkpoints_stay_where_they_were_asked_for(files, tmp_path):
    """With other files in the folder of the default, which stays too."""
    folder = tmp_path / "state"
    assert train(files, tmp_path / "a.skops", "--checkpoint", folder) == 0
    assert list(folder.glob("*.ckpt"))
    (tmp_path / "b.skops.checkpoint").mkdir()
    (tmp_path / "b.skops.checkpoint" / "notes.txt").write_text("mine")
    assert train(files, tmp_path / "b.skops") == 0
    assert os.listdir(tmp_path / "b.skops.checkpoint") == ["notes.txt"]


@contextlib.contextmanager
def interrupted_when(condition):
    """Send this process a Ctrl-C as soon as there is something."""

    def watch():
        while not condition() and not is_over.is_set():
            time.sleep(0.005)
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    is_over = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


# The frames to train on


def kept_frames(paths, labels=None, **options):
    """Return what is kept of files, without progress."""
    options = {"image_size": 64, "preprocessor": AuroraPreprocessor()} | options
    return read_training_frames(paths, labels or {}, quiet=True, **options)


def write_numbered(path, n):
    """Write frames that tell their number by where they are bright."""
    images = np.tile(np.arange(SIZE, dtype=np.uint16), (n, SIZE, 1)) * 3
    images[:, 8, 8] = 1000 + 10 * np.arange(n)
    return write_pgm(path, images, frame_times(n))


def numbers_of(frames):
    """Return which frames of `write_numbered` were kept."""
    seconds = (frames.times - frame_times(1)[0]) / np.timedelta64(1, "s")
    return np.round(seconds / 3).astype(int)


@pytest.mark.parametrize("most", [1, 2, 5, 16, 37, 64])
def test_frames_are_spread_evenly(most, tmp_path):
    """So many as are asked for; no gap is twice as large as it must be."""
    path = write_numbered(tmp_path / "a.pgm", 64)
    numbers = np.sort(numbers_of(kept_frames([path], max_frames=most)))
    assert len(numbers) == most == len(set(numbers))
    gaps = np.diff([*numbers, 64])
    assert numbers[0] == 0 and gaps.max() <= 2 * 64 / most


def test_labelled_frames_are_all_kept(tmp_path):
    """Also more of them than are asked for; with their labels, in their places."""
    path = write_numbered(tmp_path / "a.pgm", 32)
    rows = [f"a.pgm,{k},{'odd' if k % 2 else 'even'}" for k in (31, 7, 8, 9, 30)]
    labels = read_labels(write_labels(tmp_path / "l.csv", rows), [path])
    for most, n in ((3, 5), (8, 8), (100, 32)):
        frames = kept_frames([path], labels, max_frames=most)
        assert len(frames.images) == n and frames.n_seen == 32
        named = {
            number: label
            for number, label in zip(numbers_of(frames), frames.labels, strict=True)
            if label is not None
        }
        assert named == {7: "odd", 8: "even", 9: "odd", 30: "even", 31: "odd"}
    expected = AuroraPreprocessor().transform(read_frames(path).images)
    assert_array_equal(frames.images, expected)


def test_frames_fit_in_memory_by_default(tmp_path, monkeypatch):
    """2 GiB of float32, and the help says how many; files are spread evenly."""
    assert _training_frames._n_that_fit((256, 256)) == 8192
    assert "8192 of 256 x 256" in " ".join(subparsers()["train"].format_help().split())
    monkeypatch.setattr(_training_frames, "_MOST_BYTES", 3 * 4 * SIZE * SIZE)
    path = write_numbered(tmp_path / "a.pgm", 8)
    assert len(kept_frames([path]).images) == 3
    paths = write_minutes(tmp_path / "files", 9)
    frames = kept_frames(paths, max_frames=3)
    minutes = (frames.times - frames.times.min()) // np.timedelta64(1, "m")
    assert sorted(minutes.tolist()) == [0, 4, 8]


@pytest.mark.usefixtures("tiny_recipe")
def test_cameras_of_several_shapes_are_learnt_from(tmp_path, capsys):
    """With a size, which the model keeps; by default, that of most."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, side in (("a", 24), ("b", 40)):
        images = make_aurora(4, size=side, random_state=0).images
        write_pgm(folder / f"{name}.pgm", images, frame_times(4))
    write_pgm(folder / "c.pgm", images[:1], frame_times(1))
    write_pgm(folder / "thumbnail.pgm", images[:1, ::5, ::5], frame_times(1))
    assert call("train", folder, "-o", tmp_path / "any.skops", *FAST) == 0
    said = capsys.readouterr().err
    assert "frames of 8 x 8, 24 x 24, 40 x 40 pixels become 40 x 40" in said
    model = load_model(tmp_path / "any.skops", trusted=[FACTORY])
    assert model[0].get_params() == AuroraPreprocessor(size=40).get_params()
    circle = ("--size", 20, "--radius", 0.5, "--center", 11, 13)
    assert train([folder], tmp_path / "both.skops", *circle) == 3
    assert "thumbnail.pgm: No pixel of images of 8 x 8" in capsys.readouterr().out
    model = load_model(tmp_path / "both.skops", trusted=[FACTORY])
    expected = AuroraPreprocessor(0.5, center=(11, 13), size=20)
    assert model[0].get_params() == expected.get_params()
    assert model.transform(images).shape == (4, 8)  # also of 40 pixels


def test_frames_are_reduced_to_the_size_that_is_asked_for(tmp_path):
    """Each by its own shape, as the preprocessor alone does; others are named."""
    crop, paths, expected = AuroraPreprocessor(size=12, center=(30, 20)), [], []
    for side in (48, 64, 16):  # of which the last has nothing within the circle
        images = make_aurora(3, size=side, random_state=0).images
        paths.append(write_pgm(tmp_path / f"{side}.pgm", images, frame_times(3)))
        if side > 16:
            expected.append(AuroraPreprocessor(**crop.get_params()).transform(images))
    frames = kept_frames(paths, preprocessor=crop)
    assert_array_equal(frames.images, np.concatenate(expected))
    (failure,) = frames.failures
    assert failure["file"] == str(paths[2]) and "No pixel" in failure["reason"]


@pytest.mark.usefixtures("tiny_recipe")
def test_large_frames_are_reduced_as_they_come(tmp_path, monkeypatch):
    """A few at a time, to four times the images; the model does so too."""
    images = make_aurora(5, size=134, random_state=0).images
    path = write_pgm(tmp_path / "a.pgm", images, frame_times(5))
    monkeypatch.setattr(_training_frames, "_BLOCK_BYTES", 2 * images[0].nbytes)
    lengths, transform = [], AuroraPreprocessor.transform
    monkeypatch.setattr(
        AuroraPreprocessor,
        "transform",
        lambda self, X: lengths.append(len(X)) or transform(self, X),
    )
    for image_size, side in ((33, 132), (34, 134)):
        frames = kept_frames([path], image_size=image_size)
        assert frames.images.shape == (5, side, side)
        assert lengths == [2, 2, 1]
        lengths.clear()
    reduced = AuroraPreprocessor(size=132)
    assert_array_equal(
        kept_frames([path], image_size=33).images, reduced.transform(images)
    )
    assert train([path], tmp_path / "m.skops") == 0
    found = load_model(tmp_path / "m.skops", trusted=[FACTORY])
    assert found[0].get_params() == reduced.get_params()
    assert found.transform(images).shape == (5, 8)


def test_most_frames_are_those_that_fit_when_they_are_reduced(tmp_path, monkeypatch):
    """Bytes are counted behind the preprocessor; more are kept if asked for."""
    path = write_pgm(tmp_path / "a.pgm", make_aurora(9, size=80, random_state=0).images)
    monkeypatch.setattr(_training_frames, "_MOST_BYTES", 4 * 4 * 32 * 32)
    assert len(kept_frames([path], image_size=8).images) == 4
    assert len(kept_frames([path], image_size=80).images) == 1
    frames = kept_frames([path], image_size=8, max_frames=9)  # room is made twice
    expected = AuroraPreprocessor(size=32).transform(read_frames(path).images)
    assert_array_equal(frames.images, expected)


# A store of frames


class Store:
    """What `open_frames` returns, of frames in memory, of which it knows what is read.

    Of ten files of two frames each; those of the last one were not packed.
    """

    ndim = 3

    def __init__(self, folder):
        self.preprocessor = AuroraPreprocessor(size=8, dtype="uint8")
        self.raw = make_frames(18, 0)
        self._frames = self.preprocessor.transform(self.raw)
        self.shape, self.dtype = self._frames.shape, self._frames.dtype
        self.files = [f"/data/{k}.pgm" for k in range(10)]
        file = [name for name in self.files[:9] for _ in range(2)]
        self.index = pyarrow.table({"file": file, "frame": [0, 1] * 9})
        self.times = frame_times(18)
        self.sites = np.full(18, "gill")
        self.sequences = np.arange(18) // 2
        self.largest_read = 0

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, rows):
        frames = self._frames[rows]
        self.largest_read = max(
            self.largest_read, len(frames) if frames.ndim == 3 else 1
        )
        return frames

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("a store was read whole")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a folder that is a store, and what is made when it is opened."""
    folder, made = tmp_path / "store", Store(None)
    folder.mkdir()
    (folder / "_store.json").write_text("{}")
    monkeypatch.setattr(archive, "open_frames", lambda path: made, raising=False)
    return folder, made


@pytest.mark.usefixtures("tiny_recipe")
def test_train_takes_a_store(store, tmp_path, capsys):
    """As `fit` does, with its sequences and preprocessor; labels find their rows."""
    folder, frames = store
    rows = [f"{k}.pgm,1,{'ab'[k % 2]}" for k in range(10)]
    table = write_labels(tmp_path / "labels.csv", [*rows, "other.pgm,0,a"])
    options = ("--labels", table, "--seed", 3, "--device", "cpu", "--json")
    assert train([folder], tmp_path / "m.skops", *options) == 0
    told = capsys.readouterr()
    warning = "warning: 2 of 11 labelled frames are not in the store, and not used\n"
    assert told.err.endswith(f"sksimclr: {warning}")
    done = json.loads(told.out)
    assert (done["n_frames"], done["n_labelled"], done["failures"]) == (18, 9, [])
    assert frames.largest_read < 18
    own = {"encoder": tiny_encoder, "batch_size": 8, "image_size": 33, "device": "cpu"}
    simclr = SimCLRTransformer(**(QUICK | own), max_epochs=1, random_state=3)
    embeddings = simclr.fit(frames, sequences=frames.sequences).transform(frames[1::2])
    classifier = LogisticRegression(max_iter=1000)
    classifier.fit(embeddings, [*"ababababa"])
    found = load_model(tmp_path / "m.skops", trusted=[FACTORY])
    assert found[0].get_params() == frames.preprocessor.get_params()
    assert_array_equal(
        found.predict_proba(frames.raw[1::2]), classifier.predict_proba(embeddings)
    )


@pytest.mark.usefixtures("tiny_recipe")
@pytest.mark.parametrize(
    "rows, options, message",
    [
        (["9.pgm,0,a", "9.pgm,1,b"], [], "None of the 2 labelled frames of"),
        (["x.pgm,0,a", "y.pgm,1,b"], [], "None of the 2 labelled frames of"),
        (["1.pgm,0,a", "x.pgm,1,b"], [], "the labels ['a'], expected at least two"),
        (["1.pgm,0,a", "2.pgm,1,b"], ["--max-frames", 4], "`sksimclr pack` decides"),
        (["1.pgm,0,a", "2.pgm,1,b"], ["."], "give its folder alone"),
    ],
)
def test_what_does_not_go_with_a_store(rows, options, message, store, tmp_path, capsys):
    """An error before the training, with what to do."""
    table = write_labels(tmp_path / "labels.csv", rows)
    files = [store[0], *(option for option in options if option == ".")]
    options = [option for option in options if option != "."]
    arguments = ("--labels", table, *options)
    assert train(files, tmp_path / "m.skops", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m.skops.checkpoint").exists()


def test_frames_without_contrast_are_left_out(tmp_path, capsys):
    """With a word on those that have a label."""
    images = make_frames(4, 0)
    images[1:3] = 7
    path = write_pgm(tmp_path / "a.pgm", images)
    labels = read_labels(
        write_labels(tmp_path / "l.csv", ["a.pgm,1,x", "a.pgm,3,y"]), [path]
    )
    frames = kept_frames([path], labels)
    assert frames.labels.tolist() == [None, "y"]
    assert "1 labelled frame(s) of" in capsys.readouterr().err


def test_labels_that_cannot_be_used_end_it_before_the_training(files, tmp_path, capsys):
    """Of frames that a file does not have, or when one class is left."""
    name = files[0].name
    table = write_labels(tmp_path / "l.csv", [f"{name},0,a", f"{name},4,b"])
    assert train(files, tmp_path / "m.skops", "--labels", table) == 1
    error = capsys.readouterr().err
    assert "Line 3 of the labels is for frame 4" in error and "has 4 frames" in error
    files[1].write_bytes(b"P5\n")
    table = write_labels(tmp_path / "l.csv", [f"{name},0,a", f"{files[1].name},0,b"])
    assert train(files, tmp_path / "m.skops", "--labels", table) == 1
    error = capsys.readouterr().err
    assert "have the labels ['a'], expected at least two" in error
    assert files[1].name in error
    assert not (tmp_path / "m.skops.checkpoint").exists()


# Tables of labels


@pytest.fixture
def tree(tmp_path):
    """Return files of which two have one name."""
    paths = [tmp_path / name for name in ("x/a.pgm", "y/a.pgm", "y/b.pgm")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return paths


def names_of(labels, tree):
    """Return what is labelled as {(number of the file, frame): label}."""
    return {
        (tree.index(path), frame): label.name
        for path, frames in labels.items()
        for frame, label in frames.items()
    }


def test_files_are_named_by_as_much_as_is_needed(tree, tmp_path):
    """Their name, the end of their path, or all of it."""
    rows = ["b.pgm,0,p", "x/a.pgm,1,q", f"{tree[1]},2,r", "y/b.pgm,3,"]
    labels = read_labels(write_labels(tmp_path / "l.csv", rows), tree)
    assert names_of(labels, tree) == {(2, 0): "p", (0, 1): "q", (1, 2): "r"}


def test_many_files_of_one_name_are_told_apart(tmp_path, monkeypatch):
    """Each is looked up once, not once for every row."""
    files = [tmp_path / f"{night:03}" / "frame.pgm" for night in range(100)]
    for file in files:
        file.parent.mkdir()
        file.touch()
    resolve, resolved = Path.resolve, []

    def counting(path, *args, **kwargs):
        resolved.append(path)
        return resolve(path, *args, **kwargs)

    monkeypatch.setattr(Path, "resolve", counting)
    rows = [f"{f.relative_to(tmp_path)},0,{'pq'[k % 2]}" for k, f in enumerate(files)]
    labels = read_labels(write_labels(tmp_path / "l.csv", rows), files)
    assert [labels[file][0].name for file in files] == 50 * ["p", "q"]
    assert len(resolved) < 3 * len(files)


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_have_their_own_names(tmp_path):
    """Of archives whose files lie somewhere else, under names that say nothing."""
    links = [tmp_path / "sky" / name for name in ("a.pgm", "b.pgm", "c.pgm")]
    links[0].parent.mkdir()
    for number, link in enumerate(links):
        (tmp_path / f"key{number}").touch()
        link.symlink_to(tmp_path / f"key{number}")
    rows = ["a.pgm,0,p", "sky/b.pgm,0,q", f"{links[2]},0,r"]
    labels = read_labels(write_labels(tmp_path / "l.csv", rows), links)
    assert names_of(labels, links) == {(0, 0): "p", (1, 0): "q", (2, 0): "r"}


@pytest.mark.parametrize(
    "text",
    [
        "file,label\nb.pgm,p\nx/a.pgm,q\n",
        "\ufefflabel;file;note\r\np;b.pgm;;\r\nq;x/a.pgm;\r\n",  # of a spreadsheet
        "file\tframe\tlabel\nb.pgm\t\tp\nx/a.pgm\t0\tq",
        'file, label\n"b.pgm", p\n\nb.pgm, p\nx/a.pgm, q\n,\n',
        "file,frame,label\nb.pgm,,p\nx/a.pgm,0.0,q\n",  # of pandas
    ],
)
def test_tables_come_in_many_forms(text, tree, tmp_path):
    """Commas, semicolons, tabs, a byte-order mark, no frames, a row given twice."""
    (tmp_path / "l.csv").write_text(text, encoding="utf-8", newline="")
    labels = read_labels(tmp_path / "l.csv", tree)
    assert names_of(labels, tree) == {(2, 0): "p", (0, 0): "q"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["c.pgm,0,p"],
            r"1 row.*be used: line 2: 'c.pgm' is not among the files given\.",
        ),
        (
            ["z/b.pgm,0,p"],
            r"'z/b.pgm' is not among the files given, but '.*y.b.pgm' is",
        ),
        (["/b.pgm,0,p"], "'/b.pgm' is not among the files given, but"),
        (["a.pgm,0,p"], "'a.pgm' may be '.*x.a.pgm' or '.*y.a.pgm'; give more"),
        (
            ["b.pgm,1,p", "", "b.pgm,1,q"],
            "line 4: frame 1 .* is 'q', but line 2 says 'p'",
        ),
        (["b.pgm,0.5,p", "b.pgm,nan,q"], "got '0.5'; line 3: .* got 'nan'"),
        (["b.pgm,-1,p", "b.pgm,x,q"], "got '-1'; line 3: .* integer >= 0, got 'x'"),
        (["c.pgm,0,p"] * 7, "7 row.*line 6: .*; and 2 more"),
        (["b.pgm,0,p", "b.pgm,1,p"], "at least two different labels, got only 'p'"),
        (["b.pgm,0,"], "at least two different labels, got none"),
    ],
)
def test_mistakes_in_a_table_are_named(rows, message, tree, tmp_path):
    """With their lines."""
    with pytest.raises(ValueError, match=message):
        read_labels(write_labels(tmp_path / "l.csv", rows), tree)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"file,label\nb.pgm,\xff\n", "in UTF-8, got .*l.csv', which is not"),
        (b"\xff\xfef\0i\0", "in UTF-8, got .*l.csv', which is not"),
        (b"file,label\nb.pgm,p\nb.pgm,\0\n", "l.csv' has 1 row"),
        (b"fi\0le,label\nb.pgm,p\n", "l.csv' must begin with a"),
        (b"file,label\nb.pgm," + 200_000 * b"p", "l.csv', line 2: .*field larger"),
    ],
    ids=["latin", "utf-16", "nul", "nul-above", "long"],
)
def test_tables_that_are_damaged_are_named(data, message, tree, tmp_path):
    """Whatever Python says of them."""
    (tmp_path / "l.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "l.csv", tree)


@pytest.mark.skipif(os.name != "posix", reason="pipes of Unix")
def test_pipes_are_not_waited_for(files, tmp_path, capsys):
    """Where a table, or something to describe, is expected."""
    os.mkfifo(tmp_path / "pipe")
    output = tmp_path / "m.skops"
    assert train(files, output, "--labels", tmp_path / "pipe") == 1
    assert "Expected a CSV file, got" in one_error(capsys)
    assert call("info", tmp_path / "pipe") == 1
    assert "pipe' is neither a file nor a folder" in one_error(capsys)


def test_columns_that_are_missing_are_named(tree, tmp_path):
    """And those that are there; OATH's own table has others."""
    for header, got in (
        ("class2,class6,picNum", "class2, class6, picNum"),
        ("", "empty"),
    ):
        (tmp_path / "l.csv").write_text(header)
        with pytest.raises(
            ValueError, match=f"file, label and maybe frame; got .*{got}"
        ):
            read_labels(tmp_path / "l.csv", tree)


# How good it is


def test_estimate_is_that_of_scikit_learn(rng):
    """Of `cross_val_predict` with the same groups held out."""
    labels = np.array(list("aabbcc") * 10)
    embeddings = rng.normal(size=(60, 5)) + (labels[:, None] == list("abcab"))
    groups = np.repeat(np.arange(10), 6)
    found = estimate(LogisticRegression(), embeddings, labels, groups)
    predicted = cross_val_predict(
        LogisticRegression(), embeddings, labels, groups=groups, cv=GroupKFold(5)
    )
    assert found.accuracy == pytest.approx(np.mean(predicted == labels))
    assert (found.n_groups, found.n_folds, found.unit) == (10, 5, "nights")
    assert found.majority == pytest.approx(1 / 3)
    assert estimate(LogisticRegression(), embeddings, labels, groups * 0) is None
    by_label = (labels == "a").astype(int)  # without groups for two classes to learn
    assert estimate(LogisticRegression(), embeddings, labels, by_label) is None


def test_nights_end_where_a_station_pauses():
    """Whatever the order and the date; without times there are blocks."""
    times = np.array(
        [
            "2014-01-02T02",
            "2014-01-01T23",
            "2014-01-01T23",
            "2014-01-02T23",
            "2014-01-02T07",
        ],
        "datetime64[ns]",
    )
    sites = np.array(["gill", "gill", "rank", "gill", "gill"])
    assert night_groups(times, sites).tolist() == [0, 0, 2, 1, 0]
    times[2] = "NaT"
    assert night_groups(np.repeat(times, 50), np.repeat(sites, 50)).tolist() == (
        [-1] * 200 + [-2] * 50
    )


# label and embed


def test_label_writes_what_label_archive_does(
    pipe, model, files, tmp_path, kept, capsys
):
    """And does nothing the second time, with the same exit code."""
    folder = files[0].parent
    assert label(model, folder, "-o", tmp_path / "a") == 0
    assert kept == [1]  # of memory that is freed: it owns its process
    assert "Labelled 12 frames of 3 files" in capsys.readouterr().out
    label_archive(pipe, folder, tmp_path / "b")
    assert read_catalogue(tmp_path / "a").equals(read_catalogue(tmp_path / "b"))
    assert label(model, folder, "-o", tmp_path / "a") == 0
    assert "Nothing to do: the catalogue has all 3 files" in capsys.readouterr().out


def test_circle_of_another_camera(pipe, model, tmp_path, capsys):
    """Its frames become as large as those in training; the rest is the same model."""
    size = pipe[0].image_shape_[0]
    images = make_aurora(4, size=2 * size, random_state=0).images
    path = write_pgm(tmp_path / "a.pgm", images, frame_times(4))
    words = ("label", model, path, "--trust", FACTORY, "--quiet")
    assert call(*words, "-o", tmp_path / "none") == 3
    capsys.readouterr()
    circle = ("--radius", "0.7", "--center", size - 2, size + 1)
    assert call(*words, *circle, "-o", tmp_path / "out") == 0
    crop = AuroraPreprocessor(0.7, center=(size - 2, size + 1), size=size)
    expected = pipe[1:].predict(crop.transform(images))
    found = read_catalogue(tmp_path / "out")["label"].to_pylist()
    assert found == expected.tolist()
    assert call(*words, *circle[:2], "-o", tmp_path / "out") == 1
    assert "was begun with model=" in capsys.readouterr().err


def test_circle_needs_a_preprocessor(files, tmp_path, capsys):
    """Whose circle it is."""
    images = read_frames(files[0]).images
    alone = SimCLRTransformer(tiny_encoder, image_size=33, max_epochs=0).fit(images)
    save_model(alone, tmp_path / "m.skops")
    words = ("embed", tmp_path / "m.skops", *files, "--trust", FACTORY)
    assert call(*words, "-o", tmp_path / "out", "--radius", 0.5) == 1
    assert "begins with SimCLRTransformer" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_recipe")
def test_what_is_left_out_of_folders_is_said(model, files, tmp_path, capsys):
    """By train, label and pack, in words and in JSON, with the number of each kind."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(files[0], folder)
    others = ("keogram.png", "readme.txt", "notes.txt", "20140310_0600_gill_mask.pgm")
    for name in others:
        (folder / name).touch()
    expected = {"a keogram": 1, "a mask": 1, "no reader for .txt": 2}
    commands = (
        ("train", folder, *FAST, "-o", tmp_path / "m.skops"),
        ("label", model, folder, "--trust", FACTORY, "-o", tmp_path / "catalogue"),
        ("pack", folder, "-o", tmp_path / "store"),
    )
    for command in commands:
        assert call(*command) == 0
        said = capsys.readouterr().out
        assert "4 files of the folders are left out: 2 no reader for .txt, 1 a" in said
    again = tmp_path / "again.skops"
    for command in (("train", folder, *FAST, "-o", again), *commands[1:]):
        assert call(*command, "--json") == 0
        assert json.loads(capsys.readouterr().out)["left_out"] == expected


def test_embeddings_with_and_without_labels(pipe, model, files, tmp_path):
    """Those of the pipeline, rounded to half precision."""
    assert label(model, *files, "-o", tmp_path / "a", "--embeddings") == 0
    trust = ("--trust", FACTORY, "--quiet")
    assert call("embed", model, *files, "-o", tmp_path / "b", *trust) == 0
    images = np.concatenate([read_frames(path).images for path in files])
    expected = pipe[:-1].transform(images)
    for name in "ab":
        found = np.stack(read_catalogue(tmp_path / name)["embedding"].to_pylist())
        assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert "label" in read_catalogue(tmp_path / "a").column_names
    assert "label" not in read_catalogue(tmp_path / "b").column_names


def test_files_that_fail_are_in_the_exit_code(model, files, tmp_path, capsys):
    """Named, also the next time, until they are mended and read again."""
    whole = files[0].read_bytes()
    files[0].write_bytes(b"P5\n")
    folder, output = files[0].parent, tmp_path / "c"
    assert label(model, folder, "-o", output) == 3
    text = capsys.readouterr().out
    assert "1 file could not be read" in text and files[0].name in text
    assert "--retry-failures" in text
    files[0].write_bytes(whole)
    assert label(model, folder, "-o", output, "--json") == 3
    found = outcome(capsys)
    assert (found["n_files"], found["n_skipped"], len(found["failures"])) == (0, 3, 1)
    assert label(model, folder, "-o", output, "--retry-failures") == 0
    assert read_failures(output).num_rows == 0


@pytest.mark.skipif(os.name != "posix", reason="names that Windows has not")
def test_what_files_hold_does_not_reach_the_terminal(model, tmp_path, capsys):
    """Names of files and sites with commands to it are shown as codes; JSON is JSON."""
    folder, output, evil = tmp_path / "files", tmp_path / "c", "\x1b[2J\x07\n\u202e\x9b"
    (path,) = write_minutes(folder, n=1)
    path.rename(folder / f"{evil}.pgm.gz")
    (folder / f"bad{evil}.pgm").write_bytes(b"P5\n")
    codes = r"\x1b[2J\x07\n\u202e\x9b"
    assert label(model, folder, "-o", output) == 3
    shown = capsys.readouterr()
    assert f"{codes}.pgm" in shown.out
    for arguments in (["summary", output], ["info", folder / f"{evil}.pgm.gz"]):
        call(*arguments)
        shown = capsys.readouterr()
        assert f"{codes}.pgm" in shown.out
        assert shown.out.replace("\n", "").isprintable() and not shown.err
    undecodable = os.fsdecode(b"\xff") + evil
    for name, option in (
        (folder / f"bad{evil}.pgm", "--json"),
        (undecodable, "--debug"),
    ):
        assert call("info", name, option) == 1
        error = capsys.readouterr().err
        assert r"\x1b[2J\x07" in error and error.replace("\n", "").isprintable()
    call("summary", output, "--json")
    (text,) = capsys.readouterr().out.splitlines()
    assert text.isprintable() and evil in json.loads(text)["failures"][0]["file"]


def test_codes_stay_within_the_columns_of_a_table():
    """Which are as wide as what is shown."""
    text = table([["a\x1b", 1], ["b", 22]])
    assert text.splitlines() == ["a\\x1b   1", "b      22"]


@pytest.mark.usefixtures("tiny_recipe")
def test_json_is_all_there_is_on_stdout(model, files, tmp_path, capsys):
    """Progress goes to stderr, and is silent on request; of `train` too."""
    arguments = ("label", model, *files, "--trust", FACTORY, "--json")
    assert call(*arguments, "-o", tmp_path / "a") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found.pop("seconds") > 0
    assert found == {
        "catalogue": str(tmp_path / "a"),
        "n_files": 3,
        "n_skipped": 0,
        "n_frames": 12,
        "n_failures": 0,
        "left_out": {},
        "failures": [],
    }
    assert "3/3" in captured.err
    assert call(*arguments, "-o", tmp_path / "b", "--quiet") == 0
    assert capsys.readouterr().err == ""
    train = ("train", *files, *FAST, "--json")
    assert call(*train, "-o", tmp_path / "m.skops") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["n_frames"] == 12
    assert "training on 12 frames of 16 x 16" in captured.err
    assert "train_loss" in captured.err


@pytest.mark.usefixtures("ctrl_c")
def test_labelling_goes_on_after_ctrl_c(model, files, tmp_path, monkeypatch, capsys):
    """And ends with the rows of a run that was not stopped."""
    paths = write_minutes(tmp_path / "more", 40, site="rank")
    slow = slowly(label_archive)
    monkeypatch.setattr(_label, "label_archive", slow)
    arguments = (*paths, "-o", tmp_path / "c", "--threads", 1)
    with interrupted_when(lambda: list(tmp_path.glob("c/_files/part-*.parquet"))):
        assert label(model, *arguments) == 130
    assert capsys.readouterr().err == (
        "\nsksimclr: stopped. Run the same command again to go on.\n"
    )
    assert label(model, *arguments, "--json") == 0
    found = outcome(capsys)
    assert 0 < found["n_skipped"] < 40
    assert found["n_files"] + found["n_skipped"] == 40
    assert label(model, *paths, "-o", tmp_path / "d") == 0
    assert read_catalogue(tmp_path / "c").equals(read_catalogue(tmp_path / "d"))


def slowly(function):
    """Return `label_archive` with a part for each file."""

    def called(*args, **kwargs):
        return function(*args, **kwargs, part_bytes=1)

    return called


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_that_is_stopped_says_so(tmp_path, files):
    """Ctrl-C ends it with 130 and one line, without a traceback."""
    command = [sys.executable, "-m", "sksimclr", "train", *files, "-o", "m.skops"]
    process = subprocess.Popen(
        [*command, "--epochs", "10000", "--image-size", "33"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shown = ""
    while "train_loss" not in shown:
        shown = process.stderr.readline()
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert checkpoints_in(tmp_path / "m.skops.checkpoint")
    assert process.returncode == 130
    assert "\nsksimclr: stopped. Run the same command again to go on.\n" in error
    assert "Traceback" not in error


def test_label_works_on_a_cluster(model, files, tmp_path, capsys, monkeypatch):
    """By the address of its scheduler, or the file that it wrote; else it says so."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
    ) as cluster:
        done = cluster.scheduler.transition_counter
        address = cluster.scheduler_address
        assert label(model, *files, "-o", tmp_path / "a", "--scheduler", address) == 0
        assert cluster.scheduler.transition_counter > done  # it was really used
        file = tmp_path / "scheduler.json"
        file.write_text(json.dumps(cluster.scheduler.identity()))
        assert label(model, *files, "-o", tmp_path / "b", "--scheduler", file) == 0
    assert label(model, *files, "-o", tmp_path / "c") == 0
    expected = read_catalogue(tmp_path / "c")
    assert expected.num_rows == 12
    for name in "ab":
        assert read_catalogue(tmp_path / name).equals(expected)
    capsys.readouterr()
    monkeypatch.setattr(_label, "_PATIENCE", 0.3)
    for place, why in ((address, "connect"), ("missing.json", "no such file")):
        assert label(model, *files, "-o", tmp_path / "d", "--scheduler", place) == 1
        error = capsys.readouterr().err
        assert f"No Dask scheduler answers at '{place}': " in error and why in error
        assert "dask worker ADDRESS" in error


# pack


def test_pack_writes_what_pack_frames_does(files, tmp_path, kept, capsys):
    """And does nothing the second time; files that fail are in the exit code."""
    folder, store = files[0].parent, tmp_path / "a"
    options = ("--size", 8, "--every", 2, "--quality", "good", "--per-night", 3)
    assert call("pack", folder, "-o", store, *options, "--quiet") == 0
    assert kept == [1]
    assert "Packed 3 frames of 3 files" in capsys.readouterr().out
    small = AuroraPreprocessor(size=8, dtype="uint8")
    picked = {"every": 2, "quality": ["good"], "per_night": 3}
    pack_frames(folder, tmp_path / "b", preprocessor=small, **picked)
    found, expected = open_frames(store), open_frames(tmp_path / "b")
    assert found.index.equals(expected.index)
    assert_array_equal(np.asarray(found), np.asarray(expected))
    assert call("pack", folder, "-o", store, *options, "--quiet") == 0
    assert "Nothing to do: the store has all 3 files" in capsys.readouterr().out
    (folder / "broken.pgm").write_bytes(b"P5\n")
    assert call("pack", folder, "-o", store, *options, "--quiet", "--json") == 3
    data = outcome(capsys)
    assert (data["n_files"], data["n_skipped"], data["n_frames"]) == (1, 3, 0)
    assert "broken.pgm" in data["failures"][0]["file"] and data["store"] == str(store)


def test_pack_works_on_a_cluster(files, tmp_path, monkeypatch, capsys):
    """That is at an address, or nowhere."""
    used = []

    @contextlib.contextmanager
    def workers_at(address):
        used.append(address)
        yield

    monkeypatch.setattr(_pack, "workers_at", workers_at)
    options = ("--scheduler", "tcp://node1:8786", "--quiet")
    assert call("pack", *files, "-o", tmp_path / "a", *options) == 0
    assert used == ["tcp://node1:8786"]
    assert open_frames(tmp_path / "a").shape == (12, 64, 64)


def test_info_of_stores(files, tmp_path, capsys):
    """What is in it, and how it was picked."""
    options = ("--size", 8, "--quality", "good", "--quality", "short", "--quiet")
    call("pack", files[0].parent, "-o", tmp_path / "a", *options)
    capsys.readouterr()
    assert call("info", tmp_path / "a", "--json") == 0
    found = outcome(capsys)
    assert found["kind"] == "store" and found["quality"] == ["good", "short"]
    assert (found["n_frames"], found["n_failures"], found["every"]) == (12, 0, 1)
    assert found["frame_shape"] == [8, 8] and found["sites"] == ["gill"]
    assert found["first_time"].startswith("2014-03-10T06:00")
    assert call("info", tmp_path / "a") == 0
    assert re.search("frame shape +8 x 8", capsys.readouterr().out)


# summary and info


@pytest.fixture
def catalogue(model, tmp_path):
    """Return a catalogue of two stations, several hours, and a file that fails."""
    write_minutes(tmp_path / "all", 2)
    write_minutes(tmp_path / "all", 3, hour=7)
    write_minutes(tmp_path / "all", 2, site="rank", day="2014-03-11")
    images = make_frames(3, 5)
    images[1] = 9
    write_pgm(tmp_path / "all" / "plain.pgm", images)
    (tmp_path / "all" / "broken.pgm").write_bytes(b"P5\n")
    assert label(model, tmp_path / "all", "-o", tmp_path / "catalogue") == 3
    return tmp_path / "catalogue"


def test_summary_counts_every_frame_once(catalogue, capsys):
    """By class, station and hour; the numbers are those of the catalogue."""
    capsys.readouterr()
    assert call("summary", catalogue) == 0
    text = capsys.readouterr().out
    rows = read_catalogue(catalogue).to_pylist()
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines()}
    assert lines["site", "hour"] == ["UT", "arc", "moon", "no", "label", "all"]
    for site, hour in (("gill", 6), ("gill", 7), ("rank", 6), ("unknown", None)):
        found = [
            row["label"]
            for row in rows
            if row["site"] == site
            and (row["time"].hour if row["time"] else None) == hour
        ]
        numbers = [found.count(name) for name in ("arc", "moon", None)]
        key = site, "?" if hour is None else f"{hour:02d}"
        assert lines[key] == [str(n) for n in (*numbers, len(found))]
    (total,) = [line.split() for line in text.splitlines() if line.startswith("all")]
    assert int(total[-1]) == len(rows) == 31
    assert "1 file could not be read, or not wholly:" in text and "broken.pgm" in text
    assert call("summary", catalogue, "--json") == 0
    found = outcome(capsys)
    assert found["n_frames"] == 31
    assert sum(row["n_frames"] for row in found["occurrence"]) == 31
    assert len(found["failures"]) == 1


def test_summary_counts_what_is_missing(model, tmp_path, capsys):
    """Whole files, by the cadence of their frames, and copies; JSON has the same."""
    paths = write_minutes(tmp_path / "all", 8)
    for path in paths[3:5]:
        path.unlink()
    (tmp_path / "all" / "copies").mkdir()
    shutil.copy(paths[0], tmp_path / "all" / "copies")
    assert label(model, tmp_path / "all", "-o", tmp_path / "c") == 0
    capsys.readouterr()
    assert call("summary", tmp_path / "c") == 0
    text = capsys.readouterr().out
    (line,) = [line.split() for line in text.splitlines() if "THEMIS ASI" in line]
    assert " ".join(line) == "gill THEMIS ASI 1 15 s 32 8 2 min 0 s 1 2 min 0 s"
    assert "4 frames have the time of another one of their instrument" in text
    assert "An hour" not in text
    assert call("summary", tmp_path / "c", "--json") == 0
    found = outcome(capsys)
    assert found["hours"] == []
    assert found["coverage"] == [
        {
            "site": "gill",
            "instrument": "THEMIS ASI",
            "n_nights": 1,
            "cadence": 15.0,
            "n_frames": 24,
            "n_repeated": 4,
            "n_expected": 32,
            "n_gaps": 1,
            "missing": 120.0,
            "longest_gap": 120.0,
        }
    ]


def test_summary_names_hours_of_clocks(model, tmp_path, capsys):
    """With what to do; a clock that went to summer time at 2 UTC."""
    images = make_frames(1, 0)
    minutes = np.datetime64("2014-03-30T00:00", "m") + np.arange(0, 240, 4)
    for moment in np.where(minutes < minutes[30], minutes, minutes + 60):
        text = re.sub("[-:]", "", str(moment)).replace("T", "_")
        np.save(tmp_path / f"{text}_kiru.npy", images)
    assert label(model, tmp_path, "-o", tmp_path / "c", "--utc-offset", "+00:30") == 0
    capsys.readouterr()
    assert call("summary", tmp_path / "c") == 0
    text = capsys.readouterr().out
    assert "kiru  ?  2014-03-30 01:30:00  missing" in text and "--utc-offset" in text
    assert call("summary", tmp_path / "c", "--json") == 0
    hour = {"night": "2014-03-29", "hour": "2014-03-30 01:30:00", "what": "missing"}
    assert outcome(capsys)["hours"] == [{"site": "kiru", "instrument": None} | hour]


@pytest.mark.parametrize(
    ("text", "hours"),
    [("1", 1), ("+1", 1), ("-3", -3), ("5.5", 5.5), ("+05:30", 5.5), ("-03:30", -3.5)],
)
def test_offsets_are_read_as_people_write_them(model, files, tmp_path, text, hours):
    """For catalogues and stores; `info` says what they have."""
    option = f"--utc-offset={text}"
    for begin in (["pack"], ["embed", model, "--trust", FACTORY]):
        output = tmp_path / begin[0]
        assert call(*begin, files[0], "-o", output, option, "--quiet") == 0
        header = "_store.json" if begin[0] == "pack" else "_catalogue.json"
        assert json.loads((output / header).read_text())["utc_offset"] == hours
    time = open_frames(tmp_path / "pack").times[0]
    shown = read_frames(files[0]).times[0]
    assert time == shown - np.timedelta64(round(60 * hours), "m")


@pytest.mark.parametrize("text", ["x", "5:70", "", "1:2:3"])
def test_offsets_that_are_none_are_wrong_arguments(files, tmp_path, text, capsys):
    """As argparse says it."""
    with pytest.raises(SystemExit) as stopped:
        call("pack", *files, "-o", tmp_path / "out", f"--utc-offset={text}")
    assert stopped.value.code == 2
    assert f"--utc-offset: invalid hours value: '{text}'" in capsys.readouterr().err


def test_summary_by_magnetic_time(catalogue, capsys, tmp_path):
    """Hours are those of the station; what has none is counted as well."""
    capsys.readouterr()
    figure = tmp_path / "a.png"
    assert call("summary", catalogue, "--mlt", "--figure", figure) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:3] == ["site", "hour", "MLT"] and figure.stat().st_size > 1000
    numbers = {tuple(line[:2]): int(line[-1]) for line in lines[1:5]}
    assert numbers == {
        ("gill", "23"): 8,  # magnetic midnight is at 6.8 UTC
        ("gill", "00"): 12,
        ("rank", "23"): 8,
        ("unknown", "?"): 3,
    }


def test_summary_of_embeddings_counts_frames(model, files, tmp_path, capsys):
    """There is nothing else to count, nor to draw."""
    output = tmp_path / "embeddings"
    assert call("embed", model, *files, "-o", output, "--trust", FACTORY) == 0
    capsys.readouterr()
    assert call("summary", output) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts, nights = lines[:3], lines[3:]
    assert counts == [
        ["site", "hour", "UT", "all"],
        ["gill", "06", "12"],
        ["all", "12"],
    ]
    assert nights[0][:2] == ["Frames", "by"] and len(nights) == 3
    assert " ".join(nights[2]) == "gill THEMIS ASI 1 15 s 12 0 0"
    assert call("summary", output, "--json") == 0
    assert outcome(capsys)["n_frames"] == 12
    assert call("summary", output, "--figure", tmp_path / "a.png") == 1
    assert "has no labels" in one_error(capsys)


def test_keogram_draws_a_night(catalogue, tmp_path, capsys):
    """Says what is on it, and where north is."""
    capsys.readouterr()
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        path = tmp_path / name
        assert call("keogram", catalogue, "20140310", "gill", "-o", path, "--mlt") == 0
        assert path.read_bytes().startswith(start)
        text = capsys.readouterr().out
        assert "gill, THEMIS ASI, 2014-03-10: 20 frames, 2014-03-10 06:00:00 to" in text
        assert f"Figure: {path}" in text and "--north" not in text
    asked = ["keogram", catalogue, "2014-03-10", "gill", "-o", tmp_path / "b.svg"]
    assert call(*asked, "--hours", -6, 6.5, "--north", -12, "--json") == 0
    found = outcome(capsys)
    assert (found["n_frames"], found["north"]) == (8, "top")
    assert found["title"] == "gill, THEMIS ASI, 2014-03-10"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: "2014"}, "date must be a day in UTC"),
        ({1: "2014-03-11"}, "1 dates of it, 2014-03-10"),
        ({2: "fsmi"}, "no frame of site 'fsmi'"),
        ({4: "a.jpg"}, "must end in one of"),
        ({5: "--instrument=nir"}, r"instruments ['THEMIS ASI']: give one of them"),
        ({5: "--radius=3"}, "radius == 3.0"),
        ({5: "--edge-elevation=95"}, "edge_elevation == 95"),
    ],
)
def test_keogram_errors(catalogue, change, message, tmp_path, capsys, monkeypatch):
    """One line says what is wrong; nothing is drawn."""
    monkeypatch.chdir(tmp_path)
    words = [catalogue, "2014-03-10", "gill", "-o", "a.png", "--mlt"]
    for place, word in change.items():
        words[place] = word
    capsys.readouterr()
    assert call("keogram", *words) == 1
    assert message in one_error(capsys)
    assert not Path("a.png").exists()


def test_positions_of_stations_are_given(catalogue, tmp_path, capsys):
    """Of those that are not THEMIS's, or that have moved; an error says how."""
    capsys.readouterr()
    moved = "--position", "rank", "62.8", "-77", "--position", "gill", "56", "-94.656"
    assert call("summary", catalogue, "--mlt", *moved) == 0
    hours = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert hours == ["00", "23", "00"]
    assert call("summary", catalogue, "--mlt", "--position", "gill", "56", "x") == 1
    assert "--position takes a site, and its latitude" in one_error(capsys)


def test_summary_draws(catalogue, tmp_path, capsys):
    """Into a file of the form that its name says; other forms are refused first."""
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        assert call("summary", catalogue, "--figure", tmp_path / name) == 0
        assert (tmp_path / name).read_bytes().startswith(start)
        assert f"Figure: {tmp_path / name}" in capsys.readouterr().out
    assert call("summary", catalogue, "--figure", tmp_path / "a.txt") == 1
    assert "must end in one of" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_figure_that_does_not_fit_on_the_disk_is_named(catalogue, tmp_path, capsys):
    """The system's error alone would not say which file it was."""
    (tmp_path / "a.png").symlink_to("/dev/full")
    assert call("summary", catalogue, "--figure", tmp_path / "a.png") == 1
    error = one_error(capsys)
    assert "No space left on device" in error and "a.png" in error


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_stops_early_is_no_error_to_read_of(catalogue):
    """Such as `head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sksimclr", "summary", catalogue]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_terminal_of_ascii_shows_accents_as_codes(model, tmp_path, monkeypatch):
    """Of names, for example; what was found comes all the same."""
    (path,) = write_minutes(tmp_path / "files", n=1)
    path = path.rename(path.with_name("a_ø.pgm.gz"))
    path.with_name("bad_ø.pgm").write_bytes(b"P5\n")
    assert label(model, tmp_path / "files", "-o", tmp_path / "c") == 3
    for arguments in (["summary", tmp_path / "c"], ["info", path]):
        terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            assert call(*arguments) == 0
        assert rb"_\xf8.pgm" in terminal.buffer.getvalue()


def test_names_with_newlines_are_found_in_tables_of_labels(tmp_path):
    """As csv and pandas write them."""
    path = tmp_path / "two\nlines.png"
    path.touch()
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["file", "label", "frame"], [path.name, "arc", 0], [path, "moon", 1]]
        )
    found = read_labels(str(tmp_path / "labels.csv"), [path])
    assert len(found[path]) == 2


def test_info_of_frames(files, tmp_path, capsys):
    """All that a file says, as text and as JSON; how many there are in a folder."""
    assert call("info", files[1], "--json") == 0
    found = outcome(capsys)
    images = read_frames(files[1]).images
    assert found["kind"] == "frames" and found["site"] == "gill"
    assert (found["n_frames"], found["frame_shape"]) == (4, [16, 16])
    assert (found["min"], found["max"]) == (images.min(), images.max())
    assert found["dtype"] == "uint16" and found["quality"] == {"good": 4}
    assert found["first_time"].startswith("2014-03-10T06:01:00")
    assert found["last_time"].startswith("2014-03-10T06:01:45")
    assert found["metadata"]["Geodetic latitude"] == "56.3539"
    path = tmp_path / "thg_l1_asf_gill_2014031006_v01.cdf"
    write_cdf(path, images, frame_times(4))
    assert call("info", path) == 0
    text = capsys.readouterr().out
    assert re.search(r"frame shape +16 x 16\n", text) and "gill" in text
    assert call("info", files[0].parent, "--json") == 0
    found = outcome(capsys)
    assert (found["n_files"], found["endings"]) == (3, {".pgm.gz": 3})
    floats = np.full((2, 8, 8), np.nan, np.float32)
    floats[0] = np.arange(64).reshape(8, 8)
    np.save(tmp_path / "floats.npy", floats)
    assert call("info", tmp_path / "floats.npy", "--json") == 0
    found = outcome(capsys)
    assert (found["min"], found["max"], found["site"]) == (0, 63, None)
    assert found["quality"] == {"good": 1, "unreadable": 1}


def test_info_of_models(model, pipe, tmp_path, capsys):
    """Of a file of ours, after it was trusted; a pickle, only then."""
    assert call("info", model, "--json") == 1
    assert f"--trust {FACTORY}" in capsys.readouterr().err
    assert call("info", model, "--trust", FACTORY, "--json") == 0
    found = outcome(capsys)
    assert found["steps"] == [type(step).__name__ for _, step in pipe.steps]
    assert (found["n_features"], found["image_size"], found["n_epochs"]) == (8, 8, 1)
    assert (found["frame_shape"], found["classes"]) == ([16, 16], ["arc", "moon"])
    assert found["written_by"]["sksimclr"] == sksimclr.__version__
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    assert call("info", tmp_path / "pipe.joblib") == 1
    assert "--trust-pickle" in capsys.readouterr().err
    assert call("info", tmp_path / "pipe.joblib", "--trust-pickle") == 0
    assert f"fingerprint  {found['fingerprint']}" in capsys.readouterr().out


def test_info_of_catalogues(catalogue, model, capsys):
    """What is in it; the model is the one that `info` of the model shows."""
    capsys.readouterr()
    assert call("info", catalogue, "--json") == 0
    found = outcome(capsys)
    assert (found["n_frames"], found["n_failures"]) == (31, 1)
    assert found["sites"] == ["gill", "rank", "unknown"]
    assert (found["first_date"], found["last_date"]) == ("2014-03-10", "2014-03-11")
    assert found["classes"] == ["arc", "moon"] and found["n_features"] is None
    call("info", model, "--trust", FACTORY, "--json")
    assert outcome(capsys)["fingerprint"] == found["model"]


# Mistakes


def one_error(capsys):
    """Return the only line of an error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("sksimclr: error: ") and "Traceback" not in line
    return line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("label {model} missing/ -o c --trust tiny.tiny_encoder", "missing"),
        (
            "label missing.skops {files} -o c",
            "No such file or directory: 'missing.skops'",
        ),
        ("label {files} {model} -o c", "is a folder, expected the file of a model"),
        ("label {model} {files} -o c", "--trust tiny.tiny_encoder"),
        ("label {files}/.. {files} -o c", "is a folder, expected the file of a model"),
        (
            "label {model} {files} -o {files} --trust tiny.tiny_encoder",
            "is no catalogue",
        ),
        ("train missing/ -o m.skops", "missing"),
        ("train {files} -o m.pkl", "must end in .skops, got 'm.pkl'"),
        (
            "train {files} -o {model}",
            "exists already. Remove it, or choose another name",
        ),
        ("train {files} -o missing/m.skops", "No such file or directory: 'missing'."),
        ("train {files} -o {model}/m.skops", "Not a directory: "),
        ("label {model} {files} -o {model}/c --trust tiny.tiny_encoder", "model.skops"),
        ("train {files} -o m.skops --labels missing.csv", "directory: 'missing.csv'"),
        ("train {files} -o m.skops --device cuda:9 --image-size 33", "'cuda:9'"),
        ("summary {files}", "is no catalogue"),
        ("summary missing", "'missing' is no catalogue"),
        ("info missing.pgm", "missing.pgm"),
        ("pack missing/ -o s", "missing"),
        ("pack {files} -o {files} --quiet", "is no store, and not empty"),
        ("info {files}/labels.csv", "labels.csv"),
    ],
)
def test_mistakes_are_one_line(
    words, message, model, files, tmp_path, capsys, monkeypatch
):
    """What was expected, where, and what to do; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    (files[0].parent / "labels.csv").write_text("file,label\n")
    words = words.format(model=model, files=files[0].parent).split()
    words += ["--quiet"] * (words[0] in ("label", "train"))
    assert main(words) == 1
    assert message in one_error(capsys)
    assert os.listdir(tmp_path) == ["files"]


def test_a_catalogue_keeps_to_its_model(model, catalogue, tmp_path, files, capsys):
    """Another one is refused, and nothing is changed."""
    before = read_catalogue(catalogue)
    other = make_pipeline(AuroraPreprocessor(), tiny_simclr(random_state=1))
    save_model(other.fit(make_frames(12, 0)), tmp_path / "other.skops")
    arguments = (tmp_path / "other.skops", *files, "-o", catalogue)
    capsys.readouterr()
    assert call("embed", *arguments, "--trust", FACTORY, "--quiet") == 1
    assert "was begun with model=" in one_error(capsys)
    assert read_catalogue(catalogue).equals(before)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write")
def test_folders_that_may_not_be_written_to_are_named(files, model, tmp_path, capsys):
    """Before anything is computed."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert train(files, closed / "m.skops") == 1
    assert "Permission denied" in one_error(capsys)
    assert label(model, *files, "-o", closed / "c") == 1
    assert "Permission denied" in one_error(capsys)


def test_errors_show_where_on_request(files, capsys, monkeypatch):
    """A traceback with --debug; what nobody expected is said to be so."""
    assert call("info", "missing.pgm", "--debug") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err

    def fail(path):
        raise KeyError("no such\nkey")

    monkeypatch.setattr("sksimclr._commands._info.read_frames", fail)
    assert call("info", files[0]) == 1
    assert one_error(capsys).endswith(
        "KeyError: 'no such\\nkey' (unexpected; --debug shows where)"
    )


@pytest.mark.filterwarnings("always")
def test_warnings_are_one_line(files, capsys, monkeypatch):
    """Without the place in the code."""

    def warn(path):
        warnings.warn("on two\n lines", stacklevel=2)
        return read_frames(path)

    monkeypatch.setattr("sksimclr._commands._info.read_frames", warn)
    assert call("info", files[0]) == 0
    assert capsys.readouterr().err == "sksimclr: warning: on two lines\n"


def test_models_that_only_pickles_hold_can_label(files, tmp_path, capsys):
    """A baseline, with --trust-pickle; without, nothing is loaded."""
    steps = (AuroraPreprocessor(), tiny_pretrained(), LogisticRegression())
    pipe = make_pipeline(*steps).fit(make_frames(12, 0), ["arc", "moon"] * 6)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    arguments = (tmp_path / "pipe.joblib", *files, "-o", tmp_path / "c", "--quiet")
    assert call("label", *arguments) == 1
    assert "--trust-pickle" in one_error(capsys)
    assert call("label", *arguments, "--trust-pickle") == 0
    assert read_catalogue(tmp_path / "c").num_rows == 12


# Its page


def test_page_has_every_option():
    """In the table of its command, and no other; those that all have, in their own."""
    text = PAGE.read_text()
    common = {"--help", "--json", "--debug"}
    first = text[text.index("\nCommands\n----") : text.index("\ntrain\n~~~~~")]
    assert set(re.findall(r"^``(--[\w-]+)``", first, re.M)) == common
    for name, parser in subparsers().items():
        start = text.index(f"\n{name}\n~~~")
        end = re.search(r"\n\n\n", text[start + 2 :]).start() + start
        listed = re.findall(r"^``(--[\w-]+)``", text[start:end], re.M)
        options = [a.option_strings[-1] for a in parser._actions if a.option_strings]
        expected = [option for option in options if option not in common]
        assert sorted(listed) == sorted(expected), name


def test_page_has_every_exit_code():
    """Those of the help."""
    text = PAGE.read_text()
    codes = re.findall(r"^(\d+) {2,}\w", text[text.index("\ncode  meaning") :], re.M)
    assert codes == re.findall(
        r"\b(\d+) [a-z]", make_parser().epilog.split("codes:")[1]
    )


def test_commands_of_the_page_work(tmp_path, monkeypatch, capsys):
    """In their order, on small files of the names that it has."""
    text = PAGE.read_text()
    monkeypatch.chdir(tmp_path)
    quick = _train._RECIPES["quick"] | {"image_size": 33, "max_epochs": 1}
    monkeypatch.setitem(_train._RECIPES, "quick", quick)
    write_minutes(Path("ut06"))
    table = re.search(r":caption: labels.csv\n\n((?:   .*\n)+)", text)[1]
    Path("labels.csv").write_text("".join(line[3:] for line in table.splitlines(True)))
    commands = re.findall(r"^   \$ (sksimclr .*)$", text, re.M)
    assert len(commands) == 8
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    made = {path.name for path in tmp_path.iterdir()} - {"ut06", "labels.csv"}
    assert made == {
        "aurora.skops",
        "encoder.skops",
        "catalogue",
        "embeddings",
        "occurrence.png",
        "night.png",
    }
    script = text[text.index("#SBATCH") :]
    (command,) = re.findall(r"^   (sksimclr .*)$", script[: script.index("\n\n")], re.M)
    make_parser().parse_args(shlex.split(command)[1:])
