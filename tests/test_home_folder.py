"""Paths that begin with "~": the home folder, whoever is given one."""

import shutil

import pytest
from archives import fitted_pipeline, write_archive
from PIL import Image
from runs import make_images, make_run
from tiny import tiny_pretrained

from sksimclr.__main__ import main
from sksimclr.archive import (
    find_files,
    label_archive,
    load_model,
    read_catalogue,
    read_failures,
    read_frames,
    save_model,
    suggest,
)
from sksimclr.datasets import fetch_oath, load_oath
from sksimclr.plotting import OccurrenceDisplay

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a folder with frames, a picture, a model, weights and a catalogue."""
    folder = tmp_path_factory.mktemp("filled")
    write_archive(folder / "frames", n_files=2)
    Image.fromarray(make_images(1)[0]).save(folder / "frame.png")
    pipe = fitted_pipeline(encoder="resnet18", width=16, image_size=33)
    save_model(pipe, folder / "model.skops")
    make_run(max_epochs=1).fit(make_images()).save_weights(folder / "weights")
    label_archive(pipe, folder / "frames", folder / "catalogue", embeddings=True)
    return folder


@pytest.fixture
def home(filled, tmp_path, monkeypatch):
    """Return a home folder with a copy of all this; we are elsewhere."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(filled, home)
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(elsewhere)
    yield home
    assert not list(elsewhere.iterdir())


def saved(name):
    """Return the number of rows that a call of `label_archive` wrote."""
    return label_archive(load_model("~/model.skops"), "~/frames", name).n_frames


ENTRIES = {
    "find_files": lambda: len(find_files("~/frames")) == 2,
    "read_frames": lambda: read_frames("~/frame.png").images.shape == (1, 8, 8),
    "paths in X": lambda: make_run(max_epochs=1).fit(["~/frame.png"] * 4),
    "checkpoint_dir": lambda: make_run("~/run", max_epochs=1).fit(make_images()),
    "weights": lambda: make_run(weights="~/weights", image_size=8, max_epochs=0).fit(
        make_images()
    ),
    "weights of a backbone": lambda: tiny_pretrained(weights="~/none").fit(
        make_images()
    ),
    "save_weights": lambda: (
        make_run(max_epochs=1).fit(make_images()).save_weights("~/run")
    ),
    "load_model": lambda: load_model("~/model.skops"),
    "save_model": lambda: save_model(load_model("~/model.skops"), "~/run.skops"),
    "label_archive": lambda: saved("~/run") == 10,
    "read_catalogue": lambda: len(read_catalogue("~/catalogue")) == 10,
    "read_failures": lambda: len(read_failures("~/catalogue")) == 0,
    "suggest": lambda: len(suggest("~/catalogue", n=1)) == 1,
    "plotting": lambda: OccurrenceDisplay.from_catalogue("~/catalogue"),
    "load_oath": lambda: load_oath("~/oath"),
    "fetch_oath": lambda: fetch_oath(data_home="~/oath", download_if_missing=False),
    "command line": lambda: main(["summary", "~/catalogue"]) == 0,
    "command line, output": lambda: (
        main(["label", "~/model.skops", "~/frames", "--output=~/run", "--quiet"]) == 0
    ),
}
MISSING = ("weights of a backbone", "load_oath", "fetch_oath")  # named in full
WRITING = ("checkpoint_dir", "save_weights", "label_archive", "command line, output")


@pytest.mark.parametrize("entry", ENTRIES)
def test_home_is_where_everybody_looks_and_writes(entry, home):
    """And a file of that name that is missing is named in full."""
    if entry in MISSING:
        with pytest.raises(OSError, match=str(home)):
            ENTRIES[entry]()
        return
    assert ENTRIES[entry]() is not False
    assert (home / "run").exists() == (entry in WRITING)
    assert (home / "run.skops").exists() == (entry == "save_model")
