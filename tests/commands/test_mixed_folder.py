"""A folder of files from every camera, and of others: info, train, label, pack."""

import contextlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archive_files import frame_name, frame_times, pgm_bytes, write_cdf, write_pgm
from numpy.testing import assert_allclose
from PIL import Image
from tiff import colour_tiff
from tiny import tiny_encoder

from sksimclr.__main__ import main
from sksimclr._commands import _train
from sksimclr.archive import load_model, open_frames, read_catalogue
from sksimclr.datasets import make_aurora

fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
pytest.importorskip("cdflib")

SIDE = 24  # of frames, pixels
FAST = ("--size", 16, "--epochs", 1, "--image-size", 33, "--batch-size", 8)
N_FRAMES = {  # in each file that can be read
    frame_name("2014-03-10T06:00", "gill", ".pgm.gz"): 3,
    frame_name("2014-03-10T06:01", "gill", ".pgm"): 3,
    "20220307_0600_gill_nir-216_8446.pgm": 1,
    "thg_l1_asf_gako_2011010617_v02.cdf": 3,
    "PKR_DASC_0558_20151007_082351.743.FITS": 1,
    "hobby.fits.gz": 1,
    "20200508_060500_122643_gill_rgb-04_320ms_full.png": 1,
    "20200508_0605_gill_rgb-04.png.tar": 3,
    "20211104_0600_luck_rgb-03_full.h5": 3,
    "grey16.png": 1,
    "grey and alpha.png": 1,
    "colour and alpha.png": 1,
    "green alone.png": 1,
    "2024-09-06_16-19-25.jpg": 1,
    "panorama.bmp": 1,
    "colour16.tiff": 1,
    "signed.npy": 3,
    "floats.npy": 3,
    "cut.pgm": 2,  # of three
}
FAILED = {"cut.pgm", "empty.png", "text.fits", "page.jpg"}
LEFT_OUT = {
    "a copy": ["grey16 (1).png"],
    "a dark frame": ["20140310_0600_gill_dark.pgm"],
    "a keogram": ["20140310__gill_keogram.png"],
    "a mask": ["gill_mask.png"],
    "an older version": ["thg_l1_asf_gako_2011010617_v01.cdf"],
    "hidden": [".DS_Store", "._grey16.png"],
    "no ending of the name": ["README"],
    "no reader for .csv": ["labels.csv"],
    "no reader for .mp4": ["night.mp4"],
    "no reader for .zip": ["all.zip"],
    "there as .gz too": [frame_name("2014-03-10T06:00", "gill", ".pgm")],
}


@pytest.fixture(scope="module")
def frames():
    """Return three frames, whose counts are multiples of 257."""
    images = make_aurora(3, size=SIDE, random_state=0).images.astype(float)
    return np.rint(images / images.max() * 255).astype(np.uint16) * 257


def png(image):
    """Return an image of 8 bits as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frames):
    """Return a folder in which every file has the three frames, or the first one."""
    folder = tmp_path_factory.mktemp("mixed")
    bytes_ = (frames // 257).astype(np.uint8)
    first, names = bytes_[0], iter(N_FRAMES)
    times, opaque = frame_times(3), np.full_like(first, 255)
    colours = np.stack(3 * [bytes_], axis=-1)
    write_pgm(folder / next(names), frames, times)
    write_pgm(folder / next(names), frames, times)
    write_pgm(folder / next(names), frames[:1])  # says nothing of itself
    write_cdf(folder / next(names), frames, times, "gako")
    fits.PrimaryHDU((frames[0] // 2).astype(">i2")).writeto(folder / next(names))
    fits.PrimaryHDU(frames[0]).writeto(folder / next(names))  # with BZERO
    (folder / next(names)).write_bytes(png(colours[0]))
    with tarfile.open(folder / next(names), "w") as tar:
        for k, image in enumerate(colours):
            member = tarfile.TarInfo(f"20200508_06050{k}_000000_gill_rgb-04_full.png")
            data = png(image)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with h5py.File(folder / next(names), "w") as file:
        file["data/images"] = np.moveaxis(colours, 0, -1)
        clock = [f"2021-11-04 06:00:0{k}.500000 UTC" for k in range(3)]
        file["data/timestamp"] = np.array([text.encode() for text in clock])
    Image.fromarray(frames[0]).save(folder / next(names))
    Image.fromarray(first).convert("LA").save(folder / next(names))
    (folder / next(names)).write_bytes(png(np.stack([*3 * [first], opaque], axis=-1)))
    dark = np.zeros_like(first)
    (folder / next(names)).write_bytes(png(np.stack([dark, first, dark], axis=-1)))
    Image.fromarray(first).save(folder / next(names), quality=100)
    wide = np.pad(first, [(0, 0), (10, 10)])  # the circle in the middle
    Image.fromarray(np.stack(3 * [wide], axis=-1)).save(folder / next(names))
    (folder / next(names)).write_bytes(colour_tiff(np.stack(3 * [frames[0]], -1)))
    np.save(folder / next(names), (frames // 2).astype(np.int16))
    np.save(folder / next(names), frames.astype(np.float32) / 1000)
    (folder / next(names)).write_bytes(pgm_bytes(frames, times)[:-20])
    assert next(names, None) is None
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.fits").write_text("SIMPLE, they said")
    (folder / "page.jpg").write_text("<html>404 Not Found</html>")
    for others in LEFT_OUT.values():
        for name in others:
            (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    """Train on the folder, with labels of some files; return what it says of it."""
    path = tmp_path_factory.mktemp("model") / "m.skops"
    names = [*N_FRAMES][::2]
    rows = [f'"{name}",0,{"ab"[k % 2]}' for k, name in enumerate(names)]
    table = path.parent / "labels.csv"
    table.write_text("\n".join(["file,frame,label", *rows]) + "\n")
    recipe = _train._RECIPES["quick"] | {"encoder": tiny_encoder}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_train._RECIPES, "quick", recipe)
        patch.setattr(_train, "keep_freed_memory", lambda: None)
        code, said = call("train", folder, "--labels", table, "-o", path, *FAST)
    assert code == 3
    return path, said


def call(*words):
    """Run a command; return its exit code and what it wrote, as JSON if it did."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*map(str, words), "--json"])
    return code, json.loads(out.getvalue()) if out.getvalue() else None


