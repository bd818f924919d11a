"""``sksimclr review``: a page of a catalogue, and rounds of labels."""

import base64
import csv
import io
import json
import re

import pytest
from archives import SIZE, fitted_pipeline, write_archive
from PIL import Image

from sksimclr.__main__ import main
from sksimclr.archive import label_archive, read_catalogue, suggest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder, the current one, with files and a catalogue of 30 frames."""
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "files")
    model = fitted_pipeline()
    label_archive(model, "files", "catalogue", embeddings=True, n_threads=1)
    return tmp_path


def review(*words):
    """Run the command."""
    return main(["review", "catalogue", "-o", "review.html", *words])


def data_of(folder):
    """Return what the page knows."""
    text = (folder / "review.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*)</script>', text)[1])


def pairs(rows):
    """Return the set of (file, frame)."""
    return {(row["file"], row["frame"]) for row in rows}


def test_page_and_report(folder, capsys):
    """Of all frames, or as many as are asked for, and what to do with the page."""
    assert review() == 0
    text = capsys.readouterr().out
    assert text.startswith("review.html shows 30 frames.") and "--labels" in text
    assert len(data_of(folder)["frames"]) == 30
    assert review("-n", "7", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    expected = {"page": "review.html", "n_frames": 7, "n_labelled": 0, "failures": []}
    assert report == expected
    found = pairs(data_of(folder)["frames"])
    assert found == pairs(suggest("catalogue", 7).to_pylist())


def test_second_round_goes_on_with_the_table(folder, capsys):
    """Files are named by the ends of their paths; what has a label is not shown."""
    rows = read_catalogue("catalogue").to_pylist()[:4]
    with open("labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "frame", "label"])
        for row, label in zip(rows, ("arc", "haze", "arc", ""), strict=True):
            writer.writerow([row["file"].rpartition("/")[2], row["frame"], label])
    assert review("--labels", "labels.csv") == 0
    data = data_of(folder)
    assert data["labels"] == [
        [row["file"], row["frame"], label]
        for row, label in zip(rows, ("arc", "haze", "arc"), strict=False)
    ]
    assert len(data["frames"]) == 27 and not pairs(rows[:3]) & pairs(data["frames"])


@pytest.mark.parametrize("label", ["arc", ""])
def test_table_may_have_one_class_or_none(folder, label):
    """So far; it is `train` that needs two."""
    file = read_catalogue("catalogue")["file"][0].as_py()
    (folder / "labels.csv").write_text(f"file,frame,label\n{file},0,{label}\n")
    assert review("--labels", "labels.csv") == 0
    assert data_of(folder)["labels"] == ([[file, 0, label]] if label else [])


def test_files_that_have_gone_are_failures(folder, capsys):
    """The exit code says so, and the report names them."""
    gone = min((folder / "files").glob("*.pgm"))
    gone.unlink()
    assert review() == 3
    out, err = capsys.readouterr()
    assert "shows 25 frames" in out and f"{str(gone)!r}: No such file" in out
    assert err == ""


def test_mistakes_are_named(folder, capsys):
    """On one line."""
    assert review("--labels", "none.csv") == 1
    assert "none.csv" in capsys.readouterr().err
    assert main(["review", "catalogue", "-o", "review.csv"]) == 1
    assert "must end in .html" in capsys.readouterr().err
    assert main(["review", "files", "-o", "review.html"]) == 1
    assert "is no catalogue" in capsys.readouterr().err
    assert not (folder / "review.html").exists()


def test_pictures_show_the_circle_that_is_asked_for(folder):
    """Of 16 pixels: the pixels within it, and nothing else."""
    assert review("--radius", "0.5", "--center", "6", "9") == 0
    url = data_of(folder)["frames"][0]["image"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(url))) as picture:
        side = 2 * int(0.5 * SIZE / 2) + 1
        assert picture.size == (side, side)
