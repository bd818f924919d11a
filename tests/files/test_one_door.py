"""One registry of readers: what `read_frames` reads, every estimator takes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archive_files import frame_times, write_cdf, write_pgm
from PIL import Image
from tiny import tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr._files import readers
from sksimclr.archive import Frames, read_frames, register_reader
from sksimclr.datasets import make_aurora


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Give every test a registry of its own."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))


@pytest.fixture(scope="module")
def frames():
    """Two frames of the sky, uint16 (2, 16, 16)."""
    return make_aurora(2, size=16, random_state=0).images


def write_text_pgm(path, images):
    """Write a PGM whose pixels are text."""
    pixels = "\n".join(" ".join(map(str, row)) for row in images[0])
    path.write_text(f"P2\n16 16\n65535\n{pixels}\n")


def write_tiff(path, images):
    """Write a TIFF with a page for each image."""
    first, *others = [Image.fromarray(image) for image in images]
    first.save(path, save_all=True, append_images=others)


WRITERS = {
    ".pgm": lambda path, images: write_pgm(
        path, images, frame_times(len(images)), "gill"
    ),
    ".pgm.gz": lambda path, images: write_pgm(
        path, images, frame_times(len(images)), "gill"
    ),
    ".cdf": lambda path, images: write_cdf(path, images, frame_times(len(images))),
    ".npy": np.save,
    ".tif": write_tiff,
}


def write(folder, suffix, images):
    """Write images to a file of a format; return its path."""
    path = folder / f"20140310_0600_gill{suffix}"
    WRITERS[suffix](path, images)
    return path


@pytest.mark.parametrize("suffix", WRITERS)
def test_file_of_one_frame_is_a_sample(tmp_path, frames, suffix):
    """In fit and transform, whatever its format: as the frames that it holds."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir(), second.mkdir()
    paths = [write(first, suffix, frames[:1]), write(second, suffix, frames[1:])]
    stored = np.stack([read_frames(path).images[0] for path in paths])
    np.testing.assert_array_equal(stored, frames)
    found = tiny_simclr().fit(paths).transform(paths)
    np.testing.assert_array_equal(found, tiny_simclr().fit(frames).transform(frames))
    np.testing.assert_array_equal(
        AuroraPreprocessor().fit_transform(paths),
        AuroraPreprocessor().fit_transform(frames),
    )


def test_files_of_several_formats_are_one_x(tmp_path, frames):
    """Of one shape and type."""
    paths = [write(tmp_path, ".pgm", frames[:1]), write(tmp_path, ".npy", frames[1:])]
    found = AuroraPreprocessor().fit_transform(paths)
    np.testing.assert_array_equal(found, AuroraPreprocessor().fit_transform(frames))


@pytest.mark.parametrize("suffix", WRITERS)
def test_file_of_several_frames_is_an_error_that_says_how_many(
    tmp_path, frames, suffix
):
    """And names the file, and what reads it."""
    path = write(tmp_path, suffix, np.concatenate([frames, frames[:1]]))
    message = f"got 3 in '{path}'.*sksimclr.archive.read_frames"
    for estimator in (tiny_simclr(), AuroraPreprocessor()):
        with pytest.raises(ValueError, match=message):
            estimator.fit([path, path])


def test_damaged_file_is_an_error_although_a_frame_is_there(tmp_path, frames):
    """A frame that follows was lost."""
    path = write(tmp_path, ".pgm", frames)
    path.write_bytes(path.read_bytes()[:-10])
    assert len(read_frames(path)) == 1
    with pytest.raises(ValueError, match=f"Cannot read '{path}': it ends in frame 1"):
        tiny_simclr().fit([path, path])


def test_file_of_another_shape_than_fitted_on_is_named(tmp_path, frames):
    """In `transform`, where it may be the only one."""
    path = write(tmp_path, ".npy", frames[:1, :8])
    for fitted in (
        tiny_simclr(max_epochs=0).fit(frames),
        AuroraPreprocessor().fit(frames),
    ):
        with pytest.raises(ValueError, match=rf"\(8, 16\) as image 0 \('{path}'\)"):
            fitted.transform([path])