def names_of(failures):
    """Return the names of the files, of which each reason tells enough."""
    assert all(failure["reason"] for failure in failures)
    return {Path(failure["file"]).name for failure in failures}


def test_info_of_the_folder_and_of_each_file(folder, capsys):
    """How many can be read, what is left out and why, and what is in each."""
    _, found = call("info", folder)
    assert found["n_files"] == len(N_FRAMES) + len(FAILED - N_FRAMES.keys())
    assert found["left_out"] == {why: len(names) for why, names in LEFT_OUT.items()}
    for name, n_frames in N_FRAMES.items():
        code, found = call("info", folder / name)
        assert code == 0 and found["n_frames"] == n_frames, name
        assert bool(found["damage"]) == (name in FAILED), name
    capsys.readouterr()
    for name in FAILED - N_FRAMES.keys():
        assert call("info", folder / name)[0] == 1
        assert name in capsys.readouterr().err


def test_train_learns_from_all_that_can_be_read(model):
    """Whatever their shapes and colours; the others are named."""
    _, said = model
    assert said["n_frames"] == said["n_frames_seen"] == sum(N_FRAMES.values())
    assert said["n_labelled"] == len([*N_FRAMES][::2])
    assert names_of(said["failures"]) == FAILED
    assert said["left_out"] == {why: len(names) for why, names in LEFT_OUT.items()}


def test_label_sees_the_same_sky_in_every_file(folder, frames, model, tmp_path):
    """Counts of another scale, colours, an alpha channel, and margins change nothing.

    But for rounding: of JPEG, and of counts to halves.
    """
    path, _ = model
    trust = ("--trust", "tiny.tiny_encoder", "--quiet")
    code, said = call("embed", path, folder, "-o", tmp_path / "out", *trust)
    assert code == 3 and names_of(said["failures"]) == FAILED
    expected = load_model(path, trusted=["tiny.tiny_encoder"])[:-1].transform(frames)
    assert np.ptp(expected, axis=0).max() > 0.05  # frames are told from each other
    rows = read_catalogue(tmp_path / "out")
    found = {}
    for row in rows.to_pylist():
        found.setdefault(Path(row["file"]).name, []).append(row)
    assert {name: len(each) for name, each in found.items()} == N_FRAMES
    for name, each in found.items():
        for row in each:
            close = 0.01 if name.endswith(".jpg") else 0.002
            assert_allclose(
                row["embedding"], expected[row["frame"]], atol=close, err_msg=name
            )
    sites = {name: {row["site"] for row in each} for name, each in found.items()}
    assert sites["20211104_0600_luck_rgb-03_full.h5"] == {"luck"}
    assert sites["grey16.png"] == {"unknown"}
    assert said["left_out"] == {why: len(names) for why, names in LEFT_OUT.items()}


def test_pack_makes_the_same_frames_of_every_file(folder, frames, tmp_path):
    """To a step of 8 bits."""
    code, said = call("pack", folder, "-o", tmp_path / "s", "--size", 16, "--quiet")
    assert code == 3 and names_of(said["failures"]) == FAILED
    store = open_frames(tmp_path / "s")
    assert len(store) == said["n_frames"] == sum(N_FRAMES.values())
    expected = store.preprocessor.transform(frames).astype(int)
    index = store.index
    for name, frame, image in zip(
        index["file"].to_pylist(), index["frame"].to_pylist(), store[:], strict=True
    ):
        close = 8 if name.endswith(".jpg") else 1
        assert_allclose(image, expected[frame], atol=close, err_msg=name)