def test_pgm_of_text_is_read_as_before(tmp_path, frames):
    """By Pillow."""
    path = tmp_path / "a.pgm"
    write_text_pgm(path, frames)
    np.testing.assert_array_equal(readers.read_image(path), frames[0])


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "a.dat"])
def test_other_pictures_are_samples_but_no_files_of_an_archive(tmp_path, name):
    """What Pillow reads: fit is given files one by one, an archive finds them."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    kind = {"a.dat": "PNG", "a.webp": "WEBP"}.get(name)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(tmp_path / name, kind, **lossless)
    image = readers.read_image(tmp_path / name)
    grey = image if image.ndim == 2 else image[..., 0]
    np.testing.assert_array_equal(grey, pixels)
    with pytest.raises(ValueError, match="expected a name that ends in"):
        read_frames(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.pgm", "a.npy"])
def test_picture_of_another_name_is_a_sample(tmp_path, name):
    """Names lie; what is no picture either is an error of the reader of its name."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / name, "BMP")
    np.testing.assert_array_equal(readers.read_image(tmp_path / name), pixels)
    (tmp_path / name).write_bytes(b"clear sky")
    with pytest.raises(ValueError, match=f"'{tmp_path / name}': (expected|the magic)"):
        readers.read_image(tmp_path / name)


def test_file_that_nobody_reads_says_how_to_add_a_reader(tmp_path):
    """Whatever Pillow takes it for."""
    for start in (b"clear sky", b"\x89HDF\r\n\x1a\n" + bytes(90)):
        (tmp_path / "a.h5").write_bytes(start)
        with pytest.raises(ValueError, match="a.h5.*sksimclr.archive.register_reader"):
            tiny_simclr().fit([tmp_path / "a.h5"] * 2)


def test_registered_reader_works_everywhere(tmp_path, frames):
    """In fit as in `read_frames`, also instead of one of ours."""
    for suffix in (".counts", ".png"):
        register_reader(suffix, lambda path: Frames(np.load(path)[np.newaxis]))
        paths = [tmp_path / f"{k}{suffix}" for k in range(2)]
        for path, frame in zip(paths, frames, strict=True):
            with open(path, "wb") as file:
                np.save(file, frame)
        found = AuroraPreprocessor().fit_transform(paths)
        np.testing.assert_array_equal(found, AuroraPreprocessor().fit_transform(frames))
        np.testing.assert_array_equal(read_frames(paths[0]).images, frames[:1])


# Readers that other packages bring


@pytest.fixture
def site(tmp_path, frames):
    """Return a folder with a package that reads ``.xyz``, and what cannot be imported.

    It also claims ``.npy``, which is ours.
    """
    folder = tmp_path / "site"
    info = folder / "xyz_reader-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xyz-reader\n")
    (info / "entry_points.txt").write_text(
        "[sksimclr.readers]\n.XYZ = xyz_reader:read\n.broken = nowhere:read\n"
        ".npy = nowhere:read\n"
    )
    (folder / "xyz_reader.py").write_text(
        "import numpy as np\nfrom sksimclr.archive import Frames\n"
        "def read(path):\n"
        "    return Frames(np.load(open(path, 'rb')), site='tro')\n"
    )
    return folder


def python(site, *words):
    """Run Python where that package is installed."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    }
    return subprocess.run(
        [sys.executable, *map(str, words)], env=env, capture_output=True, text=True
    )


def test_installed_readers_serve_fit_and_the_command_line(site, tmp_path, frames):
    """Nobody calls `register_reader`."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for k, frame in enumerate(frames):
        with open(archive / f"20140310_06{k:02}_gill.xyz", "wb") as file:
            np.save(file, frame[np.newaxis])
    for where, said in ((archive, ".xyz 2"), (next(archive.iterdir()), "tro")):
        info = python(site, "-m", "sksimclr", "info", where)
        assert info.returncode == 0 and said in info.stdout, info
    code = (
        "import pickle, sys, numpy as np\nfrom sksimclr import AuroraPreprocessor\n"
        "from sksimclr._files.readers import reader_for\n"
        "reader = pickle.loads(pickle.dumps(reader_for('a.xyz')))\n"
        "assert reader(sys.argv[2]).site == 'tro'\n"
        "images = AuroraPreprocessor().fit_transform(sys.argv[2:])\n"
        "np.save(sys.argv[1], images)"
    )
    run = python(site, "-c", code, tmp_path / "out.npy", *sorted(archive.iterdir()))
    assert run.returncode == 0, run.stderr
    expected = AuroraPreprocessor().fit_transform(frames)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_installed_reader_that_cannot_be_imported_is_named(site, tmp_path, frames):
    """When a file needs it, and not before; those of ours are not replaced."""
    (tmp_path / "a.broken").write_bytes(b"something")
    np.save(tmp_path / "a.npy", frames[0])
    code = (
        "import sys\nfrom sksimclr.archive import read_frames\n"
        "print(len(read_frames(sys.argv[1])))\nread_frames(sys.argv[2])"
    )
    run = python(site, "-c", code, tmp_path / "a.npy", tmp_path / "a.broken")
    assert run.stdout.split() == ["1"]
    assert "ImportError: The reader of .broken files, 'nowhere:read', " in run.stderr
    assert Path(__file__).name not in run.stderr
